"""The film of sub-pixel motion: what is sampled, what is drawn, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.errors import ArgumentError
from aliasfree.experiments.film import film_runs
from aliasfree.reporting.film import PATCH, film_frames, film_shifts, film_strip
from aliasfree.results.film import Film
from aliasfree.sampling.sampler import SampleSettings
from aliasfree.training import RunFolder, RunSettings, train

FAST = SampleSettings(steps=3, scheduler="ddpm-clipped", class_label="each", batch_size=5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, RunFolder]:
    """Runs of a few steps on digits."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, config, size in (("a", "A", 16), ("t", "T", 16), ("small", "T", 8)):
        settings = RunSettings(
            data="digits", config=config, out=folder / name, image_size=size, base_channels=4, steps=3, batch_size=4,
            class_conditional=True, device="cpu", sample_every=None,
        )  # fmt: skip
        made[name] = train(settings, console=Console(quiet=True))
    return made


def test_the_film_of_t_moves_and_stands_still_when_moved_back_and_that_of_a_does_not(runs, tmp_path):
    told: list[tuple[int, int]] = []
    films, files = film_runs(
        [runs["a"], runs["t"]],
        FAST,
        2,
        frames=4,
        out=tmp_path / "f.png",
        device="cpu",
        progress=lambda *d: told.append(d),
    )
    a, t = films
    assert (a.name, t.name) == ("A", "T")
    assert t.db > 50 > 40 > a.db
    assert t.images.shape == t.back.shape == (2, 4, 16, 16, 1)
    assert np.abs(t.back.astype(int) - t.back[:, :1]).max() <= 1
    assert np.abs(a.back.astype(int) - a.back[:, :1]).max() > 5
    assert np.abs(t.images[:, 2].astype(int) - np.roll(t.images[:, 0], 1, 2)).max() <= 1  # one pixel to the right
    assert np.abs(t.images[:, 1].astype(int) - t.images[:, 0]).max() > 5
    assert told[-1][0] == told[-1][1]
    assert [f.suffix for f in files] == [".png", ".gif", ".mp4", ".json"]
    facts = json.loads(files[-1].read_text())
    assert facts["runs"] == {str(runs["a"].path): a.db, str(runs["t"].path): t.db}
    assert (facts["frames"], facts["travel"], facts["steps"]) == (4, 2.0, 3)
    with Image.open(files[1]) as gif, Image.open(files[0]) as strip:
        assert gif.n_frames == 2 * 4 - 2
        assert gif.height > 2 * 128
        assert strip.width > 7 * 128
    with pytest.raises(ArgumentError, match="`overwrite=True`"):
        film_runs([runs["t"]], FAST, out=tmp_path / "f.png")


def test_the_patch_is_where_the_films_stand_least_still():
    still = np.full((1, 5, 24, 24, 1), 100, np.uint8)
    restless = still.copy()
    restless[0, :, 12:16, 9:13, 0] = np.arange(5)[:, None, None] * 50
    films = [Film("D", still, still, 90.0), Film("A", restless, restless, 10.0)]
    frame = np.asarray(film_frames(films)[4])
    rows = np.split(frame[-2 * 144 - 2 :], [145])  # tiles of 144 pixels, a line between them
    calm, moving = (row[:, -144:] for row in rows)
    assert calm[:144].min() == calm[:144].max() == 100
    assert {100, 200} <= set(np.unique(moving))
    inside = (moving == 200).sum() / (144 / PATCH) ** 2
    assert inside == pytest.approx(16, abs=0.5)  # all of the patch that moves is seen
    assert film_strip(films, film_shifts(5)).width > 7 * 144


def test_runs_whose_images_differ_are_refused(runs, tmp_path):
    with pytest.raises(ArgumentError, match="images of one size"):
        film_runs([runs["a"], runs["small"]], FAST, out=tmp_path / "f.png", device="cpu")


def test_the_last_frame_stops_short_of_the_travel():
    assert film_shifts(4, 2.0) == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--num", 0), "--num of at least 1"),
        (("--frames", 1), "--frames of at least 2"),
        (("--travel", 0), "--travel is a number of pixels"),
        (("--out", "film.gif"), "--out must end in .png"),
        (("--class", "x"), "--class takes"),
    ],
)
def test_the_command_refuses_with_the_name_of_the_option(options, words, runs):
    done = CliRunner().invoke(app, ["film", str(runs["t"].path), *map(str, options)])
    assert done.exit_code == 2
    assert words in done.output.replace("\n", " ")


def test_the_command_films_runs_of_one_config_under_the_names_of_their_folders(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    twin = Path(runs["t"].path)
    done = CliRunner().invoke(
        app, ["film", str(twin), str(twin), "--num", "1", "--frames", "2", "--steps", "2", "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.count("t, ") == 2
    assert (tmp_path / "film.gif").is_file()
