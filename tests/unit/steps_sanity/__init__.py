"""The sanity step: what it asks, draws and counts."""
