"""The loss of one step, for an autoencoder and for a UNet: a sum of losses by their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aliasfree.tuning.losses import draw_shift, motion_error, perceptual, shift_error, smaller, squared_error
from aliasfree.tuning.teachers import Pair

__all__ = ["AutoencoderObjective", "UNetObjective", "make_objective", "target_of"]


class Objective(nn.Module):
    """The student as a module whose forward gives losses, so that accelerate can wrap both in one.

    forward(x, device_generator, generator) -> (1 + K,): the weighted sum, and each of the K losses of `names`. The
    teacher is no part of it: it is neither trained nor saved.
    """

    def __init__(self, pair: Pair, weights: dict[str, float]) -> None:
        super().__init__()
        self.student = pair.student
        self.names = tuple(weights)
        self._weights, self._others = weights, (pair,)  # in a tuple, where torch does not look for modules

    @property
    def pair(self) -> Pair:
        """Teacher, student and what belongs to them."""
        return self._others[0]

    def total(self, found: dict[str, Tensor]) -> Tensor:
        """The weighted sum, and beside it each loss."""
        whole = torch.stack([self._weights[name] * found[name] for name in self.names]).sum()
        return torch.stack([whole, *(found[name].detach() for name in self.names)])

    def turned_and_flipped(
        self, function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """What is asked of these losses: a moved x against the moved y, by one quarter turn or flip for the batch."""
        found = {}
        if "turn" in self._weights:
            k = int(torch.randint(1, 4, (), generator=generator))
            found["turn"] = motion_error(function, x, y, lambda v: v.rot90(k, (2, 3)))
        if "flip" in self._weights:
            axis = 2 + int(torch.randint(2, (), generator=generator))
            found["flip"] = motion_error(function, x, y, lambda v: v.flip(axis))
        return found


class AutoencoderObjective(Objective):
    """x images (N, C, H, W) in [-1, 1].

    latents         means and deviations of the posterior against the teacher's, over the variance of its means
    teacher         the decoded latents of the teacher against what it decodes itself
    reconstruction  the decoded sample of the posterior against x
    perceptual, kl  of the same sample; of the posterior, a mean over elements
    shift, fractional  of encoder (over the variance of the latents) and decoder
    scale, turn, flip  the decoded moved latents against the moved x
    """

    def __init__(self, pair: Pair, weights: dict[str, float], device: torch.device) -> None:
        super().__init__(pair, weights)
        self.factor = pair.factor
        self._distance = perceptual(device) if "perceptual" in weights else None

    def forward(self, x: Tensor, noise: torch.Generator, generator: torch.Generator) -> Tensor:
        """The losses of a batch."""
        student, teacher, asked = self.student, self.pair.teacher, self._weights
        found: dict[str, Tensor] = {}
        posterior = student.encode(x).latent_dist
        mean, std = posterior.mean, posterior.std
        z = mean + std * torch.randn(mean.shape, generator=noise, device=mean.device, dtype=mean.dtype)
        with torch.no_grad():
            theirs = teacher.encode(x).latent_dist
            power = theirs.mean.float().var()
            if "teacher" in asked:
                right = teacher.decode(theirs.mean).sample
        if "latents" in asked:
            found["latents"] = (squared_error(mean, theirs.mean) + squared_error(std, theirs.std)) / power
        if "teacher" in asked:
            found["teacher"] = squared_error(student.decode(theirs.mean).sample, right)
        if "kl" in asked:
            found["kl"] = 0.5 * (mean**2 + std**2 - 1 - 2 * std.log()).float().mean()
        if {"reconstruction", "perceptual", "shift", "fractional"} & asked.keys():
            y = student.decode(z).sample
            found["reconstruction"] = squared_error(y, x)
        if self._distance is not None:
            found["perceptual"] = self._distance(y, x)
        for name in ("shift", "fractional"):
            if name in asked:
                shift = draw_shift(len(x), (z.shape[2], z.shape[3]), name == "fractional", generator)
                images = (shift[0] * self.factor, shift[1] * self.factor)
                found[name] = shift_error(
                    lambda v: student.encode(v).latent_dist.mean, x, mean, images, 1 / self.factor, self.pair.periodic
                ) / power + shift_error(
                    lambda v: student.decode(v).sample, z, y, shift, self.factor, self.pair.periodic
                )
        if "scale" in asked:
            found["scale"] = self._scaled(x, z, generator)
        found |= self.turned_and_flipped(lambda v: student.decode(v).sample, z, x, generator)
        return self.total(found)

    def _scaled(self, x: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """At a size between a quarter and the whole, even in latents, which filters without edges ask for."""
        height, width = z.shape[2:]
        sizes = [k for k in range(max(2, height // 4), height) if k % 2 == 0 and (k * width) % height == 0]
        sizes = [k for k in sizes if (k * width // height) % 2 == 0] or [height]
        k = sizes[int(torch.randint(len(sizes), (), generator=generator))]
        small = (k, k * width // height)
        image = (small[0] * self.factor, small[1] * self.factor)
        return squared_error(self.student.decode(smaller(z, small)).sample, smaller(x, image))


class UNetObjective(Objective):
    """x images or latents (N, C, H, W), to which noise of a random level is added.

    teacher            the student's output against the teacher's
    reconstruction     against what the scheduler's kind of prediction is the truth
    shift, fractional, turn, flip  the output of the moved input against the moved output
    """

    def forward(self, x: Tensor, noise: torch.Generator, generator: torch.Generator) -> Tensor:
        """The losses of a batch."""
        pair, asked = self.pair, self._weights
        draw = torch.randn(x.shape, generator=noise, device=x.device, dtype=x.dtype)
        levels = int(pair.scheduler.config["num_train_timesteps"])
        times = torch.randint(levels, (len(x),), generator=generator).to(x.device)
        told = {}
        if pair.embeddings is not None:
            rows = torch.randint(len(pair.embeddings), (len(x),), generator=generator)
            told["encoder_hidden_states"] = pair.embeddings[rows].to(x.device)
        noised = pair.scheduler.add_noise(x, draw, times)
        channels = x.shape[1]

        def ask(v: Tensor) -> Tensor:
            out: Tensor = self.student(v, times, **told).sample[:, :channels]
            return out

        y = ask(noised)
        found: dict[str, Tensor] = {}
        if "teacher" in asked:
            with torch.no_grad():
                theirs = pair.teacher(noised, times, **told).sample[:, :channels]
            found["teacher"] = squared_error(y, theirs)
        if "reconstruction" in asked:
            found["reconstruction"] = squared_error(y, target_of(pair.scheduler, x, draw, times))
        for name in ("shift", "fractional"):
            if name in asked:
                shift = draw_shift(len(x), (x.shape[2], x.shape[3]), name == "fractional", generator)
                found[name] = shift_error(ask, noised, y, shift, 1, pair.periodic)
        found |= self.turned_and_flipped(ask, noised, y, generator)
        return self.total(found)


def make_objective(pair: Pair, weights: dict[str, float], device: torch.device) -> Objective:
    """The objective of a pair whose models are on the device."""
    if pair.kind == "unet":
        return UNetObjective(pair, weights)
    return AutoencoderObjective(pair, weights, device)


def target_of(scheduler: Any, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """What a network of the scheduler's kind of prediction is to say: the noise, the image, or the velocity."""
    kind = scheduler.config["prediction_type"]
    if kind == "sample":
        return x
    target: Tensor = scheduler.get_velocity(x, noise, times) if kind == "v_prediction" else noise
    return target
