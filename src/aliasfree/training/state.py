"""The numbers of a run: network, average, optimizer and counters; what a step does to them, and their tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aliasfree.config import Config
from aliasfree.data import unit_range
from aliasfree.diffusion import make_scheduler, training_loss
from aliasfree.models.compiling import compile_network, lay_out
from aliasfree.training.checkpoint import Checkpoint, pack_optimizer, unpack_optimizer
from aliasfree.training.coarse import coarse_frame, coarse_images, coarse_spectrum, size_of
from aliasfree.training.ema import WeightAverage
from aliasfree.training.learning_rate import learning_rate
from aliasfree.training.setup import some_images
from aliasfree.training.stream import Batch, ImageStream, augment, step_generator

if TYPE_CHECKING:
    from accelerate import Accelerator


class TrainingState:
    """Everything a step reads and changes. `step` counts optimizer steps, `images_seen` images over all processes."""

    parts: tuple[str, ...] = ()
    """Names of the losses that the loss is a sum of, where they are told apart."""

    def __init__(self, settings: Any, data: Any, model: Any, accelerator: Accelerator) -> None:
        self.settings, self.data, self.accelerator, self.device = settings, data, accelerator, accelerator.device
        self.model = lay_out(model.to(self.device), self.device).train()
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names, self.parameters = [name for name, _ in trained], [p for _, p in trained]
        self.average = WeightAverage(self.model, settings.ema_decay)
        if settings.compile:
            compile_network(self.model, self.device)
        self.adamw = torch.optim.AdamW(self.parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
        self.wrapped, self.optimizer = accelerator.prepare(self.objective(), self.adamw)
        self.stream = ImageStream(
            data,
            seed=settings.seed,
            batch_size=settings.batch_size,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
        )
        self.step = 0
        self.images_seen = 0
        self.prepare_loss()

    def objective(self) -> torch.nn.Module:
        """What several processes share: the network."""
        return self.model

    def prepare_loss(self) -> None:
        """What the loss needs beside the network."""
        s = self.settings
        self.scheduler = make_scheduler("ddpm", num_train_timesteps=s.num_train_timesteps)
        weights = self.model.loss_weights(s.loss_weighting) if hasattr(self.model, "loss_weights") else None
        self.weights = None if weights is None else weights.to(self.device)
        self.whole = (getattr(self.model, "spectrum", None), self.weights)
        self.coarse = self.whole
        if s.coarse_steps and self.whole[0] is not None:
            images = some_images(self.data)
            spectrum = coarse_spectrum(images, Config.parse(s.config).is_radial)
            self.model.spectrum = spectrum
            weights = self.model.loss_weights(s.loss_weighting, size_of(images))
            self.coarse = (spectrum, weights.to(self.device))

    def is_coarse(self, step: int) -> bool:
        """Whether `step` (from 1) is one of the first, at half the side."""
        return step <= getattr(self.settings, "coarse_steps", 0)  # tuning has none

    def loss(self, batch: Batch, step: int) -> Tensor:
        """The loss of a batch, every random draw being that of (seed, rank, step).

        Where `parts` names losses that it is the sum of, they follow: (1 + K,).
        """
        s = self.settings
        x0 = unit_range(batch.images.to(self.device, non_blocking=True))
        x0, frame = augment(x0, s.augment, s.seed, batch.epochs, batch.indices)
        if s.coarse_steps:
            coarse = self.is_coarse(step)
            self.model.spectrum, self.weights = self.coarse if coarse else self.whole
            if coarse:
                x0, frame = coarse_images(x0), coarse_frame(frame)
        labels = batch.labels.to(self.device) if s.class_conditional and batch.labels is not None else None
        generator = step_generator(s.seed, self.accelerator.process_index, step, self.device)
        return training_loss(
            self.wrapped,
            x0,
            self.scheduler,
            generator,
            class_labels=labels,
            class_dropout=s.class_dropout,
            frame=frame,
            weights=self.weights,
        )

    def advance(self, total: int) -> Tensor:
        """One optimizer step of `total` in all; (loss, gradient norm) of it on the device, for which nothing waits."""
        rate = learning_rate(self.settings, self.step + 1, total)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        loss = self.loss(self.stream.next(self.images_seen), self.step + 1)
        loss, parts = (loss[0], loss[1:].detach()) if loss.ndim else (loss, loss.new_zeros(0))
        self.accelerator.backward(loss)
        norm = loss.new_zeros(())
        if self.settings.grad_clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.images_seen += self.stream.global_batch
        self.average.update(self.model, self.step)
        return torch.cat([torch.stack([loss.detach().float(), norm.detach().float()]), parts.float()])

    def settle_buckets(self) -> None:
        """A backward pass whose gradients are dropped: DistributedDataParallel orders its buckets anew after the first.

        With more than two processes the order of summation depends on it, and so would a resumed run.
        """
        self.accelerator.backward(self.loss(self.stream.read(0), 0).reshape(-1)[0])
        self.optimizer.zero_grad(set_to_none=True)

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        norms = torch.stack(torch._foreach_norm([p.detach() for p in self.parameters]))
        return bool(torch.isfinite(norms).all())

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps."""
        return {
            "model": self.model.state_dict(),
            "ema": self.average.model.state_dict(),
            "optimizer": pack_optimizer(self.adamw, self.names),
        }

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps beside tensors."""
        return {"images_seen": self.images_seen, "processes": self.accelerator.num_processes}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's numbers in place."""
        self.model.load_state_dict(checkpoint.tensors["model"])
        self.average.model.load_state_dict(checkpoint.tensors["ema"])
        unpack_optimizer(self.adamw, checkpoint.tensors["optimizer"], self.names)
        self.step = checkpoint.step
        self.images_seen = int(checkpoint.state["images_seen"])
