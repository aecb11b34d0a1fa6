"""Pictures a run makes while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from aliasfree.config import Config
from aliasfree.pictures import grid, to_uint8
from aliasfree.training.settings import RunSettings

if TYPE_CHECKING:
    from PIL import Image

    from aliasfree.models import AliasFreeUNet2DModel


@torch.no_grad()
def sample_grid(model: AliasFreeUNet2DModel, settings: RunSettings) -> Image.Image:
    """A grid of `sample_num` samples, as `sample --scheduler ddpm-clipped` makes them: else few steps leave noise.

    The starting noise is the same each time, so that grids can be compared. A class-conditional network samples its
    classes in turn, with guidance 2 where it has learned to do without.
    """
    # diffusers' pipelines take seconds to import, and the first grid comes after many steps
    from aliasfree.diffusion import AliasFreePipeline, make_scheduler, sample_generators
    from aliasfree.diffusion.clipping import FINE_RATE

    classes = model.config["num_class_embeds"]
    labels = None if classes is None else [i % classes for i in range(settings.sample_num)]
    rate = FINE_RATE if Config.parse(settings.config).traits.motions else 1
    pipeline = AliasFreePipeline(model, make_scheduler("ddpm-clipped", settings.num_train_timesteps, rate))
    images, _ = pipeline(
        settings.sample_num,
        num_inference_steps=settings.sample_steps,
        class_labels=labels,
        guidance_scale=2.0 if labels is not None and settings.class_dropout else 1.0,
        generator=sample_generators(settings.seed, range(settings.sample_num)),
        output_type="pt",
        progress=lambda *_: None,
        return_dict=False,
    )
    return grid(to_uint8(images * 2 - 1))
