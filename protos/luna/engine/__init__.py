"""Generated code of what Luna's own processes say to each other about pictures."""
