"""The step that serves a tree and measures it."""
