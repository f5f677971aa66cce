"""Images: what can be decided without an engine."""
