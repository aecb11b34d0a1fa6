"""Latent diffusion on two autoencoders, a stock one and a tuned one: is what is learned from tuned latents worse?

    python -m benchmarks.latents STOCK TUNED --train train.npy --test test.npy [--steps 3000] [--num 1300] [--seeds 3]

The images are uint8 (N, H, W, C), as NumPy's .npy. For each seed and autoencoder a small stock UNet2DModel learns the
latents (each channel brought to mean 0 and variance 1), draws `num` images by 50 steps of DDIM, and is compared with
test images by KID x 1000 of EfficientNet's features (the Frechet distance of so few images is mostly bias). First that
of each autoencoder's reconstructions, then a row a seed, then the mean of the differences with its 95 % interval
(Student's t, paired by seed).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.nn import functional

from aliasfree.data import unit_range
from aliasfree.evaluation.comparison import paired_difference
from aliasfree.evaluation.features import Features, extract
from aliasfree.evaluation.fidelity import kernel_estimate
from aliasfree.evaluation.pretrained import EfficientNetFeatures
from aliasfree.tuning.teachers import open_autoencoder

BATCH = 64


@dataclass(frozen=True)
class Latents:
    """Those of the training images, (N, c, h, w), each channel of mean 0 and variance 1, and the way back."""

    autoencoder: Any
    values: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, autoencoder: Any, images: Tensor) -> Latents:
        """The most probable latents of images, uint8 (N, C, H, W)."""
        with torch.no_grad():
            z = torch.cat([autoencoder.encode(unit_range(part)).latent_dist.mode() for part in images.split(BATCH)])
        mean, std = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), keepdim=True)
        return cls(autoencoder, (z - mean) / std, mean, std)

    def images(self, values: Tensor) -> Tensor:
        """uint8 (N, C, H, W) of such latents."""
        parts = (self.autoencoder.decode(part * self.std + self.mean).sample for part in values.split(BATCH))
        return torch.cat([((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8) for x in parts])


def learned(latents: Latents, steps: int, seed: int, width: int) -> UNet2DModel:
    """A stock denoiser of the latents (`width` channels at the full side, twice as many at the half), averaged."""
    torch.manual_seed(seed)
    _, channels, side, _ = latents.values.shape
    unet = UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels, layers_per_block=1,
        block_out_channels=(width, 2 * width), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = DDIMScheduler(clip_sample=False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.05)
    average = EMAModel(unet.parameters(), decay=0.999)
    for _ in range(steps):
        x = latents.values[torch.randint(len(latents.values), (BATCH,))]
        t, noise = torch.randint(scheduler.config.num_train_timesteps, (BATCH,)), torch.randn_like(x)
        loss = functional.mse_loss(unet(scheduler.add_noise(x, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        average.step(unet.parameters())
    average.copy_to(unet.parameters())
    return unet.eval()


@torch.no_grad()
def drawn(unet: UNet2DModel, latents: Latents, num: int, seed: int) -> Tensor:
    """`num` images, uint8 (num, C, H, W), from the same noise for every autoencoder whose latents have one shape."""
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(50)
    x = torch.randn((num, *latents.values.shape[1:]), generator=torch.Generator().manual_seed(seed))
    for t in scheduler.timesteps:
        predicted = torch.cat([unet(part, t).sample for part in x.split(BATCH)])
        x = scheduler.step(predicted, t, x).prev_sample
    return latents.images(x)


def _load(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path)).permute(0, 3, 1, 2).contiguous()


def _distance(images: Tensor, real: Features, extractor: EfficientNetFeatures) -> float:
    return 1000 * kernel_estimate(extract(extractor, images).values, real.values).value


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stock", type=Path)
    parser.add_argument("tuned", type=Path)
    for name in ("--train", "--test"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--num", type=int, default=1300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=64)
    given = parser.parse_args()
    train, test = _load(given.train), _load(given.test)
    extractor = EfficientNetFeatures()
    real = extract(extractor, test[: 2 * given.num])
    both = [Latents.of(open_autoencoder(folder), train) for folder in (given.stock, given.tuned)]
    with torch.no_grad():
        again = [_distance(x.images(x.values[: given.num]), real, extractor) for x in both]
    print(f"reconstructions: stock {again[0]:.2f}, tuned {again[1]:.2f}", flush=True)
    found: list[list[float]] = []
    for seed in range(given.seeds):
        unets = (learned(x, given.steps, seed, given.width) for x in both)
        images = [drawn(unet, x, given.num, seed) for unet, x in zip(unets, both, strict=True)]
        found.append([_distance(x, real, extractor) for x in images])
        print(f"seed {seed}: stock {found[-1][0]:.2f}, tuned {found[-1][1]:.2f}", flush=True)
    stock, tuned = zip(*found, strict=True)
    print(f"tuned less stock: {paired_difference(tuned, stock)[0].text()}")


if __name__ == "__main__":
    main()
