"""Generated code of what Luna's own processes tell each other of events."""
