"""The release line that a laptop can make: a synthetic corpus and a model of about 1.3 M parameters."""
