"""Version 1 of the protocol between servers and a shared engine."""
