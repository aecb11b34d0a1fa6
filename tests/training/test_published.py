"""A network to give away reads like the run that it comes from."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from aliasfree import AliasFreeUNet2DModel
from aliasfree.errors import AliasfreeError, CheckpointError
from aliasfree.training import RunFolder, train
from aliasfree.training.published import publish


@pytest.fixture
def run(tmp_path, digits, make_settings, quiet):
    return train(make_settings(tmp_path / "run", steps=2, sample_every=2), digits, console=quiet)


def test_it_is_the_network_of_the_run_in_bfloat16_and_loads_as_float32(run, tmp_path):
    published = publish(run, tmp_path / "net")
    saved = load_file(published.path / "diffusion_pytorch_model.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.bfloat16}
    model = AliasFreeUNet2DModel.from_pretrained(published.path)
    for name, weight in run.load_model().state_dict().items():
        assert model.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=2**-8, atol=0)
    assert dict(model.config)["spectrum"] == dict(run.load_model().config)["spectrum"]


def test_it_reads_like_the_run(run, tmp_path):
    published = publish(run, tmp_path / "net")
    assert published.is_published
    assert not run.is_published
    assert published.settings.config == run.settings.config
    assert published.num_train_timesteps == run.num_train_timesteps
    assert published.config["data"]["fingerprint"] == run.config["data"]["fingerprint"]
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(published.load_model()(x, 5).sample, run.load_model()(x, 5).sample, rtol=0.1, atol=0.1)


def test_no_path_of_this_machine_goes_with_it_and_the_card_shows_its_samples(run, tmp_path):
    config = run.config
    place = str(tmp_path / "images")  # as a run on a folder notes it
    config["settings"]["data"] = config["data"]["path"] = config["data"]["source"] = place
    run.write_config(config)
    published = publish(run, tmp_path / "net")
    text = (published.path / "training.json").read_text() + (published.path / "README.md").read_text()
    assert str(tmp_path) not in text
    facts = json.loads((published.path / "training.json").read_text())
    assert facts["step"] == 2
    assert facts["settings"]["data"] == facts["data"]["source"] == "images"
    assert "![Samples of the network](samples.png)" in text
    assert (published.path / "samples.png").is_file()
    assert 'from_pretrained("net")' in text


def test_a_run_without_weights_and_an_out_that_exists_are_refused(run, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "theirs").touch()
    with pytest.raises(AliasfreeError, match="there"):
        publish(run, tmp_path / "there")
    assert (tmp_path / "there" / "theirs").is_file()
    (run.model / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights in model/ yet"):
        publish(RunFolder(run.path), tmp_path / "net")


def test_the_command_line_exports_it_and_samples_from_it_like_from_a_run(run, tmp_path):
    from typer.testing import CliRunner

    from aliasfree.cli import app

    def aliasfree(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    done = aliasfree("export", run.path, "--format", "weights", "--out", tmp_path / "net")
    assert done.exit_code == 0, done.output
    done = aliasfree("sample", tmp_path / "net", "--num", 2, "--steps", 2, "--out", tmp_path / "images")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["00000.png", "00001.png"]
    done = aliasfree("export", run.path, "--format", "weights", "--no-ema")
    assert done.exit_code == 2
    assert "has the averaged weights" in done.output
