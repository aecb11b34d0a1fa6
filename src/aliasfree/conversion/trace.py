"""What each module and function of a model receives in one call, and which of its axes are rows and columns.

Every tensor carries a `Layout`: a letter for each axis. It starts at the model's inputs and at convolutions, and every
function hands it on: a permutation permutes the letters, a reshape joins and parts them ("HW" is the axis of tokens
made of a plane). An axis that cannot be told is "."; nothing is filtered along it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Call", "Layout", "Trace", "plane_axes", "trace"]

Layout = tuple[str, ...]
"""One entry an axis: "H", "W", "T" (frames), several letters for a joined axis, "." for anything else."""


def plane_axes(layout: Layout) -> tuple[int, int] | None:
    """Where the rows and columns of planes lie, or None."""
    if layout.count("H") != 1 or layout.count("W") != 1:
        return None
    return layout.index("H"), layout.index("W")


@dataclass(frozen=True)
class Call:
    """One call of a module: the layout of its first tensor, and the shapes of that and of what it returned."""

    layout: Layout
    given: tuple[int, ...]
    returned: tuple[int, ...] = ()


@dataclass
class Trace:
    """One call of a model.

    calls      of each module, by its name
    functions  (name of the module whose `forward` calls it, name of the function): the layouts of what it was given
    patches    names of modules whose output becomes tokens before anything looks at its neighbourhood
    """

    calls: dict[str, list[Call]] = field(default_factory=dict)
    functions: dict[tuple[str, str], set[Layout]] = field(default_factory=dict)
    patches: set[str] = field(default_factory=set)


def trace(model: nn.Module, inputs: Sequence[Any] | Mapping[str, Any]) -> Trace:
    """Call the model once, in `eval()` and without gradients, and watch. Its state is as before afterwards."""
    watcher = _Watcher({module: name for name, module in model.named_modules()})
    training = {module: module.training for module in model.modules()}
    handles = [h for module in watcher.names for h in watcher.hooks(module)]
    arguments = inputs if isinstance(inputs, Mapping) else dict(enumerate(inputs))
    watcher.begin(arguments)
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), watcher:
            model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, was in training.items():
            module.training = was
    return watcher.seen


PLANAR = frozenset(
    (
        "silu", "gelu", "relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "mish", "softplus", "hardswish",
        "hardtanh", "hardsigmoid", "glu", "prelu", "interpolate", "upsample", "avg_pool2d", "max_pool2d",
        "boolean_dispatch", "lp_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "pixel_shuffle",
        "pixel_unshuffle", "conv_transpose2d", "grid_sample", "unfold", "fold", "pad",
    )
)  # fmt: skip
"""Functions of torch.nn.functional that resample, distort or pad planes: named where a module calls them itself."""

_LOOKS_AROUND = frozenset(
    ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "interpolate", "avg_pool2d", "max_pool2d")
)
_MIXES_CHANNELS = frozenset(("linear", "matmul", "bmm", "einsum", "scaled_dot_product_attention", "__matmul__"))
_RESHAPES = frozenset(
    ("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "reshape_as", "view_as", "ravel")
)


@dataclass(frozen=True)
class _Mark:
    layout: Layout
    pending: frozenset[str] = frozenset()  # strided modules upstream that nobody has looked at yet


class _Watcher(TorchFunctionMode):
    def __init__(self, names: dict[nn.Module, str]) -> None:
        super().__init__()
        self.names = names
        self.seen = Trace()
        self.marks = WeakTensorKeyDictionary()
        self.stack: list[nn.Module] = []
        self.looked_at: set[str] = set()  # strided modules whose output's neighbourhoods something has looked at

    def begin(self, arguments: Mapping[Any, Any]) -> None:
        """The model's inputs: planes, and videos whose planes come last."""
        for x in tree_leaves(list(arguments.values())):
            if isinstance(x, Tensor) and x.is_floating_point() and x.ndim in (4, 5) and max(x.shape[-2:]) > 1:
                self.marks[x] = _Mark((".",) * (x.ndim - 2) + ("H", "W"))

    def mark(self, x: Tensor) -> _Mark:
        found: _Mark | None = self.marks.get(x)
        return _Mark((".",) * x.ndim) if found is None or len(found.layout) != x.ndim else found

    def hooks(self, module: nn.Module) -> Iterator[Any]:
        name = self.names[module]

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append(module)
            x = next((v for v in tree_leaves([args, kwargs]) if isinstance(v, Tensor)), None)
            if x is not None:
                with torch._C.DisableTorchFunctionSubclass():
                    self.seen.calls.setdefault(name, []).append(Call(self.mark(x).layout, tuple(x.shape)))

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:  # noqa: ARG001
            self.stack.pop()
            y = next((v for v in tree_leaves(out) if isinstance(v, Tensor)), None)
            calls = self.seen.calls.get(name)
            if y is None or not calls:
                return
            call = calls[-1]
            calls[-1] = Call(call.layout, call.given, tuple(y.shape))
            if _makes_patches(module, call):
                mark = self.mark(y)
                self.marks[y] = _Mark(mark.layout, mark.pending | {name})

        yield module.register_forward_pre_hook(before, with_kwargs=True)
        yield module.register_forward_hook(after, with_kwargs=True, always_call=False)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [v for v in tree_leaves([args, kwargs]) if isinstance(v, Tensor)]
        before = [(self.mark(x), tuple(x.shape)) for x in given]
        out = func(*args, **kwargs)
        results = [y for y in tree_leaves(out) if isinstance(y, Tensor)]
        if not given or not results:
            return out
        name = _name(func)
        self._note(name, before)
        pending = self._settle(name, given, before)
        for y in results:
            layout = _layout(name, args, kwargs, before, tuple(y.shape))
            if pending and layout is not None and any(len(letters) > 1 for letters in layout):
                self.seen.patches |= pending
                pending = frozenset()
            self.marks[y] = _Mark(layout or (".",) * y.ndim, pending)
        return out

    def _note(self, name: str, before: list[tuple[_Mark, tuple[int, ...]]]) -> None:
        owner = self.stack[-1] if self.stack else None
        if owner is None or name not in PLANAR or type(owner).__module__.startswith("torch.nn."):
            return
        self.seen.functions.setdefault((self.names[owner], name), set()).add(before[0][0].layout)

    def _settle(self, name: str, given: list[Tensor], before: list[tuple[_Mark, tuple[int, ...]]]) -> frozenset[str]:
        """Which strided modules are still to be told downsampling from patch embedding after this function."""
        pending = frozenset().union(*(mark.pending for mark, _ in before)) - self.looked_at
        if not pending:
            return pending
        if name in _LOOKS_AROUND and any(n > 1 for n in (given[1].shape[2:] if len(given) > 1 else (2,))):
            self.looked_at |= pending  # also where a shortcut carries it past this function
            return frozenset()
        if name in _MIXES_CHANNELS:
            self.seen.patches |= pending
            return frozenset()
        return pending


def _makes_patches(module: nn.Module, call: Call) -> bool:
    """Whether windows touch and do not overlap: how patches are cut, and how some networks downsample."""
    if isinstance(module, nn.Conv2d):
        return tuple(module.kernel_size) == tuple(module.stride) != (1, 1) and len(call.given) == 4
    if isinstance(module, nn.Conv3d):
        return tuple(module.kernel_size[1:]) == tuple(module.stride[1:]) != (1, 1) and len(call.given) == 5
    return isinstance(module, nn.PixelUnshuffle)


def _name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", "")
    if name == "__get__":  # a property, as x.mT
        return str(getattr(func.__self__, "__name__", ""))  # type: ignore[attr-defined]
    return name


def _layout(
    name: str, args: Any, kwargs: Any, before: list[tuple[_Mark, tuple[int, ...]]], shape: tuple[int, ...]
) -> Layout | None:
    """The layout of a result of this shape; None = nothing is known of it."""
    layout, was = before[0][0].layout, before[0][1]
    n = len(was)
    if name in ("conv2d", "conv3d", "conv1d", "conv_transpose2d", "conv_transpose3d", "group_norm", "batch_norm"):
        return _anchored(layout, was) if len(shape) == n else None
    if name in ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "mT", "T", "mH", "H"):
        return _permuted(name, args, kwargs, layout)
    if name in _RESHAPES:
        return _reshaped(was, layout, shape)
    if name == "__getitem__":
        return _indexed(args[1], layout, len(shape))
    if name in ("select", "unbind"):
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return tuple(v for i, v in enumerate(layout) if i != dim % n)
    if name == "linear":
        return (*layout[:-1], ".")
    if name in ("matmul", "bmm", "__matmul__") and len(before) > 1 and n == len(shape) == len(before[1][1]):
        return (*layout[:-1], before[1][0].layout[-1])
    if name == "einsum":
        return _summed(args, [mark.layout for mark, _ in before], len(shape))
    if name == "stack":
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % len(shape)
        return (*layout[:dim], ".", *layout[dim:])
    return _aligned(before, shape)


def _anchored(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """What a convolution knows: its axes are (N, C, rows, columns), unless their names are known already."""
    names = {4: (".", ".", "H", "W"), 5: (".", ".", "T", "H", "W")}.get(len(layout))
    space = layout[2:]
    if names is None or max(shape[2:]) == 1:
        return layout
    if all(v == "." for v in space):
        return names
    if len(layout) == 5 and space == (".", "H", "W"):
        return names
    return layout


def _permuted(name: str, args: Any, kwargs: Any, layout: Layout) -> Layout | None:
    numbered = torch.empty(tuple(range(1, len(layout) + 1)), device="meta")
    with torch._C.DisableTorchFunction():
        if name in ("mT", "T", "mH", "H"):
            moved = getattr(numbered, name)
        else:
            moved = getattr(torch, name)(
                numbered, *_dims(name, args[1:]), **{k: v for k, v in kwargs.items() if k != "input"}
            )
    return tuple(layout[size - 1] for size in moved.shape)


def _dims(name: str, args: Any) -> Any:
    return (args,) if name == "permute" and args and isinstance(args[0], int) else args


def _reshaped(was: tuple[int, ...], layout: Layout, shape: tuple[int, ...]) -> Layout | None:
    """Axes are matched from the left by the products of their sizes; each group is joined, parted or kept."""
    out = ["."] * len(shape)
    i = j = 0
    while i < len(was) and j < len(shape):
        first, start, a, b = i, j, was[i], shape[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                if i >= len(was):
                    return None
                a, i = a * was[i], i + 1
            else:
                if j >= len(shape):
                    return None
                b, j = b * shape[j], j + 1
        names = [layout[k] for k in range(first, i) if was[k] > 1 or i - first == 1]
        places = [k for k in range(start, j) if shape[k] > 1 or j - start == 1]
        for place, name in zip(places, _regrouped(names, len(places)), strict=True):
            out[place] = name
    return tuple(out)


def _regrouped(names: list[str], parts: int) -> list[str]:
    if len(names) == parts:
        return names
    if parts == 1:
        if names and names[0] in ("H", "W") and set(names[1:]) == {"."}:  # rows and the rows within a patch
            return [names[0]]
        return ["".join(names)] if names and all(set(v) <= set("THW") for v in names) else ["."]
    if len(names) == 1 and len(names[0]) == parts:
        return list(names[0])
    if len(names) == 1 and names[0] in ("H", "W"):  # rows into patches and the rows within
        return [names[0], *["."] * (parts - 1)]
    return ["."] * parts


def _indexed(index: Any, layout: Layout, ndim: int) -> Layout | None:
    items = list(index) if isinstance(index, tuple) else [index]
    taken = sum(1 for v in items if v is not None and v is not Ellipsis)
    if any(not (v is None or v is Ellipsis or isinstance(v, int | slice)) for v in items):
        return layout if ndim == len(layout) else None
    if Ellipsis not in items:
        items.append(Ellipsis)
    out: list[str] = []
    axis = 0
    for v in items:
        if v is Ellipsis:
            rest = len(layout) - taken
            out += layout[axis : axis + rest]
            axis += rest
        elif v is None:
            out.append(".")
        else:
            out += [layout[axis]] * isinstance(v, slice)
            axis += 1
    return tuple(out) if len(out) == ndim else None


def _summed(args: Any, layouts: list[Layout], ndim: int) -> Layout | None:
    if not isinstance(args[0], str) or "->" not in args[0] or "." in args[0]:
        return None
    left, right = args[0].replace(" ", "").split("->")
    names: dict[str, str] = {}
    for letters, layout in zip(left.split(","), layouts, strict=False):
        for letter, name in zip(letters, layout, strict=False):
            if names.get(letter, ".") == ".":
                names[letter] = name
    return tuple(names.get(letter, ".") for letter in right) if len(right) == ndim else None


def _aligned(before: list[tuple[_Mark, tuple[int, ...]]], shape: tuple[int, ...]) -> Layout:
    """Of a pointwise function, a resampling or a sum: each axis keeps the first name known for it, from the right,
    unless it has shrunk to one."""
    out = ["."] * len(shape)
    for mark, was in before:
        if len(was) > len(shape) or math.prod(was) == 1:
            continue
        for k in range(1, len(was) + 1):
            if out[-k] == "." and not (shape[-k] == 1 and was[-k] > 1):
                same = shape[-k] == was[-k]
                out[-k] = mark.layout[-k] if same or len(was) == len(shape) else "."
    return tuple(out)
