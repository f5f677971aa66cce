"""Pack the BF16 master to NVFP4 with modelopt's own exporter, from published input ranges."""
