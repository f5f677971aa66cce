"""A model that is run a layer at a time: weights from shards, hidden states on the disk between layers."""
