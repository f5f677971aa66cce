"""The memory guard: it watches from the host while a server runs, and stops it in time."""
