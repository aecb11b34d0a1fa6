"""`aliasfree analyze`: what it opens, and the page and figures it writes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from aliasfree.errors import AliasfreeError, ArgumentError, CheckpointError, ConfigError
from aliasfree.evaluation import aliasing, eq_t
from aliasfree.evaluation.spectra import radial_power_spectrum
from aliasfree.filters import BELOW_NYQUIST
from aliasfree.measuring.aliasing import analyze
from aliasfree.measuring.targets import SubjectSettings, natural_noise, open_subject
from aliasfree.nn import FilteredActivation2d
from aliasfree.reporting.aliasing import advice, percent

TINY = SubjectSettings(image_size=16, base_channels=4, images=1)


def test_a_config_is_analysed_into_a_page_and_its_figures(tmp_path):
    page = tmp_path / "out" / "a.html"
    told = []
    found, subject = analyze("A", page, TINY, rate=2, progress=lambda done, total: told.append((done, total)))
    html, facts = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert subject.name == "A, untrained, zeros padding"
    assert told[-1] == (len(found.layers), len(found.layers))
    # sorted by guilt, in the page as in the figures
    order = [layer["name"] for layer in facts["layers"]]
    assert order == [layer.name for layer in found.layers]
    rows = [html.index(f'<th scope="row">{name}</th>') for name in order]
    assert rows == sorted(rows)
    assert html.count("data:image/gif") == 3
    assert html.count("data:image/png") == 6
    assert "http" not in html
    for key in ("eq_t", "eq_t_frac", "eq_t_lanczos", "eq_r"):
        assert facts[key] == getattr(found, key)
        assert f"{facts[key]:.1f}\u00a0dB".replace("-", "−") in html
    # charts are at least 420 pixels wide, or their labels cannot be read
    assert html.count('class="row wide"') == 1
    with pytest.raises(ArgumentError, match="`overwrite=True`"):
        analyze("A", page, TINY)


def test_shares_are_written_without_a_minus_before_zero():
    assert [percent(v) for v in (-0.0004, 0.1234, -0.02)] == ["0.0\u00a0%", "12.3\u00a0%", "−2.0\u00a0%"]


def test_a_downsampling_that_lets_nyquist_through_is_told_to_filter_whatever_its_type(tmp_path):
    from diffusers import UNet2DModel

    blocks = {"block_out_channels": (8, 8), "down_block_types": ("DownBlock2D",) * 2}
    options = {"up_block_types": ("UpBlock2D",) * 2, "layers_per_block": 1, "norm_num_groups": 4}
    torch.manual_seed(0)
    UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **blocks, **options).save_pretrained(tmp_path / "m")
    stock, _ = analyze(str(tmp_path / "m"), tmp_path / "m.html", TINY, rate=2)
    ours, _ = analyze("D-hq", tmp_path / "d.html", TINY, rate=2)
    told = [{advice(layer) for layer in found.layers if layer.kind == "down"} for found in (stock, ours)]
    assert told[0] == {"low-pass before the samples are dropped (letter B, D)"}
    assert told[1] == {"a cutoff further below the new Nyquist frequency, or more taps"}


def test_the_same_seed_gives_the_same_network_and_images():
    a, b = (open_subject("D-hq", TINY) for _ in range(2))
    assert torch.equal(a.images, b.images)
    with torch.no_grad():
        assert torch.equal(a.call(a.images), b.call(b.images))
    other = open_subject("D-hq", SubjectSettings(image_size=16, base_channels=4, images=1, seed=1))
    assert not torch.equal(a.images, other.images)


def test_saved_models_of_diffusers_and_of_ours_are_opened(tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    from aliasfree.models import AliasFreeUNet2DModel

    stock = UNet2DModel(
        sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(4, 8), down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    DDPMPipeline(stock, DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    AliasFreeUNet2DModel("D-2N", 16, 1, 1, 4).save_pretrained(tmp_path / "ours")
    for folder in ("pipeline", "pipeline/unet", "ours"):
        subject = open_subject(str(tmp_path / folder), TINY)
        with torch.no_grad():
            assert subject.call(subject.images).shape == subject.images.shape == (1, 1, 16, 16)


@pytest.mark.parametrize(("target", "error", "words"), [
    ("D-hk", ConfigError, "did you mean 'D-hq'"),
    ("", AliasfreeError, "neither a run nor a diffusers model"),
])  # fmt: skip
def test_what_cannot_be_opened_gets_a_sentence(tmp_path, target, error, words):
    with pytest.raises(error, match=words):
        open_subject(target or str(tmp_path), TINY)


def test_a_damaged_model_folder_gets_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(AliasfreeError, match="not valid JSON"):
        open_subject(str(tmp_path), TINY)
    (tmp_path / "config.json").write_text('{"_class_name": "Nothing"}')
    with pytest.raises(CheckpointError, match="the class 'Nothing'"):
        open_subject(str(tmp_path), TINY)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_subject(str(tmp_path), TINY)


@pytest.mark.parametrize("changes", [{"images": 0}, {"part": "x"}, {"timestep": 1000}, {"seed": -1}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ArgumentError):
        open_subject("A", SubjectSettings(**{"image_size": 16, "base_channels": 4, **changes}))


def test_a_network_that_knows_the_frame_is_analysed_with_the_moved_one(tmp_path):
    found, subject = analyze("T", tmp_path / "t.html", SubjectSettings(image_size=8, base_channels=4, images=1), rate=2)
    assert subject.framed is not None
    assert found.eq_t > 80
    assert found.periodic == found.eq_t_frac > 40
    assert found.without["all"] > 40  # the replaced network is told, too
    blind = dataclasses.replace(subject, framed=None)
    assert eq_t(blind.call, blind.images, fractional=True, periodic=True) < found.eq_t_frac - 10


@pytest.mark.parametrize("is_published", [False, True])
def test_a_saved_network_that_knows_the_frame_is_told_how_it_moves(tmp_path, is_published):
    from aliasfree.models import AliasFreeUNet2DModel

    AliasFreeUNet2DModel("T", 16, 1, 1, 4).save_pretrained(tmp_path / "net")
    if is_published:  # as `export --format weights` does
        settings = {"data": "digits", "config": "T", "image_size": 16}
        (tmp_path / "net" / "training.json").write_text(json.dumps({"settings": settings, "data": {}}))
    subject = open_subject(str(tmp_path / "net"), TINY)
    assert subject.framed is not None
    assert subject.about.startswith("1 images of digits" if is_published else "1 images with the spectrum")
    with torch.no_grad():
        moved = {"fractional": True, "periodic": True}
        told = eq_t(subject.call, subject.images, framed=subject.framed, **moved)
        assert told > 40
        assert told > eq_t(subject.call, subject.images, **moved) + 10


def test_the_page_must_be_html(tmp_path):
    with pytest.raises(ArgumentError, match=r"\.html"):
        analyze("A", tmp_path / "a.pdf", TINY)


def test_natural_noise_falls_off_as_one_over_f():
    frequency, power = radial_power_spectrum(natural_noise(200, 1, 32, 32, 0))
    slope = np.polyfit(np.log(frequency[2:].numpy()), np.log(power[2:].numpy()), 1)[0]
    assert slope == pytest.approx(-2, abs=0.15)


def test_a_network_at_four_times_the_rate_is_not_looked_at_in_quarters_of_a_pixel(tmp_path):
    found, _ = analyze("T", tmp_path / "t.html", SubjectSettings(image_size=8, base_channels=4, images=1))
    assert found.rate == 5
    layer = FilteredActivation2d("relu", BELOW_NYQUIST, BELOW_NYQUIST, 4)
    x = 3 * torch.randn(1, 2, 16, 16)
    blind, seeing = (aliasing(torch.nn.Sequential(layer), x, rate=rate).layers[0].alias_db for rate in (4, 5))
    assert seeing > blind + 20
