"""GPU kernels: tiles of planes between small matrices.

    resample    y = sum_t R_t x C_t
    activate    y = sum_s D_s f(G . sum_t U_t x V_t) E_s             G: gain of each phase
    backward    dx = sum_t U'_t (G . f'(z) . sum_s D'_s g E'_s) V'_t  with z as above, computed anew

A program owns one tile of the output and walks over groups of P planes. Its matrices stay on the chip, and the pixels
of the higher rate never leave it. The P planes of a group lie side by side, as (rows, P columns) or (rows P, columns),
so that one product serves them all.

Sides of blocks, powers of two: XH x XW the window of x that a tile reads, GH x GW that of the gradient, AH x AW a strip
of the higher rate, TH x TW the tile. A tile passes through the higher rate in `strips` strips, one below the other.
Numbers without a capital (tile_h, need_h, ...) say how much of a block counts.

A zero of a matrix times an infinity would spread NaN over the whole tile. A window with infinities or NaN is therefore
multiplied without them, and where they reach is found from their places (`_careful`).
"""

from __future__ import annotations

import triton
import triton.language as tl

COUNTS = ["per_image", "groups", "tiles", "tiles_w", "strips", "workers"]
"""Arguments that no address is computed from: no value of theirs is worth a compilation of its own."""


@triton.jit
def _window(x, c, channels, start_h, start_w, h, w, need_h, need_w, stride_c, stride_h, stride_w,
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
def _put(y, tile, c, channels, start_h, start_w, h, w, tile_h, tile_w, stride_c, stride_h, stride_w):
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
def _matrix(table, index, M: tl.constexpr, N: tl.constexpr):
    """Matrix number `index` of a table of (M, N) matrices."""
    return tl.load(table + index * M * N + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :])


@triton.jit
def _scaled(x, dtype: tl.constexpr):
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
def _product(x, rows, row_index, cols, first_cols, col_index, broken,
             TERMS: tl.constexpr, M: tl.constexpr, K: tl.constexpr, L: tl.constexpr, N: tl.constexpr,
             ROWS_FIRST: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """The sum of TERMS products R x C with R (M, K) and C (L, N), laid out as in `_sandwich`.

    first_cols   C of the first term, loaded before
    broken       x holds infinities or NaN

    The further terms are a loop and not unrolled: with six terms (the radial filters) the code would be three times as
    long and take four times as long to compile.
    """
    if broken:
        y = _careful(_matrix(rows, row_index * TERMS, M, K), x, _matrix(cols, col_index * TERMS, L, N),
                     ROWS_FIRST, PRECISION)  # fmt: skip
        for t in tl.range(1, TERMS, num_stages=1):
            y += _careful(_matrix(rows, row_index * TERMS + t, M, K), x, _matrix(cols, col_index * TERMS + t, L, N),
                          ROWS_FIRST, PRECISION)  # fmt: skip
    else:
        y = _sandwich(_matrix(rows, row_index * TERMS, M, K), x, first_cols, ROWS_FIRST, PRECISION)
        for t in tl.range(1, TERMS, num_stages=1):
            y += _sandwich(_matrix(rows, row_index * TERMS + t, M, K), x, _matrix(cols, col_index * TERMS + t, L, N),
                           ROWS_FIRST, PRECISION)  # fmt: skip
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
def _activation(z, unit, NAME: tl.constexpr, dtype: tl.constexpr, PRECISION: tl.constexpr):
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
def _through(z, dy, NAME: tl.constexpr, dtype: tl.constexpr, PRECISION: tl.constexpr):
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


@triton.jit(do_not_specialize=[c for c in COUNTS if c != "strips"])
def resample(
    x, y, rows, cols, row_start, col_start,
    channels, per_image, groups, tiles, tiles_w, workers, h, w, h_out, w_out, need_h, need_w, tile_h, tile_w,
    xn, xc, xh, xw, yn, yc, yh, yw,
    TERMS: tl.constexpr, P: tl.constexpr, XH: tl.constexpr, XW: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y = sum_t R_t x C_t for the tile (ti, tj); x (images, channels, h, w), y (images, channels, h_out, w_out).

    rows   (tiles along H, TERMS, TH, XH); cols (tiles along W, TERMS, XW, TW)

    For each group of P planes:
    1. load the window of x that the tile reads, (XH, P, XW)
    2. scale it and bring it to the type of the matrices, (XH, P XW)
    3. multiply with the tile's matrices, (TH P, TW)
    4. undo the scale and store the tile, (TH, P, TW)
    """
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
        v, unit, broken = _scaled(tl.reshape(v, (XH, P * XW)), cols.dtype.element_ty)
        out = _product(v, rows, ti, cols, c0, tj, broken, TERMS, TH, XH, XW, TW, True, PRECISION)
        out = tl.reshape(out * unit, (TH, P, TW))
        _put(y + image * yn, out, c, channels, ti * tile_h, tj * tile_w, h_out, w_out, tile_h, tile_w, yc, yh, yw)


@triton.jit(do_not_specialize=COUNTS)
def activate(
    x, y, up_rows, up_cols, down_rows, down_cols, row_start, col_start, middle_h, middle_w, up_gain, down_gain,
    channels, per_image, groups, tiles, tiles_w, strips, workers, h, w, need_h, need_w, tile_h, tile_w,
    xn, xc, xh, xw, yn, yc, yh, yw,
    NAME: tl.constexpr, UP: tl.constexpr, DOWN: tl.constexpr, UP_GAIN: tl.constexpr, DOWN_GAIN: tl.constexpr,
    P: tl.constexpr, XH: tl.constexpr, XW: tl.constexpr, AH: tl.constexpr, AW: tl.constexpr,
    TH: tl.constexpr, TW: tl.constexpr, WHOLE_H: tl.constexpr, WHOLE_W: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y = sum_s D_s f(G . sum_t U_t x V_t) E_s for the tile (ti, tj); x and y (images, channels, h, w).

    up_rows     U (tiles along H, strips, UP, AH, XH); up_cols V (tiles along W, UP, XW, AW)
    down_rows   D (tiles along H, strips, DOWN, TH, AH); down_cols E (tiles along W, DOWN, AW, TW)
    up_gain     four gains by the parity of row and column (`tables.gains`), likewise down_gain

    For each group of P planes, and for each strip of the higher rate that the tile needs:
    1. load the window of x that the strip reads, (XH, P, XW), and scale it
    2. upsample: multiply with U and V, (AH P, AW), and with the gains of the phases
    3. f, and the gains of the way down
    4. downsample: multiply with D and E, (TH, P TW), undo the scale, add to the sum over strips
    Then store the tile, (TH, P, TW).
    """
    tile = tl.program_id(0) % tiles
    ti = tile // tiles_w
    tj = tile % tiles_w
    up0 = _matrix(up_cols, tj * UP, XW, AW)
    down0 = _matrix(down_cols, tj * DOWN, AW, TW)
    at_w = tl.load(col_start + tj)
    mid_w = tl.load(middle_w + tj)
    operand = up_cols.dtype.element_ty
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
            v, unit, broken = _scaled(tl.reshape(v, (XH, P * XW)), operand)
            z = _product(v, up_rows, strip, up_cols, up0, tj, broken, UP, AH, XH, XW, AW, True, PRECISION)
            if UP_GAIN:
                z = _gain(z, up_gain, mid_h, mid_w, P)
            a = _activation(z, unit, NAME, operand, PRECISION)
            if DOWN_GAIN:
                a = _gain(a, down_gain, mid_h, mid_w, P)
            a = a.to(operand)
            out += unit * _product(a, down_rows, strip, down_cols, down0, tj, broken,
                                   DOWN, TH, AH, AW, TW, False, PRECISION)  # fmt: skip
        _put(y + image * yn, tl.reshape(out, (TH, P, TW)), c, channels, ti * tile_h, tj * tile_w, h, w,
             tile_h, tile_w, yc, yh, yw)  # fmt: skip


@triton.jit(do_not_specialize=COUNTS)
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
    """dx = sum_t U'_t (G . f'(z) . sum_s D'_s g E'_s) V'_t, written to y, for the tile (ti, tj); all of x's shape.

    up_rows, up_cols       U and V as in `activate`, which give z
    lift_rows, lift_cols   D' (tiles along H, strips, DOWN, AH, GH) and E' (tiles along W, DOWN, GW, AW)
    fall_rows, fall_cols   U' (tiles along H, strips, UP, TH, AH) and V' (tiles along W, UP, AW, TW)

    For each group of P planes, and for each strip of the higher rate that the tile needs:
    1. load the window of the gradient g, (GH, P, GW), and scale it
    2. adjoint of downsampling: multiply with D' and E', (AH P, AW), and with the gains
    3. load the window of x, (XH, P, XW), scale and upsample it again: z, (AH P, AW); not for the identity
    4. times f'(z), and the gains of upsampling
    5. adjoint of upsampling: multiply with U' and V', (TH, P TW), undo the scale, add to the sum over strips
    Then store the tile, (TH, P, TW).
    """
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
            u, unit, broken = _scaled(tl.reshape(u, (GH, P * GW)), operand)
            dz = _product(u, lift_rows, strip, lift_cols, lift0, tj, broken, DOWN, AH, GH, GW, AW, True, PRECISION)
            if DOWN_GAIN:
                dz = _gain(dz, down_gain, mid_h, mid_w, P)
            if NAME != "identity":
                v = _window(x + image * xn, c, channels, tl.load(x_row_start + strip), x_at_w, h, w, need_h, need_w,
                            xc, xh, xw, XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
                v, x_unit, x_broken = _scaled(tl.reshape(v, (XH, P * XW)), operand)
                z = _product(v, up_rows, strip, up_cols, up0, tj, x_broken, UP, AH, XH, XW, AW, True, PRECISION)
                if UP_GAIN:
                    z = _gain(z, up_gain, mid_h, mid_w, P)
                dz = _through(z * x_unit, dz, NAME, operand, PRECISION)
                broken = broken | x_broken
            if UP_GAIN:
                dz = _gain(dz, up_gain, mid_h, mid_w, P)
            out += unit * _product(dz.to(operand), fall_rows, strip, fall_cols, fall0, tj, broken,
                                   UP, TH, AH, AW, TW, False, PRECISION)  # fmt: skip
        _put(y + image * yn, tl.reshape(out, (TH, P, TW)), c, channels, ti * tile_h, tj * tile_w, h, w,
             tile_h, tile_w, yc, yh, yw)  # fmt: skip
