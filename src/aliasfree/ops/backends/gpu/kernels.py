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
multiplied without them, and where they reach is found from their places (`tile._careful`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from aliasfree.ops.backends.gpu.tile import activation, gain, matrix, product, put, scaled, through, window

COUNTS = ["per_image", "groups", "tiles", "tiles_w", "strips", "workers"]
"""Arguments that no address is computed from: no value of theirs is worth a compilation of its own."""


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
    c0 = matrix(cols, tj * TERMS, XW, TW)
    at_h = tl.load(row_start + ti)
    at_w = tl.load(col_start + tj)
    for group in range(tl.program_id(0) // tiles, groups, workers):
        image = (group // per_image).to(tl.int64)
        c = (group % per_image) * P + tl.arange(0, P)
        v = window(x + image * xn, c, channels, at_h, at_w, h, w, need_h, need_w, xc, xh, xw,
                    XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
        v, unit, broken = scaled(tl.reshape(v, (XH, P * XW)), cols.dtype.element_ty)
        out = product(v, rows, ti, cols, c0, tj, broken, TERMS, TH, XH, XW, TW, True, PRECISION)
        out = tl.reshape(out * unit, (TH, P, TW))
        put(y + image * yn, out, c, channels, ti * tile_h, tj * tile_w, h_out, w_out, tile_h, tile_w, yc, yh, yw)


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
    up0 = matrix(up_cols, tj * UP, XW, AW)
    down0 = matrix(down_cols, tj * DOWN, AW, TW)
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
            v = window(x + image * xn, c, channels, at_h, at_w, h, w, need_h, need_w, xc, xh, xw,
                        XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
            v, unit, broken = scaled(tl.reshape(v, (XH, P * XW)), operand)
            z = product(v, up_rows, strip, up_cols, up0, tj, broken, UP, AH, XH, XW, AW, True, PRECISION)
            if UP_GAIN:
                z = gain(z, up_gain, mid_h, mid_w, P)
            a = activation(z, unit, NAME, operand, PRECISION)
            if DOWN_GAIN:
                a = gain(a, down_gain, mid_h, mid_w, P)
            a = a.to(operand)
            out += unit * product(a, down_rows, strip, down_cols, down0, tj, broken,
                                   DOWN, TH, AH, AW, TW, False, PRECISION)  # fmt: skip
        put(y + image * yn, tl.reshape(out, (TH, P, TW)), c, channels, ti * tile_h, tj * tile_w, h, w,
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
    up0 = matrix(up_cols, tj * UP, XW, AW)
    lift0 = matrix(lift_cols, tj * DOWN, GW, AW)
    fall0 = matrix(fall_cols, tj * UP, AW, TW)
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
            u = window(g + image * gn, c, channels, tl.load(g_row_start + strip), g_at_w, h, w, g_need_h, g_need_w,
                        gc, gh, gw, GH, GW, G_WHOLE_H, G_WHOLE_W)  # fmt: skip
            u, unit, broken = scaled(tl.reshape(u, (GH, P * GW)), operand)
            dz = product(u, lift_rows, strip, lift_cols, lift0, tj, broken, DOWN, AH, GH, GW, AW, True, PRECISION)
            if DOWN_GAIN:
                dz = gain(dz, down_gain, mid_h, mid_w, P)
            if NAME != "identity":
                v = window(x + image * xn, c, channels, tl.load(x_row_start + strip), x_at_w, h, w, need_h, need_w,
                            xc, xh, xw, XH, XW, WHOLE_H, WHOLE_W)  # fmt: skip
                v, x_unit, x_broken = scaled(tl.reshape(v, (XH, P * XW)), operand)
                z = product(v, up_rows, strip, up_cols, up0, tj, x_broken, UP, AH, XH, XW, AW, True, PRECISION)
                if UP_GAIN:
                    z = gain(z, up_gain, mid_h, mid_w, P)
                dz = through(z * x_unit, dz, NAME, operand, PRECISION)
                broken = broken | x_broken
            if UP_GAIN:
                dz = gain(dz, up_gain, mid_h, mid_w, P)
            out += unit * product(dz.to(operand), fall_rows, strip, fall_cols, fall0, tj, broken,
                                   UP, TH, AH, AW, TW, False, PRECISION)  # fmt: skip
        put(y + image * yn, tl.reshape(out, (TH, P, TW)), c, channels, ti * tile_h, tj * tile_w, h, w,
             tile_h, tile_w, yc, yh, yw)  # fmt: skip
