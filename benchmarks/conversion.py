"""diffusers models before and after conversion.

`python -m benchmarks.conversion [--threads 2] [--seconds 10]`: time. Small random models (block_out_channels 32, 64;
32x32; batch 4), forward, and forward + backward, one thread by default; each converted model runs in turn with the
stock one, and what is printed is the ratio of neighbours.

`python -m benchmarks.conversion --figures`: phase, equivariance and operations of smaller ones, in seconds; the table
"Measured" of docs/convert.md.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn

from aliasfree import conversion_report, convert, revert
from aliasfree.evaluation.equivariance import eq_t
from aliasfree.ops.resample import Padding
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


NARROW = {"block_out_channels": (8, 16), "norm_num_groups": 4}
NARROW_UNET = {**NARROW, "sample_size": 16, "layers_per_block": 1, "attention_head_dim": 4}
NARROW_CONDITION = {
    **NARROW_UNET,
    "cross_attention_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
}
BLOCKS = {"down_block_types": DOWN, "up_block_types": UP}
SKIP_BLOCKS = {
    "block_out_channels": (32, 64),
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
}
TEXT = torch.ones(1, 5, 8, dtype=torch.float64)

Run = Callable[[Any, Tensor], Tensor]


def unet(model: Any, x: Tensor) -> Tensor:
    return model(x, 7).sample


def conditioned(model: Any, x: Tensor) -> Tensor:
    return model(x, 7, TEXT.expand(len(x), -1, -1)).sample


def encoder(model: Any, x: Tensor) -> Tensor:
    return model.encode(x).latent_dist.mode()


def decoder(model: Any, x: Tensor) -> Tensor:
    return model.decode(x).sample


def both(model: Any, x: Tensor) -> Tensor:
    return model(x).sample


def residual(model: Any, x: Tensor) -> Tensor:
    condition = nn.functional.interpolate(x[:, :3], scale_factor=2, mode="bicubic")
    return model(x, 7, TEXT.expand(len(x), -1, -1), condition, return_dict=False)[0][0]


@dataclass(frozen=True)
class Subject:
    """A model, the parts whose phase is compared (with their channels), and what is shifted; None: nothing."""

    build: Callable[[], nn.Module]
    phase: tuple[tuple[int, Run], ...]
    shifted: Run | None


SUBJECTS = {
    "UNet2DModel": Subject(lambda: UNet2DModel(**NARROW_UNET, **BLOCKS), ((3, unet),), unet),
    "the same with pooling blocks": Subject(
        lambda: UNet2DModel(**NARROW_UNET, **BLOCKS, downsample_type="resnet", upsample_type="resnet"),
        ((3, unet),),
        unet,
    ),
    "the same with skip blocks (FIR)": Subject(lambda: UNet2DModel(**NARROW_UNET | SKIP_BLOCKS), ((3, unet),), unet),
    "UNet2DConditionModel": Subject(
        lambda: UNet2DConditionModel(**NARROW_CONDITION, up_block_types=CROSS_UP), ((4, conditioned),), conditioned
    ),
    "AutoencoderKL (encoder, decoder)": Subject(
        lambda: AutoencoderKL(
            **NARROW,
            sample_size=16,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        ((3, encoder), (4, decoder)),
        both,
    ),
    "ControlNetModel": Subject(
        lambda: ControlNetModel(
            **{k: v for k, v in NARROW_CONDITION.items() if k != "sample_size"},
            conditioning_embedding_out_channels=(4, 8),
        ),
        ((4, residual),),
        None,
    ),
}


def made(build: Callable[[], nn.Module]) -> Any:
    """Always the same random weights, none of them zero (a ControlNet's are where its residuals come out)."""
    torch.manual_seed(1)
    model = build().double().eval().requires_grad_(False)
    for p in model.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return model


def band(x: Tensor) -> Tensor:
    """The frequencies of at most one cycle a side, without the mean."""
    k = torch.fft.fftfreq(x.shape[-1], 1 / x.shape[-1]).abs()
    keep = (k[:, None] <= 1) & (k <= 1)
    keep[0, 0] = False
    return torch.fft.ifft2(torch.fft.fft2(x) * keep).real


def phase(model: nn.Module, channels: int, run: Run) -> float:
    """Relative error of B-hq against the stock model within the band of a smooth input, circular padding."""
    x = band(torch.randn(1, channels, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    stock = run(convert(model, "A", "circular"), x / x.std())
    ours = run(convert(revert(model), "B-hq", "circular"), x / x.std())
    revert(model)
    return float(band(ours - stock).norm() / band(stock).norm())


def equivariance(model: Any, config: str, padding: Padding, run: Run) -> str:
    """EQ-T to whole and to fractional pixels, dB."""
    x = torch.randn(
        4, model.config["in_channels"], 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    convert(model, config, padding)
    whole, part = (eq_t(lambda v: run(model, v), x, f, periodic=True, repeats=2) for f in (False, True))
    revert(model)
    return f"{whole:.1f} / {part:.1f}"


def operations(model: nn.Module, config: str) -> str:
    """MFLOP of one call on 16x16."""
    sizes = None
    if isinstance(model, ControlNetModel):  # whose config does not say what it is called with
        sizes = [torch.empty(1, 4, 16, 16), 7, torch.empty(1, 77, 8), torch.empty(1, 3, 32, 32)]
    flops = conversion_report(convert(model, config), sizes).flops_after
    revert(model)
    return f"{(flops or 0) / 1e6:.3g}"


def figures() -> None:
    """Print the table of phase, equivariance and operations."""
    columns = ("phase B-hq", "EQ-T stock, zeros", "stock, circular", "B-hq", "C-hq", "D-hq", "D-ideal")
    print("| model |", *(f"{c} |" for c in (*columns, "MFLOP stock", "B-hq", "D-hq")))
    print("| --- |" + " ---: |" * (len(columns) + 3))
    for name, subject in SUBJECTS.items():
        model = made(subject.build)
        errors = ", ".join(f"{100 * phase(model, *part):.2g} %" for part in subject.phase)
        cases: list[tuple[str, Padding]] = [("A", "zeros")]
        cases += [(c, "circular") for c in ("A", "B-hq", "C-hq", "D-hq", "D-ideal")]
        decibels = [equivariance(model, *case, subject.shifted) if subject.shifted else "" for case in cases]
        flops = [operations(model, c) for c in ("A", "B-hq", "D-hq")]
        print(f"| {name} |", *(f"{cell} |" for cell in (errors, *decibels, *flops)))


def main() -> None:
    """Print one table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", action="store_true", help="no times: phase, equivariance, operations")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="spent on each row")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.figures:
        figures()
        return
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
