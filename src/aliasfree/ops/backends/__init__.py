"""Kernels behind the ops, and the registry that picks one."""
