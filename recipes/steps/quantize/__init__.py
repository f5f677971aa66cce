"""Pack the BF16 master to NVFP4 from published input ranges."""
