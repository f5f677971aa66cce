"""A real Docker engine: found, or started from Debian's packages; nothing is installed."""
