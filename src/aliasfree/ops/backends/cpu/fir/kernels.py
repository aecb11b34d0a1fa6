"""The CPU kernels: 16 planes side by side in vector lanes, walked row by row, so that no full-size temporary exists.

One routine, `_walk`, serves every op and its backward:
    ACTIVATION           rows of x --spread--> high-rate row --activation--> gather --> rows of y
    ACTIVATION_BACKWARD  the high-rate rows of x and of grad, multiplied as act'(x) grad, gathered
    SPREAD, GATHER       one half alone
A high-rate row lives only until the lines that are gathered from it are made; those, and the rows of x in use, lie in
small rings. What a kernel is given, and the fields of all tables, is explained in `layout`.

Arguments that recur:
    x, grad, y  tensors, of float32 or bfloat16
    s, m        scratch of this thread, float32 and int64; a place `at` in s is a pixel, LANES floats, one of each plane
    group       the planes in the lanes
    table       a TABLE: what a step between the rates consists of
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aliasfree.ops.backends.cpu.compiling import inlined, jit, keep_apart, kernel, sources_version, unliteral
from aliasfree.ops.backends.cpu.simd.functions import gelu, gelu_slope, relu, relu_slope, silu, silu_slope
from aliasfree.ops.backends.cpu.simd.layout import (
    ACTIVATION_BACKWARD,
    BLOCK,
    FOLD,
    GATHER,
    GELU,
    IDENTITY,
    JOB,
    LANES,
    PAD,
    PLAN,
    RELU,
    SEGMENT,
    SILU,
    SLOPE,
    SPREAD,
    TABLE,
    TIMES,
)
from aliasfree.ops.backends.cpu.simd.memory import advance, entry, floats, ints, pointer, record, take_number
from aliasfree.ops.backends.cpu.simd.planes import group_of, load_pixels, load_plane, store_pixels
from aliasfree.ops.backends.cpu.simd.vectors import (
    accumulate,
    add,
    consecutive,
    get,
    load,
    product,
    put,
    splat,
    store,
    zeros,
)

# presets of taps along a row, for the paper's 3x3 kernel and for 12 taps: (taps, inputs from one output to the next)
ANY, SHORT_UP, SHORT_DOWN, LONG_UP, LONG_DOWN = range(5)
short_up, short_down, long_up, long_down = (
    consecutive(taps, every) for taps, every in ((2, 1), (3, 2), (6, 1), (12, 2))
)
_ZERO = np.float32(0)


@jit
def _fir(
    s: Any, to: int, step: int, start: int, stride: int, offsets: Any, weights: Any, taps: int, n: int, onto: bool,
    preset: int, epilogue: int, by: int,
) -> None:  # fmt: skip
    """A filter, n outputs of it: s[to + step j] = sum_k weights[k] s[start + stride j + offsets[k]], k < taps.

    1. Begin with zeros; if `onto`, with what is there.
    2. Add the taps: `preset` says whose consecutive ones these are (its offsets are not read), or ANY.
    3. Apply the epilogue: nothing, an activation or its slope; TIMES multiplies by s[by + step j].

    By blocks of BLOCK outputs: up to BLOCK - 1 more than n are written, so what lies behind the last is overwritten.
    """
    keep_apart()
    for j in range(0, n, BLOCK):
        at = to + j * step
        sums = zeros()
        if onto:
            sums = get(s, at, step)
        if preset == SHORT_UP:
            sums = short_up(sums, weights, s, start + j * stride)
        elif preset == SHORT_DOWN:
            sums = short_down(sums, weights, s, start + j * stride)
        elif preset == LONG_UP:
            sums = long_up(sums, weights, s, start + j * stride)
        elif preset == LONG_DOWN:
            sums = long_down(sums, weights, s, start + j * stride)
        else:
            for k in range(taps):
                sums = accumulate(sums, weights[k], s, start + j * stride + offsets[k], stride)
        if epilogue == GELU:
            sums = gelu(sums)
        elif epilogue == SLOPE + GELU:
            sums = gelu_slope(sums)
        elif epilogue == TIMES:
            sums = product(sums, get(s, by + j * step, step))
        elif epilogue == SILU:
            sums = silu(sums)
        elif epilogue == SLOPE + SILU:
            sums = silu_slope(sums)
        elif epilogue == RELU:
            sums = relu(sums)
        elif epilogue == SLOPE + RELU:
            sums = relu_slope(sums)
        put(s, at, step, sums)


@jit
def _along_row(s: Any, to: int, start: int, table: Any, term: int, onto: bool, epilogue: int, by: int) -> None:
    """Horizontal taps of one term; `to`, `start` and `by` are where pixel 0 of a row lies."""
    weights = advance(floats(table.along_weight), term * table.along_taps)
    offsets = ints(table.along_offset)
    for i in range(table.segments):
        part = entry(table.segment, i, SEGMENT)
        preset = ANY
        if part.taps == 2 and part.input_step == 1:
            preset = SHORT_UP
        elif part.taps == 3 and part.input_step == 2:
            preset = SHORT_DOWN
        elif part.taps == 6 and part.input_step == 1:
            preset = LONG_UP
        elif part.taps == 12 and part.input_step == 2:
            preset = LONG_DOWN
        _fir(
            s, to + part.first * LANES, part.step * LANES, start + part.input * LANES, part.input_step * LANES,
            advance(offsets, part.tap), advance(weights, part.tap), part.taps, part.count, onto, preset, epilogue,
            by + part.first * LANES,
        )  # fmt: skip


@jit
def _pad(s: Any, row: int, table: Any) -> None:
    """Write what the horizontal taps read outside the row that begins at `row`."""
    for i in range(table.pads):
        pad = entry(table.pad, i, PAD)
        v = splat(_ZERO)
        if pad.source >= 0:
            v = load(s, row + pad.source * LANES)
        store(s, row + pad.outside * LANES, v)


@jit
def _fold(s: Any, row: int, table: Any) -> None:
    """Add what an adjoint left outside the row that begins at `row` to where it belongs."""
    for i in range(table.folds):
        fold = entry(table.fold, i, FOLD)
        to = row + fold.inside * LANES
        store(s, to, add(load(s, to), load(s, row + fold.outside * LANES)))


@jit
def _slot(m: Any, ring: Any, row: int) -> tuple[int, bool]:
    """The slot of `row` in a ring, and whether it was there; if not, it gets the least recently used slot."""
    keep_apart()
    slot_of = ring.keys
    row_in = slot_of + ring.count
    used = row_in + ring.slots
    m[0] += 1
    slot = m[slot_of + row]
    if slot >= 0:
        m[used + slot] = m[0]
        return slot, True
    slot = 0
    for i in range(1, ring.slots):
        if m[used + i] < m[used + slot]:
            slot = i
    if m[row_in + slot] >= 0:
        m[slot_of + m[row_in + slot]] = -1
    m[slot_of + row], m[row_in + slot], m[used + slot] = slot, row, m[0]
    return slot, False


@jit
def _forget(m: Any, ring: Any) -> None:
    """Empty the ring."""
    used = ring.keys + ring.count + ring.slots
    for i in range(ring.keys, used):
        m[i] = -1
    for i in range(used, used + ring.slots):
        m[i] = 0


@jit
def _low_row(x: Any, s: Any, m: Any, group: Any, plan: Any, ring: Any, row: int) -> int:
    """Where row `row` of the input lies in the scratch, loaded if need be."""
    if ring.slots == ring.count:  # all were loaded at the start
        return ring.at + row * ring.stride
    slot, there = _slot(m, ring, row)
    here = ring.at + slot * ring.stride
    if not there:
        load_pixels(x, s, here, group, plan.in_height * plan.in_width, row * plan.in_width, plan.in_width)
    return here


@jit
def _load_all(x: Any, s: Any, m: Any, group: Any, plan: Any, ring: Any) -> None:
    """All rows at once when the ring has room for them."""
    if ring.slots < ring.count:
        _forget(m, ring)
    else:
        load_plane(x, s, ring.at, ring.stride, group, plan.in_height, plan.in_width)


@jit
def _spread_row(
    x: Any, s: Any, m: Any, group: Any, plan: Any, ring: Any, table: Any, row: int, to: int, offsets: int,
    epilogue: int, by: int,
) -> None:  # fmt: skip
    """High-rate row `row`, made from rows of x; its pixel 0 goes to `to`.

    For each line, that is each term of each phase of the kernel that this row meets:
    1. find the low-rate rows it is made of, loaded if need be; where they lie goes to m[offsets], ...;
    2. vertical taps make one low-rate row of them, at plan.low, and padding is written beside it;
    3. horizontal taps make the high-rate row of that, and add it to that of the lines before.
    Then what an adjoint left outside the row is folded in, and the epilogue applied; that is done in 3 already if there
    is one line and nothing to fold.
    """
    keep_apart()
    row_pairs, pair_lines, taps = ints(table.row_pairs), ints(table.pair_lines), ints(table.output_taps)
    source, weights = ints(table.tap_source), floats(table.tap_weight)
    low, here = plan.low, advance(m, offsets)
    onto = False
    first, last = row_pairs[row], row_pairs[row + 1]
    at_once = table.folds == 0 and pair_lines[last] - pair_lines[first] == 1
    early = epilogue if at_once else IDENTITY
    for pair in range(first, last):
        term = ints(table.phase_terms)[ints(table.pair_phase)[pair]]
        for line in range(pair_lines[pair], pair_lines[pair + 1]):
            begin, end = taps[line], taps[line + 1]
            for k in range(begin, end):
                here[k - begin] = _low_row(x, s, m, group, plan, ring, source[k])
            _fir(
                s, low, unliteral(LANES), unliteral(0), unliteral(LANES), here, advance(weights, begin), end - begin,
                plan.in_width, unliteral(False), unliteral(ANY), unliteral(IDENTITY), low,
            )  # fmt: skip
            _pad(s, low, table)
            _along_row(s, to, low, table, term, onto, early, by)
            onto = True
            term += 1
    if not onto:
        _clear(s, to - table.extra_left * LANES, table.extra_left + table.high_width + table.extra_right)
    _fold(s, to, table)
    if epilogue != IDENTITY and not at_once:
        _fir(
            s, to, unliteral(LANES), to, unliteral(LANES), here, weights, unliteral(0), table.high_width,
            unliteral(True), unliteral(ANY), epilogue, by,
        )  # fmt: skip


@jit
def _clear(s: Any, at: int, n: int) -> None:
    """n pixels of zeros."""
    for i in range(at, at + n * LANES, LANES):
        store(s, i, splat(_ZERO))


@jit
def _copy(s: Any, to: int, start: int, n: int) -> None:
    """n pixels from `start` to `to`."""
    for i in range(0, n * LANES, LANES):
        store(s, to + i, load(s, start + i))


@inlined
def _high_row(
    x: Any, grad: Any, s: Any, m: Any, group: Any, plan: Any, up: Any, lift: Any, down: Any, row: int, spare: int
) -> None:  # fmt: skip
    """High-rate row `row` as it is gathered from, at plan.high, with padding beside it.

    ACTIVATION           act(spread of x)
    ACTIVATION_BACKWARD  act'(spread of x) at plan.other, times the spread of grad
    GATHER               the row of x
    spare                where m has room for the places of rows
    """
    high, width = plan.high, plan.in_width
    if plan.mode == GATHER:
        if plan.input.slots == plan.input.count:
            _copy(s, high, plan.input.at + row * plan.input.stride, width)
        else:
            load_pixels(x, s, high, group, plan.in_height * width, row * width, width)
    else:
        epilogue = plan.activation
        if plan.mode == ACTIVATION_BACKWARD:
            epilogue = IDENTITY
            if plan.activation != IDENTITY:
                _spread_row(
                    x, s, m, group, plan, plan.input, up, row, plan.other, spare, SLOPE + plan.activation, plan.other
                )
                epilogue = TIMES
            _spread_row(grad, s, m, group, plan, plan.grad, lift, row, high, spare, epilogue, plan.other)
        else:
            _spread_row(x, s, m, group, plan, plan.input, up, row, high, spare, epilogue, plan.other)
    _pad(s, high, down)


@inlined
def _gather_row(
    x: Any, grad: Any, s: Any, m: Any, group: Any, plan: Any, up: Any, lift: Any, down: Any, row: int, to: int,
    made: int,
) -> int:  # fmt: skip
    """Row `row` of the result, at `to`; `made` is the high-rate row that lies at plan.high, and so is what is returned.

    1. For each vertical tap, find the line that it reads in the ring. If it is not there, make the high-rate row it
       belongs to, unless that was the last one made; horizontal taps make all lines of the pair from that.
    2. Vertical taps make the row of those lines; where they lie is in m[plan.offsets], ...
    3. Fold in what an adjoint left outside the row.
    """
    terms = down.most_terms
    first, last = ints(down.output_taps)[row], ints(down.output_taps)[row + 1]
    for k in range(first, last):
        source = ints(down.tap_source)[k]
        pair = source // terms
        slot, there = _slot(m, plan.ring, pair)
        here = plan.ring.at + slot * plan.ring.stride
        m[plan.offsets + k - first] = here + source % terms * plan.term_stride
        if there:
            continue
        wanted = ints(down.pair_row)[pair]
        if wanted != made:
            made = wanted
            _high_row(x, grad, s, m, group, plan, up, lift, down, wanted, plan.offsets + (last - first))
        phase = ints(down.pair_phase)[pair]
        begin, end = ints(down.phase_terms)[phase], ints(down.phase_terms)[phase + 1]
        for term in range(begin, end):
            _along_row(
                s, here + (term - begin) * plan.term_stride, plan.high, down, term, unliteral(False),
                unliteral(IDENTITY), plan.high,
            )  # fmt: skip
    at = plan.other if down.folds else to
    extra = down.extra_left * LANES  # lines begin so much before pixel 0
    _fir(
        s, at - extra, unliteral(LANES), -extra, unliteral(LANES), advance(m, plan.offsets),
        advance(floats(down.tap_weight), first), last - first, down.extra_left + down.low_width + down.extra_right,
        unliteral(False), unliteral(ANY), unliteral(IDENTITY), at,
    )  # fmt: skip
    _fold(s, at, down)
    if at != to:
        _copy(s, to, at, plan.out_width)
    return made


@inlined
def _walk(x: Any, grad: Any, y: Any, s: Any, m: Any, plan: Any, begin: int, end: int) -> None:
    """Groups begin .. end - 1 of planes, x (and grad) to y.

    For each group: load all rows that the rings have room for, then make the result row by row, from the top; rows
    narrower than a tile wait in the scratch until all can be stored in one piece.
    """
    up, lift, down = record(plan.up, TABLE), record(plan.lift, TABLE), record(plan.down, TABLE)
    height, width = plan.out_height, plan.out_width
    in_pieces = plan.out >= 0
    for g in range(begin, end):
        group = group_of(g, plan.planes, plan.channels)
        if plan.mode != GATHER or plan.input.slots == plan.input.count:
            _load_all(x, s, m, group, plan, plan.input)
        if plan.mode == ACTIVATION_BACKWARD:
            _load_all(grad, s, m, group, plan, plan.grad)
        if plan.mode != SPREAD:
            _forget(m, plan.ring)
        made = -1
        for row in range(height):
            to = plan.out + row * width * LANES if in_pieces else plan.other
            if plan.mode == SPREAD:
                if in_pieces and up.folds:
                    to = plan.other
                _spread_row(x, s, m, group, plan, plan.input, up, row, to, plan.offsets, unliteral(IDENTITY), to)
            else:
                made = _gather_row(x, grad, s, m, group, plan, up, lift, down, row, to, made)
            if not in_pieces:
                store_pixels(s, to, y, group, height * width, row * width, width)
            elif to == plan.other:
                _copy(s, plan.out + row * width * LANES, to, width)
        if in_pieces:
            store_pixels(s, plan.out, y, group, height * width, unliteral(0), height * width)


def compiled(storage: Any) -> Any:
    """The kernel for numbers like `storage` (float32; uint16 for bfloat16), a C function of a JOB's address.

    Any number of threads may be called with the same job; they share its work by chunks.
    """
    version = sources_version(Path(__file__))

    @kernel
    def work(address: int) -> None:
        job = record(address, JOB)
        plan = record(job.plan, PLAN)
        thread = take_number(job, "next_thread")
        if thread >= plan.threads + 0 * version:
            return
        x, grad, y = pointer(job.x, storage), pointer(job.grad, storage), pointer(job.y, storage)
        s, m = floats(job.floats + 4 * thread * job.floats_each), ints(job.ints + 8 * thread * job.ints_each)
        while True:
            chunk = take_number(job, "next_chunk")
            if chunk >= plan.chunks:
                return
            begin, end = plan.groups * chunk // plan.chunks, plan.groups * (chunk + 1) // plan.chunks
            _walk(x, grad, y, s, m, plan, begin, end)

    return work
