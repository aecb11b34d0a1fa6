"""What `evaluate` can ask of a run beside its fidelity: a list, which one loop goes through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.measuring.accuracy_score import accuracy_score, check_asked_classes
from aliasfree.measuring.network_equivariance import network_equivariance
from aliasfree.measuring.noise_error import network_noise_error
from aliasfree.measuring.sampler_equivariance import sampler_equivariance
from aliasfree.results.columns import COLUMNS, Column, figure, register_record

if TYPE_CHECKING:
    from torch import Tensor, nn

    from aliasfree.measuring.real_images import RealImages
    from aliasfree.measuring.sample_store import SampleStore
    from aliasfree.results.metrics import Metrics

__all__ = ["MEASURES", "Measure", "Measured", "check_bounds", "check_measures", "register_measure"]

MOVED = 16
"""Samples that are made again in motion, five times."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Measured:
    """What a measure sees: a run that can be sampled, its images and the real ones, uint8 (N, C, H, W)."""

    store: SampleStore
    images: Tensor
    real: RealImages
    num_train_timesteps: int

    @property
    def unet(self) -> nn.Module:
        """The network, where it is sampled."""
        network: nn.Module = self.store.sampler.pipeline.unet
        return network


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure, or several that are found together; their columns stand on the record.

    of            makes the record
    stage         the name of its progress: "predicting noise"
    option        field of `EvaluateSettings` that asks for it; None = its name among `measures` there
    of_images     it is of the images, else of the network, and then kept when others are sampled
    check         refuses, before hours of sampling, what cannot be measured: check(store or None, real)
    is_current    whether a record that an earlier version wrote has all that this one measures
    """

    of: Callable[[Measured, Progress], Any]
    stage: str
    option: str | None = None
    of_images: bool = False
    check: Callable[[SampleStore | None, RealImages], None] | None = None
    is_current: Callable[[Any], bool] = lambda _: True

    def is_asked(self, name: str, settings: Any) -> bool:
        """Whether settings ask for it under this name."""
        return bool(getattr(settings, self.option)) if self.option else name in settings.measures


def register_measure(name: str, measure: Measure, record: Any) -> None:
    """Add a measure. `evaluate(settings with measures=(name,))` and `--measure NAME` ask for it.

    record  a class with `columns` and `from_dict`, as those of `aliasfree.results.metrics`

    Raises ArgumentError as `register_record`, and for a record that could not be read again.
    """
    columns: Sequence[Column] = getattr(record, "columns", ())
    read = getattr(record, "from_dict", None)
    if not columns or not callable(read):
        raise ArgumentError(f"The record of the measure {name!r} needs `columns`, at least one, and `from_dict`.")
    register_record(name, columns, read)
    MEASURES[name] = measure


def check_measures(names: Sequence[str]) -> None:
    """Raise ArgumentError for a name that is none, or that an option of its own asks for."""
    free = [name for name, measure in MEASURES.items() if measure.option is None]
    for name in names:
        if name in MEASURES and name not in free:
            raise ArgumentError(f"The measure {name} is asked for by `{MEASURES[name].option}=True`.")
        if name not in free:
            raise ArgumentError(f"There is no measure {name!r}{did_you_mean(name, free)}.")


def check_bounds(name: str, metrics: Metrics) -> None:
    """Raise ArgumentError where a measure gave what its columns say cannot be."""
    features = next(iter(metrics.fidelity))
    for column in COLUMNS.values():
        value = figure(column, metrics, features) if column.record == name else None
        least, most = column.bounds
        if value is not None and not (least <= value.value <= most or value.value != value.value):
            raise ArgumentError(
                f"The measure {name} gave {value.value:g} as {column.key}, outside [{least:g}, {most:g}]."
            )


MEASURES: dict[str, Measure] = {
    "equivariance": Measure(
        of=lambda seen, told: network_equivariance(seen.unet, seen.real.test, seen.num_train_timesteps, progress=told),
        stage="shifting and turning", option="equivariance",
        is_current=lambda record: record.overall.eq_t_lanczos is not None,
    ),
    "sampler": Measure(
        of=lambda seen, told: sampler_equivariance(seen.store.sampler, MOVED, progress=told),
        stage="sampling in motion", option="equivariance",
    ),
    "noise_error": Measure(
        of=lambda seen, told: network_noise_error(seen.unet, seen.real, seen.num_train_timesteps, progress=told),
        stage="predicting noise", option="noise_error",
    ),
    "accuracy_score": Measure(
        of=lambda seen, told: accuracy_score(seen.store, seen.images, seen.real, told),
        stage="learning from images", option="accuracy_score", of_images=True, check=check_asked_classes,
    ),
}  # fmt: skip
"""By the name of the record in metrics.json, in the order in which they are measured."""
