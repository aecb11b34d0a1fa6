"""What conversion makes of every model class of diffusers, as a table.

    DIFFUSERS_SOURCE=path/to/diffusers python -m benchmarks.zoo [CLASS ...]

The small models and their inputs are those of diffusers' own tests, and for classes that have none of `zoo_models`
(float32, random weights, seed 0). A row: how many modules D-hq touches and leaves, and why those; a touched module that
gives bit for bit what the stock one gave on what it saw is named as unchanged; EQ-T in dB of a shift by one pixel along
both axes, circular padding, for A, B-hq, D-hq and T, where the model makes planes of planes of the same size. Classes
in which nothing sees a plane, and those that nothing builds, follow in a sentence.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from aliasfree import conversion_report, convert, revert
from aliasfree.conversion.operation import conversion_of
from aliasfree.errors import AliasfreeError
from aliasfree.evaluation.equivariance import grid_agreement
from benchmarks.zoo_models import small_models

CONFIGS = ("A", "B-hq", "D-hq", "T")

TOKENS = (
    "acts on tokens", "acts on signals", "sees embeddings", "normalises each position alone",
    "softmax over positions", "makes tokens of patches", "not called",
)  # fmt: skip
"""Beginnings of reasons for which modules are left that see no planes."""


def classes(source: Path, wanted: list[str]) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """A model and inputs of each class, in the order of diffusers' test files."""
    sys.path.insert(0, str(source))
    seen: set[str] = set()
    for file in sorted((source / "tests" / "models").rglob("test_models_*.py")):
        name = ".".join(file.relative_to(source).with_suffix("").parts)
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        members: dict[str, Any] = vars(module)
        for kind, tester in list(members.items()):
            if not (inspect.isclass(tester) and tester.__module__ == name and hasattr(tester, "get_init_dict")):
                continue
            if not kind.endswith("TesterConfig"):
                continue
            config: Any = tester()
            cls = config.model_class
            if cls.__name__ in seen or (wanted and cls.__name__ not in wanted):
                continue
            seen.add(cls.__name__)
            torch.manual_seed(0)
            try:
                yield cls(**config.get_init_dict()).eval().requires_grad_(False), config.get_dummy_inputs()
            except Exception as error:
                print(f"{cls.__name__}: {type(error).__name__}: {error}", file=sys.stderr)


def unchanged(model: nn.Module, inputs: dict[str, Any]) -> list[str]:
    """Modules that say they are touched and give bit for bit what the stock module gave. Converts the model to D-hq."""
    given: dict[str, tuple[Any, Any, Any]] = {}
    named = dict(model.named_modules())

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            planes = [v for v in tree_leaves([args, kwargs]) if isinstance(v, Tensor) and v.ndim >= 4]
            if planes and name not in given:
                given[name] = args, kwargs, out

        return hook

    handles = [m.register_forward_hook(keep(name), with_kwargs=True) for name, m in named.items() if name]
    model(**inputs)
    for handle in handles:
        handle.remove()
    convert(model, "D-hq", inputs=inputs)
    same = []
    for entry in conversion_report(model, inputs).touched:
        if entry.name in given and entry.kind != "Conv2d" and "tells its" not in entry.text:
            args, kwargs, out = given[entry.name]
            pairs = zip(tree_leaves(named[entry.name](*args, **kwargs)), tree_leaves(out), strict=True)
            if all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor)):
                same.append(entry.name)
    return same


def equivariance(model: nn.Module, inputs: dict[str, Any], config: str) -> float | None:
    """EQ-T in dB with circular padding; None = the output is no plane of the input's size."""
    (main, x), *_ = inputs.items()
    if not isinstance(x, Tensor) or x.ndim not in (4, 5):
        return None
    others = {k: v for k, v in inputs.items() if k != main}
    plain = {"return_dict": False} if "return_dict" in inspect.signature(model.forward).parameters else {}

    def call(v: Tensor) -> Tensor:
        if isinstance(others.get("generator"), torch.Generator):
            others["generator"].manual_seed(0)
        out = next(y for y in tree_leaves(model(**{main: v.reshape(x.shape)}, **others, **plain)))
        return out.reshape(len(v), -1, *out.shape[-2:])

    try:
        convert(model, config, padding_mode="circular", inputs=inputs)
        flat = x.reshape(len(x), -1, *x.shape[-2:])
        if call(flat).shape[-2:] != flat.shape[-2:]:
            return None
        return grid_agreement(call, flat, lambda v: v.roll((1, 1), (2, 3))).db
    finally:
        if conversion_of(model) is not None:
            revert(model)


def row(model: nn.Module, inputs: dict[str, Any]) -> str:
    """A line of the table; "" = nothing in the model sees a plane."""
    name = type(model).__name__
    try:
        lies = unchanged(model, inputs)
        report = conversion_report(model, inputs)
        revert(model)
    except AliasfreeError as error:
        return f"| {name} | refused: {first_line(error)} | | |"
    touched = Counter(e.kind for e in report.touched)
    left = Counter((e.kind, e.text) for e in report.left if "linear, does not alias" not in e.text)
    if not touched and all(text.startswith(TOKENS) for _, text in left):
        return ""
    parts = ", ".join(f"{n} {kind}" for kind, n in touched.items()) or "nothing"
    if lies:
        parts += f" (unchanged: {', '.join(lies)})"
    reasons = "; ".join(f"{n} {kind}: {text}" for (kind, text), n in left.most_common(3))
    return f"| {name} | {parts} | {reasons} | {figures(model, inputs) if touched else ''} |"


def figures(model: nn.Module, inputs: dict[str, Any]) -> str:
    """EQ-T of each config; a config that cannot be had says so."""
    found = []
    for config in CONFIGS:
        try:
            decibels = equivariance(model, inputs, config)
        except AliasfreeError:  # "ideal" filters need even planes
            found.append("refused")
            continue
        if decibels is None:
            return ""
        found.append(f"{decibels:.1f}")
    return " -> ".join(found)


def first_line(error: Exception) -> str:
    """So much of an error as goes into a cell."""
    return (str(error).splitlines() or [type(error).__name__])[0][:150]


def not_seen(seen: set[str]) -> list[str]:
    """Model classes of diffusers of which there was no model."""
    missing = []
    for name in dir(diffusers):
        try:
            cls = getattr(diffusers, name)
        except (ImportError, RuntimeError, AttributeError):  # needs a library that is not there
            continue
        if inspect.isclass(cls) and issubclass(cls, ModelMixin) and cls.__name__ not in (*seen, "ModelMixin"):
            missing.append(cls.__name__)
    return sorted(set(missing))


def main() -> None:
    """Print the table, in Markdown."""
    source = os.environ.get("DIFFUSERS_SOURCE")
    if not source:
        sys.exit("set DIFFUSERS_SOURCE to a checkout of diffusers, whose tests hold the models")
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    wanted = sys.argv[1:]
    print("| class | converted by D-hq | left (the three most) | EQ-T A -> B-hq -> D-hq -> T, dB |")
    print("| --- | --- | --- | --- |")
    seen: set[str] = set()
    tokens = []
    for model, inputs in chain(classes(Path(source), wanted), small_models(wanted)):
        name = type(model).__name__
        if name in seen:
            continue
        seen.add(name)
        try:
            line = row(model, inputs)
        except Exception as error:
            line = f"| {name} | failed: {type(error).__name__}: {first_line(error)} | | |"
        if line:
            print(line, flush=True)
        else:
            tokens.append(name)
    print(f"\nNothing sees a plane in {len(tokens)} classes: {', '.join(sorted(tokens))}.")
    if not wanted:
        missing = not_seen(seen)
        print(f"\nOf {len(missing)} classes there is no small model: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
