"""What the kernels of the ideal filter are given (`simd.layout` says how)."""

from __future__ import annotations

from aliasfree.ops.backends.cpu.simd.layout import record_type

PLANE = record_type("at", "stride")
"""A plane in a thread's scratch: where its first row lies, and floats from a row to the next."""

PLAN = record_type(
    "mode",  # ACTIVATION, ACTIVATION_BACKWARD, SPREAD or GATHER
    "activation",  # code
    "planes",  # N C
    "channels",  # C where channels are last, else 0
    "low_height",
    "low_width",
    "high_height",
    "high_width",
    "up",  # addresses of packed blocks of float32 (`tables`): x to the higher rate, grad to it, and back
    "lift",
    "down",
    "up_columns",  # where in those the blocks of the columns begin
    "lift_columns",
    "down_columns",
    "groups",  # of LANES planes each
    "chunks",  # that the groups are dealt out in
    "threads",
    ("wide", PLANE),  # x with its rows at the other rate
    ("wide_grad", PLANE),  # grad so
    ("spare", PLANE),  # four rows of x, grad or the result
    ("panel", PLANE),  # of SPREAD and GATHER: columns of the result that wait to be stored
    "panel_columns",  # how many
    "line",  # a column of the higher rate
    "other",  # another one
    "whole_in",  # x, grad and the result where they are read or written in one piece, else -1
    "whole_grad",
    "whole_out",
    "floats",  # how many the scratch has
)
"""Everything about a call that the shape of the tensors decides (`ideal.plan`)."""
