"""Aliasing by layer: the definition against the literal one, known layers, and whole networks, ours and diffusers'."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aliasfree import convert
from aliasfree.errors import ArgumentError
from aliasfree.evaluation import aliasing
from aliasfree.evaluation.aliasing import shift_sweep
from aliasfree.evaluation.layers import circular, find_layers, idealised, sub_pixel_mean
from aliasfree.evaluation.spectra import radial_power_spectrum
from aliasfree.filters import FilterSpec
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.nn import BilinearUpsample2d, Downsample2d, FilteredActivation2d, Upsample2d
from aliasfree.ops import downsample2d, translate2d, upsample2d


def white(side: int = 15, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, side, side, dtype=torch.float64, generator=generator)


def unet(config: str, **options) -> AliasFreeUNet2DModel:
    torch.manual_seed(0)
    return AliasFreeUNet2DModel(config, 16, 1, 1, 4, padding_mode="circular", **options).eval()


@pytest.mark.parametrize("rate", [2, 4])
@pytest.mark.parametrize("fn", [F.gelu, torch.relu, torch.tanh])
def test_a_pointwise_layers_counterpart_is_the_layer_at_a_higher_rate_band_limited(fn, rate):
    """The literal definition; an odd side has no Nyquist bin."""
    x = white()
    spec = FilterSpec.named("ideal").at_rate(rate)
    # the ideal filters are pixel-centred: move the finer grid onto the pixels and back
    off = (rate - 1) / (2 * rate)
    literal = downsample2d(fn(upsample2d(translate2d(x, -off, -off), spec, rate)), spec, rate)
    literal = translate2d(literal, off, off)
    mean, alias = sub_pixel_mean(fn, x, rate=rate)
    assert (mean - literal).abs().max() < 1e-12
    # and the aliases are what the layer at its own rate has besides, on average over sub-pixel shifts
    shifts = [k / rate for k in range(rate)]
    energies = [
        (translate2d(fn(translate2d(x, dy, dx)), -dy, -dx) - literal).square().sum().item()
        for dy in shifts for dx in shifts
    ]  # fmt: skip
    assert float(alias.sum()) / 15**2 == pytest.approx(sum(energies) / rate**2, rel=1e-9)


@pytest.mark.parametrize(("layer", "scale"), [
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular").double(), 1.0),
    (Downsample2d(FilterSpec.named("ideal"), "circular"), 0.5),
    (Upsample2d(FilterSpec.named("ideal"), "circular"), 2.0),
])  # fmt: skip
def test_band_limited_linear_layers_have_no_aliases(layer, scale):
    # within half of Nyquist, where the ideal downsampling has nothing to remove
    x = upsample2d(upsample2d(white(4), "ideal"), "ideal")
    mean, alias = sub_pixel_mean(layer, x, scale)
    assert alias.sum() < 1e-10 * mean.square().sum()
    with torch.no_grad():
        assert (mean - layer(x)).abs().max() < 1e-9


def test_a_counterpart_commutes_with_sub_pixel_shifts():
    x = white(16)
    for layer, scale in ((nn.MaxPool2d(2), 0.5), (F.gelu, 1.0)):
        moved = sub_pixel_mean(layer, translate2d(x, 0.5, 1.5), scale)[0]
        still = sub_pixel_mean(layer, x, scale)[0]
        assert (moved - translate2d(still, 0.5 * scale, 1.5 * scale)).abs().max() < 1e-10


def test_layers_are_found_by_what_they_do():
    model = unet("A")
    x = torch.randn(1, 1, 16, 16)
    layers = find_layers(model, lambda v: model(v, 3).sample, x)
    kinds = [layer.kind for layer in layers]
    assert (kinds.count("down"), kinds.count("up"), kinds.count("attention")) == (3, 3, 6)
    # one in each of 9 double convolutions and 3 of the bottleneck, two more where they are residual
    assert kinds.count("activation") == 1 + 3 * 3 + 3 + 3 * 3
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert {"inc.act", "down1.resample", "down1.res.act", "down1.res.act#2", "attn6"} <= set(names)
    # a layer can be run again by itself, with its own input
    first = layers[0]
    assert torch.equal(first(first.input), F.gelu(first.input))


def test_replacing_no_layer_changes_nothing_and_replacing_one_changes_it_alone():
    model = unet("A")
    call = lambda v: model(v, 3).sample  # noqa: E731
    x = torch.randn(1, 1, 16, 16)
    layers = find_layers(model, call, x)
    with torch.no_grad():
        before = call(x)
        with idealised([], call) as fn:
            assert torch.equal(fn(x), before)
        with idealised(layers[:1], call) as fn:
            assert not torch.equal(fn(x), before)
        assert torch.equal(call(x), before)


def test_the_whole_network_without_aliases_is_equivariant_and_the_guiltiest_come_first():
    model = unet("D-ideal")
    x = torch.randn(1, 1, 16, 16)
    found = aliasing(model, x, lambda v: model(v, 100).sample, periodic=True, rate=3)
    assert found.without["all"] > found.periodic + 40
    assert found.periodic == found.eq_t_frac
    assert set(found.without) == {"activation", "resampling", "attention", "all"}
    guilt = [layer.guilt for layer in found.layers]
    assert guilt == sorted(guilt, reverse=True)
    assert found.layers[0].fixed_db > found.eq_t_frac
    for layer in found.layers:
        assert layer.alias_share >= 0
        assert layer.guilt == pytest.approx(1 - 10 ** ((found.periodic - layer.fixed_db) / 10), abs=1e-6)
        assert len(layer.frequency) == len(layer.signal) == len(layer.alias) == layer.output_shape[-1] // 2 + 1


class _One(nn.Module):
    """One layer between two that keep the size."""

    def __init__(self, layer: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.layer, self.back = layer, back

    def forward(self, x):
        return self.back(self.layer(x))


@pytest.mark.parametrize(("layer", "dc", "nyquist"), [
    (nn.MaxPool2d(2), 1.0, 1.0),
    (nn.AvgPool2d(2), 1.0, 0.0),
    (Downsample2d(FilterSpec.named("hq")), 1.0, 0.0),
    (Downsample2d(FilterSpec.named("2N")), 1.0, 0.2329),
])  # fmt: skip
def test_gains_of_downsampling_are_those_of_the_filter(layer, dc, nyquist):
    model = _One(layer, nn.Upsample(scale_factor=2))
    found = {v.name: v for v in aliasing(model, white(16).float()).layers}
    assert (found["layer"].dc_gain, found["layer"].nyquist_gain) == pytest.approx((dc, nyquist), abs=1e-3)


def test_the_papers_upsampling_has_a_quarter_of_the_gain_and_a_checkerboard():
    found = {}
    for name in ("2N", "hq"):
        model = _One(nn.AvgPool2d(2), Upsample2d(FilterSpec.named(name)))
        found[name] = {v.name: v for v in aliasing(model, white(16).float()).layers}["back"]
    # phase gains 0.377 0.239 0.239 0.145: mean 0.25, deviation 0.083
    assert (found["2N"].dc_gain, found["2N"].nyquist_gain) == pytest.approx((0.25, 0.083), abs=1e-3)
    assert (found["hq"].dc_gain, found["hq"].nyquist_gain) == pytest.approx((1.0, 0.0), abs=1e-6)


def test_a_filtered_nonlinearity_aliases_less_and_its_gain_is_seen():
    plain, hq, paper = (
        nn.GELU(),
        *(FilteredActivation2d("gelu", FilterSpec.named(n), FilterSpec.named(n)) for n in ("hq", "2N")),
    )
    x = upsample2d(white(8), "hq").float()
    measured = [aliasing(_One(v, nn.Identity()), x).layers[0] for v in (plain, hq, paper)]
    assert measured[1].alias_share < 0.5 * measured[0].alias_share
    assert measured[0].dc_gain is None
    assert measured[1].dc_gain == pytest.approx(1, abs=1e-3)
    assert measured[2].dc_gain < 0.35
    assert hq.activation == "gelu"


def test_bilinear_upsampling_with_aligned_corners_is_tied_to_the_grid():
    x = upsample2d(upsample2d(white(4), "ideal"), "ideal").float()
    bilinear, filtered = (
        next(v for v in aliasing(_One(nn.AvgPool2d(2), up), x).layers if v.name == "back")
        for up in (BilinearUpsample2d(), Upsample2d(FilterSpec.named("hq"), "circular"))
    )
    assert bilinear.alias_db > filtered.alias_db + 10


def test_borders_do_not_count_at_a_layer_and_are_as_before_afterwards():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    with circular(conv):
        assert conv.padding_mode == "circular"
    assert conv.padding_mode == "zeros"
    shares = []
    for padding in ("zeros", "circular"):
        layer = FilteredActivation2d("gelu", FilterSpec.named("hq"), FilterSpec.named("hq"), padding=padding)
        found = aliasing(_One(layer, nn.Identity()), white(16).float(), periodic=padding == "circular")
        shares.append(found.layers[0].alias_share)
        assert layer.padding == padding
    assert shares[0] == shares[1]


def test_a_film_of_a_layer_without_aliases_stands_still():
    model = _One(nn.GELU(), Downsample2d(FilterSpec.named("ideal"), "circular"))
    x = upsample2d(upsample2d(white(4), "ideal"), "ideal").float()
    gelu, down = find_layers(_One(model, nn.Identity()), model, x)
    frames, still = shift_sweep(down, frames=6)
    assert frames.shape == (6, 2, 8, 8)
    assert (gelu.kind, still.shape) == ("activation", (2, 8, 8))
    with torch.no_grad():
        smooth = Downsample2d(FilterSpec.named("ideal"))(x)[0]
    moving, _ = shift_sweep(gelu, frames=6)
    assert (moving - moving[0]).abs().max() > 1e-3
    assert smooth.shape == still.shape


def test_stock_diffusers_unets_and_vaes_are_taken_as_they_are():
    from diffusers import AutoencoderKL, UNet2DModel

    torch.manual_seed(0)
    stock = UNet2DModel(
        sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8, 16), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip
    x = torch.randn(1, 1, 16, 16)
    found = aliasing(stock, x, lambda v: stock(v, 10).sample, rate=2)
    by_kind = {kind: [v for v in found.layers if v.kind == kind] for kind in ("down", "up", "attention", "activation")}
    assert all(by_kind.values())
    assert [v.type for v in by_kind["up"]] == ["Upsample2D"]
    assert by_kind["down"][0].output_shape[-1] == 8
    assert found.without["all"] > found.periodic > found.eq_t_frac

    vae = AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=2, norm_num_groups=4, block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    found = aliasing(vae, x, lambda v: vae.decode(vae.encode(v).latent_dist.mode()).sample, rate=2)
    assert {"down", "up", "activation"} <= {v.kind for v in found.layers}
    # the asymmetric pad of the encoder's downsampling belongs to it
    assert [v.input_shape[-1] for v in found.layers if v.kind == "down"] == [16]
    # and its zeros are a border like any other: without it and without aliases nothing breaks shifts
    assert found.without["all"] > found.periodic + 20


def test_a_network_with_nothing_to_find_and_a_rate_of_one_are_refused():
    with pytest.raises(ArgumentError, match="nothing to analyse"):
        aliasing(nn.Conv2d(2, 2, 1), white(8).float())
    with pytest.raises(ArgumentError, match="at least 2"):
        aliasing(nn.GELU(), white(8).float(), rate=1)


def test_the_spectrum_of_white_noise_is_flat_at_its_variance_and_of_a_wave_a_line():
    generator = torch.Generator().manual_seed(0)
    frequency, power = radial_power_spectrum(3 * torch.randn(400, 1, 16, 16, generator=generator))
    assert frequency.tolist() == [k / 8 for k in range(9)]
    assert torch.allclose(power[1:], torch.full((8,), 9.0, dtype=torch.float64), rtol=0.1)
    wave = torch.cos(2 * math.pi * 3 * torch.arange(16) / 16).expand(1, 1, 16, 16)
    _, power = radial_power_spectrum(wave)
    assert int(power.argmax()) == 3
    assert power[3] / power.sum() > 0.99


@pytest.fixture(scope="module")
def stock_vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=2, norm_num_groups=4, block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


@pytest.mark.parametrize("config", ["B-hq", "D-hq", "D-ideal", "T"])
def test_conversion_never_shortens_the_table(config, stock_vae):
    x = torch.randn(1, 1, 16, 16)

    def layers(vae: nn.Module) -> list[tuple[str, str]]:
        with circular(vae):
            found = find_layers(vae, lambda v: vae.decode(vae.encode(v).latent_dist.mode()).sample, x)
        return [(layer.name, layer.kind) for layer in found]

    stock, converted = layers(stock_vae), layers(convert(copy.deepcopy(stock_vae), config))
    assert len(stock) > 20
    assert len(converted) == len(stock)
    assert {name for name, kind in stock if kind == "activation"} <= {name for name, _ in converted}


def test_with_every_layer_replaced_a_converted_network_is_as_high_as_the_stock_one(stock_vae):
    x = torch.randn(1, 1, 16, 16)

    def all_replaced(vae: nn.Module) -> float:
        call = lambda v: vae.decode(vae.encode(v).latent_dist.mode()).sample  # noqa: E731
        return aliasing(vae, x, call, rate=3, top=1).without["all"]

    assert all_replaced(convert(copy.deepcopy(stock_vae), "D-hq")) > all_replaced(stock_vae) - 1


def test_only_the_layers_with_the_largest_aliases_are_asked_for_their_share_of_the_error():
    net, calls = nn.Sequential(nn.ReLU(), nn.AvgPool2d(2), nn.GELU(), nn.Upsample(scale_factor=2)), []
    x = torch.randn(2, 1, 16, 16)
    found = aliasing(net, x, top=2, progress=lambda k, n: calls.append((k, n)))
    assert calls == [(1, 2), (2, 2)]
    assert [layer.guilt is None for layer in found.layers] == [False, False, True, True]
    shares = [layer.alias_share for layer in found.layers]
    assert min(shares[:2]) >= max(shares[2:])
    assert shares[2] >= shares[3]
    whole = {layer.name: layer.guilt for layer in aliasing(net, x).layers}
    assert all(layer.guilt == whole[layer.name] for layer in found.layers[:2])


def test_of_a_network_that_commutes_with_turns_the_layers_share_its_error_under_turns():
    torch.manual_seed(0)
    model, x = unet("R"), torch.randn(1, 1, 16, 16)
    found, shifted = (
        aliasing(model, x, lambda v: model(v, 100).sample, rate=3, periodic=True, by=by) for by in ("turns", "shifts")
    )
    assert found.periodic == pytest.approx(found.eq_r), "R is periodic as it is"
    turned, moved = (max(abs(layer.guilt) for layer in each.layers) for each in (found, shifted))
    assert turned > 1e-3
    assert moved < turned / 10, "under shifts no layer has a share"


@pytest.mark.parametrize(("option", "says"), [({"by": "turn"}, "turns"), ({"top": 0}, "top"), ({"rates": 3}, "rate")])
def test_an_option_that_is_none_is_refused(option, says):
    with pytest.raises(ArgumentError, match=says):
        aliasing(nn.ReLU(), torch.randn(1, 1, 16, 16), **option)
