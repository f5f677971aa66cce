"""Formats: what is read from strangers is refused, what is written is exact."""
