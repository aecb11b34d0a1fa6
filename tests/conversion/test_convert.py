"""Conversion in place: shapes, keys, weights, what each letter changes, undoing, and what is refused."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.models.downsampling import KDownsample2D
from diffusers.models.upsampling import KUpsample2D
from torch import nn

from aliasfree import Config, FilterSpec, conversion_report, convert, revert
from aliasfree.errors import ArgumentError, ConfigError, ShapeError

MODELS = (
    "UNet2DModel",
    "UNet2DModel, pooling",
    "UNet2DModel, skip blocks",
    "UNet2DConditionModel",
    "AutoencoderKL",
    "ControlNetModel",
)


def same(a, b) -> bool:
    return torch.equal(a, b)


def everything(model: nn.Module) -> dict:
    """Class, training state and plain attributes of every module."""
    return {
        name: (type(m), {k: v for k, v in vars(m).items() if isinstance(v, int | str | tuple | float | bool)})
        for name, m in model.named_modules()
    }


@pytest.mark.parametrize("config", ["B-hq", "C-hq", "D-hq", "D-ideal", "D-2N"])
@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_keys_stay(make, run, name, config):
    model = make(name)
    keys, shapes = list(model.state_dict()), {}
    for size in ((16, 16), (8, 20)):
        shapes[size] = run(model, size).shape
    before = run(model)
    assert convert(model, config) is model
    assert list(model.state_dict()) == keys
    for size, shape in shapes.items():
        out = run(model, size)
        assert out.shape == shape
        assert out.isfinite().all()
    assert not same(run(model), before)


@pytest.mark.parametrize("padding_mode", [None, "circular", "zeros"])
@pytest.mark.parametrize("size", [(15, 15), (13, 22), (9, 7)])
@pytest.mark.parametrize("name", ["UNet2DConditionModel", "AutoencoderKL", "ControlNetModel"])
def test_odd_sizes_give_what_the_stock_model_gives(make, run, name, size, padding_mode):
    model = make(name)
    shape = run(model, size).shape
    assert run(convert(model, "D-hq", padding_mode), size).shape == shape


def test_where_the_stock_model_takes_no_odd_size_the_converted_one_takes_none_either(make, run):
    model = make("UNet2DModel")
    for m in (model, convert(copy.deepcopy(model), "D-hq")):
        with pytest.raises(RuntimeError, match="size"):
            run(m, (15, 15))


@pytest.mark.parametrize("name", MODELS)
def test_revert_undoes_it_bit_for_bit(make, run, name):
    model = make(name)
    before, config, state = everything(model), dict(model.config), model.state_dict()
    out = run(model)
    convert(model, "D-hq", padding_mode="circular", feed_forward=True)
    assert not same(run(model), out)
    assert revert(model) is model
    assert everything(model) == before
    assert dict(model.config) == config
    assert all(same(v, state[k]) for k, v in model.state_dict().items())
    assert same(run(model), out)


@pytest.mark.parametrize("name", MODELS)
def test_weights_may_be_loaded_before_or_after(make, run, name):
    before = convert(make(name), "D-hq")
    after = convert(make(name), "D-hq")
    for p in after.parameters():
        p.data.zero_()
    after.load_state_dict(make(name).state_dict())
    assert same(run(before), run(after))


def test_the_letter_chooses_what_changes(make):
    def touched(config: str) -> set[str]:
        report = conversion_report(convert(make("UNet2DConditionModel"), config))
        return {entry.kind for entry in report.touched}

    assert touched("A") == set()
    assert touched("B-hq") == {"Downsample2D", "Conv2d", "Upsample2D"}
    assert touched("C-hq") == {"SiLU"}
    assert touched("D-hq") == touched("B-hq") | touched("C-hq")


def test_the_filter_chooses_how(make, run):
    outs = [run(convert(make("UNet2DModel"), c)) for c in ("D-hq", "D-radial", "D-ideal", "D-2N")]
    assert all(not same(a, b) for i, a in enumerate(outs) for b in outs[:i])
    wider = Config("D", FilterSpec(taps=24, kaiser_beta=8.0), FilterSpec(taps=24, kaiser_beta=8.0), oversample=4)
    assert run(convert(make("UNet2DModel"), wider)).shape == outs[0].shape


def test_time_embeddings_are_left_alone(make):
    model = convert(make("UNet2DModel"), "D-hq")
    stock = make("UNet2DModel")
    emb = torch.randn(2, 32, dtype=torch.float64)
    block, was = model.mid_block.resnets[0], stock.mid_block.resnets[0]
    assert same(block.nonlinearity(emb), was.nonlinearity(emb))
    plane = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert not same(block.nonlinearity(plane), was.nonlinearity(plane))
    assert type(model.time_embedding.act) is nn.SiLU


def test_padding_is_converted_too_when_asked(make, run):
    model = make("UNet2DModel")
    convert(model, "D-hq", padding_mode="circular")
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    # two halvings of 16: shifts by 2 are exact with circular padding, whatever the filters
    moved = run(model, sample=x.roll((2, 4), (2, 3)), batch=1)
    torch.testing.assert_close(moved, run(model, sample=x, batch=1).roll((2, 4), (2, 3)), atol=1e-10, rtol=0)
    model = convert(make("UNet2DModel"), "D-hq")
    moved = run(model, sample=x.roll((2, 4), (2, 3)), batch=1)
    assert (moved - run(model, sample=x, batch=1).roll((2, 4), (2, 3))).abs().max() > 0.01


def test_the_autoencoder_is_periodic_with_circular_padding(make):
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    for config in ("A", "B-hq", "D-hq", "D-ideal"):
        model = convert(make("AutoencoderKL"), config, padding_mode="circular")
        a, b = (model.encode(v).latent_dist.mode() for v in (x, x.roll((2, 4), (2, 3))))
        torch.testing.assert_close(b, a.roll((1, 2), (2, 3)), atol=1e-10, rtol=0)


def test_the_feed_forward_layers_of_transformers_are_filtered_as_planes(make, run):
    model = make("UNet2DConditionModel")
    plain = run(convert(model, "C-hq"), (8, 20))
    filtered = run(convert(revert(model), "C-hq", feed_forward=True), (8, 20))
    assert filtered.shape == plain.shape
    assert not same(plain, filtered)
    # with an ideal filter and planes of low frequency the GEGLU agrees with the stock one
    stock = make("UNet2DConditionModel").mid_block.attentions[0].transformer_blocks[0].ff.net[0]
    ours = convert(make("UNet2DConditionModel"), "C-ideal", "circular", feed_forward=True)
    ours = ours.mid_block.attentions[0].transformer_blocks[0].ff.net[0]
    ours.plane = (16, 32)
    phase = 2 * torch.pi * (torch.arange(16)[:, None] / 16 + torch.arange(32) / 32)
    tokens = torch.randn(1, 1, 16, dtype=torch.float64) * phase.double().sin().reshape(1, -1, 1)
    error = (ours(tokens) - stock(tokens)).norm() / stock(tokens).norm()
    assert 0 < error < 1e-4


class Generic(nn.Module):
    """Parts that are not diffusers'."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=4, mode="bilinear"),
            nn.AvgPool2d(2),
            nn.GELU(approximate="tanh"),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(4, 4, 3, stride=3),
            nn.Tanh(),
        )
        self.after = nn.MaxPool2d(2)
        self.k = nn.Sequential(KDownsample2D(), KUpsample2D())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.SiLU(), nn.Flatten(), nn.Linear(4, 2), nn.SiLU())

    def forward(self, x):
        y = self.body(x)
        return y, self.head(self.after(self.k(y)))


def test_any_module_built_of_known_parts_converts():
    model = Generic().double()
    x = torch.randn(2, 3, 24, 36, dtype=torch.float64)
    planes, vector = model(x)
    report = conversion_report(convert(model, "D-hq"))
    assert [e.name for e in report.touched if e.name.startswith("body")] == [f"body.{i}" for i in range(10)]
    assert "after" in {e.name for e in report.touched}
    assert {e.name for e in report.left} == {"head.0", "head.1", "head.4"}
    y, v = model(x)
    assert (y.shape, v.shape) == (planes.shape, vector.shape)
    y.sum().backward()
    assert all(p.grad is not None for p in model.body.parameters())
    revert(model)
    assert same(model(x)[0], planes)
    assert same(model(x)[1], vector)


def test_pools_follow_the_stock_size_rule():
    x = torch.randn(1, 2, 11, 8, dtype=torch.float64)
    for pool in (nn.AvgPool2d(2), nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(3), nn.AvgPool2d(4, ceil_mode=True)):
        shape = pool(x).shape
        assert convert(pool, "B-hq")(x).shape == shape


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (nn.Conv2d(2, 2, 16, stride=16), "equal strides up to 4"),
        (nn.Conv2d(2, 2, 3, stride=(2, 1)), "equal strides up to 4"),
        (nn.AvgPool2d(3, stride=(2, 1)), "oblong"),
        (nn.MaxPool2d(2, return_indices=True), "where the maxima were"),
        (nn.Upsample(scale_factor=2.5), "other than by 2 to 8"),
        (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "corners aligned"),
        (nn.ConvTranspose2d(2, 2, 4, stride=(2, 1)), "equal strides"),
        (nn.AdaptiveMaxPool2d(1), "fixed size"),
        (type("Mine", (nn.SiLU,), {})(), "a forward of its own"),
    ],
)
def test_what_cannot_be_converted_is_left_as_it_is_and_reported(part, reason):
    kind = type(part)
    model = convert(nn.Sequential(part), "D-hq")
    assert type(model[0]) is kind
    (entry,) = conversion_report(model).left
    assert reason in entry.text


def test_a_converted_model_can_be_copied_and_pickled(make, run):
    model = convert(make("UNet2DModel"), "D-hq")
    out = run(model)
    assert same(run(copy.deepcopy(model)), out)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert type(loaded) is type(model)
    torch.testing.assert_close(run(loaded), out, rtol=0, atol=1e-12)
    assert type(revert(loaded)) is UNet2DModel


def test_conversion_needs_no_memory_for_weights(make):
    model = convert(make("UNet2DModel").to("meta"), "D-hq")
    assert all(p.is_meta for p in model.parameters())
    assert conversion_report(model).touched
    assert type(revert(model)) is UNet2DModel


def test_upsampling_to_a_size_that_is_not_about_double_is_refused(make):
    up = convert(make("UNet2DModel"), "B-hq").up_blocks[0].upsamplers[0]
    x = torch.randn(1, 16, 4, 4, dtype=torch.float64)
    assert [up(x, (s, 8)).shape[2] for s in (7, 8, 9)] == [7, 8, 9]
    with pytest.raises(ShapeError, match="cannot upsample 4x4 by 2 to 11x8"):
        up(x, (11, 8))


def test_refusals_name_the_cure(make):
    model = make("UNet2DModel")
    with pytest.raises(ArgumentError, match="nothing to revert"):
        revert(model)
    with pytest.raises(ConfigError, match="did you mean 'D-hq'"):
        convert(model, "D-hp")
    with pytest.raises(ArgumentError, match="did you mean 'circular'"):
        convert(model, "D-hq", padding_mode="circle")
    with pytest.raises(ArgumentError, match=r"convert\(pipe.unet\)"):
        convert(DDPMPipeline(model, DDPMScheduler()), "D-hq")
    convert(model, "D-hq")
    for part in (model, model.mid_block):
        with pytest.raises(ArgumentError, match="revert"):
            convert(part, "B-hq")
    model = make("UNet2DModel")
    convert(model.mid_block, "C-hq")
    with pytest.raises(ArgumentError, match="a part of it"):
        convert(model, "D-hq")


@pytest.mark.parametrize("how", [torch.compile, lambda m: (m.compile(), m)[1]])
def test_a_compiled_model_is_refused(make, how):
    model = how(make("UNet2DModel"))
    with pytest.raises(ArgumentError, match="convert first and compile afterwards"):
        convert(model, "D-hq")


def test_a_refused_model_is_untouched(make, run):
    model = make("UNet2DModel")
    out, before = run(model), everything(model)
    model.conv_out.lora_A = nn.Identity()
    with pytest.raises(ArgumentError, match="LoRA"):
        convert(model, "D-hq")
    del model.conv_out.lora_A
    assert everything(model) == before
    assert same(run(model), out)


def test_where_a_module_has_a_forward_of_its_own_it_is_refused(make):
    from accelerate import cpu_offload

    def offload(model: nn.Module) -> nn.Module:
        return cpu_offload(model, torch.device("cpu"))

    model = offload(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3)))
    with pytest.raises(ArgumentError, match=r"the forward of 0 was replaced.*remove_all_hooks"):
        convert(model, "D-hq")
    assert model(torch.ones(1, 3, 9, 9)).shape == (1, 4, 2, 2)  # nothing was changed
    model = offload(convert(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2)), "D-hq"))
    with pytest.raises(ArgumentError, match="the forward of 0 was replaced"):
        revert(model)
    assert model(torch.ones(1, 3, 9, 9)).shape == (1, 4, 4, 4)


def test_a_model_that_is_offloaded_as_a_whole_converts(make, run):
    from accelerate import cpu_offload_with_hook

    model = make("UNet2DModel", torch.float32)
    stock = run(model)
    cpu_offload_with_hook(model, "cpu")  # as enable_model_cpu_offload does
    assert same(run(convert(model, "D-hq")), run(convert(make("UNet2DModel", torch.float32), "D-hq")))
    assert same(run(revert(model)), stock)


@pytest.mark.parametrize("shape", [(1, 2, 6), (1, 2, 4, 6, 4)])
def test_upsampling_of_signals_and_volumes_is_left_as_it_is(shape):
    model = nn.Sequential(nn.Upsample(scale_factor=2))
    x = torch.randn(shape)
    stock = model(x)
    assert same(convert(model, "D-hq")(x), stock)


class ChannelsLast(nn.Module):
    """A hand-written block of two arguments, which no config implies."""

    def __init__(self):
        super().__init__()
        self.act = nn.SiLU()

    def forward(self, x, more):
        return self.act(x.permute(0, 2, 3, 1) + more).permute(0, 3, 1, 2)


def test_a_call_that_cannot_be_implied_is_told_with_its_cure_and_exact_with_it():
    x = torch.linspace(-2, 2, 8).reshape(1, 8, 1, 1).expand(1, 8, 16, 16)  # constant planes: filters keep them
    with pytest.warns(UserWarning, match=r"no call of this ChannelsLast could be watched.*as `inputs`"):
        convert(ChannelsLast(), "C-hq")
    block = convert(ChannelsLast(), "C-hq", inputs=[x, torch.zeros(8)])
    torch.testing.assert_close(block(x, torch.zeros(8)), ChannelsLast()(x, torch.zeros(8)))
