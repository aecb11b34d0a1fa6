"""A network and a scheduler, ready to sample: the settings of a set of images, and `Sampler`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aliasfree.devices import find_device
from aliasfree.diffusion.names import MAX_DEGREES, METHODS, NOISE, NOISES, ZOOMS
from aliasfree.diffusion.registry import SCHEDULERS
from aliasfree.errors import ArgumentError, check_seed
from aliasfree.settings import Settings, at_least, between, one_of, option

if TYPE_CHECKING:
    from aliasfree.sampling.denoisers import DenoiserFolder
    from aliasfree.training import RunFolder

__all__ = ["MotionSettings", "Pixels", "Report", "SampleSettings", "Sampler"]

Report = Callable[[int, int], None]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class MotionSettings(Settings):
    """What happens to the image while it is sampled; the arguments of `AliasFreePipeline` of the same names.

    Raises ArgumentError for a value out of range.
    """

    rotate: float = option(0.0, "Degrees, counter-clockwise.", between(-MAX_DEGREES, MAX_DEGREES))
    translate: tuple[float, float] = option((0.0, 0.0), "Pixels down, pixels right.")
    zoom: float = option(1.0, "Factor; above 1 enlarges.", between(*ZOOMS))
    method: str = option(METHODS[0], "How images are moved.", one_of(METHODS))
    noise: str = option(NOISE, "What injected noise does meanwhile.", one_of(NOISES))
    schedule: tuple[float, float] | None = option(
        None, "Share of sampling in which it happens.", none="the network's default"
    )

    def check(self) -> None:
        if self.schedule is not None and not 0 <= self.schedule[0] <= self.schedule[1] <= 1:
            raise ArgumentError(f"`schedule` is a pair 0 <= start <= end <= 1 of progress, not {self.schedule}.")


def _known_scheduler(name: str, value: str, tail: str) -> None:
    one_of(tuple(SCHEDULERS))(name, value, tail)  # those registered by now


@dataclass(frozen=True, kw_only=True)
class SampleSettings(Settings):
    """How images are sampled. Raises ArgumentError for a value out of range."""

    steps: int = option(50, "Sampling steps, up to one less than the network was trained with.", at_least(1))
    scheduler: str = option("ddpm", "A name in `SCHEDULERS`.", _known_scheduler)
    seed: int = option(0, "Image i of a seed is the same in any batch.")
    class_label: int | str | None = option(None, "A class, or 'each' for one after the other.", none="no class")
    guidance: float = option(1.0, "Classifier-free guidance scale; 1 is off.")
    batch_size: int = option(64, "Images sampled at a time.", at_least(1))
    ema: bool = option(True, "Use the averaged weights.")
    compile: bool = option(False, "torch.compile the network, as a CUDA graph on a GPU: a slow start.")

    def check(self) -> None:
        check_seed(self.seed)
        if isinstance(self.class_label, str) and self.class_label != "each":
            raise ArgumentError(f"`class_label` is a whole number or 'each', not {self.class_label!r}.")
        if self.guidance != 1 and self.class_label is None:
            raise ArgumentError("`guidance` strengthens a class, so it needs `class_label`.")


class Sampler:
    """A run's network and a scheduler, ready to sample image number i of a seed, whatever else is in the batch.

    run   the run, or a folder of diffusers that can be sampled like one
    unet  its network, loaded already; None = it is loaded
    """

    def __init__(
        self,
        run: RunFolder | DenoiserFolder,
        settings: SampleSettings,
        device: str = "auto",
        *,
        unet: Any | None = None,
    ) -> None:
        chosen = find_device(device)
        from aliasfree.config import Config
        from aliasfree.diffusion import AliasFreePipeline, make_scheduler
        from aliasfree.diffusion.clipping import FINE_RATE
        from aliasfree.models.compiling import compile_network, lay_out

        self.settings = settings
        num_train_timesteps = run.num_train_timesteps
        if settings.steps > num_train_timesteps - 1:
            raise ArgumentError(
                f"`steps` must be at most {num_train_timesteps - 1}, one less than the time steps of the training, "
                f"not {settings.steps}."
            )
        unet = run.load_model(ema=settings.ema) if unet is None else unet
        self.num_classes: int | None = unet.config.num_class_embeds
        self._check_class(run.path)
        fine = bool(Config.parse(unet.config.get("alias_free", "A")).traits.motions)
        scheduler = make_scheduler(settings.scheduler, num_train_timesteps, FINE_RATE if fine else 1)
        pipeline: Any = AliasFreePipeline(unet, scheduler)
        self.pipeline = pipeline.to(chosen)
        lay_out(unet, chosen)
        if settings.compile:
            compile_network(unet, chosen, sampling=True)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of its images."""
        size = self.pipeline.unet.config["sample_size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def _check_class(self, run: Path) -> None:
        label, count = self.settings.class_label, self.num_classes
        if label is None:
            return
        if count is None:
            raise ArgumentError(
                f"The network in {run} was trained without classes; leave out `class_label`, or train with "
                "`class_conditional=True`."
            )
        if label != "each" and not (isinstance(label, int) and 0 <= label < count):
            raise ArgumentError(f"`class_label` must be 0 to {count - 1} or 'each', not {label}.")

    def sample(
        self,
        indices: Sequence[int],
        motion: MotionSettings,
        angles: Sequence[float] | None = None,
        progress: Report | None = None,
    ) -> Pixels:
        """Images number `indices` of the seed, an index as often as you like: uint8 (N, H, W, C).

        angles    degrees for each image; None = `motion.rotate` for all
        progress  called with (image steps done, image steps in all)
        """
        from aliasfree.diffusion import sample_generators

        sampled: list[Pixels] = []
        steps, size = self.settings.steps, self.settings.batch_size
        for start in range(0, len(indices), size):
            part = list(indices[start : start + size])
            moving = dataclasses.asdict(motion)
            if angles is not None:
                moving["rotate"] = list(angles[start : start + size])

            def report(step: int, _: int, before: int = start * steps, n: int = len(part)) -> None:
                if progress is not None:
                    progress(before + step * n, len(indices) * steps)

            output = self.pipeline(
                batch_size=len(part),
                num_inference_steps=steps,
                class_labels=self.labels(part),
                guidance_scale=self.settings.guidance,
                generator=sample_generators(self.settings.seed, part),
                progress=report,
                **moving,
            )
            pixels = np.stack([np.asarray(image) for image in output.images])
            sampled.append(pixels[..., None] if pixels.ndim == 3 else pixels)
        return np.concatenate(sampled)

    def labels(self, indices: Sequence[int]) -> Any:
        """The class that each image is asked for, as the pipeline takes it; None = no class."""
        import torch

        label = self.settings.class_label
        if label is None:
            return None
        if label == "each":
            assert self.num_classes is not None
            return torch.tensor([i % self.num_classes for i in indices])
        return torch.full((len(indices),), int(label))
