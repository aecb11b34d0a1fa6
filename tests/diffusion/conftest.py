"""A small network to sample from, which turns and shifts with its input."""

from __future__ import annotations

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor


class RadialNetwork(ModelMixin, ConfigMixin):
    """Radial low-pass by FFT, then a pointwise nonlinearity; a class adds a brightness.

    clip      False = linear
    null_row  False = like diffusers' UNet2DModel: no row for "no class"
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        in_channels: int = 1,
        clip: bool = True,
        num_class_embeds: int | None = None,
        null_row: bool = True,
    ) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.7))
        k = torch.fft.fftfreq(sample_size, 1 / sample_size)
        self.register_buffer("gain", torch.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / 30), persistent=False)
        if num_class_embeds is not None:
            rows = num_class_embeds + int(null_row)
            self.class_embedding = torch.nn.Embedding(rows, 1, _weight=torch.linspace(-1, 1, rows)[:, None])
        self.seen: list[tuple[torch.dtype, int]] = []  # of each call: dtype and batch

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor | None = None) -> UNet2DOutput:
        self.seen.append((sample.dtype, len(sample)))
        y = torch.fft.ifft2(torch.fft.fft2(sample.float()) * self.gain.float()).real.to(sample.dtype)
        if self.config["clip"]:
            y = torch.tanh(y + 0.3)
        if class_labels is not None:
            y = y + self.class_embedding(class_labels)[..., None, None]
        return UNet2DOutput(sample=self.scale * y + 0.4 * sample)


@pytest.fixture
def network() -> type[RadialNetwork]:
    return RadialNetwork
