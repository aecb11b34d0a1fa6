"""Networks against each other, made ready to be called again and again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aliasfree.diffusion import PaperDDPMScheduler, training_loss
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.models.compiling import lay_out
from benchmarks.slow_unet import SlowUNet
from benchmarks.timing import Function

__all__ = ["forward_call", "make_network", "slow_build", "training_call"]

LEARNING_RATE = 3e-4


def make_network(config: str, shape: tuple[int, ...], device: torch.device, base_channels: int | None = None) -> Any:
    """Our UNet for images of `shape`, the same weights every time, laid out as `aliasfree train` does, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AliasFreeUNet2DModel(config, (shape[2], shape[3]), shape[1], shape[1], base_channels=base_channels)
    return lay_out(model.to(device), device).eval()


def forward_call(model: Any, shape: tuple[int, ...], device: torch.device, autocast: bool) -> Function:
    """A prediction without gradients, in float32 or under bfloat16 autocast."""
    x = torch.randn(shape, device=device)
    t = torch.randint(1, 1000, shape[:1], device=device)

    def forward() -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            predicted: Tensor = model(x, t).sample
        return predicted

    return forward


def training_call(model: Any, shape: tuple[int, ...], device: torch.device, autocast: bool) -> Function:
    """A step of the paper's training: loss, backward pass, AdamW.

    Ours uses the fused AdamW that `aliasfree train` uses, others the default one that the published code uses.
    """
    model.train()
    fused = True if isinstance(_bare(model), AliasFreeUNet2DModel) else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=fused)
    scheduler, generator = PaperDDPMScheduler(), torch.Generator(device).manual_seed(0)
    images = torch.rand(shape, device=device) * 2 - 1

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = training_loss(model, images, scheduler, generator)
        loss.backward()
        optimizer.step()

    return step


def slow_build(config: str, shape: tuple[int, ...], device: torch.device) -> SlowUNet:
    """The slow build of `make_network`'s model."""
    return SlowUNet(make_network(config, shape, device)).eval()


def _bare(model: Any) -> Any:
    """The module inside a compiled one."""
    return getattr(model, "_orig_mod", model)
