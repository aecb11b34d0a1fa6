"""The bars of speed and memory, and whether what was measured meets them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.results import Row

__all__ = ["BARS", "Bar", "Verdict", "judge"]


@dataclass(frozen=True)
class Bar:
    """One bar.

    what     in words
    where    the fields of `Row` that name the row
    figure   a key of the row's `ratios` (its median counts) or `values`
    sense    whether the figure must be at least or at most `limit`
    device   where the bar holds
    compiled whether it is one for compiled networks
    """

    what: str
    where: dict[str, Any]
    figure: str
    sense: Literal["at least", "at most"]
    limit: float
    device: Literal["cpu", "cuda"] = "cpu"
    compiled: bool = False


@dataclass(frozen=True)
class Verdict:
    """A bar and what was measured; `measured` and `met` are None where it was not."""

    what: str
    sense: str
    limit: float
    device: str
    measured: float | None
    met: bool | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def _op(variant: str, mode: str, shape: tuple[int, ...] = (16, 64, 32, 32), dtype: str = "float32") -> dict[str, Any]:
    return {"section": "ops", "what": "filtered GELU", "variant": variant, "mode": mode, "shape": shape, "dtype": dtype}


def _unet(variant: str, mode: str, dtype: str = "float32", shape: tuple[int, ...] = (16, 3, 32, 32)) -> dict[str, Any]:
    return {"section": "network", "variant": variant, "mode": mode, "dtype": dtype, "shape": shape}


BOTH = "forward + backward"
STEP = "training step"
BARS: tuple[Bar, ...] = (
    Bar("filtered GELU 3x3, forward, literal / ours", _op("2N", "forward"), "literal / ours", "at least", 4),
    Bar("filtered GELU 3x3, forward + backward, literal / ours", _op("2N", BOTH), "literal / ours", "at least", 5),
    Bar("filtered GELU hq, forward, literal / ours", _op("hq", "forward"), "literal / ours", "at least", 8),
    Bar("filtered GELU hq, forward + backward, literal / ours", _op("hq", BOTH), "literal / ours", "at least", 8),
    Bar(
        "filtered GELU hq, forward, over its arithmetic floor",
        _op("hq", "forward"),
        "ours / arithmetic floor",
        "at most",
        2.5,
    ),
    Bar("UNet D-2N, forward, slow build / ours", _unet("D-2N", "forward"), "slow / ours", "at least", 3.5),
    Bar("UNet D-2N, training step, slow build / ours", _unet("D-2N", STEP), "slow / ours", "at least", 3),
    Bar(
        "UNet D-2N, forward, bf16, slow build / ours",
        _unet("D-2N", "forward", "bfloat16"),
        "slow / ours",
        "at least",
        5,
    ),
    Bar(
        "UNet D-2N, training step, bf16, slow build / ours",
        _unet("D-2N", STEP, "bfloat16"),
        "slow / ours",
        "at least",
        4,
    ),
    Bar("UNet training step, D-2N / A, ours", _unet("D-2N", STEP), "ours / A", "at most", 1.2),
    Bar("UNet training step, D-hq / A, ours", _unet("D-hq", STEP), "ours / A", "at most", 1.35),
    *(
        Bar(
            f"filtered GELU {name}, extra peak memory over its input",
            {"section": "ops", "variant": filter_name, "mode": "peak memory"},
            "ours over input",
            "at most",
            1.2,
            device,
        )
        for device in ("cpu", "cuda")
        for name, filter_name in (("3x3", "2N"), ("hq", "hq"))
    ),
    Bar(
        "filtered GELU hq, bf16, (64,256,64,64), forward, over a plain copy",
        _op("hq", "forward", (64, 256, 64, 64), "bfloat16"),
        "ours / memory floor",
        "at most",
        2.0,
        "cuda",
    ),
    Bar(
        "UNet training step, D-hq / A, bf16, compiled",
        _unet("D-hq", STEP, "bfloat16", (64, 3, 32, 32)),
        "ours / A",
        "at most",
        1.15,
        "cuda",
        compiled=True,
    ),
    Bar(
        "sampling, batch 64, slow build in float32 / ours in bf16",
        {"section": "sampling", "mode": "999 steps", "shape": (64, 3, 32, 32)},
        "slow / ours bfloat16",
        "at least",
        10,
        "cuda",
    ),
)
"""The speed bars of the project. CPU bars are meant for two cores."""


def judge(rows: Iterable[Row], device: str, *, compiled: bool = False) -> list[Verdict]:
    """A verdict for every bar; those of another device, or of rows that are not there, are not measured."""
    rows = list(rows)
    return [_verdict(bar, rows if bar.device == device and compiled >= bar.compiled else []) for bar in BARS]


def _verdict(bar: Bar, rows: list[Row]) -> Verdict:
    measured = next((_figure(row, bar.figure) for row in rows if _is(row, bar.where)), None)
    met = None
    if measured is not None:
        met = measured >= bar.limit if bar.sense == "at least" else measured <= bar.limit
    return Verdict(bar.what, bar.sense, bar.limit, bar.device, measured, met)


def _is(row: Row, where: dict[str, Any]) -> bool:
    return all(getattr(row, name) == value for name, value in where.items())


def _figure(row: Row, name: str) -> float:
    return row.ratios[name].median if name in row.ratios else row.values[name]
