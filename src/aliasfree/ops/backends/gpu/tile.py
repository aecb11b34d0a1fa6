"""What a GPU program does with a tile: load and store it, multiply it by matrices, apply an activation.

The P planes of a group lie side by side, as (rows, P columns) or (rows P, columns).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def window(x, c, channels, start_h, start_w, h, w, need_h, need_w, stride_c, stride_h, stride_w,
            H: tl.constexpr, W: tl.constexpr, WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr):  # fmt: skip
    """x[c, start_h : start_h + need_h, start_w : start_w + need_w] as (H, P, W), with zeros beyond.

    Positions count modulo (h, w). WHOLE_H, WHOLE_W: the window is the whole axis and starts at 0, so that the compiler
    knows which pixels are neighbours.
    """
    i = tl.arange(0, H)
    j = tl.arange(0, W)
    inside = (i < need_h)[:, None, None] & (c < channels)[None, :, None] & (j < need_w)[None, None, :]
    if not WHOLE_H:
        i = i + start_h
        i = tl.where(i < 0, i + h, tl.where(i >= h, i - h, i))
    if not WHOLE_W:
        j = j + start_w
        j = tl.where(j < 0, j + w, tl.where(j >= w, j - w, j))
    at = i.to(tl.int64)[:, None, None] * stride_h + c.to(tl.int64)[None, :, None] * stride_c
    return tl.load(x + at + j.to(tl.int64)[None, None, :] * stride_w, mask=inside, other=0.0)


@triton.jit
def put(y, tile, c, channels, start_h, start_w, h, w, tile_h, tile_w, stride_c, stride_h, stride_w):
    """Store tile (H, P, W), of which tile_h x tile_w pixels count, into y[c] at (start_h, start_w)."""
    i = tl.arange(0, tile.shape[0])
    j = tl.arange(0, tile.shape[2])
    keep_h = (i < tile_h) & (i + start_h < h)
    keep_w = (j < tile_w) & (j + start_w < w)
    inside = keep_h[:, None, None] & (c < channels)[None, :, None] & keep_w[None, None, :]
    at = (i + start_h).to(tl.int64)[:, None, None] * stride_h + c.to(tl.int64)[None, :, None] * stride_c
    at += (j + start_w).to(tl.int64)[None, None, :] * stride_w
    tl.store(y + at, tile.to(y.dtype.element_ty), mask=inside)


@triton.jit
def matrix(table, index, M: tl.constexpr, N: tl.constexpr):
    """Matrix number `index` of a table of (M, N) matrices."""
    return tl.load(table + index * M * N + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :])


@triton.jit
def scaled(x, dtype: tl.constexpr):
    """(x times a power of two, as dtype; the inverse of that power; whether x holds infinities or NaN), x 2-d.

    The power brings the largest finite number to 2^8 .. 2^9, where float16 neither overflows nor loses small numbers.
    """
    x = x.to(tl.float32)
    size = tl.abs(x)
    most = _largest(tl.where(size < float("inf"), size, float("inf")))
    broken = most == float("inf")
    if broken:
        most = _largest(tl.where(size < float("inf"), size, 0.0))
    exponent = tl.maximum(most.to(tl.int32, bitcast=True) >> 23, 17)
    scale = ((262 - exponent) << 23).to(tl.float32, bitcast=True)
    inverse = ((exponent - 8) << 23).to(tl.float32, bitcast=True)
    return (x * scale).to(dtype), inverse, broken


@triton.jit
def _largest(x):
    return tl.max(tl.max(x, axis=1), axis=0)


@triton.jit
def _sandwich(rows, x, cols, ROWS_FIRST: tl.constexpr, PRECISION: tl.constexpr):
    """The product rows x cols for P planes at once.

    ROWS_FIRST   rows (M, K), x (K, P L), cols (L, N) -> (M P, N):  1. rows x, (M, P L)   2. as (M P, L), times cols
    otherwise    rows (M, K), x (K P, L), cols (L, N) -> (M, P N):  1. x cols, (K P, N)   2. rows times that as (K, P N)
    """
    if ROWS_FIRST:
        t = tl.dot(rows, x, input_precision=PRECISION).to(x.dtype)
        t = tl.reshape(t, (rows.shape[0] * x.shape[1] // cols.shape[0], cols.shape[0]))
        return tl.dot(t, cols, input_precision=PRECISION)
    else:
        t = tl.dot(x, cols, input_precision=PRECISION).to(x.dtype)
        t = tl.reshape(t, (rows.shape[1], cols.shape[1] * x.shape[0] // rows.shape[1]))
        return tl.dot(rows, t, input_precision=PRECISION)


@triton.jit
def _sign(x):
    """-1, 0 or 1; 0 for NaN."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def _careful(rows, x, cols, ROWS_FIRST: tl.constexpr, PRECISION: tl.constexpr):
    """`_sandwich` of an x with infinities and NaN.

    1. multiply the finite numbers
    2. count how many of the others reach each pixel, and their signs: products of -1, 0 and 1, which are exact
    3. a pixel that none reaches keeps its number; one that infinities of one sign reach becomes that infinity, any
       other NaN
    """
    finite = tl.abs(x) < float("inf")
    y = _sandwich(rows, tl.where(finite, x, 0.0).to(x.dtype), cols, ROWS_FIRST, PRECISION)
    rows, cols = _sign(rows), _sign(cols)
    EXACT: tl.constexpr = "ieee" if PRECISION == "ieee" else "tf32"
    count = _sandwich(tl.abs(rows), tl.where(finite, 0.0, 1.0).to(x.dtype), tl.abs(cols), ROWS_FIRST, EXACT)
    signed = _sandwich(rows, tl.where(finite, 0.0, _sign(x)).to(x.dtype), cols, ROWS_FIRST, EXACT)
    return tl.where(count > 0, tl.where(tl.abs(signed) == count, signed * float("inf"), float("nan")), y)


@triton.jit
def product(x, rows, row_index, cols, first_cols, col_index, broken,
             TERMS: tl.constexpr, M: tl.constexpr, K: tl.constexpr, L: tl.constexpr, N: tl.constexpr,
             ROWS_FIRST: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """The sum of TERMS products R x C with R (M, K) and C (L, N), laid out as in `_sandwich`.

    first_cols   C of the first term, loaded before
    broken       x holds infinities or NaN

    The further terms are a loop and not unrolled: with six terms (the radial filters) the code would be three times as
    long and take four times as long to compile.
    """
    if broken:
        y = _careful(matrix(rows, row_index * TERMS, M, K), x, matrix(cols, col_index * TERMS, L, N),
                     ROWS_FIRST, PRECISION)  # fmt: skip
        for t in tl.range(1, TERMS, num_stages=1):
            y += _careful(matrix(rows, row_index * TERMS + t, M, K), x, matrix(cols, col_index * TERMS + t, L, N),
                          ROWS_FIRST, PRECISION)  # fmt: skip
    else:
        y = _sandwich(matrix(rows, row_index * TERMS, M, K), x, first_cols, ROWS_FIRST, PRECISION)
        for t in tl.range(1, TERMS, num_stages=1):
            y += _sandwich(matrix(rows, row_index * TERMS + t, M, K), x, matrix(cols, col_index * TERMS + t, L, N),
                           ROWS_FIRST, PRECISION)  # fmt: skip
    return y


@triton.jit
def gain(z, gains, start_h, start_w, P: tl.constexpr):
    """z (H P, W), each pixel times the gain of its phase: gains[row % 2, column % 2]."""
    a, b, c, d = tl.load(gains), tl.load(gains + 1), tl.load(gains + 2), tl.load(gains + 3)
    odd = ((tl.arange(0, z.shape[0]) // P + start_h) & 1).to(tl.float32)
    odd_column = ((tl.arange(0, z.shape[1]) + start_w) & 1).to(tl.float32)
    even_gain = a + (c - a) * odd
    odd_gain = b + (d - b) * odd
    return z * (even_gain[:, None] + (odd_gain - even_gain)[:, None] * odd_column[None, :])


@triton.jit
def _tanh(x, PRECISION: tl.constexpr):
    """Hyperbolic tangent to 11 bits: one instruction on NVIDIA's GPUs."""
    if PRECISION == "ieee":
        return 2 / (1 + tl.exp(-2 * x)) - 1
    else:
        return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def _normal_cdf(z, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """Phi(z) = (1 + erf(z / sqrt 2)) / 2.

    For 16-bit results a fit with |z (fit - Phi(z))| < 3e-5, because erf would take longer than all the rest.
    """
    if dtype == tl.float32:
        return 0.5 + 0.5 * tl.erf(z * 0.7071067811865476)
    else:
        s = tl.minimum(z * z, 16.0)
        return 0.5 + 0.5 * _tanh(z * (0.7975066 + s * (0.03700682 - 0.0003517075 * s)), PRECISION)


@triton.jit
def _sigmoid(z, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """1 / (1 + exp(-z)), for 16-bit results by `_tanh`."""
    if dtype == tl.float32:
        return 1 / (1 + tl.exp(-z))
    else:
        return 0.5 + 0.5 * _tanh(0.5 * z, PRECISION)


@triton.jit
def activation(z, unit, NAME: tl.constexpr, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """f(z unit) / unit: numbers come and go in units of `unit`."""
    if NAME == "gelu":
        return z * _normal_cdf(z * unit, dtype, PRECISION)
    elif NAME == "silu":
        return z * _sigmoid(z * unit, dtype, PRECISION)
    elif NAME == "relu":
        return tl.where(z <= 0, 0.0, z)  # keeps NaN
    else:
        return z


@triton.jit
def through(z, dy, NAME: tl.constexpr, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """dy times the derivative of the activation at z."""
    if NAME == "gelu":
        return dy * (_normal_cdf(z, dtype, PRECISION) + z * tl.exp(-0.5 * z * z) * 0.3989422804014327)
    elif NAME == "silu":
        s = _sigmoid(z, dtype, PRECISION)
        return dy * (s * (1 + z * (1 - s)))
    elif NAME == "relu":
        return tl.where(z <= 0, 0.0, dy)
    else:
        return dy
