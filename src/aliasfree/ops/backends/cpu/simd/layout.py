"""What the CPU kernels are given: records that Python fills and compiled code reads by name (`plan.ring.stride`).

Python keeps each as a NumPy array of shape () and hands over its address; a kernel makes a record of the address again
(`memory.record`). Every field is an int64: a number, the address of an array, or a place in a thread's scratch, which
counts the elements before it. The scratch of a thread is an array of float32 and one of int64.
"""

from __future__ import annotations

import numpy as np

LANES = 16
"""Numbers that a kernel treats side by side: pixels of as many planes, or as many tokens."""
BLOCK = 4
"""Vectors of LANES that a kernel takes in step, so that one need not wait for another."""
KEYS = 64
"""Keys of attention whose scores are held at a time."""

# what the walk computes
ACTIVATION, ACTIVATION_BACKWARD, SPREAD, GATHER = range(4)
# what is done with a filter's sums: an activation, SLOPE + its number for the derivative, or TIMES for a product
IDENTITY, RELU, GELU, SILU = range(4)
SLOPE, TIMES = 4, 8
ACTIVATIONS = {"gelu": GELU, "silu": SILU, "relu": RELU, "identity": IDENTITY}


def _record(*fields: str | tuple[str, np.dtype[np.void]]) -> np.dtype[np.void]:
    return np.dtype([(field, np.int64) if isinstance(field, str) else field for field in fields], align=True)


SEGMENT = _record("first", "step", "count", "tap", "taps", "input", "input_step")
"""`count` outputs of a row: first, first + step, ... They have `taps` taps, from the tap-th of a term on; the
j-th output reads the pixels input + input_step j + offset of the tap."""
PAD = _record("outside", "source")
"""The pixel `outside` of a row repeats the pixel `source`, or is zero where that is -1."""
FOLD = _record("outside", "inside")
"""What was computed at the pixel `outside` of a row is added to the pixel `inside`."""

TABLE = _record(
    # rows: a pair is a high-rate row and one phase of its kernel, a line is a pair and one term of that phase
    "pairs",  # how many
    "most_terms",  # that a phase has
    "most_taps",  # that a line (of a gather: a low-rate row) has
    "row_pairs",  # address; high-rate row i has the pairs row_pairs[i] .. row_pairs[i + 1] - 1
    "pair_row",  # address; the high-rate row of a pair
    "pair_phase",  # address
    "pair_lines",  # address; pair p has the lines pair_lines[p] .. pair_lines[p + 1] - 1
    "phase_terms",  # address; phase p has the terms phase_terms[p] .. phase_terms[p + 1] - 1
    "output_taps",  # address; taps output_taps[i] .. output_taps[i + 1] - 1 make line i, of a gather low-rate row i
    "tap_source",  # address; the low-rate row that a tap reads, of a gather the line: pair * most_terms + term
    "tap_weight",  # address of float32
    # columns: every term has the same geometry
    "segments",  # how many
    "segment",  # address of SEGMENTs
    "along_taps",  # how many weights a term has
    "along_offset",  # address; offset of each tap, in floats of scratch
    "along_weight",  # address of float32, (terms, along_taps)
    "pads",  # how many
    "pad",  # address of PADs
    "folds",  # how many
    "fold",  # address of FOLDs
    "left",  # pixels read before a row
    "right",  # and behind it
    "extra_left",  # pixels computed before a row, to be folded
    "extra_right",  # and behind it
    "high_width",  # pixels of a high-rate row
    "low_width",  # pixels of a low-rate row
)
"""A step between the rates (`tables`)."""

RING = _record(
    "count",  # rows there are
    "slots",  # rows that are kept at a time; all of them where slots == count
    "stride",  # floats from one slot to the next
    "at",  # where slot 0 lies in the floats
    "keys",  # in the integers: slot of each row or -1 (count), row in each slot or -1 (slots), when last used (slots)
)
"""Rows in a thread's scratch; where there is no room for all, the least recently used one gives way."""

_PLANE = _record("at", "stride")
"""A plane in a thread's scratch: where its first row lies, and floats from a row to the next."""

PLAN = _record(
    "mode",  # ACTIVATION, ACTIVATION_BACKWARD, SPREAD or GATHER
    "activation",
    "planes",  # N C
    "channels",  # C where channels are last, else 0
    "in_height",
    "in_width",
    "out_height",
    "out_width",
    "up",  # address of the TABLE that spreads x
    "lift",  # address of the TABLE that spreads grad
    "down",  # address of the TABLE that gathers
    "groups",  # of LANES planes each
    "chunks",  # that the groups are dealt out in
    "threads",
    ("input", RING),  # rows of x
    ("grad", RING),  # rows of grad
    ("ring", RING),  # lines of high-rate rows that wait to be gathered; the rows it counts are pairs
    "term_stride",  # floats from a line in a slot of that ring to the next, of the pair's next term
    "low",  # pixel 0 of a row made of low-rate rows by vertical taps
    "high",  # pixel 0 of a high-rate row
    "other",  # pixel 0 of another one
    "out",  # the result where its rows are narrower than a tile, else -1
    "offsets",  # in the integers: where the rows lie that vertical taps read
    "floats",  # how many the scratch has
)
"""Everything about the walk that the shape of the tensors decides (`plan`)."""

DENSE_PLAN = _record(
    "mode",
    "activation",
    "planes",
    "channels",
    "low_height",
    "low_width",
    "high_height",
    "high_width",
    "up",  # addresses of packed blocks of float32 (`dense_tables`): x to the higher rate, grad to it, and back
    "lift",
    "down",
    "up_columns",  # where in those the blocks of the columns begin
    "lift_columns",
    "down_columns",
    "groups",
    "chunks",
    "threads",
    ("low", _PLANE),  # x, and what becomes y
    ("mixed", _PLANE),  # rows of the lower rate and columns of the higher, or of a gather the other way round
    ("grad", _PLANE),
    ("lifted", _PLANE),  # grad as x is in `mixed`
    ("high", _PLANE),  # of SPREAD and GATHER
    "line",  # a column of the higher rate
    "other",  # another one
    "floats",
)
"""Everything about products with dense matrices that the shape of the tensors decides (`dense`)."""

JOB = _record(
    "x",  # address of the tensor
    "grad",  # address of a tensor of x's shape; read by ACTIVATION_BACKWARD alone
    "y",  # address of the result
    "plan",  # address of the PLAN or DENSE_PLAN
    "floats",  # address of the first thread's scratch
    "floats_each",  # floats of a thread
    "ints",
    "ints_each",
    "next_chunk",  # counter
    "next_thread",  # counter
)
"""One call, shared by its threads."""


def _attention_job(*areas: str) -> np.dtype[np.void]:
    return _record(
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
        ("at", _record("pitch", *areas)),
    )


FORWARD_JOB = _attention_job("queries", "keys", "values", "scores", "weights", "sums", "tops", "totals")
BACKWARD_JOB = _attention_job(
    "queries", "grads", "keys", "values", "key_steps", "query_steps", "grad_steps", "norms", "deltas", "weights",
    "slopes", "to_queries", "to_keys", "to_values",
)  # fmt: skip
"""One call of attention, shared by its threads; `at` says where each area of the scratch lies (`attention`)."""
