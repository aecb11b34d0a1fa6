"""Attention of narrow heads on the CPU: 16 queries (or keys) side by side in vector lanes, numbers of a head unrolled.

Blocked products of matrices a few numbers wide leave a processor idle, and so does writing all weights out. Here a
query keeps its numbers in registers and meets the keys one by one, as in Milakov & Gimelshein 2018 (online softmax) and
Dao 2023 (arXiv 2307.08691); weights live in a tile of the innermost cache. Scores are in units of log 2.

Arguments that recur:
    job    a call (`layout.FORWARD_JOB`, `BACKWARD_JOB`); `job.at` says where each area of the scratch begins
    blank  a tuple of as many numbers as a part of a head has; only its type is used
    s, w   scratch of this thread, as float32 and as words (`words`): float32, or int32 that hold two bfloat16

Shapes: N images, L tokens, H heads of d numbers. In the scratch, (a, b) is b numbers side by side, a times; there are
half as many words where two numbers share one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from aliasfree.ops.backends.cpu.attention.arithmetic import (
    columns,
    dot,
    largest,
    mirrored,
    onto,
    packed,
    per_word,
    row_product,
    scaled,
    set_steps,
    set_words,
    splats,
    tile,
    weights,
    with_sum,
    write_row,
)
from aliasfree.ops.backends.cpu.attention.layout import BACKWARD_JOB, FORWARD_JOB, KEYS
from aliasfree.ops.backends.cpu.compiling import depends_on, inlined, jit, kernel, sources_version, unliteral
from aliasfree.ops.backends.cpu.simd.functions import exp2, inverse
from aliasfree.ops.backends.cpu.simd.layout import BLOCK, LANES
from aliasfree.ops.backends.cpu.simd.memory import floats, pointer, record_at, take_number
from aliasfree.ops.backends.cpu.simd.vectors import get, larger, load, mul, product, put, splat, store, sub

_LOWEST = np.float32(-1e38)
_LN2 = np.float32(math.log(2))
_ZERO, _ONE, _PAIR = np.float32(0), np.float32(1), np.int32(0)


@jit
def _rows(
    blank: Any, parts: int, x: Any, base: int, row: int, tokens: int, w: Any, at: int, stride: int, step: int,
    factor: float,
) -> None:  # fmt: skip
    """Words of numbers of one token: w[at + step l + stride i] = factor x[base + row l + i], or of pairs of i."""
    part, some = len(blank), len(blank) // per_word(w)
    for token in range(tokens):
        for p in range(parts):
            to = at + token * step + p * some * stride
            set_words(blank, w, to, stride, x, base + token * row + p * part, factor)


@jit
def _steps(blank: Any, parts: int, x: Any, base: int, row: int, tokens: int, w: Any, at: int) -> None:
    """Words of tokens one after the other: w[at + width l + i] = x[base + row l + i], or of pairs of l."""
    part, per = len(blank), per_word(w)
    for step in range(tokens // per):
        for p in range(parts):
            set_steps(blank, w, at + (step * parts + p) * part, x, base + per * step * row + p * part, row)


@inlined
def _forward(blank: Any, job: Any, qkv: Any, out: Any, lse: Any, plane: int, s: Any, w: Any) -> None:
    """One head of one image: out (N, L, H d) = softmax(q k' / sqrt d) v, and lse (N, H, L) = log2 of its divisor.

    1. Copy queries to columns (d, pitch), keys to rows (L, d), both of words over d, and values to rows (L, d) of words
       over L.
    2. For every LANES queries, keep the largest score so far, the sum of the weights and that of the weighted values
       (d, LANES), all zero at first. For every KEYS keys:
       a. scores (KEYS, LANES) = keys . queries, and the largest score with them;
       b. shrink the sums by what the largest has grown;
       c. weights (KEYS, LANES) = 2^(score - largest), as words over the keys, and their sum;
       d. sums += weights . values.
    3. Divide the sums by that of the weights, turn them to rows of out, and write lse.
    """
    per, part, parts, tokens, at = per_word(w), len(blank), job.parts, job.tokens, job.at
    width, pitch = part * parts, at.pitch
    count, channels = width // per, job.heads * width
    image, head = plane // job.heads, plane % job.heads
    base = image * tokens * 3 * channels + head * width
    factor = np.float32(1.0 / (math.sqrt(width) * _LN2))
    row, one = 3 * channels, unliteral(1)
    # columns begin `pitch` apart, because powers of 2 would put all into one set of the cache
    _rows(blank, parts, qkv, base, row, tokens, w, at.queries, pitch, one, factor)
    _rows(blank, parts, qkv, base + channels, row, tokens, w, at.keys, one, count, _ONE)
    _steps(blank, parts, qkv, base + 2 * channels, row, tokens, w, at.values)
    if per == 1:
        factor = _ONE  # the queries have it
    # read once: a store to the scratch might change the job, for all the compiler knows
    scores, sums, tiles, queries, keys, values = at.scores, at.sums, at.weights, at.queries, at.keys, at.values
    zero, factors = splat(_ZERO), splat(factor)
    for i in range(0, tokens, LANES):
        top, total = splat(_LOWEST), zero
        for c in range(width):
            store(s, sums + c * LANES, zero)
        for first in range(0, tokens, KEYS):
            n = min(KEYS, tokens - first)
            before = top
            for j in range(0, n, BLOCK):
                v = (zero, zero, zero, zero)
                for p in range(parts):
                    words = p * (part // per)
                    q = columns(blank, w, queries + i + words * pitch, pitch)
                    v = dot(v, q, w, keys + (first + j) * count + words, count)
                put(s, scores + j * LANES, LANES, v)
                top = larger(largest(v), top)
            shift = mul(top, factors)
            shrink = exp2(sub(mul(before, factors), shift))
            total = mul(total, shrink)
            for j in range(0, n, BLOCK):
                v = get(s, scores + j * LANES, LANES)
                block = packed(weights(v, (shift, shift, shift, shift), factors, w), w)
                total = with_sum(total, block)
                put(w, tiles + j // per * LANES, LANES, block)
            for p in range(parts):
                here = sums + p * part * LANES
                sum_ = scaled(columns(blank, s, here, LANES), shrink)
                for j in range(0, n, BLOCK):
                    block = tile(w, tiles + j // per * LANES)
                    sum_ = onto(sum_, block, w, values + (first + j) // per * width + p * part, width)
                put(s, here, LANES, sum_)
        divisor = inverse(total)
        for c in range(width):
            store(s, sums + c * LANES, mul(load(s, sums + c * LANES), divisor))
        for lane in range(LANES):
            to = (image * tokens + i + lane) * channels + head * width
            for p in range(parts):
                write_row(blank, out, to + p * part, s, sums + p * part * LANES + lane, LANES, _ONE)
        store(s, at.tops, mul(top, factors))
        store(s, at.totals, total)
        for lane in range(LANES):
            lse[plane * tokens + i + lane] = s[at.tops + lane] + np.float32(math.log2(s[at.totals + lane]))


@inlined
def _backward(
    blank: Any, job: Any, qkv: Any, grad: Any, out: Any, lse: Any, result: Any, plane: int, s: Any, w: Any
) -> None:  # fmt: skip
    """One head of one image: result (N, L, 3, H, d), the gradient of qkv, from grad (N, L, H d), out and lse.

    1. Copy queries and grads to rows (L, d), keys and values to columns (d, pitch), all of words over d; queries, keys
       and grads also to rows of words over L (`steps`), which float32 has already of queries and grads.
    2. For every token, norms (L,) = lse and deltas (L,) = -grad . out.
    3. For every LANES keys, with sums to_keys and to_values (d, LANES) that begin at zero, and every LANES queries:
       a. weights (LANES queries, LANES keys) = 2^(keys . queries - norm);
       b. slopes, of the same shape, = weights (values . grads + delta);
       c. to_values += weights . grads, and to_keys += slopes . queries;
       d. to_queries (d, pitch) += slopes, turned, . keys.
       Then to_keys and to_values become rows of the result.
    4. So does to_queries.
    """
    per, part, parts, tokens, at = per_word(w), len(blank), job.parts, job.tokens, job.at
    width, pitch = part * parts, at.pitch
    count, channels = width // per, job.heads * width
    image, head = plane // job.heads, plane % job.heads
    base = image * tokens * 3 * channels + head * width
    base_out = image * tokens * channels + head * width
    scale = np.float32(1.0 / math.sqrt(width))
    factor = scale / _LN2
    zero, row, one = splat(_ZERO), 3 * channels, unliteral(1)
    _rows(blank, parts, qkv, base, row, tokens, w, at.queries, one, count, factor)
    _rows(blank, parts, grad, base_out, channels, tokens, w, at.grads, one, count, _ONE)
    _rows(blank, parts, qkv, base + channels, row, tokens, w, at.keys, pitch, one, _ONE)
    _rows(blank, parts, qkv, base + 2 * channels, row, tokens, w, at.values, pitch, one, _ONE)
    _steps(blank, parts, qkv, base + channels, row, tokens, w, at.key_steps)
    if per > 1:
        _steps(blank, parts, qkv, base, row, tokens, w, at.query_steps)
        _steps(blank, parts, grad, base_out, channels, tokens, w, at.grad_steps)
    for token in range(tokens):
        total, here = _ZERO, base_out + token * channels
        for p in range(parts):
            total += row_product(blank, grad, here + p * part, out, here + p * part)
        s[at.deltas + token] = -total
        s[at.norms + token] = lse[plane * tokens + token]
    to_queries, to_keys, to_values, tiles, slopes = at.to_queries, at.to_keys, at.to_values, at.weights, at.slopes
    # read once: a store to the scratch might change the job, for all the compiler knows
    queries, grads, keys, values, norms, deltas = at.queries, at.grads, at.keys, at.values, at.norms, at.deltas
    query_steps, grad_steps, key_steps = at.query_steps, at.grad_steps, at.key_steps
    for c in range(0, width * pitch, LANES):
        store(s, to_queries + c, zero)
    factors = splat(factor)
    to_key_factor = _LN2 if per == 1 else scale
    for j in range(0, tokens, LANES):
        for c in range(width):
            store(s, to_keys + c * LANES, zero)
            store(s, to_values + c * LANES, zero)
        for i in range(0, tokens, LANES):
            for r in range(0, LANES, BLOCK):
                v, slope = (zero, zero, zero, zero), splats(s, deltas + i + r)
                for p in range(parts):
                    words = p * (part // per)
                    down, across = j + words * pitch, (i + r) * count + words
                    v = dot(v, columns(blank, w, keys + down, pitch), w, queries + across, count)
                    slope = dot(slope, columns(blank, w, values + down, pitch), w, grads + across, count)
                v = weights(v, splats(s, norms + i + r), factors, w)
                put(w, tiles + r // per * LANES, LANES, packed(v, w))
                put(w, slopes + r // per * LANES, LANES, packed(product(v, slope), w))
            turned = mirrored(w, slopes)
            for p in range(parts):
                to, here = p * part * LANES, i // per * width + p * part
                sums = columns(blank, s, to_values + to, LANES)
                for r in range(0, LANES, BLOCK):
                    rows = grad_steps + here + r // per * width
                    sums = onto(sums, tile(w, tiles + r // per * LANES), w, rows, width)
                put(s, to_values + to, LANES, sums)
                sums = columns(blank, s, to_keys + to, LANES)
                for r in range(0, LANES, BLOCK):
                    rows = query_steps + here + r // per * width
                    sums = onto(sums, tile(w, slopes + r // per * LANES), w, rows, width)
                put(s, to_keys + to, LANES, sums)
                to = to_queries + i + p * part * pitch
                sums = columns(blank, s, to, pitch)
                sums = onto(sums, turned, w, key_steps + j // per * width + p * part, width)
                put(s, to, pitch, sums)
        for lane in range(LANES):
            for p in range(parts):
                to, here = base + (j + lane) * row + p * part, p * part * LANES + lane
                write_row(blank, result, to + channels, s, to_keys + here, LANES, to_key_factor)
                write_row(blank, result, to + 2 * channels, s, to_values + here, LANES, _ONE)
    for token in range(tokens):
        for p in range(parts):
            here = to_queries + p * part * pitch + token
            write_row(blank, result, base + token * row + p * part, s, here, pitch, scale)


def compiled(part: int, storage: Any, paired: bool, backward: bool) -> Any:
    """The kernel for heads of multiples of `part` numbers: a C function of the address of a job.

    storage  float32 or uint16 (for bfloat16), of qkv, grad, out and result
    paired   multiply pairs of bfloat16; `part` must be even

    Any number of threads may be called with the same job; each takes one head of one image after the other.
    """
    version = sources_version(Path(__file__))
    blank = (np.float32(0),) * part
    word = _PAIR if paired else _ZERO
    job_type = BACKWARD_JOB if backward else FORWARD_JOB

    @kernel
    def run(address: int) -> None:
        depends_on(version)
        job = record_at(address, job_type)
        thread = take_number(job, "next_thread")
        if thread >= job.threads:
            return
        qkv, out, lse = pointer(job.qkv, storage), pointer(job.out, storage), floats(job.lse)
        grad, result = pointer(job.grad, storage), pointer(job.result, storage)
        scratch = job.floats + 4 * thread * job.floats_each
        s, w = floats(scratch), pointer(scratch, word)
        while True:
            plane = take_number(job, "next_plane")
            if plane >= job.planes:
                return
            if backward:
                _backward(blank, job, qkv, grad, out, lse, result, plane, s, w)
            else:
                _forward(blank, job, qkv, out, lse, plane, s, w)

    return run
