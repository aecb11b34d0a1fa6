"""Time of diffusers models before and after conversion: `python -m benchmarks.conversion [--threads 2] [--seconds 10]`.

Small random models (block_out_channels 32, 64; 32x32; batch 4), forward, and forward + backward, one thread by default;
each converted model runs in turn with the stock one, and what is printed is the ratio of neighbours.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn

from aliasfree import convert
from benchmarks.timing import alternate

CONFIGS = ("B-hq", "C-hq", "D-hq")
WIDTHS = {"block_out_channels": (32, 64)}
DOWN, UP = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
CROSS_DOWN, CROSS_UP = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
CONDITION = {**WIDTHS, "cross_attention_dim": 32, "down_block_types": CROSS_DOWN, "layers_per_block": 1}

MODELS: dict[str, Callable[[], nn.Module]] = {
    "UNet2DModel": lambda: UNet2DModel(**WIDTHS, down_block_types=DOWN, up_block_types=UP, layers_per_block=1),
    "UNet2DConditionModel": lambda: UNet2DConditionModel(**CONDITION, up_block_types=CROSS_UP),
    "AutoencoderKL": lambda: AutoencoderKL(
        **WIDTHS, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2
    ),
    "ControlNetModel": lambda: ControlNetModel(**CONDITION, conditioning_embedding_out_channels=(16, 32)),
}


def call(model: nn.Module) -> Tensor:
    """One forward pass on planes of 32x32, batch 4."""
    x = torch.ones(4, 3 if isinstance(model, UNet2DModel | AutoencoderKL) else 4, 32, 32)
    text = torch.ones(4, 8, 32)
    if isinstance(model, AutoencoderKL):
        return model(x).sample
    if isinstance(model, UNet2DModel):
        return model(x, 5).sample
    if isinstance(model, UNet2DConditionModel):
        return model(x, 5, text).sample
    return model(x, 5, text, torch.ones(4, 3, 64, 64)).mid_block_res_sample


def forward(model: nn.Module) -> None:
    """Without gradients."""
    with torch.no_grad():
        call(model)


def step(model: nn.Module) -> None:
    """Forward and backward."""
    model.zero_grad()
    call(model).square().mean().backward()


def main() -> None:
    """Print one table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="spent on each row")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| model | pass | stock, ms |", *(f"{c} |" for c in CONFIGS))
    print("| --- | --- | ---: |" + " ---: |" * len(CONFIGS))
    for name, build in MODELS.items():
        torch.manual_seed(0)
        stock = build()
        models = {"stock": stock} | {c: convert(copy.deepcopy(stock), c) for c in CONFIGS}
        for label, function in (("forward", forward), ("forward + backward", step)):
            functions = {key: partial(function, model) for key, model in models.items()}
            samples = alternate(functions, arguments.seconds, torch.device("cpu"))
            ratios = [f"{samples.ratio(c, 'stock').median:.2f}x" for c in CONFIGS]
            print(f"| {name} | {label} | {1e3 * samples.seconds('stock').median:.1f} |", *(f"{r} |" for r in ratios))


if __name__ == "__main__":
    main()
