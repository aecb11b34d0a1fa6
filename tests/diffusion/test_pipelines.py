"""Motion in every pipeline of diffusers that it is for: small random ones, run as a user runs them."""

from __future__ import annotations

import runpy
from pathlib import Path

import diffusers
import pytest
import torch

from aliasfree.diffusion import MotionCallback, layouts
from tests.diffusion.zoo import parts, planes, tokens, unets
from tests.diffusion.zoo.run import Watched, as_planes, draw

ZOO = parts.PIPELINES | unets.PIPELINES | planes.PIPELINES | tokens.PIPELINES
ROOT = Path(__file__).parents[2]
BEFORE_THE_LAST = {"rotate": 90.0, "schedule": (0.5, 0.5)}
SHOWN = [
    name
    for name in ZOO
    if any(word in name for word in ("Control", "Depth2Img", "Pix2Pix", "Decoder", "Fill", "Refiner"))
    or (name.endswith("InpaintPipeline") and name.startswith(("StableDiffusionXL", "StableDiffusionInpaint", "Kandin")))
]
PUT_BACK = [
    name
    for name in ZOO
    if layouts.keeps_images_upright(getattr(diffusers, name.split(",")[0]))
    and name not in ("FluxFillPipeline", "BriaFiboEditPipeline", "BriaFibo2Pipeline", "StableDiffusionInpaintPipeline")
    and not name.startswith(("StableDiffusionXL", "ZImageControl", "QwenImageControl", "StableDiffusion3Control"))
] + ["StableDiffusionXLControlNetInpaintPipeline", "StableDiffusionXLControlNetUnionInpaintPipeline"]


@pytest.fixture(scope="module")
def tool():
    """The maker of the tables in docs/pipelines.md."""
    return runpy.run_path(str(ROOT / "docs" / "tools" / "pipelines.py"))


def test_every_pipeline_that_motion_is_for_is_tested(tool):
    supported = {name for name, kind in tool["exported"]().items() if layouts.refusal(kind) is None}
    assert supported == {name.split(",")[0] for name in ZOO}


def test_the_tables_of_the_documentation_are_those_of_the_code(tool):
    page = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    assert tool["renewed"](page) == page


@pytest.mark.parametrize("name", ZOO)
def test_its_latents_turn_and_shift_by_pixels_of_the_image(name):
    build, inputs = ZOO[name]
    pipe = build()
    given = inputs.get("image")
    height = inputs.get("height") or (given.shape[-2] if isinstance(given, torch.Tensor) else 16)
    upright = as_planes(pipe, draw(pipe, inputs))
    pixels = 16 / 8 if name.startswith("Wuerstchen") or "Cascade" in name else height / upright.shape[-2]
    if "Decoder" in name:
        pixels = 4.0  # of an autoencoder with two levels; such a pipeline takes no size
    at_last = MotionCallback(rotate=90, translate=(pixels, -2 * pixels), schedule=(1, 1))
    moved = as_planes(pipe, draw(pipe, inputs, at_last))
    torch.testing.assert_close(moved, upright.rot90(1, (2, 3)).roll((1, -2), (2, 3)), atol=1e-4, rtol=1e-4)
    spread = MotionCallback(rotate=30, translate=(1, 2), zoom=1.1, schedule=(0, 1))
    moved = as_planes(pipe, draw(pipe, inputs, spread))
    assert moved.isfinite().all()
    assert parts.relative(moved, upright) > 1e-2


def looked(name, **motion):
    build, inputs = ZOO[name]
    callback = Watched(**motion)
    draw(build(), {k: (1.0 if k == "strength" else v) for k, v in inputs.items()}, callback)
    return callback.done()


@pytest.mark.parametrize("name", SHOWN)
def test_its_networks_are_shown_masks_and_conditions_turned(name):
    before, after = looked(name), looked(name, **BEFORE_THE_LAST)
    assert len(before) == len(after) > 0
    assert any(float(image.std()) > 0 for image in before)
    for upright, turned in zip(before, after, strict=True):
        torch.testing.assert_close(turned, upright.rot90(1, (2, 3)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PUT_BACK)
def test_what_it_puts_back_at_every_step_comes_out_turned(name):
    build, inputs = ZOO[name]
    pipe = build()
    upright = as_planes(pipe, draw(pipe, inputs))
    turned = as_planes(pipe, draw(pipe, inputs, MotionCallback(**BEFORE_THE_LAST)))
    kept = slice(0, upright.shape[-2] // 4)  # the mask leaves the topmost rows as they are
    assert float(upright[..., kept, :].std()) > 0
    torch.testing.assert_close(turned.rot90(-1, (2, 3))[..., kept, :], upright[..., kept, :], atol=1e-4, rtol=1e-4)
    assert parts.relative(turned, upright.rot90(1, (2, 3))) > 1e-6  # the network is not equivariant
