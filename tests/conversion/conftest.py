"""Small random models of every class that converts, and how each is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn

SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4}
UNET = {
    **SMALL,
    "sample_size": 16,
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
CONDITION = {
    **SMALL,
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
}
SKIP = {
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
}

ZOO: dict[str, Callable[[], nn.Module]] = {
    "UNet2DModel": lambda: UNet2DModel(**UNET),
    "UNet2DModel, pooling": lambda: UNet2DModel(**UNET, downsample_type="resnet", upsample_type="resnet"),
    "UNet2DModel, skip blocks": lambda: UNet2DModel(**SKIP),
    "UNet2DConditionModel": lambda: UNet2DConditionModel(
        **CONDITION, sample_size=16, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")
    ),
    "AutoencoderKL": lambda: AutoencoderKL(
        **SMALL,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    "ControlNetModel": lambda: ControlNetModel(**CONDITION, conditioning_embedding_out_channels=(4, 8)),
}


def arguments(model: nn.Module, size: tuple[int, int], batch: int = 2, seed: int = 0) -> dict[str, Any]:
    """Arguments of a call with planes of this size, in the dtype of the model."""
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(model.dtype)

    inputs: dict[str, Any] = {"sample": noise(batch, model.config["in_channels"], *size)}
    if not isinstance(model, AutoencoderKL):
        inputs["timestep"] = torch.tensor(7)
    if isinstance(model, UNet2DConditionModel | ControlNetModel):
        inputs["encoder_hidden_states"] = noise(batch, 5, 8)
    if isinstance(model, ControlNetModel):
        inputs["controlnet_cond"] = noise(batch, 3, 2 * size[0], 2 * size[1])
    return inputs


def call(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """What the model makes of them; a ControlNet's residuals side by side, flattened."""
    out = model(**inputs, return_dict=False)
    if isinstance(model, ControlNetModel):
        return torch.cat([r.flatten(1) for r in (*out[0], out[1])], 1)
    return out[0]


@pytest.fixture
def make() -> Callable[[str], nn.Module]:
    """make("UNet2DModel") -> a model with the same random weights each time, for inference."""

    def build(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = ZOO[name]().to(dtype).eval().requires_grad_(False)
            # a ControlNet starts with zeros where its residuals come out
            for p in model.parameters():
                if not p.any():
                    nn.init.normal_(p, std=0.1)
        return model

    return build


@pytest.fixture
def run() -> Callable[..., Tensor]:
    """run(model, (16, 24)) -> its output on noise of that size; `seed`, `batch` and single inputs may be given."""

    def result(
        model: nn.Module, size: tuple[int, int] = (16, 16), batch: int = 2, seed: int = 0, **given: Any
    ) -> Tensor:
        return call(model, arguments(model, size, batch, seed) | given)

    return result
