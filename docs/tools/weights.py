"""What a network in weights/ is held to: python docs/tools/weights.py weights/NAME ...

Measures the network on the first eight of its own samples.png, into weights/NAME/checks.json; a test measures again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aliasfree import AliasFreeUNet2DModel
from aliasfree.data import unit_range
from aliasfree.diffusion import PaperDDPMScheduler
from aliasfree.evaluation import noise_error
from aliasfree.measuring.network_equivariance import network_equivariance

COUNT, LEVEL = 8, 250
GAP = 2
"""Pixels between the samples."""


def first_samples(folder: Path) -> torch.Tensor:
    """The first eight of samples.png, ten a row, uint8 (8, C, H, W)."""
    side = json.loads((folder / "config.json").read_text())["sample_size"]
    sheet = np.asarray(Image.open(folder / "samples.png", formats=["PNG"]))
    sheet = sheet[..., None] if sheet.ndim == 2 else sheet
    scale = (sheet.shape[1] - 9 * GAP) // (10 * side)
    starts = [k * (side * scale + GAP) for k in range(COUNT)]
    tiles = [sheet[: side * scale : scale, x : x + side * scale : scale] for x in starts]
    return torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous()


def measure(folder: Path) -> dict[str, float]:
    """EQ-T_frac over all noise levels in dB, and the error of the predicted noise at one."""
    model = AliasFreeUNet2DModel.from_pretrained(folder, local_files_only=True).eval()
    images = first_samples(folder)
    overall = network_equivariance(model, images, num=COUNT, repeats=1).overall
    share = PaperDDPMScheduler().alphas_cumprod[LEVEL].expand(COUNT)

    def predict(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return model(x, LEVEL).sample

    error = noise_error(predict, unit_range(images), share).mean()
    assert overall.eq_t_frac is not None
    return {"eq_t_frac_db": round(overall.eq_t_frac.value, 1), f"noise_error_{LEVEL}": round(float(error), 5)}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        place = Path(name)
        (place / "checks.json").write_text(json.dumps(measure(place), indent=2) + "\n")
