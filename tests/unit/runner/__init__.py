"""The runner of the host."""
