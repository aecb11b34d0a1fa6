"""The published code's sampling, end to end: same weights, same noise, same images, all 49 steps of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aliasfree.diffusion import AliasFreePipeline, PaperDDPMScheduler
from aliasfree.models import AliasFreeUNet2DModel

BAR = 5e-5


@pytest.fixture(scope="module")
def published_weights(keymap) -> dict[str, Tensor]:
    """State dict under Config A's published names: a fresh network after torch seed 1234, drawn module by module.

    6 MB that need not be stored: the golden set's weights are PyTorch's default initialisation, in this order.
    """
    names = [row[0] for row in keymap]
    shapes = dict(zip(names, (p.shape for p in AliasFreeUNet2DModel("A", 16, 1, 1).state_dict().values()), strict=True))
    state: dict[str, Tensor] = {}
    torch.manual_seed(1234)
    for name in dict.fromkeys(n.rpartition(".")[0] for n in names):
        if f"{name}.in_proj_weight" in shapes:
            module: nn.Module = nn.MultiheadAttention(shapes[f"{name}.in_proj_weight"][1], 4)
        elif name.endswith(".out_proj"):
            continue  # part of the attention above
        else:
            shape = shapes[f"{name}.weight"]
            module = {
                4: lambda s=shape, b=f"{name}.bias" in shapes: nn.Conv2d(s[1], s[0], s[2], bias=b),
                2: lambda s=shape: nn.Linear(s[1], s[0]),
                1: lambda s=shape: nn.GroupNorm(1, s[0]),
            }[len(shape)]()
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    assert list(state) == names
    return state


@pytest.mark.parametrize(("variant", "config"), [("v0", "A"), ("v3", "D-2N")])
@pytest.mark.parametrize("theta", ["none", "45"])
def test_the_published_samples_come_out(golden, published_weights, variant: str, config: str, theta: str) -> None:
    g, run = golden("sampling_c1_s16"), f"{variant}.theta_{theta}"
    unet = AliasFreeUNet2DModel.from_reference(published_weights, config, 16).eval()
    pipeline = AliasFreePipeline(unet, PaperDDPMScheduler(50))
    pipeline.set_progress_bar_config(disable=True)

    def sample(output_type: str) -> Any:
        return pipeline(
            batch_size=2,
            rotate=0.0 if theta == "none" else float(theta),
            schedule=(0.0, 1.0),
            noise="independent",
            method="spline",
            latents=g["x_T"],
            step_noise=g["noise"][1:].flip(0),
            output_type=output_type,
            return_frames=True,
        )

    unit = sample("pt")
    # frame i is the state after step t = 49 - i, clipped to [-1, 1] and brought to [0, 1]
    expected = (g[f"{run}.x"][1:].flip(0) / 2 + 0.5).clamp(0, 1)
    assert (unit.frames - expected).abs().max() < BAR / 2
    final = (g[f"{run}.x_final_f64"] / 2 + 0.5).clamp(0, 1)
    assert (unit.images - final).abs().max() < BAR / 2
    if theta == "45":  # and in every pixel, cut off as published
        pixels = np.stack([np.asarray(image) for image in sample("pil").images])
        off = np.abs(pixels.astype(int) - g[f"{run}.uint8"][:, 0].numpy())
        # rounding may carry a number over the edge of a level here and there; rounding to the nearest would half of all
        assert off.max() <= 1
        assert (off > 0).mean() < 0.01
