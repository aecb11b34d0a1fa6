"""Kernels behind the ops, a folder a processor; `aliasfree.ops.dispatch` picks one."""
