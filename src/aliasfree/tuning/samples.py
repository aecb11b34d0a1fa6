"""The teacher's own samples, where there are no data: images or latents, made once and kept in the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliasfree.data.images import Planes
from aliasfree.errors import CheckpointError
from aliasfree.files import write_file
from aliasfree.training.stream import derived_seed
from aliasfree.tuning.latents import as_decoded
from aliasfree.tuning.teachers import Pair

__all__ = ["Pool", "draw", "own_samples"]

_SEED = 5  # tells these draws from the others of a run
BATCH = 32


class Pool(Planes):
    """What `ImageStream` asks of data: float32 images in [-1, 1], or latents, (N, C, H, W)."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.numpy()
        self.labels = None
        self.source, self.split, self.class_names = "samples of the teacher", "train", None
        self.skipped: tuple[str, ...] = ()
        self.fingerprint = hashlib.sha256(np.ascontiguousarray(self.images).tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def write(self, file: Path) -> None:
        """Keep them, for `own_samples`."""
        from safetensors.torch import save

        write_file(file, save({"samples": torch.from_numpy(self.images).contiguous()}))


def own_samples(
    pair: Pair, file: Path, n: int, steps: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Pool:
    """n samples of the teacher, read from `file` or, where it is not there, made.

    Of a UNet: DDIM with so many steps. Of an autoencoder: what it decodes from normally distributed latents of the
    mean and variance that its config tells.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if file.is_file():
        try:
            return Pool(load_file(file)["samples"])
        except (SafetensorError, KeyError) as error:
            raise CheckpointError(f"{file} is damaged ({error}); remove it, and the samples are made again.") from error
    ask = pair.teacher
    if pair.kind == "unet":
        found = draw(pair, ask, n, steps, seed, progress)
    else:
        with torch.no_grad():
            shape = (
                ask.encode(torch.zeros(1, pair.channels, *pair.size, device=ask.device)).latent_dist.mode().shape[1:]
            )
            parts = []
            for start in range(0, n, BATCH):
                z = _noise((min(BATCH, n - start), *shape), seed, start).to(ask.device)
                parts.append(ask.decode(as_decoded(ask, z)).sample.clamp(-1, 1).cpu())
                if progress is not None:
                    progress(min(start + BATCH, n), n)
            found = torch.cat(parts)
    return Pool(found.float())


@torch.no_grad()
def draw(
    pair: Pair, unet: Any, n: int, steps: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """n samples of a UNet by DDIM, float32 on the CPU; the same noise and embeddings for the same seed."""
    from diffusers import DDIMScheduler

    device = next(unet.parameters()).device
    parts = []
    for start in range(0, n, BATCH):
        count = min(BATCH, n - start)
        scheduler = DDIMScheduler.from_config(pair.scheduler.config, clip_sample=pair.autoencoder is None and
                                              pair.channels in (1, 3))  # fmt: skip
        scheduler.set_timesteps(steps)
        x = _noise((count, pair.channels, *pair.size), seed, start).to(device)
        told = {}
        if pair.embeddings is not None:
            rows = (start + torch.arange(count)) % len(pair.embeddings)
            told["encoder_hidden_states"] = pair.embeddings[rows].to(device)
        for t in scheduler.timesteps:
            out = unet(x, t, **told).sample[:, : pair.channels]
            x = scheduler.step(out, t, x).prev_sample
        parts.append(x.float().cpu())
        if progress is not None:
            progress(start + count, n)
    return torch.cat(parts)


def _noise(shape: tuple[int, ...], seed: int, start: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(derived_seed(_SEED, seed, start)))
