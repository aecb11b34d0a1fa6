"""Latents are normalised as an autoencoder's config says, for all who read or make them."""

from __future__ import annotations

import pytest
import torch

from aliasfree.tuning.latents import as_decoded, as_seen
from aliasfree.tuning.samples import own_samples
from aliasfree.tuning.state import seen_by
from aliasfree.tuning.teachers import Pair, open_pair
from tests.tuning.conftest import small_autoencoder, small_unet

NORMALISED = [
    ({"scaling_factor": 0.5}, [0.0] * 3, [2.0] * 3),
    ({"scaling_factor": 0.5, "shift_factor": 3.0}, [3.0] * 3, [2.0] * 3),
    ({"scaling_factor": 0.5, "latents_mean": [1.0, 2.0, 3.0], "latents_std": [1.0, 2.0, 4.0]}, [1, 2, 3], [2, 4, 8]),
]


@pytest.mark.parametrize(("config", "mean", "deviation"), NORMALISED, ids=["scale", "shift", "mean and std"])
def test_normalised_latents_are_those_of_mean_zero_and_deviation_one(config, mean, deviation):
    vae = small_autoencoder(**config)
    wanted = [torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (mean, deviation)]
    z = torch.randn(2, 3, 4, 4)
    assert torch.allclose(as_decoded(vae, z), z * wanted[1] + wanted[0], atol=1e-5)
    assert torch.allclose(as_seen(vae, as_decoded(vae, z)), z, atol=1e-5)


@pytest.mark.parametrize(("config", "mean", "deviation"), NORMALISED, ids=["scale", "shift", "mean and std"])
def test_an_autoencoders_own_samples_are_decoded_from_latents_of_its_mean(
    tmp_path, make_settings, config, mean, deviation, monkeypatch
):
    small_autoencoder(**config).save_pretrained(tmp_path / "vae")
    pair = open_pair(make_settings(tmp_path / "run", model=tmp_path / "vae"))
    asked, decode = [], pair.teacher.decode
    monkeypatch.setattr(pair.teacher, "decode", lambda z: asked.append(z) or decode(z))
    own_samples(pair, tmp_path / "samples", 64, 1, 0)
    z = torch.cat(asked)
    for k in range(3):
        assert float(z[:, k].mean()) == pytest.approx(mean[k], abs=0.1 * deviation[k])
        assert float(z[:, k].std()) == pytest.approx(deviation[k], rel=0.1)


def test_a_unet_sees_the_latents_normalised():
    config, mean, deviation = NORMALISED[2]
    vae = small_autoencoder(**config).eval()
    unet = small_unet(in_channels=3, out_channels=3, sample_size=8)
    pair = Pair("unet", unet, unet, 3, (8, 8), vae)
    images = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    seen = seen_by(pair, images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = vae.encode(images.float() / 127.5 - 1).latent_dist
        z = found.mean + found.std * torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(0))
    shape = (1, 3, 1, 1)
    wanted = (z - torch.tensor(mean).view(shape)) / torch.tensor(deviation).view(shape)
    assert torch.allclose(seen, wanted, atol=1e-4)
