"""What the attention kernels are given (`simd.layout` says how)."""

from __future__ import annotations

import numpy as np

from aliasfree.ops.backends.cpu.simd.layout import record_type

KEYS = 64
"""Keys whose scores are held at a time."""


def _job(*areas: str) -> np.dtype[np.void]:
    return record_type(
        "qkv",  # addresses of the tensors
        "grad",
        "out",
        "lse",
        "result",
        "floats",  # address of the first thread's scratch
        "floats_each",  # floats of a thread
        "tokens",
        "heads",
        "parts",  # of a head, in each of which its numbers are held in registers
        "planes",  # N heads
        "threads",
        "next_plane",  # counter
        "next_thread",  # counter
        ("at", record_type("pitch", *areas)),
    )


FORWARD_JOB = _job("queries", "keys", "values", "scores", "weights", "sums", "tops", "totals")
BACKWARD_JOB = _job(
    "queries", "grads", "keys", "values", "key_steps", "query_steps", "grad_steps", "norms", "deltas", "weights",
    "slopes", "to_queries", "to_keys", "to_values",
)  # fmt: skip
"""One call of attention, shared by its threads; `at` says where each area of the scratch lies (`attention`)."""
