from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from aliasfree.config import PAPER_CONFIGS, Config
from aliasfree.errors import ArgumentError, CheckpointError, ConfigError, ShapeError
from aliasfree.filters import FilterSpec
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.models.reference import translate_name

PUBLISHED = ("A", "B-2N", "C-2N", "D-2N")


@pytest.fixture(scope="module")
def weights(golden):
    return golden("unet_c1_s8_weights_1") | golden("unet_c1_s8_weights_2")


def small(alias_free="D-hq", **kwargs) -> AliasFreeUNet2DModel:
    defaults = {"sample_size": 16, "in_channels": 1, "out_channels": 1, "base_channels": 8}
    return AliasFreeUNet2DModel(alias_free=alias_free, **(defaults | kwargs))


@pytest.mark.parametrize(("channels", "count"), [(3, 5_897_155), (1, 5_896_513)])
@pytest.mark.parametrize("config", ["A", "B-0", "C-1N", "D-2N", "D-hq", "D-ideal"])
def test_parameter_counts_are_the_papers_in_every_config(config, channels, count):
    with torch.device("meta"):
        model = AliasFreeUNet2DModel(config, 32, channels, channels)
    assert sum(p.numel() for p in model.parameters()) == count


def test_every_config_has_the_same_state_dict_keys():
    keys = [list(small(c).state_dict()) for c in (*PAPER_CONFIGS, "D-hq", "D-radial", "D-ideal")]
    assert all(k == keys[0] for k in keys)
    assert len(keys[0]) == 182


@pytest.mark.parametrize("variant", range(4))
def test_outputs_and_gradients_are_the_published_ones(golden, keymap, weights, variant):
    io = golden("unet_c1_s8_io")
    published = {row[variant]: weights[row[0]] for row in keymap}
    model = AliasFreeUNet2DModel.from_reference(published, PUBLISHED[variant], sample_size=8)
    x = io["x"].clone().requires_grad_()
    out = model(x, io["t"]).sample
    loss = out.square().mean()
    loss.backward()

    def relative(value, expected):
        return ((value.double() - expected).norm() / expected.double().norm()).item()

    key = f"v{variant}"
    assert (out - io[f"{key}.out_f64"]).abs().max() < 2e-5
    assert relative(loss, io[f"{key}.loss_f64"]) < 2e-5
    assert relative(x.grad, io[f"{key}.grad_x"]) < 2e-5
    assert relative(model.inc.conv1.weight.grad, io[f"{key}.grad_first_f64"]) < 2e-5
    parameters = dict(model.named_parameters())
    norms = torch.stack([parameters[translate_name(row[variant])].grad.norm() for row in keymap])
    expected = io[f"{key}.grad_norms_f64"]
    assert ((norms - expected).abs() / expected.clamp_min(1e-3 * expected.max())).max() < 2e-5


def test_a_published_checkpoint_loads_from_either_file_format(tmp_path, keymap, weights):
    save_file(weights, tmp_path / "ref.safetensors")
    torch.save({row[3]: weights[row[0]] for row in keymap}, tmp_path / "ref.pt")
    for name in ("ref.safetensors", "ref.pt"):
        model = AliasFreeUNet2DModel.from_reference(tmp_path / name, "D-2N", 8)
        assert torch.equal(model.outc.weight, weights["outc.weight"])


class Payload:
    def __reduce__(self):
        return (print, ("code ran while loading a checkpoint",))


def test_a_checkpoint_that_carries_code_is_refused_without_running_it(tmp_path, capsys):
    torch.save({"inc": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="weights only"):
        AliasFreeUNet2DModel.from_reference(tmp_path / "evil.pt", "A", 8)
    assert "code ran" not in capsys.readouterr().out


def test_files_that_are_no_published_checkpoint_are_named(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"123")
    (tmp_path / "cut.pt").write_bytes(b"123")
    for name in ("other.pt", "cut.safetensors", "cut.pt", "absent.pt"):
        with pytest.raises(CheckpointError, match=name):
            AliasFreeUNet2DModel.from_reference(tmp_path / name, "A", 8)


@pytest.mark.parametrize("config", ["A", "B-1", "C-0", "D-2N", "D-hq", "D-radial", "D-ideal"])
@pytest.mark.parametrize("size", [(8, 8), (16, 24)])
def test_any_size_divisible_by_eight_passes(config, size):
    model = small(config)
    assert model(torch.randn(2, 1, *size), 10).sample.shape == (2, 1, *size)


def test_saving_and_loading_gives_back_the_same_model(tmp_path):
    custom = Config("D", FilterSpec(taps=8, kaiser_beta=3.0), FilterSpec.named("hq"), oversample=4)
    for alias_free in ("B-2N", "D-hq", custom):
        model = small(alias_free, sample_size=(16, 8), num_class_embeds=3, padding_mode="circular").eval()
        model.save_pretrained(tmp_path)
        again = AliasFreeUNet2DModel.from_pretrained(tmp_path).eval()
        x = torch.randn(2, 1, 16, 8)
        labels = torch.tensor([0, 3])
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in again.state_dict().items())
        # weights that were read lie elsewhere in memory, where products may be summed in another order
        torch.testing.assert_close(model(x, 5, labels).sample, again(x, 5, labels).sample, rtol=1e-5, atol=1e-5)
        assert Config.parse(again.config.alias_free) == Config.parse(alias_free)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()


def test_no_label_means_the_null_class():
    model = small(num_class_embeds=3).eval()
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(model(x, 5).sample, model(x, 5, torch.tensor([3, 3])).sample)
    assert not torch.allclose(model(x, 5).sample, model(x, 5, torch.tensor([0, 1])).sample)


def test_timesteps_may_be_a_number_a_tensor_or_one_per_image():
    model = small().eval()
    x = torch.randn(2, 1, 16, 16)
    outputs = [model(x, t).sample for t in (7, torch.tensor(7), torch.tensor([7]), torch.tensor([7, 7]))]
    assert all(torch.equal(outputs[0], o) for o in outputs)
    assert not torch.allclose(outputs[0], model(x, torch.tensor([7, 900])).sample)
    with pytest.raises(ShapeError, match="one timestep or 2"):
        model(x, torch.tensor([1, 2, 3]))


def test_circular_padding_makes_the_network_equivariant_to_whole_strides():
    model = small("D-hq", padding_mode="circular").double().eval()
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    moved = model(x.roll((8, 8), (2, 3)), 5).sample
    assert (moved - model(x, 5).sample.roll((8, 8), (2, 3))).abs().max() < 1e-10
    model = small("D-hq").double().eval()
    moved = model(x.roll((8, 8), (2, 3)), 5).sample
    assert (moved - model(x, 5).sample.roll((8, 8), (2, 3))).abs().max() > 1e-4


def test_gradient_checkpointing_changes_nothing():
    model = small()
    x = torch.randn(1, 1, 16, 16)
    grads = []
    for on in (False, True):
        model.zero_grad()
        (model.enable_gradient_checkpointing if on else model.disable_gradient_checkpointing)()
        model(x, 5).sample.square().mean().backward()
        grads.append(model.inc.conv1.weight.grad.clone())
    torch.testing.assert_close(*grads)


def test_bfloat16_and_channels_last_are_inputs_like_others():
    model = small().eval()
    x = torch.randn(2, 1, 16, 16)
    expected = model(x, 5).sample
    out = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), 5).sample
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    out = model.bfloat16()(x.bfloat16(), 5).sample
    assert (out.float() - expected).abs().max() < 0.15 * expected.abs().max()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alias_free": "D-9"}, ConfigError, "did you mean"),
        ({"sample_size": 20}, ShapeError, "divisible by 8.*resize to 16x16"),
        ({"sample_size": 8, "padding_mode": "reflect"}, ShapeError, "at least 16x16, not 8x8.*choose 'zeros' or"),
        ({"base_channels": 6}, ArgumentError, "multiple of 4"),
        ({"padding_mode": "circle"}, ArgumentError, "did you mean 'circular'"),
        ({"num_class_embeds": 0}, ArgumentError, "at least 1"),
        ({"in_channels": 0}, ArgumentError, "at least 1"),
    ],
)
def test_impossible_models_are_refused_with_the_cure(arguments, error, message):
    with pytest.raises(error, match=message):
        small(**arguments)


def test_inputs_that_do_not_fit_are_refused_with_the_cure():
    model = small()
    with pytest.raises(ShapeError, match="divisible by 8"):
        model(torch.zeros(1, 1, 12, 16), 1)
    with pytest.raises(ShapeError, match="at least 16x16"):
        small(padding_mode="reflect")(torch.zeros(1, 1, 16, 8), 1)
    with pytest.raises(ShapeError, match=r"\(N, 1, H, W\)"):
        model(torch.zeros(1, 3, 16, 16), 1)
    with pytest.raises(ArgumentError, match="no classes"):
        model(torch.zeros(1, 1, 16, 16), 1, torch.tensor([0]))
