"""The local Hub answers as the real one does, to the real client."""
