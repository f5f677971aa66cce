"""The tests: how we know."""
