"""Serve profiles: what they mean and what an engine is told."""
