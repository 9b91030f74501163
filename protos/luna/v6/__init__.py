"""Version 6 of the API."""
