"""Every kind of part that resamples, distorts or pads planes: what conversion makes of it, and along which axes."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import HunyuanVideoUpsampleCausal3D
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageUpsample
from diffusers.models.autoencoders.autoencoder_kl_wan import WanUpsample
from diffusers.models.upsampling import CogVideoXUpsample3D
from torch import Tensor, nn

from aliasfree import conversion_report, convert, revert, translate2d
from aliasfree.errors import ArgumentError
from aliasfree.ops import filtered_activation2d

F64 = torch.float64


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=F64)


def built(part: nn.Module, channels: int = 4, first: int = 4) -> nn.Module:
    """A plain convolution and the part, which so sees planes in the traced call."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(channels, first, 1), part).double().eval().requires_grad_(False)


def db(y: Tensor, reference: Tensor) -> float:
    error = (y - reference).square().sum()
    return 10 * math.log10(float(reference.square().sum() / error.clamp(min=1e-60)))


def texts(model: nn.Module, inputs=None) -> dict[str, str]:
    report = conversion_report(model, inputs)
    return {e.name: e.text for e in (*report.touched, *report.left)}


STRIDED = {
    "convolution 4x4 by 2": lambda: nn.Conv2d(4, 4, 4, 2, 1),
    "convolution 2x2 by 2": lambda: nn.Conv2d(4, 4, 2, 2),
    "convolution 4x4 by 4": lambda: nn.Conv2d(4, 4, 4, 4),
    "convolution 3x3 by 2, dilated": lambda: nn.Conv2d(4, 4, 3, 2, 2, dilation=2),
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool, overlapping": lambda: nn.MaxPool2d(3, 2, 1),
    "average pool, overlapping": lambda: nn.AvgPool2d(3, 2, 1),
    "pixel unshuffle": lambda: nn.PixelUnshuffle(2),
    "padding and convolution": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 4, 3, 2)),
    "transposed convolution 4x4": lambda: nn.ConvTranspose2d(4, 4, 4, 2, 1),
    "transposed convolution 3x3": lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1),
    "transposed convolution 2x2": lambda: nn.ConvTranspose2d(4, 4, 2, 2),
    "pixel shuffle": lambda: nn.PixelShuffle(2),
    "nearest by 3": lambda: nn.Upsample(scale_factor=3),
    "bicubic": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    "nearest to a size": lambda: nn.Upsample(size=(64, 64)),
    "Wan's upsampling": lambda: WanUpsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
    "Qwen's upsampling": lambda: QwenImageUpsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
    "DC's downsampling": lambda: DCDownBlock2d(4, 4, downsample=True),
    "DC's upsampling": lambda: DCUpBlock2d(4, 4),
    "DC's interpolation": lambda: DCUpBlock2d(4, 4, interpolate=True),
}


@pytest.mark.parametrize("config", ["B-hq", "B-ideal"])
@pytest.mark.parametrize("name", STRIDED)
def test_on_a_torus_shifts_of_the_coarser_grid_are_exact_and_finer_ones_much_better(name, config):
    model, x = built(STRIDED[name]()), noise(1, 4, 32, 32)
    inputs = [x] if "size" in name else None
    fine = 2 if name.startswith("convolution 4x4 by 4") else 1

    def equivariance(config: str) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            convert(model, config, padding_mode="circular", inputs=[torch.zeros(1, 4, 32, 32)] if inputs else None)
        y = model(x)
        rate = y.shape[-1] / 32
        whole = db(model(x.roll((4, 8), (2, 3))), y.roll((round(4 * rate), round(8 * rate)), (2, 3)))
        aside = fine if rate < 1 else 0.5
        part = db(model(translate2d(x, aside, aside)), translate2d(y, aside * rate, aside * rate))
        revert(model)
        return whole, part

    shape = model(x).shape
    stock, ours = equivariance("A"), equivariance(config)
    assert ours[0] > 250
    assert ours[1] > stock[1] + (0.5 if name == "bicubic" else 6)  # which is nearly band-limited itself
    assert model(x).shape == shape


@pytest.mark.parametrize("padding_mode", [None, "zeros", "reflect"])
@pytest.mark.parametrize("size", [(32, 32), (17, 24)])
@pytest.mark.parametrize("name", [n for n in STRIDED if "size" not in n and "unshuffle" not in n and "DC's d" not in n])
def test_shapes_are_the_stock_part_s(name, size, padding_mode):
    model, x = built(STRIDED[name]()), noise(1, 4, *size)
    stock = model(x)
    y = convert(model, "B-hq", padding_mode)(x)
    assert y.shape == stock.shape
    assert y.isfinite().all()
    assert torch.equal(revert(model)(x), stock)


PHASE = [n for n in STRIDED if not any(k in n for k in ("shuffle", "DC", "pool", "padding and"))]


def lowest(x: Tensor) -> Tensor:
    """The frequencies of at most two cycles a side: what interpolation puts elsewhere is what conversion removes."""
    keep = torch.fft.fftfreq(x.shape[-1], 1 / x.shape[-1]).abs() <= 2
    return torch.fft.ifft2(torch.fft.fft2(x) * (keep[:, None] & keep)).real


@pytest.mark.parametrize("config", ["B-hq", "B-ideal"])
@pytest.mark.parametrize("name", PHASE)
def test_samples_stay_where_the_stock_part_has_them(name, config):
    model = built(STRIDED[name]())
    t = 2 * math.pi * torch.arange(32, dtype=F64) / 32
    x = (t[:, None] + t).sin().expand(1, 4, 32, 32)
    convert(model, "A", padding_mode="circular")
    stock = lowest(model(x))
    y = lowest(convert(revert(model), config, padding_mode="circular", inputs=[x])(x))
    off = {aside: db(translate2d(y, aside, aside), stock) for aside in (-0.5, 0.0, 0.5)}
    assert off[0.0] == max(off.values())
    assert off[0.0] > (25 if "transposed" in name else 35)  # the stock one sees zeros at the border


class ChannelsLast(nn.Module):
    """The block of ConvNeXt and its kin."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = nn.LayerNorm(4)
        self.wide, self.act, self.narrow = nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(self.act(self.wide(y))).permute(0, 3, 1, 2)


def test_channels_last_activations_are_filtered_along_rows_and_columns():
    torch.manual_seed(0)
    model = ChannelsLast().double().requires_grad_(False)
    convert(model, "D-hq", padding_mode="circular")
    assert texts(model)["act"] == "filtered on planes (channels last)"
    tokens = noise(1, 12, 16, 16)
    planes = filtered_activation2d(tokens.permute(0, 3, 1, 2), "gelu", "hq", padding="circular").permute(0, 2, 3, 1)
    torch.testing.assert_close(model.act(tokens), planes)
    flat = noise(1, 1, 1, 16).expand(1, 12, 16, 16)  # constant planes stay what they were
    torch.testing.assert_close(model.act(flat), F.gelu(flat), rtol=1e-4, atol=1e-4)


class LinearAttention(nn.Module):
    """A ReLU of queries (N, heads, width, H W): four axes, and none of them rows."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.act = nn.Conv2d(4, 8, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        q = self.act(self.q(x).reshape(len(x), 2, 4, -1))
        return (q @ (q.mT @ q)).reshape(len(x), 8, *x.shape[2:])


def test_four_axes_are_no_plane_by_themselves():
    model, x = LinearAttention().double(), noise(1, 4, 8, 12)
    stock = model(x)
    with pytest.warns(UserWarning, match="changed nothing in this LinearAttention"):
        convert(model, "D-hq")
    assert texts(model)["act"] == "acts on tokens"
    assert torch.equal(model(x), stock)


class Patches(nn.Module):
    """Patches of 4x4 to tokens, as vision transformers cut them."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.patch, self.act, self.early = nn.Conv2d(4, 8, 4, 4), nn.SiLU(), early
        self.mix = nn.Linear(8, 8) if early else nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x)
        return self.mix(self.act(y.flatten(2).mT)) if self.early else self.mix(self.act(y))


def test_patch_embeddings_are_told_from_downsampling_by_what_follows():
    tokens, planes = Patches(early=True).double(), Patches(early=False).double()
    x = noise(1, 4, 32, 32)
    stock = tokens(x)
    with pytest.warns(UserWarning, match="changed nothing"):
        convert(tokens, "D-hq")
    assert texts(tokens) == {"patch": "makes tokens of patches", "act": "acts on tokens"}
    assert torch.equal(tokens(x), stock)
    assert texts(convert(planes, "D-hq"))["patch"] == "stride 1, low-pass, decimation by 4"


@pytest.mark.parametrize("act", [nn.ReLU6, nn.PReLU, nn.SELU, nn.CELU, nn.Hardtanh, nn.Hardsigmoid, nn.GLU])
def test_more_activations_are_filtered(act):
    part = act(1) if act is nn.GLU else act()
    model, x = built(part), noise(1, 4, 16, 16)
    stock = model(x)
    y = convert(model, "C-hq", padding_mode="circular")(x)
    assert y.shape == stock.shape
    assert not torch.equal(y, stock)
    assert [e.kind for e in conversion_report(model).touched] == [act.__name__]
    smooth = noise(1, 4, 1, 1).expand(1, 4, 16, 16)
    torch.testing.assert_close(model(smooth), revert(model)(smooth), rtol=1e-3, atol=1e-3)


def test_what_has_no_planes_is_named_and_passes_bit_for_bit():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line, self.volume = nn.Conv1d(4, 4, 3, 2), nn.Conv3d(4, 4, (3, 1, 1))
            self.pool, self.up = nn.MaxPool1d(2), nn.ConvTranspose1d(4, 4, 2, 2)
            self.act1, self.act2 = nn.SiLU(), nn.Mish()

        def forward(self, line: Tensor, vector: Tensor) -> Tensor:
            return self.act1(self.up(self.pool(self.line(line)))).sum() + self.act2(vector).sum()

    model, given = Mixed().double(), [noise(1, 4, 32), noise(2, 8)]
    stock = model(*given)
    with pytest.warns(UserWarning, match="changed nothing"):
        convert(model, "D-hq", inputs=given)
    assert texts(model, given) == {
        "line": "acts on signals",
        "pool": "acts on signals",
        "up": "acts on signals",
        "volume": "stride 1 along rows and columns: linear, does not alias",
        "act1": "acts on tokens or signals",
        "act2": "sees embeddings, not planes",
    }
    assert torch.equal(model(*given), stock)


def test_functions_of_planes_are_named_where_they_are_called():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(F.interpolate(F.silu(self.conv(x)), scale_factor=4.0), 2)

    report = conversion_report(convert(nn.Sequential(Functional(), nn.SiLU()), "D-hq"))
    named = {e.kind: (e.name, e.text) for e in report.left if e.kind.startswith("F.")}
    assert named.keys() == {"F.avg_pool2d", "F.interpolate", "F.silu"}
    assert named["F.silu"] == ("0", "a function called in the forward of Functional")


VIDEO = noise(1, 4, 3, 16, 16)


class Frames(nn.Module):
    """What video autoencoders are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv3d(4, 4, 3, padding=1)
        self.act = nn.SiLU()
        self.down = nn.Conv3d(4, 4, 3, stride=(1, 2, 2), padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.inner(x)))


def test_videos_are_filtered_frame_by_frame():
    torch.manual_seed(0)
    model = Frames().double().requires_grad_(False)
    shape = model(VIDEO).shape
    convert(model, "D-hq", padding_mode="circular")
    assert texts(model) == {
        "inner": "circular padding of rows and columns",
        "act": "filtered on planes, frame by frame",
        "down": "stride 1, low-pass, decimation by 2, frame by frame; circular padding of rows and columns",
    }
    y = model(VIDEO)
    assert y.shape == shape
    assert db(model(VIDEO.roll((4, 2), (3, 4))), y.roll((2, 1), (3, 4))) > 250
    frames = torch.stack([filtered_activation2d(f, "silu", "hq", padding="circular") for f in VIDEO.unbind(2)], 2)
    torch.testing.assert_close(model.act(VIDEO), frames)


@pytest.mark.parametrize("part", [CogVideoXUpsample3D, HunyuanVideoUpsampleCausal3D])
def test_videos_are_upsampled_frame_by_frame(part):
    torch.manual_seed(0)
    model = part(4, 4).double().requires_grad_(False)
    stock = model(VIDEO)
    convert(model, "B-hq", inputs=[VIDEO])
    assert texts(model)[""] == "the functions it resamples by are filtered"
    y = model(VIDEO)
    assert y.shape == stock.shape
    assert not torch.equal(y, stock)
    assert torch.equal(revert(model)(VIDEO), stock)


@pytest.mark.parametrize("pad", [nn.ZeroPad2d, nn.ReplicationPad2d, nn.ReflectionPad2d])
def test_padding_modules_pad_as_asked(pad):
    model = nn.Sequential(nn.Conv2d(4, 4, 1), pad(1), nn.Conv2d(4, 4, 3)).double().requires_grad_(False)
    x = noise(1, 4, 16, 16)
    convert(model, "A", padding_mode="circular")
    assert texts(model)["1"] == "circular padding"
    assert db(model(x.roll((3, 5), (2, 3))), model(x).roll((3, 5), (2, 3))) > 250


def test_a_diffusers_model_that_cannot_be_called_is_refused_and_takes_inputs():
    from diffusers import ConfigMixin, ModelMixin
    from diffusers.configuration_utils import register_to_config

    class Odd(ModelMixin, ConfigMixin):
        @register_to_config
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(4, 4, 3), nn.SiLU()

        def forward(self, sample: Tensor, secret: Tensor) -> Tensor:
            return self.act(self.conv(sample)) + secret

    model = Odd()
    with pytest.raises(ArgumentError, match="give the arguments of one call as `inputs`"):
        convert(model, "D-hq")
    assert type(model.act) is nn.SiLU
    with pytest.raises(ArgumentError, match="does not take the `inputs` given"):
        convert(model, "D-hq", inputs=[torch.zeros(1, 4, 8, 8)])
    convert(model, "D-hq", inputs={"sample": torch.zeros(1, 4, 8, 8), "secret": torch.zeros(1)})
    assert texts(model)["act"] == "filtered on planes"


def test_a_shortcut_past_a_convolution_makes_no_patch_embedding_of_downsampling():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.conv = nn.Conv2d(3, 8, 2, stride=2), nn.Conv2d(8, 8, 3, padding=1)
            self.mix = nn.Linear(8, 8)

        def forward(self, x):
            x = self.down(x)
            x = x + self.conv(x)  # the shortcut has not been looked at
            return self.mix(x.flatten(2).mT).mT.unflatten(2, x.shape[-2:])

    found = {e.name: e.text for e in conversion_report(convert(Block(), "B-hq")).touched}
    assert found == {"down": "stride 1, low-pass, decimation by 2"}
