"""Vectors of 16 floats: what all CPU kernels are built of."""
