"""The FIR kernels: 16 planes side by side in vector lanes, row after row, so that no full-size temporary exists.

One routine, `_groups`, serves every op and its backward:
    ACTIVATION           rows of x --spread--> high-rate row --activation--> gather --> rows of y
    ACTIVATION_BACKWARD  the high-rate rows of x and of grad, multiplied as act'(x) grad, gathered
    SPREAD, GATHER       one half alone
A high-rate row lives only until the lines that are gathered from it are made; those, and the rows of x in use, lie in
small rings. What a kernel is given, and the fields of all tables, is explained in `layout`.

Arguments that recur:
    s, m     scratch of this thread, float32 and int64; a place `at` in s is a pixel: LANES floats, one of each plane
    work     what a thread works with (`Work`)
    table    a TABLE: what a step between the rates consists of
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from aliasfree.ops.backends.cpu.compiling import (
    depends_on,
    inlined,
    jit,
    keep_apart,
    kernel,
    sources_version,
    unliteral,
)
from aliasfree.ops.backends.cpu.fir.filtering import (
    Epilogue,
    Taps,
    clear,
    copy,
    fir,
    fir_columns,
    fir_row,
    fold_row,
    no_epilogue,
    pad_row,
)
from aliasfree.ops.backends.cpu.fir.layout import PLAN, TABLE
from aliasfree.ops.backends.cpu.simd.layout import (
    ACTIVATION_BACKWARD,
    GATHER,
    IDENTITY,
    JOB,
    LANES,
    SLOPE,
    SPREAD,
    TIMES,
)
from aliasfree.ops.backends.cpu.simd.memory import Line, advance, floats, ints, pointer, record_at, take_number
from aliasfree.ops.backends.cpu.simd.planes import group_of, load_pixels, load_plane, store_pixels


class Work(NamedTuple):
    """What a thread works with while it is at one group of planes."""

    s: Any
    m: Any
    group: Any
    """The planes in the lanes (`planes.Group`)."""
    plan: Any
    """A PLAN."""


class Source(NamedTuple):
    """A tensor of low-rate planes, of which high-rate rows are made."""

    numbers: Any
    """float32 or bfloat16."""
    ring: Any
    """The RING that its rows lie in."""
    table: Any
    """The TABLE that spreads them."""


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
def _low_row(work: Any, source: Any, row: int) -> int:
    """Where row `row` of a source lies in the scratch, loaded if need be."""
    ring, plan = source.ring, work.plan
    if ring.slots == ring.count:  # all were loaded at the start
        return ring.at + row * ring.stride
    slot, present = _slot(work.m, ring, row)
    at = ring.at + slot * ring.stride
    if not present:
        pixels = plan.in_height * plan.in_width
        load_pixels(source.numbers, work.s, at, work.group, pixels, row * plan.in_width, plan.in_width)
    return at


@jit
def _load_all(work: Any, source: Any) -> None:
    """All rows at once when the ring has room for them."""
    ring, plan = source.ring, work.plan
    if ring.slots < ring.count:
        _forget(work.m, ring)
    else:
        load_plane(source.numbers, work.s, ring.at, ring.stride, work.group, plan.in_height, plan.in_width)


@jit
def _spread_row(work: Any, source: Any, row: int, to: int, offsets: int, epilogue: Any) -> None:
    """High-rate row `row`, made from rows of a source; its pixel 0 goes to `to`.

    For each line, that is each term of each phase of the kernel that this row meets:
    1. find the low-rate rows it is made of, loaded if need be; where they lie goes to m[offsets], ...;
    2. vertical taps make one low-rate row of them, at plan.low, and padding is written beside it;
    3. horizontal taps make the high-rate row of that, and add it to that of the lines before.
    Then what an adjoint left outside the row is folded in, and the epilogue applied; that is done in 3 already if there
    is one line and nothing to fold.
    """
    keep_apart()
    s, table, low = work.s, source.table, work.plan.low
    row_pairs, pair_lines, taps = ints(table.row_pairs), ints(table.pair_lines), ints(table.output_taps)
    rows, weights = ints(table.tap_source), floats(table.tap_weight)
    places = advance(work.m, offsets)
    onto = False
    first, last = row_pairs[row], row_pairs[row + 1]
    at_once = table.folds == 0 and pair_lines[last] - pair_lines[first] == 1
    early = Epilogue(epilogue.code if at_once else IDENTITY, epilogue.by)
    for pair in range(first, last):
        term = ints(table.phase_terms)[ints(table.pair_phase)[pair]]
        for line in range(pair_lines[pair], pair_lines[pair + 1]):
            begin, end = taps[line], taps[line + 1]
            for k in range(begin, end):
                places[k - begin] = _low_row(work, source, rows[k])
            to_low = Line(low, unliteral(LANES), work.plan.in_width)
            fir_columns(work, to_low, unliteral(0), places, advance(weights, begin), end - begin)
            pad_row(s, low, table)
            fir_row(s, to, low, table, term, onto, early)
            onto = True
            term += 1
    if not onto:
        clear(s, to - table.extra_left * LANES, table.extra_left + table.high_width + table.extra_right)
    fold_row(s, to, table)
    if epilogue.code != IDENTITY and not at_once:
        no_taps = Taps(to, unliteral(LANES), places, weights, unliteral(0), unliteral(-1))
        fir(s, Line(to, unliteral(LANES), table.high_width), no_taps, unliteral(True), epilogue)


@inlined
def _high_row(work: Any, x: Any, grad: Any, down: Any, row: int, spare: int) -> None:
    """High-rate row `row` as it is gathered from, at plan.high, with padding beside it.

    ACTIVATION           act(spread of x)
    ACTIVATION_BACKWARD  act'(spread of x) at plan.other, times the spread of grad
    GATHER               the row of x
    spare                where m has room for the places of rows
    """
    s, plan = work.s, work.plan
    high, width = plan.high, plan.in_width
    if plan.mode == GATHER:
        if x.ring.slots == x.ring.count:
            copy(s, high, x.ring.at + row * x.ring.stride, width)
        else:
            load_pixels(x.numbers, s, high, work.group, plan.in_height * width, row * width, width)
    elif plan.mode == ACTIVATION_BACKWARD:
        code = IDENTITY
        if plan.activation != IDENTITY:
            _spread_row(work, x, row, plan.other, spare, Epilogue(SLOPE + plan.activation, plan.other))
            code = TIMES
        _spread_row(work, grad, row, high, spare, Epilogue(code, plan.other))
    else:
        _spread_row(work, x, row, high, spare, Epilogue(plan.activation, plan.other))
    pad_row(s, high, down)


@inlined
def _gather_row(work: Any, x: Any, grad: Any, down: Any, row: int, to: int, made: int) -> int:
    """Row `row` of the result, at `to`; `made` is the high-rate row that lies at plan.high, and so is what is returned.

    1. For each vertical tap, find the line that it reads in the ring. If it is not there, make the high-rate row it
       belongs to, unless that was the last one made; horizontal taps make all lines of the pair from that.
    2. Vertical taps make the row of those lines; where they lie is in m[plan.offsets], ...
    3. Fold in what an adjoint left outside the row.
    """
    s, m, plan = work.s, work.m, work.plan
    terms = down.most_terms
    first, last = ints(down.output_taps)[row], ints(down.output_taps)[row + 1]
    for k in range(first, last):
        source = ints(down.tap_source)[k]
        pair = source // terms
        slot, present = _slot(m, plan.ring, pair)
        lines = plan.ring.at + slot * plan.ring.stride
        m[plan.offsets + k - first] = lines + source % terms * plan.term_stride
        if present:
            continue
        high_row = ints(down.pair_row)[pair]
        if high_row != made:
            made = high_row
            _high_row(work, x, grad, down, high_row, plan.offsets + (last - first))
        phase = ints(down.pair_phase)[pair]
        begin, end = ints(down.phase_terms)[phase], ints(down.phase_terms)[phase + 1]
        for term in range(begin, end):
            line = lines + (term - begin) * plan.term_stride
            fir_row(s, line, plan.high, down, term, unliteral(False), no_epilogue())
    at = plan.other if down.folds else to
    extra = down.extra_left * LANES  # lines begin so much before pixel 0
    result = Line(at - extra, unliteral(LANES), down.extra_left + down.low_width + down.extra_right)
    weights = advance(floats(down.tap_weight), first)
    fir_columns(work, result, -extra, advance(m, plan.offsets), weights, last - first)
    fold_row(s, at, down)
    if at != to:
        copy(s, to, at, plan.out_width)
    return made


@inlined
def _groups(x: Any, grad: Any, y: Any, s: Any, m: Any, plan: Any, begin: int, end: int) -> None:
    """Groups begin .. end - 1 of planes, x (and grad) to y.

    For each group: load all rows that the rings have room for, then make the result row by row, from the top; rows
    narrower than a tile wait in the scratch until all can be stored in one piece.
    """
    x, grad = Source(x, plan.input, record_at(plan.up, TABLE)), Source(grad, plan.grad, record_at(plan.lift, TABLE))
    down = record_at(plan.down, TABLE)
    height, width = plan.out_height, plan.out_width
    in_pieces = plan.out >= 0
    for g in range(begin, end):
        group = group_of(g, plan.planes, plan.channels)
        work = Work(s, m, group, plan)
        if plan.mode != GATHER or plan.input.slots == plan.input.count:
            _load_all(work, x)
        if plan.mode == ACTIVATION_BACKWARD:
            _load_all(work, grad)
        if plan.mode != SPREAD:
            _forget(m, plan.ring)
        made = -1
        for row in range(height):
            to = plan.out + row * width * LANES if in_pieces else plan.other
            if plan.mode == SPREAD:
                if in_pieces and x.table.folds:
                    to = plan.other
                _spread_row(work, x, row, to, plan.offsets, no_epilogue())
            else:
                made = _gather_row(work, x, grad, down, row, to, made)
            if not in_pieces:
                store_pixels(s, to, y, group, height * width, row * width, width)
            elif to == plan.other:
                copy(s, plan.out + row * width * LANES, to, width)
        if in_pieces:
            store_pixels(s, plan.out, y, group, height * width, unliteral(0), height * width)


def compiled(storage: Any) -> Any:
    """The kernel for numbers like `storage` (float32; uint16 for bfloat16), a C function of a JOB's address.

    Any number of threads may be called with the same job; they share its work by chunks.
    """
    version = sources_version(Path(__file__))

    @kernel
    def run(address: int) -> None:
        depends_on(version)
        job = record_at(address, JOB)
        plan = record_at(job.plan, PLAN)
        thread = take_number(job, "next_thread")
        if thread >= plan.threads:
            return
        x, grad, y = pointer(job.x, storage), pointer(job.grad, storage), pointer(job.y, storage)
        s, m = floats(job.floats + 4 * thread * job.floats_each), ints(job.ints + 8 * thread * job.ints_each)
        while True:
            chunk = take_number(job, "next_chunk")
            if chunk >= plan.chunks:
                return
            begin, end = plan.groups * chunk // plan.chunks, plan.groups * (chunk + 1) // plan.chunks
            _groups(x, grad, y, s, m, plan, begin, end)

    return run
