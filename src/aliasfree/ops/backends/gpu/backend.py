"""The GPU backend: Triton kernels, compiled at first use."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.backends.gpu.plan import Chain, Plan, activation_chain, bands, plan, resampling_chain
from aliasfree.ops.backends.gpu.tables import Tiling, tiling
from aliasfree.ops.memory_format import is_channels_last, memory_format
from aliasfree.ops.padding import Padding

if TYPE_CHECKING:
    from aliasfree.ops.dispatch import Call

__all__ = ["Gpu", "Launch", "TritonBackend", "launch"]

ACTIVATIONS = ("gelu", "silu", "relu", "identity")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ROOM = 4096
"""Numbers per block of a program; accumulators are float32, operands as wide as `OPERAND`."""
REGISTERS = 128
"""Registers per thread in 16-bit types: two programs of 8 warps share a multiprocessor, one computes as one loads.
The rare path for infinities and NaN then spills; that of finite numbers was compiled with 101 (backward 137)."""
SHARED = 160 << 10
"""Bytes of shared memory per program that such blocks may take; GPUs with less get half the room."""
RESIDENT = 4
"""Programs to launch per multiprocessor, each walking over its share of the planes."""
OPERAND = {torch.bfloat16: torch.float16, torch.float16: torch.float16, torch.float32: torch.float32}
"""Type of matrices and factors. bfloat16 is scaled to float16, as fast and eight times as precise."""
SECTOR = 32
"""Bytes that a GPU fetches at least."""
Size = tuple[int, int]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Gpu:
    """What a device decides of how an operation is cut and compiled.

    shared       bytes of shared memory that a program may take
    processors   multiprocessors
    nvidia       it has TF32 products and takes a limit of registers
    """

    shared: int
    processors: int
    nvidia: bool

    @property
    def room(self) -> int:
        """Numbers per block of a program."""
        return ROOM if self.shared >= SHARED else ROOM // 2


@dataclass(frozen=True)
class Launch:
    """A kernel (its name in `kernels.py`), the number of its programs, and its arguments and compile options."""

    kernel: str
    grid: tuple[int]
    arguments: Settings


class TritonBackend:
    """float32, bfloat16 and float16 on NVIDIA GPUs, any strides, filter, padding and factor ('ideal': small planes).

    Products run on the matrix units: in float16 (scaled) for the 16-bit types, as three TF32 products, which is about
    float32, for float32.
    A non-finite pixel makes the pixels in its reach non-finite and no others; NaN may stand for an infinity in filters
    of several terms (the radial ones), and an infinity for NaN where "reflect" reads one pixel by two taps.
    """

    name = "triton"

    def refusal(self, call: Call) -> str | None:
        """Why it cannot run `call`; None = it can. On the CPU it runs under Triton's interpreter only."""
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed (pip install triton)"
        if call.device.type != "cuda" and not (call.device.type == "cpu" and _interpreted()):
            return f"it runs on CUDA devices, not on {call.device.type} (TRITON_INTERPRET=1 runs it there, slowly)"
        if call.dtype not in DTYPES:
            return f"it computes in float32, bfloat16 and float16, not {str(call.dtype).removeprefix('torch.')}"
        if call.device.type == "cuda" and torch.cuda.get_device_capability(call.device) < (8, 0):
            return "it needs a GPU of compute capability 8.0 or later"
        if call.op == "filtered_activation2d" and call.activation not in ACTIVATIONS:
            return "it knows no activation but " + ", ".join(ACTIVATIONS)
        specs = [s for s in (call.up, call.down) if s is not None]
        if 0 in call.shape:
            return None
        room = _gpu(call.device).room
        if any(_plan(chain, call.shape, call.dtype, room, call.channels_last) is None for chain in _chains(call)):
            if any(s.kind == "ideal" for s in specs):
                return f"planes of {call.shape[2]}x{call.shape[3]} pixels are too large for it to filter by 'ideal'"
            return f"a filter of {max(s.taps for s in specs)} taps reaches beyond its largest tile"
        return None

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        h, w = x.shape[2:]
        chain = resampling_chain(spec, factor, padding, (h, w), up=True)
        return _run(chain, (x,), (h * factor, w * factor))

    def upsample2d_backward(self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size) -> Tensor:
        return _run(resampling_chain(spec, factor, padding, size, up=True, adjoint=True), (grad,), size)

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        h, w = x.shape[2:]
        chain = resampling_chain(spec, factor, padding, (h, w), up=False)
        return _run(chain, (x,), (-(-h // factor), -(-w // factor)))

    def downsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size
    ) -> Tensor:
        return _run(resampling_chain(spec, factor, padding, size, up=False, adjoint=True), (grad,), size)

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        size = (x.shape[2], x.shape[3])
        return _run(activation_chain(up, down, factor, padding, size), (x,), size, activation)

    def filtered_activation2d_backward(
        self, grad: Tensor, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        size = (x.shape[2], x.shape[3])
        chain = activation_chain(up, down, factor, padding, size, backward=True)
        return _run(chain, (x, grad), size, activation)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


def _chains(call: Call) -> list[Chain]:
    """The chains of a call, forward and backward."""
    size = (call.shape[2], call.shape[3])
    padding: Any = call.padding
    if call.op == "filtered_activation2d":
        assert call.up is not None
        specs = call.up, call.down or call.up
        return [activation_chain(*specs, call.factor, padding, size, backward=b) for b in (False, True)]
    up = call.op == "upsample2d"
    spec = call.up if up else call.down or call.up
    assert spec is not None
    return [resampling_chain(spec, call.factor, padding, size, up=up, adjoint=a) for a in (False, True)]


def _plan(chain: Chain, shape: tuple[int, ...], dtype: torch.dtype, room: int, channels_last: bool) -> Plan | None:
    n, c = shape[:2]
    most = c if channels_last else n * c
    most = min(64, 1 << (most - 1).bit_length())
    least = min(most, SECTOR // dtype.itemsize) if channels_last else 1
    return plan(chain, most, least, room)


@dataclass(frozen=True, eq=False)
class _Axis:
    """A `Tiling` of one axis on the device."""

    tiling: Tiling
    last: Tensor | None
    first: tuple[Tensor, ...]
    start: tuple[Tensor, ...]
    middle: Tensor

    @property
    def side(self) -> int:
        """Side of the blocks of the output."""
        return (self.tiling.first[0] if self.tiling.last is None else self.tiling.last).shape[-2]

    @property
    def middle_side(self) -> int:
        """Side of the blocks of the higher rate."""
        return self.tiling.first[0].shape[-2]

    def terms(self, i: int) -> int:
        """Outer products that the kernel between input i and the higher rate is a sum of."""
        return self.tiling.first[i].shape[2]


@lru_cache(maxsize=128)
def _axis(chain: Chain, axis: int, tile: int, strip: int, dtype: torch.dtype, device: torch.device) -> _Axis:
    last, first = bands(chain, axis)
    t = tiling(last, first, tile, strip)

    def put(a: np.ndarray, dtype: torch.dtype) -> Tensor:
        # columns multiply from the right, so their matrices are stored transposed
        exact = torch.from_numpy(np.ascontiguousarray(a.swapaxes(-1, -2) if axis else a))
        rounded = exact.to(dtype)
        rounded[(rounded == 0) & (exact != 0)] = 2.0**-24  # infinities and NaN pass through it; float16 has no less
        return rounded.to(device)

    def place(a: np.ndarray) -> Tensor:
        return torch.from_numpy(a.astype(np.int32)).to(device)

    # a tensor born in inference mode could never take part in training afterwards
    with torch.inference_mode(False):
        return _Axis(
            t,
            None if t.last is None else put(t.last, dtype),
            tuple(put(a, dtype) for a in t.first),
            tuple(place(a) for a in t.start),
            place(t.middle_start),
        )


@lru_cache(maxsize=64)
def _gains(chain: Chain, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """The four gains of upsampling and of downsampling, where a kernel has them, by the parity of a pixel."""
    assert chain.last is not None
    found: list[Tensor | None] = []
    for up in (True, False):
        step = next(s for s in (*chain.first, chain.last) if s.up is up)
        g = step.parity_gains()
        with torch.inference_mode(False):
            found.append(None if g is None else torch.from_numpy(g).to(device, torch.float32))
    return found[0], found[1]


def _run(chain: Chain, inputs: tuple[Tensor, ...], size: Size, activation: str | None = None) -> Tensor:
    """Carry planes of x (and of the gradient, of x's shape) to planes of `size`."""
    x = inputs[0]
    y = torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    if not x.numel() or not y.numel():
        return y.zero_()
    job = launch(chain, inputs, y, _gpu(x.device), activation)
    with torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext():
        getattr(_kernels(), job.kernel)[job.grid](**job.arguments)
    return y


def launch(chain: Chain, inputs: tuple[Tensor, ...], y: Tensor, gpu: Gpu, activation: str | None = None) -> Launch:
    """How a GPU carries x (and the gradient, of x's shape) to y; only a kernel run with it fills y."""
    x = inputs[0]
    n, c = x.shape[:2]
    cut = _plan(chain, x.shape, x.dtype, gpu.room, is_channels_last(x))
    assert cut is not None, "refusal() was not asked"
    operand = OPERAND[x.dtype]
    rows = _axis(chain, 0, cut.tile[0], cut.strip[0], operand, x.device)
    cols = _axis(chain, 1, cut.tile[1], cut.strip[1], operand, x.device)
    images, channels = n, c
    if all(t.stride(0) == c * t.stride(1) for t in (*inputs, y)):
        images, channels = 1, n * c
    per_image = -(-channels // cut.planes)
    groups = images * per_image
    tiles = rows.tiling.tiles * cols.tiling.tiles
    workers = min(groups, max(1, RESIDENT * gpu.processors // tiles))
    settings: Settings = {
        "x": x, "y": y, **_strides("x", x), **_strides("y", y), "h": x.shape[2], "w": x.shape[3],
        "channels": channels, "per_image": per_image, "groups": groups, "workers": workers,
        "tiles": tiles, "tiles_w": cols.tiling.tiles,
        "tile_h": rows.tiling.tile, "tile_w": cols.tiling.tile, "TH": rows.side, "TW": cols.side,
        **_window("", "X", 0, rows, cols),
        # float32 factors are multiplied as three TF32 products, which keep 22 bits, where there is TF32
        "P": cut.planes, "PRECISION": "tf32x3" if gpu.nvidia else "ieee", "num_warps": cut.warps,
    }  # fmt: skip
    if operand == torch.float16 and gpu.nvidia:
        settings["maxnreg"] = REGISTERS
    if chain.last is None:
        kernel, own = "resample", _resample(y, rows, cols)
    elif len(inputs) == 1:
        kernel, own = "activate", _activate(chain, x, rows, cols, activation)
    else:
        kernel, own = "backward", _backward(chain, inputs, rows, cols, activation)
    return Launch(kernel, (tiles * workers,), settings | own)


def _resample(y: Tensor, rows: _Axis, cols: _Axis) -> Settings:
    return {
        "rows": rows.first[0], "cols": cols.first[0], "row_start": rows.start[0], "col_start": cols.start[0],
        "h_out": y.shape[2], "w_out": y.shape[3], "TERMS": rows.terms(0),
    }  # fmt: skip


def _middle(chain: Chain, device: torch.device, rows: _Axis, cols: _Axis, activation: str | None) -> Settings:
    """What `activate` and `backward` must know of the higher rate."""
    up, down = _gains(chain, device)
    return {
        "middle_h": rows.middle, "middle_w": cols.middle, "strips": rows.tiling.strips, "NAME": activation,
        "up_gain": rows.middle if up is None else up, "down_gain": rows.middle if down is None else down,
        "UP_GAIN": up is not None, "DOWN_GAIN": down is not None, "AH": rows.middle_side, "AW": cols.middle_side,
    }  # fmt: skip


def _activate(chain: Chain, x: Tensor, rows: _Axis, cols: _Axis, activation: str | None) -> Settings:
    assert rows.last is not None
    return {
        "up_rows": rows.first[0], "up_cols": cols.first[0], "down_rows": rows.last, "down_cols": cols.last,
        "row_start": rows.start[0], "col_start": cols.start[0], "UP": rows.terms(0), "DOWN": rows.last.shape[2],
        **_middle(chain, x.device, rows, cols, activation),
    }  # fmt: skip


def _backward(chain: Chain, inputs: tuple[Tensor, ...], rows: _Axis, cols: _Axis, activation: str | None) -> Settings:
    x, g = inputs
    return {
        "g": g, **_strides("g", g), **_window("g_", "G", 1, rows, cols),
        "up_rows": rows.first[0], "up_cols": cols.first[0], "lift_rows": rows.first[1], "lift_cols": cols.first[1],
        "fall_rows": rows.last, "fall_cols": cols.last,
        "x_row_start": rows.start[0], "x_col_start": cols.start[0],
        "g_row_start": rows.start[1], "g_col_start": cols.start[1], "UP": rows.terms(0), "DOWN": rows.terms(1),
        **_middle(chain, x.device, rows, cols, activation),
    }  # fmt: skip


def _strides(name: str, x: Tensor) -> Settings:
    return {name + axis: stride for axis, stride in zip("nchw", x.stride(), strict=True)}


def _window(prefix: str, name: str, i: int, rows: _Axis, cols: _Axis) -> Settings:
    """What the kernel must know of the window it reads input i through."""
    whole = prefix.upper() + "WHOLE_"
    settings: Settings = {}
    for axis, side, t in ("h", rows.first[i].shape[-1], rows.tiling), ("w", cols.first[i].shape[-2], cols.tiling):
        settings[f"{prefix}need_{axis}"] = t.need[i]
        settings[whole + axis.upper()] = t.whole[i]
        settings[name + axis.upper()] = side
    return settings


@lru_cache(maxsize=16)
def _gpu(device: torch.device) -> Gpu:
    """What is known of a device; Triton's interpreter counts as a GPU of one processor."""
    if device.type != "cuda":
        return Gpu(SHARED, 1, nvidia=False)
    found = torch.cuda.get_device_properties(device)
    # torch's type stubs lack this field in some of the versions that have it
    shared: int = getattr(found, "shared_memory_per_block_optin")  # noqa: B009
    return Gpu(shared, found.multi_processor_count, nvidia=not torch.version.hip)


def _kernels() -> Any:
    """The module of the kernels: importing it imports Triton."""
    from aliasfree.ops.backends.gpu import kernels

    return kernels
