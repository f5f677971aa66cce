"""Packing kernels: one packing, written for numpy, for LLVM and for Triton, bit for bit the same."""
