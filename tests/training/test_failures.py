"""A run that cannot start or go on says why in one sentence and leaves what was there."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from aliasfree.data import export_images, open_images
from aliasfree.errors import ArgumentError, CheckpointError, DataError, RunError
from aliasfree.training import RunFolder, train


@pytest.mark.parametrize(("every", "left"), [(100, "no checkpoint was written"), (1, "")])
def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(tmp_path, digits, make_settings, quiet, every, left):
    settings = make_settings(tmp_path / "run", lr=1e30, checkpoint_every=every)
    with pytest.raises(RunError, match=r"step \d") as error:
        train(settings, digits, console=quiet)
    assert left in str(error.value)
    assert RunFolder(tmp_path / "run").latest_checkpoint() is None, "no checkpoint of a broken state"


def test_a_run_that_diverges_later_keeps_the_checkpoint_from_before_and_names_it(
    tmp_path, digits, make_settings, quiet
):
    run = train(make_settings(tmp_path / "run", steps=3), digits, console=quiet)
    with pytest.raises(RunError, match=r"step \d.*step-00000003.*smaller `lr`"):
        train(make_settings(tmp_path / "run", lr=1e30, checkpoint_every=1), digits, resume=True, console=quiet)
    assert run.load_checkpoint().step == 3


def test_a_full_disk_stops_the_run_with_the_old_checkpoint_intact(tmp_path, digits, make_settings, quiet):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int, loss: float) -> None:
        if step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    try:
        with pytest.raises(RunError, match=r"Cannot write .*step-00000003 is intact.*--resume"):
            train(make_settings(tmp_path / "run"), digits, on_step=fill, console=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run = RunFolder(tmp_path / "run")
    assert run.load_checkpoint().step == 3
    assert [p.name for p in run.checkpoints.iterdir()] == ["step-00000003"]
    run.load_model()


def test_a_log_that_cannot_be_written_stops_the_run_in_the_same_way(tmp_path, digits, make_settings, quiet):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int, loss: float) -> None:
        if step == 5:
            size = (tmp_path / "run" / "losses.csv").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1, hard))

    try:
        with pytest.raises(RunError, match=r"Cannot write .*step-00000003 is intact"):
            train(make_settings(tmp_path / "run", checkpoint_every=3), digits, on_step=fill, console=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_folder_in_use_by_another_process_is_refused_with_its_pid(tmp_path, digits, make_settings, quiet):
    out = tmp_path / "run"
    train(make_settings(out, steps=1), digits, console=quiet)
    code = f"import sys; from aliasfree.training import RunFolder\nwith RunFolder({str(out)!r}).lock():\n" \
           "    print('held', flush=True); sys.stdin.read()"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=rf"in use by another process \(pid {other.pid}\)"):
            train(make_settings(out, steps=2), digits, resume=True, console=quiet)
        other.kill()
    train(make_settings(out, steps=2), digits, resume=True, console=quiet)  # a dead process holds nothing


def test_a_new_run_in_a_folder_with_a_run_names_resume(tmp_path, digits, make_settings, quiet):
    run = train(make_settings(tmp_path / "run", steps=1), digits, console=quiet)
    before = sorted(p.name for p in run.path.iterdir())
    with pytest.raises(RunError, match="--resume"):
        train(make_settings(tmp_path / "run", steps=2), digits, console=quiet)
    assert sorted(p.name for p in run.path.iterdir()) == before


def test_a_new_run_does_not_go_into_a_folder_of_other_things_or_a_file(tmp_path, digits, make_settings, quiet):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    with pytest.raises(RunError, match="is not empty"):
        train(make_settings(tmp_path / "thesis"), digits, console=quiet)
    with pytest.raises(RunError, match="is a file"):
        train(make_settings(tmp_path / "thesis" / "chapter.txt"), digits, console=quiet)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_resuming_where_there_is_no_run_is_refused_and_creates_nothing(tmp_path, digits, make_settings, quiet):
    with pytest.raises(RunError, match="no run"):
        train(make_settings(tmp_path / "absent"), digits, resume=True, console=quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"config": "A"}, "D-2N there, A asked for"),
        ({"base_channels": 16}, "8 there, 16 asked for"),
        ({"padding_mode": "circular"}, "zeros there, circular asked for"),
        ({"class_conditional": True}, "None there, 10 asked for"),
        ({"num_train_timesteps": 500}, "`num_train_timesteps` 1000, not 500"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_naming_both(
    tmp_path, digits, make_settings, quiet, changes, says
):
    run = train(make_settings(tmp_path / "run", steps=1), digits, console=quiet)
    before = run.config
    with pytest.raises(CheckpointError) as error:
        train(make_settings(tmp_path / "run", **changes), digits, resume=True, console=quiet)
    assert says in str(error.value)
    assert run.config == before


def test_other_data_are_refused_on_resume(tmp_path, digits, make_settings, quiet):
    train(make_settings(tmp_path / "run", steps=1), digits, console=quiet)
    export_images(digits, tmp_path / "few", 10)
    other = open_images(tmp_path / "few", image_size=8, cache_dir=tmp_path / "cache")
    with pytest.raises(CheckpointError, match=r"begun on other data \(1797 images of digits, now 10 images of .*few"):
        train(make_settings(tmp_path / "run"), other, resume=True, console=quiet)


def test_images_whose_size_the_network_cannot_halve_are_refused_before_anything_is_written(
    tmp_path, make_settings, quiet
):
    odd = open_images("digits", image_size=12, cache_dir=tmp_path / "cache")
    with pytest.raises(ArgumentError, match="divisible by 8"):
        train(make_settings(tmp_path / "run", image_size=None), odd, console=quiet)
    assert not (tmp_path / "run").exists()


def test_damaged_images_left_out_are_counted_and_the_first_is_named(
    tmp_path, digits, make_settings, capsys, monkeypatch
):
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    export_images(digits, tmp_path / "some", 6)
    (tmp_path / "some" / "000003.png").write_bytes((tmp_path / "some" / "000003.png").read_bytes()[:50])
    settings = make_settings(tmp_path / "run", data=str(tmp_path / "some"), steps=1)
    with pytest.raises(DataError, match=r"000003\.png"):
        train(settings)
    assert not (tmp_path / "run").exists()
    run = train(settings.replace(skip_bad=True))
    assert "1 damaged image(s) left out, 5 kept" in capsys.readouterr().err
    assert "000003.png" in run.config["data"]["skipped"][0]
