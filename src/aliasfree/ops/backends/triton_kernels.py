"""GPU kernels: tiles of planes between small matrices.

    resample    y = sum_t R_t x C_t
    activate    y = sum_s D_s f(G . sum_t U_t x V_t) E_s             G: gain of each phase
    backward    dx = sum_t U'_t (G . f'(z) . sum_s D'_s g E'_s) V'_t  with z as above, computed anew

A program owns one tile and walks over groups of P planes: its matrices stay on the chip, the higher rate never leaves
it. P planes lie side by side, (rows, P columns) or (rows P, columns), so that P of them are one product.

A zero of a matrix times an infinity would spread NaN over the whole tile. A window that holds any is therefore
multiplied with its finite part, and what the others reach is worked out from their places (`_product`).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _window(x, c, channels, start_h, start_w, h, w, need_h, need_w, stride_c, stride_h, stride_w,
            H: tl.constexpr, W: tl.constexpr, WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr):  # fmt: skip
    """x[c, start_h : start_h + need_h, start_w : start_w + need_w] as (H, P, W), zeros beyond; positions count modulo
    (h, w). WHOLE: the window is the axis, which tells the compiler that it is contiguous."""
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
def _put(y, tile, c, channels, start_h, start_w, h, w, tile_h, tile_w, stride_c, stride_h, stride_w):
    """Store (H, P, W), of which tile_h x tile_w pixels count, at (start_h, start_w)."""
    i = tl.arange(0, tile.shape[0])
    j = tl.arange(0, tile.shape[2])
    keep_h = (i < tile_h) & (i + start_h < h)
    keep_w = (j < tile_w) & (j + start_w < w)
    inside = keep_h[:, None, None] & (c < channels)[None, :, None] & keep_w[None, None, :]
    at = (i + start_h).to(tl.int64)[:, None, None] * stride_h + c.to(tl.int64)[None, :, None] * stride_c
    at += (j + start_w).to(tl.int64)[None, None, :] * stride_w
    tl.store(y + at, tile.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _matrix(table, index, M: tl.constexpr, N: tl.constexpr):
    return tl.load(table + index * M * N + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :])


@triton.jit
def _not_finite(x):
    """1 if any of x is an infinity or NaN, else 0."""
    return tl.max(tl.max(tl.where(tl.abs(x.to(tl.float32)) < float("inf"), 0, 1), axis=1), axis=0)


@triton.jit
def _dot(a, b, PRECISION: tl.constexpr):
    if PRECISION == "interpreted":  # the interpreter takes the bits of bfloat16 for integers
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def _sandwich(rows, x, cols, ROWS_FIRST: tl.constexpr, PRECISION: tl.constexpr):
    """rows x cols. ROWS_FIRST: (M, K) (K, P L) (L, N) -> (M P, N); else (M, K) (K P, L) (L, N) -> (M, P N)."""
    if ROWS_FIRST:
        t = _dot(rows, x, PRECISION).to(x.dtype)
        t = tl.reshape(t, (rows.shape[0] * x.shape[1] // cols.shape[0], cols.shape[0]))
        return _dot(t, cols, PRECISION)
    else:
        t = _dot(x, cols, PRECISION).to(x.dtype)
        t = tl.reshape(t, (rows.shape[1], cols.shape[1] * x.shape[0] // rows.shape[1]))
        return _dot(rows, t, PRECISION)


@triton.jit
def _product(rows, x, cols, broken, ROWS_FIRST: tl.constexpr, PRECISION: tl.constexpr):
    """`_sandwich`; broken: x may hold infinities and NaN. They reach where the matrices are not zero: an infinity if
    all that comes there has one sign, else NaN."""
    if broken:
        v = x.to(tl.float32)
        finite = tl.abs(v) < float("inf")
        sign = tl.where(finite, 0.0, tl.where(v > 0, 1.0, tl.where(v < 0, -1.0, 0.0))).to(x.dtype)
        y = _sandwich(rows, tl.where(finite, v, 0.0).to(x.dtype), cols, ROWS_FIRST, PRECISION)
        to_rows = tl.abs(rows.to(tl.float32)).to(x.dtype)
        to_cols = tl.abs(cols.to(tl.float32)).to(x.dtype)
        reach = _sandwich(to_rows, tl.where(finite, 0.0, 1.0).to(x.dtype), to_cols, ROWS_FIRST, PRECISION)
        sign = _sandwich(rows, sign, cols, ROWS_FIRST, PRECISION)
        there = tl.where(tl.abs(sign) > 0.999 * reach, sign * float("inf"), float("nan"))
        y = tl.where(reach > 0, there, y)
    else:
        y = _sandwich(rows, x, cols, ROWS_FIRST, PRECISION)
    return y


@triton.jit
def _rise(x, rows, row_index, cols, first_cols, col_index, broken,
          TERMS: tl.constexpr, M: tl.constexpr, K: tl.constexpr, L: tl.constexpr, N: tl.constexpr,
          PRECISION: tl.constexpr):  # fmt: skip
    """Sum of terms R x C with x (K, P L): (M P, N). The columns of the first term are loaded already."""
    y = _product(_matrix(rows, row_index * TERMS, M, K), x, first_cols, broken, True, PRECISION)
    for t in tl.static_range(1, TERMS):
        c = _matrix(cols, col_index * TERMS + t, L, N)
        y += _product(_matrix(rows, row_index * TERMS + t, M, K), x, c, broken, True, PRECISION)
    return y


@triton.jit
def _fall(y, x, rows, row_index, cols, first_cols, col_index, broken,
          TERMS: tl.constexpr, M: tl.constexpr, K: tl.constexpr, L: tl.constexpr, N: tl.constexpr,
          PRECISION: tl.constexpr):  # fmt: skip
    """y + sum of terms R x C with x (K P, L): (M, P N)."""
    y += _product(_matrix(rows, row_index * TERMS, M, K), x, first_cols, broken, False, PRECISION)
    for t in tl.static_range(1, TERMS):
        c = _matrix(cols, col_index * TERMS + t, L, N)
        y += _product(_matrix(rows, row_index * TERMS + t, M, K), x, c, broken, False, PRECISION)
    return y


@triton.jit
def _gain(z, gains, start_h, start_w, P: tl.constexpr):
    """z (H P, W), each pixel times the gain of its phase: gains[row % 2, column % 2]."""
    a, b, c, d = tl.load(gains), tl.load(gains + 1), tl.load(gains + 2), tl.load(gains + 3)
    odd = ((tl.arange(0, z.shape[0]) // P + start_h) & 1).to(tl.float32)
    odd_column = ((tl.arange(0, z.shape[1]) + start_w) & 1).to(tl.float32)
    even_gain = a + (c - a) * odd
    odd_gain = b + (d - b) * odd
    return z * (even_gain[:, None] + (odd_gain - even_gain)[:, None] * odd_column[None, :])


@triton.jit
def _activation(z, NAME: tl.constexpr):
    if NAME == "gelu":
        return 0.5 * z * (1 + tl.erf(z * 0.7071067811865476))
    elif NAME == "silu":
        return z / (1 + tl.exp(-z))
    elif NAME == "relu":
        return tl.where(z <= 0, 0.0, z)  # keeps NaN
    else:
        return z


@triton.jit
def _through(z, dy, NAME: tl.constexpr):
    """dy times the derivative of the activation at z."""
    if NAME == "gelu":
        slope = 0.5 * (1 + tl.erf(z * 0.7071067811865476)) + z * tl.exp(-0.5 * z * z) * 0.3989422804014327
        return dy * slope
    elif NAME == "silu":
        s = 1 / (1 + tl.exp(-z))
        return dy * (s * (1 + z * (1 - s)))
    elif NAME == "relu":
        return tl.where(z <= 0, 0.0, dy)
    else:
        return dy


@triton.jit
def resample(
    x, y, rows, cols, row_start, col_start,
    channels, per_image, groups, tiles, tiles_w, workers, h, w, h_out, w_out, need_h, need_w, tile_h, tile_w,
    xn, xc, xh, xw, yn, yc, yh, yw,
    TERMS: tl.constexpr, P: tl.constexpr, XH: tl.constexpr, XW: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0) % tiles
    ti = tile // tiles_w
    tj = tile % tiles_w
    c0 = _matrix(cols, tj * TERMS, XW, TW)
    at_h = tl.load(row_start + ti)
    at_w = tl.load(col_start + tj)
    for group in range(tl.program_id(0) // tiles, groups, workers):
        image = (group // per_image).to(tl.int64)
        c = (group % per_image) * P + tl.arange(0, P)
        v = _window(x + image * xn, c, channels, at_h, at_w, h, w, need_h, need_w, xc, xh, xw,
                    XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
        v = tl.reshape(v, (XH, P * XW)).to(cols.dtype.element_ty)
        out = _rise(v, rows, ti, cols, c0, tj, _not_finite(v) > 0, TERMS, TH, XH, XW, TW, PRECISION)
        out = tl.reshape(out, (TH, P, TW))
        _put(y + image * yn, out, c, channels, ti * tile_h, tj * tile_w, h_out, w_out, tile_h, tile_w, yc, yh, yw)


@triton.jit
def activate(
    x, y, up_rows, up_cols, down_rows, down_cols, row_start, col_start, middle_h, middle_w, up_gain, down_gain,
    channels, per_image, groups, tiles, tiles_w, strips, workers, h, w, need_h, need_w, tile_h, tile_w,
    xn, xc, xh, xw, yn, yc, yh, yw,
    NAME: tl.constexpr, UP: tl.constexpr, DOWN: tl.constexpr, UP_GAIN: tl.constexpr, DOWN_GAIN: tl.constexpr,
    P: tl.constexpr, XH: tl.constexpr, XW: tl.constexpr, AH: tl.constexpr, AW: tl.constexpr,
    TH: tl.constexpr, TW: tl.constexpr, WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0) % tiles
    ti = tile // tiles_w
    tj = tile % tiles_w
    up0 = _matrix(up_cols, tj * UP, XW, AW)
    down0 = _matrix(down_cols, tj * DOWN, AW, TW)
    at_w = tl.load(col_start + tj)
    mid_w = tl.load(middle_w + tj)
    for group in range(tl.program_id(0) // tiles, groups, workers):
        image = (group // per_image).to(tl.int64)
        c = (group % per_image) * P + tl.arange(0, P)
        out = tl.zeros((TH, P * TW), tl.float32)
        for s in range(strips):
            strip = ti * strips + s
            at_h = tl.load(row_start + strip)
            mid_h = tl.load(middle_h + strip)
            v = _window(x + image * xn, c, channels, at_h, at_w, h, w, need_h, need_w, xc, xh, xw,
                        XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
            v = tl.reshape(v, (XH, P * XW)).to(up_cols.dtype.element_ty)
            broken = _not_finite(v) > 0
            z = _rise(v, up_rows, strip, up_cols, up0, tj, broken, UP, AH, XH, XW, AW, PRECISION)
            if UP_GAIN:
                z = _gain(z, up_gain, mid_h, mid_w, P)
            a = _activation(z, NAME)
            if DOWN_GAIN:
                a = _gain(a, down_gain, mid_h, mid_w, P)
            a = a.to(down_cols.dtype.element_ty)
            out = _fall(out, a, down_rows, strip, down_cols, down0, tj, broken, DOWN, TH, AH, AW, TW, PRECISION)
        _put(y + image * yn, tl.reshape(out, (TH, P, TW)), c, channels, ti * tile_h, tj * tile_w, h, w,
             tile_h, tile_w, yc, yh, yw)  # fmt: skip


@triton.jit
def backward(
    x, g, y, up_rows, up_cols, lift_rows, lift_cols, fall_rows, fall_cols,
    x_row_start, x_col_start, g_row_start, g_col_start, middle_h, middle_w, up_gain, down_gain,
    channels, per_image, groups, tiles, tiles_w, strips, workers, h, w, need_h, need_w, g_need_h, g_need_w,
    tile_h, tile_w, xn, xc, xh, xw, gn, gc, gh, gw, yn, yc, yh, yw,
    NAME: tl.constexpr, UP: tl.constexpr, DOWN: tl.constexpr, UP_GAIN: tl.constexpr, DOWN_GAIN: tl.constexpr,
    P: tl.constexpr, XH: tl.constexpr, XW: tl.constexpr, GH: tl.constexpr, GW: tl.constexpr,
    AH: tl.constexpr, AW: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr, G_WHOLE_H: tl.constexpr, G_WHOLE_W: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0) % tiles
    ti = tile // tiles_w
    tj = tile % tiles_w
    up0 = _matrix(up_cols, tj * UP, XW, AW)
    lift0 = _matrix(lift_cols, tj * DOWN, GW, AW)
    fall0 = _matrix(fall_cols, tj * UP, AW, TW)
    x_at_w = tl.load(x_col_start + tj)
    g_at_w = tl.load(g_col_start + tj)
    mid_w = tl.load(middle_w + tj)
    operand = up_cols.dtype.element_ty
    for group in range(tl.program_id(0) // tiles, groups, workers):
        image = (group // per_image).to(tl.int64)
        c = (group % per_image) * P + tl.arange(0, P)
        out = tl.zeros((TH, P * TW), tl.float32)
        for s in range(strips):
            strip = ti * strips + s
            mid_h = tl.load(middle_h + strip)
            u = _window(g + image * gn, c, channels, tl.load(g_row_start + strip), g_at_w, h, w, g_need_h, g_need_w,
                        gc, gh, gw, GH, GW, G_WHOLE_H, G_WHOLE_W)  # fmt: skip
            u = tl.reshape(u, (GH, P * GW)).to(operand)
            broken = _not_finite(u) > 0
            dz = _rise(u, lift_rows, strip, lift_cols, lift0, tj, broken, DOWN, AH, GH, GW, AW, PRECISION)
            if DOWN_GAIN:
                dz = _gain(dz, down_gain, mid_h, mid_w, P)
            if NAME != "identity":
                v = _window(x + image * xn, c, channels, tl.load(x_row_start + strip), x_at_w, h, w, need_h, need_w,
                            xc, xh, xw, XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
                v = tl.reshape(v, (XH, P * XW)).to(operand)
                x_broken = _not_finite(v) > 0
                z = _rise(v, up_rows, strip, up_cols, up0, tj, x_broken, UP, AH, XH, XW, AW, PRECISION)
                if UP_GAIN:
                    z = _gain(z, up_gain, mid_h, mid_w, P)
                dz = _through(z, dz, NAME)
                broken = broken | x_broken
            if UP_GAIN:
                dz = _gain(dz, up_gain, mid_h, mid_w, P)
            out = _fall(out, dz.to(operand), fall_rows, strip, fall_cols, fall0, tj, broken,
                        UP, TH, AH, AW, TW, PRECISION)  # fmt: skip
        _put(y + image * yn, tl.reshape(out, (TH, P, TW)), c, channels, ti * tile_h, tj * tile_w, h, w,
             tile_h, tile_w, yc, yh, yw)  # fmt: skip
