"""What the FIR kernels are given (`simd.layout` says how): tables of a step between two rates, and the plan."""

from __future__ import annotations

from aliasfree.ops.backends.cpu.simd.layout import record_type

SEGMENT = record_type("first", "step", "count", "tap", "taps", "input", "input_step", "unrolled")
"""`count` outputs of a row: first, first + step, ... They have `taps` taps, from the tap-th of a term on; the
j-th output reads the pixels input + input_step j + offset of the tap. `unrolled` is the entry of `tables.UNROLLED` that
the taps are, or -1."""
PAD = record_type("outside", "source")
"""The pixel `outside` of a row repeats the pixel `source`, or is zero where that is -1."""
FOLD = record_type("outside", "inside")
"""What was computed at the pixel `outside` of a row is added to the pixel `inside`."""

TABLE = record_type(
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

RING = record_type(
    "count",  # rows there are
    "slots",  # rows that are kept at a time; all of them where slots == count
    "stride",  # floats from one slot to the next
    "at",  # where slot 0 lies in the floats
    "keys",  # in the integers: slot of each row or -1 (count), row in each slot or -1 (slots), when last used (slots)
)
"""Rows in a thread's scratch; where there is no room for all, the least recently used one gives way."""

PLAN = record_type(
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
