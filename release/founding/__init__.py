"""A new release line."""
