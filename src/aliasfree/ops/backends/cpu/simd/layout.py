"""What the CPU kernels are given: records that Python fills and compiled code reads by name (`plan.ring.stride`).

Python keeps each as a NumPy array of shape () and hands over its address; a kernel makes a record of the address again
(`memory.record_at`). Every field is an int64: a number, the address of an array, or a place in a thread's scratch,
which counts the elements before it. The scratch of a thread is an array of float32 and one of int64.
"""

from __future__ import annotations

import numpy as np

LANES = 16
"""Numbers that a kernel treats side by side: pixels of as many planes, or as many tokens."""
BLOCK = 4
"""Vectors of LANES that a kernel takes in step, so that one need not wait for another."""

# what a kernel computes: a filtered activation, its gradient, a step to the higher rate, or one back
ACTIVATION, ACTIVATION_BACKWARD, SPREAD, GATHER = range(4)
ACTIVATIONS = {name: code for code, name in enumerate(("identity", "relu", "gelu", "silu"))}
"""Name -> code in kernels. `functions.FORMULAS` has a formula for each but the identity."""
IDENTITY = ACTIVATIONS["identity"]
SLOPE = len(ACTIVATIONS)
"""SLOPE + the code of an activation stands for its derivative."""
TIMES = 2 * SLOPE
"""Stands for a product, where else an activation or a derivative is applied."""


def record_type(*fields: str | tuple[str, np.dtype[np.void]]) -> np.dtype[np.void]:
    """A record of int64 fields, and of records where a field comes with a type."""
    return np.dtype([(field, np.int64) if isinstance(field, str) else field for field in fields], align=True)


JOB = record_type(
    "x",  # address of the tensor
    "grad",  # address of a tensor of x's shape; read by ACTIVATION_BACKWARD alone
    "y",  # address of the result
    "plan",  # address of the kernel's plan (`fir.layout.PLAN`, `ideal.layout.PLAN`)
    "floats",  # address of the first thread's scratch
    "floats_each",  # floats of a thread
    "ints",
    "ints_each",
    "next_chunk",  # counter
    "next_thread",  # counter
)
"""One call, shared by its threads."""
