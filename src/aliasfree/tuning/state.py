"""The numbers of a tuning run: those of a training run, with the loss of an objective."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aliasfree.data import unit_range
from aliasfree.training.checkpoint import Checkpoint
from aliasfree.training.state import TrainingState
from aliasfree.training.stream import Batch, derived_seed, step_generator
from aliasfree.tuning.curve import Point
from aliasfree.tuning.latents import as_seen
from aliasfree.tuning.objectives import make_objective
from aliasfree.tuning.settings import TuneSettings
from aliasfree.tuning.teachers import Pair

__all__ = ["TuningState", "seen_by"]

_MOTION = 6  # tells these draws from the others of a run


class TuningState(TrainingState):
    """`points` are those of the curve so far."""

    settings: TuneSettings

    def __init__(self, settings: TuneSettings, data: Any, pair: Pair, accelerator: Any) -> None:
        self.pair = pair
        self.points: list[Point] = []
        for model in (pair.teacher, pair.autoencoder):
            if model is not None:
                model.to(accelerator.device)
        weights = settings.weights(pair.kind)
        self.parts = tuple(weights)
        self._weights = weights
        super().__init__(settings, data, pair.student, accelerator)

    def objective(self) -> torch.nn.Module:
        """The student within what makes losses of it."""
        return make_objective(self.pair, self._weights, self.device)

    def prepare_loss(self) -> None:
        """Nothing: the objective has it all."""

    def loss(self, batch: Batch, step: int) -> Tensor:
        """(1 + K,): the loss of a batch and those that it is the sum of; every draw is that of (seed, rank, step)."""
        rank, seed = self.accelerator.process_index, self.settings.seed
        noise = step_generator(seed, rank, step, self.device)
        motions = torch.Generator().manual_seed(derived_seed(_MOTION, seed, rank, step))
        x = seen_by(self.pair, batch.images.to(self.device), noise)
        losses: Tensor = self.wrapped(x, noise, motions)
        return losses

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps: of frozen weights nothing, as the teacher has them."""
        kept = super().tensors()
        frozen = {name for name, p in self.model.named_parameters() if not p.requires_grad}
        for group in ("model", "ema"):
            kept[group] = {name: tensor for name, tensor in kept[group].items() if name not in frozen}
        return kept

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps beside tensors."""
        return {**super().counters(), "points": [vars(point) for point in self.points]}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's numbers in place."""
        full = {group: named for group, named in super().tensors().items() if group != "optimizer"}
        for group, named in full.items():  # with the frozen weights, which it does not have
            checkpoint.tensors[group] = {**named, **checkpoint.tensors[group]}
        super().restore(checkpoint)
        self.points = [Point(**point) for point in checkpoint.state["points"]]


@torch.no_grad()
def seen_by(pair: Pair, images: Tensor, generator: torch.Generator) -> Tensor:
    """What the student sees of uint8 images: them in [-1, 1], or latents of them; what is float already stays."""
    if images.is_floating_point():
        return images
    x = unit_range(images)
    if pair.autoencoder is None:
        return x
    vae = pair.autoencoder
    found = vae.encode(x).latent_dist
    z = found.mean + found.std * torch.randn(found.mean.shape, generator=generator, device=x.device)
    return as_seen(vae, z)
