"""Version 1 of the notices of events."""
