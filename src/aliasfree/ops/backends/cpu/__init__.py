"""Kernels in Numba, for processors."""
