"""Everything a run writes lies in its folder and reads back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from aliasfree.errors import CheckpointError, RunError
from aliasfree.training import RunFolder, train
from aliasfree.training.ema import WeightAverage, ema_decay_at


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits, make_settings):
    settings = make_settings(
        tmp_path_factory.mktemp("runs") / "run",
        steps=8,
        sample_every=4,
        sample_num=5,
        sample_steps=2,
        class_conditional=True,
        mixed_precision="bf16",
        save_training_images=3,
        keep_checkpoints=2,
    )
    torch.set_num_threads(1)
    seen = []
    folder = train(settings, digits, on_step=lambda step, loss: seen.append((step, loss)))
    return folder, seen


def test_the_config_file_tells_settings_versions_data_and_network(run, digits):
    config = run[0].config
    assert config["settings"] == run[0].settings.to_dict()
    assert config["versions"].keys() >= {"python", "torch", "diffusers", "accelerate", "aliasfree"}
    assert config["data"]["fingerprint"] == digits.fingerprint
    assert config["data"]["images"] == len(digits)
    assert config["model"]["alias_free"] == "D-2N"
    assert config["model"]["num_class_embeds"] == 10


def test_the_losses_read_back_exactly_as_reported(run):
    steps, losses = run[0].losses()
    assert steps.tolist() == list(range(1, 9))
    assert list(zip(steps.tolist(), losses.tolist(), strict=True)) == run[1]
    assert np.isfinite(losses).all()


def test_sample_grids_lie_in_samples_by_step_and_in_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert [p.name for p in sorted(run[0].samples.iterdir())] == ["step-00000004.png", "step-00000008.png"]
    with Image.open(run[0].samples / "step-00000008.png") as grid:
        assert grid.width > 2 * 8
    events = EventAccumulator(str(run[0].tensorboard)).Reload()
    assert [e.step for e in events.Images("samples")] == [4, 8]
    assert [e.step for e in events.Scalars("loss")] == list(range(1, 9))
    assert {"learning rate", "images per second", "gradient norm"} <= set(events.Tags()["scalars"])


def test_the_training_images_asked_for_are_written(run, digits):
    files = sorted(run[0].training_images.iterdir())
    assert [p.name for p in files] == ["000000.png", "000001.png", "000002.png"]
    with Image.open(files[2]) as image:
        assert np.array_equal(np.asarray(image), digits.images[2, 0])


def test_only_the_newest_checkpoints_stay(run):
    assert [p.name for p in sorted(run[0].checkpoints.iterdir())] == ["step-00000006", "step-00000008"]
    assert run[0].latest_checkpoint().name == "step-00000008"


def test_the_model_folder_holds_the_averaged_weights_and_the_checkpoint_both(run):
    tensors = run[0].load_checkpoint().tensors
    averaged, raw = run[0].load_model(), run[0].load_model(ema=False)
    assert all(torch.equal(t, tensors["ema"][n]) for n, t in averaged.state_dict().items())
    assert all(torch.equal(t, tensors["model"][n]) for n, t in raw.state_dict().items())
    assert any(not torch.equal(t, tensors["model"][n]) for n, t in averaged.state_dict().items())
    assert not averaged.training


def test_a_folder_without_a_run_and_one_without_weights_say_what_is_missing(run, tmp_path):
    with pytest.raises(RunError, match="no run"):
        RunFolder(tmp_path).load_model()
    (tmp_path / "config.json").write_bytes(run[0].config_file.read_bytes())
    with pytest.raises(CheckpointError, match="no weights"):
        RunFolder(tmp_path).load_model()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        _ = RunFolder(tmp_path).config


def test_damaged_weights_in_the_model_folder_are_named(run, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "config.json").write_bytes(run[0].config_file.read_bytes())
    for file in run[0].model.iterdir():
        (tmp_path / "model" / file.name).write_bytes(
            file.read_bytes()[:-1000] if file.stat().st_size > 2000 else file.read_bytes()
        )
    with pytest.raises(CheckpointError, match=r"model.* damaged"):
        RunFolder(tmp_path).load_model()


def test_a_run_in_a_moved_folder_is_read_where_it_lies(run, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(run[0].path, moved)
    assert RunFolder(moved).settings.out == moved
    assert RunFolder(moved).load_model().config["sample_size"] == 8


def test_without_a_terminal_progress_comes_as_plain_lines(tmp_path, digits, make_settings, capsys):
    train(make_settings(tmp_path / "run", steps=2), digits)
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("step 2/2  loss ")
    assert "images/s" in lines[-1]
    assert "\x1b" not in "".join(lines)


def test_the_average_of_constant_weights_is_those_weights_and_the_warmup_forgets_the_start():
    model = torch.nn.Linear(2, 2)
    average = WeightAverage(model, 0.9999)
    with torch.no_grad():
        model.weight.fill_(3.0)
    for step in range(1, 101):
        average.update(model, step)
    torch.testing.assert_close(average.model.weight, model.weight, rtol=0, atol=1e-4)
    assert ema_decay_at(1, 0.9999) == pytest.approx(2 / 11)
    assert ema_decay_at(10**7, 0.9999) == 0.9999
    none = WeightAverage(model, 0.0)
    none.update(model, 1)
    assert torch.equal(none.model.weight, model.weight)
