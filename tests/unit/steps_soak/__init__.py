"""The soak: whether anything drifts while a tree is served for long."""
