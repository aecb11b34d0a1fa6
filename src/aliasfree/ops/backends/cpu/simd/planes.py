"""Planes on their way between tensors and a thread's scratch, LANES side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

from aliasfree.ops.backends.cpu.compiling import inlined, jit, keep_apart, unliteral
from aliasfree.ops.backends.cpu.simd.layout import LANES
from aliasfree.ops.backends.cpu.simd.vectors import load, load_tile, store, store_tile


class Group(NamedTuple):
    """LANES planes."""

    image: int
    """The image they are of; where channels are not last in memory, the number of the first plane."""
    channel: int
    """The channel of the first one; 0 where channels are not last."""
    step: int
    """Elements from a pixel to the next."""
    last: int
    """The place in the group of its last real plane, the others being copies of it; -1 where channels are last."""


@inlined
def group_of(g: int, planes: int, channels: int) -> Group:
    """The g-th group of `planes` planes, which are `channels` an image where channels are last, else 0."""
    image, channel, step, last = g * LANES, 0, 1, min(LANES, planes - g * LANES) - 1
    if channels:  # the last block of channels overlaps the one before
        blocks = (channels + LANES - 1) // LANES
        image, channel, step, last = g // blocks, min(g % blocks * LANES, channels - LANES), channels, -1
    return Group(image, channel, step, last)


@jit
def load_pixels(x: Any, s: Any, at: int, group: Any, plane: int, first: int, n: int) -> None:
    """Pixels first .. first + n - 1 of a group of planes of `plane` pixels; n >= 16 unless channels are last."""
    keep_apart()
    base = (group.image * plane + first) * group.step + group.channel
    j = 0
    if group.last < 0:
        while j < n:
            store(s, at + j * LANES, load(x, base + j * group.step))
            j += 1
        return
    while j < n:
        j = min(j, n - LANES)  # the last tile overlaps the one before
        load_tile(x, base + j, plane, group.last, s, at + j * LANES)
        j += LANES


@jit
def store_pixels(s: Any, at: int, y: Any, group: Any, plane: int, first: int, n: int) -> None:
    """The inverse of `load_pixels`."""
    keep_apart()
    base = (group.image * plane + first) * group.step + group.channel
    j = 0
    if group.last < 0:
        while j < n:
            store(y, base + j * group.step, load(s, at + j * LANES))
            j += 1
        return
    while j < n:
        j = min(j, n - LANES)
        store_tile(s, at + j * LANES, y, base + j, plane, group.last)
        j += LANES


@jit
def load_plane(x: Any, s: Any, at: int, stride: int, group: Any, height: int, width: int) -> None:
    """Planes of (height, width) pixels, row i at `at` + i `stride`: in one piece where rows lie close."""
    keep_apart()
    if stride == width * LANES:
        load_pixels(x, s, at, group, height * width, unliteral(0), height * width)
        return
    for i in range(height):
        load_pixels(x, s, at + i * stride, group, height * width, i * width, width)


@jit
def store_plane(s: Any, at: int, stride: int, y: Any, group: Any, height: int, width: int) -> None:
    """The inverse of `load_plane`."""
    if stride == width * LANES:
        store_pixels(s, at, y, group, height * width, unliteral(0), height * width)
        return
    for i in range(height):
        store_pixels(s, at + i * stride, y, group, height * width, i * width, width)
