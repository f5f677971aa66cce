"""A small release: what needs a model run or a server is taken as a source."""
