"""Two repos held against each other."""
