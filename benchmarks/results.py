"""What is measured, as plain rows; the JSON file is a list of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from aliasfree.errors import ArgumentError
from benchmarks.timing import Quartiles

__all__ = ["SECTIONS", "Row", "Section", "Settings", "dtype_name"]

Section = Literal["ops", "network", "sampling", "growth"]
SECTIONS: tuple[Section, ...] = ("ops", "network", "sampling", "growth")


@dataclass(frozen=True)
class Settings:
    """What to measure, and for how long.

    device     "cpu" or "cuda"
    backend    of the ops: "auto", or a name they know
    dtype      of the ops; networks are measured in float32 and under bfloat16 autocast whatever it says
    extent     "quick": the fewest rounds, only the shapes that the bars name; "default"; "full": all sizes and widths
    bars       measure what the bars need and nothing else
    compile    `torch.compile` our networks (the slow build never)
    peer       checkout of the published code, or None
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    backend: str = "auto"
    dtype: torch.dtype = torch.float32
    extent: Literal["quick", "default", "full"] = "default"
    bars: bool = False
    compile: bool = False
    peer: str | None = None

    def __post_init__(self) -> None:
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ArgumentError("no GPU that torch can use is here: leave out --device cuda")

    @property
    def least(self) -> int:
        """The fewest rounds."""
        return 3 if self.extent == "quick" else 7

    def budget(self, seconds: float) -> float:
        """Seconds for one comparison that would like `seconds`."""
        return 0.0 if self.extent == "quick" else seconds


@dataclass(frozen=True)
class Row:
    """One comparison.

    what       the thing measured: "filtered GELU", "UNet", "sampling", ...
    variant    filter or config
    shape      of its input
    dtype      "float32", "bfloat16" (for networks: autocast), "float16"
    mode       "forward", "forward + backward", "training step", "peak memory", ...
    seconds    of one call, by contender
    ratios     by name: "literal / ours", "ours / plain", ...; a slope likewise
    values     single numbers that are no ratios of times: bytes, images/s, steps timed
    note       what a reader must know about the figures
    """

    section: Section
    what: str
    variant: str
    shape: tuple[int, ...]
    dtype: str
    mode: str
    seconds: dict[str, Quartiles] = field(default_factory=dict)
    ratios: dict[str, Quartiles] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def dtype_name(dtype: torch.dtype) -> str:
    """ "float32" and so on."""
    return str(dtype).removeprefix("torch.")
