from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from aliasfree.errors import ArgumentError, RunError
from aliasfree.estimate import Estimate
from aliasfree.experiments.demo import DemoSettings, _run_settings, run_demo
from aliasfree.reporting.demo import compose, duration, uncertainty
from aliasfree.results.demo import ConfigResult, DemoResult
from aliasfree.results.film import Film
from aliasfree.results.metrics import SampledMotion, SamplerEquivariance
from aliasfree.sampling.sampler import Sampler
from aliasfree.training import RunFolder, RunStopped, train

TINY = DemoSettings(
    configs=("A", "T"),
    base_channels=4,
    steps=6,
    batch_size=4,
    sampling_steps=3,
    samples=66,  # more than the classifier has features
    turned=2,
    strip_angles=3,
    strip_seeds=1,
    film_angles=5,
    film_seeds=2,
    classifier_epochs=1,
    frames=3,
    film_images=1,
    moved=2,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(out: Path, settings: DemoSettings = TINY, **options: object) -> tuple[Path, str]:
    said = io.StringIO()
    return run_demo(out, settings=settings, console=Console(file=said, width=200), **options), said.getvalue()


@pytest.fixture(scope="module")
def done(cache, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a whole demo, small enough for a test, and what it said."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    path, said = run(out)
    assert path == out / "report.html"
    return out, said


def test_the_report_holds_all_its_pictures_and_needs_nothing_else(done) -> None:
    html = (done[0] / "report.html").read_text("utf-8")
    assert not re.search(r"<script|https?://|@import|url\(", html)
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert html.count("data:image/gif;base64,") == 3
    assert (
        html.count("data:image/png;base64,") == 1 + 2 + 2 * 2 + 3
    )  # film's strip; grids; strips, both ways; equivariance, spectra, losses
    assert (
        html.index("fractions of a pixel: does the image?") < html.index("Turned while") < html.index("Upright samples")
    )
    assert "accepts" in html
    assert "arXiv 2411.09174" in html


def test_the_folder_holds_the_runs_the_animations_and_the_numbers(done) -> None:
    out, _ = done
    facts = json.loads((out / "demo.json").read_text())
    assert list(facts["configs"]) == ["A", "T"]
    assert facts["settings"]["steps"] == 6
    for name, values in facts["configs"].items():
        assert RunFolder(out / name).settings.config == name
        assert 0 <= values["as_asked"] <= values["accepted"] <= 1
        assert values["measured"]["fidelity"]["classifier"]["generated"]["fid"]["value"] > 0
        assert values["measured"]["equivariance"]["overall"]["eq_r"]["value"] is not None
        assert sum(values["classes"]) == round(66 * values["accepted"])
        with Image.open(out / f"rotation-{name}.gif") as film:
            assert film.size == (2 * 128 + 3, 128)
        assert (out / f"rotation-{name}.png").is_file()
    a, t = facts["configs"].values()
    assert t["parameters"] == a["parameters"] + 36 * 4  # the frame's channels
    # what was hardly trained may be clipped to one colour: "Infinity"
    assert float(t["film_db"]) > 40
    assert float(t["sampler"]["motions"][0]["eq_t_frac"]["value"]) > 40
    for name in ("A", "T"):
        settings = RunFolder(out / name).settings
        assert (settings.preconditioning, settings.loss_weighting) == ("spectral", 1.0)
    assert (out / "film.gif").is_file()
    assert not [p for p in out.rglob("*") if ".tmp" in p.name]


def test_progress_without_a_terminal_is_plain_lines_naming_every_stage(done) -> None:
    said = done[1]
    for stage in ("learning to read digits", "training A", "training T", "sampling with A", "sampling with T"):
        assert f"] {stage}" in said
    assert "\x1b" not in said


def test_again_uses_the_trained_runs_says_so_and_samples_the_same(done) -> None:
    out, _ = done
    before = json.loads((out / "demo.json").read_text())
    weights = out / "A" / "model" / "diffusion_pytorch_model.safetensors"
    stamp, film = weights.stat().st_mtime_ns, (out / "rotation-T.gif").read_bytes()
    _, said = run(out)
    assert said.count("used again") == 2
    assert "training" not in said
    assert weights.stat().st_mtime_ns == stamp
    assert (out / "rotation-T.gif").read_bytes() == film
    after = json.loads((out / "demo.json").read_text())
    for name in ("A", "T"):
        for key in ("accepted", "as_asked", "classes", "kept", "paper_kept", "last_loss", "training_seconds"):
            assert after["configs"][name][key] == before["configs"][name][key]
    assert "(earlier)" in (out / "report.html").read_text("utf-8")


def test_runs_with_other_settings_are_refused_untouched_and_replaced_when_asked(done, tmp_path) -> None:
    out = tmp_path / "demo"
    short = dataclasses.replace(TINY, configs=("A",), steps=2)
    run(out, short)
    losses = (out / "A" / "losses.csv").read_bytes()
    with pytest.raises(RunError, match=r"steps 2, not 3.*`overwrite=True`"):
        run(out, dataclasses.replace(short, steps=3))
    assert (out / "A" / "losses.csv").read_bytes() == losses
    run(out, dataclasses.replace(short, steps=3), overwrite=True)
    assert len(RunFolder(out / "A").losses()[0]) == 3


def test_a_folder_that_is_no_run_is_refused_and_never_deleted(cache, tmp_path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="holds no run"):
            run(tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["thesis.txt"]


def test_a_demo_that_was_stopped_goes_on_to_the_same_losses(done, tmp_path) -> None:
    def stop(step: int, loss: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "demo"
    one = dataclasses.replace(TINY, configs=("A",))
    with pytest.raises(RunStopped):
        train(_run_settings(one, "A", out), on_step=stop, console=Console(quiet=True))
    run(out, one)
    np.testing.assert_array_equal(RunFolder(out / "A").losses()[1], RunFolder(done[0] / "A").losses()[1])


def test_both_ways_of_turning_are_sampled(cache, tmp_path, monkeypatch) -> None:
    sampled = []
    sample = Sampler.sample
    monkeypatch.setattr(Sampler, "sample", lambda self, *args: sampled.append(args[1]) or sample(self, *args))
    run(tmp_path / "demo", dataclasses.replace(TINY, configs=("A",), steps=1))
    ways = {(m.method, m.noise, m.schedule) for m in sampled if m.rotate}
    assert ways == {("fourier", "co-moving", (0.95, 0.95)), ("spline", "independent", (0.0, 1.0))}


def test_settings_whose_strip_is_not_part_of_the_film_are_refused() -> None:
    with pytest.raises(ArgumentError, match="strip"):
        DemoSettings(strip_angles=9, film_angles=20)
    with pytest.raises(ArgumentError, match="strip"):
        DemoSettings(strip_seeds=4, film_seeds=3)


def result(*accepted: float) -> DemoResult:
    settings = TINY
    pixels = np.zeros((5, 16, 16, 1), np.uint8)
    configs = tuple(
        ConfigResult(
            name=name,
            parameters=10,
            steps=np.arange(1, 7),
            losses=np.linspace(1, 0.1, 6),
            training_seconds=90.0,
            sampling_seconds=3.0,
            reused=False,
            samples=pixels,
            accepted=share,
            as_asked=share,
            classes=(1,) * 10,
            shifted=Film(name, pixels[:1].repeat(3, 0)[None], pixels[:1].repeat(3, 0)[None], 20.0),
            sampler=SamplerEquivariance(
                motions=(SampledMotion(window=(0.0, 0.0), eq_t_frac=Estimate(17.0)),),
                images=2,
                steps=3,
                scheduler="ddpm",
                periodic=False,
            ),
            film=np.zeros((2, 5, 16, 16, 1), np.uint8),
            paper_strip=np.zeros((1, 3, 16, 16, 1), np.uint8),
            kept=None,
            paper_kept=0.25,
        )
        for name, share in zip(settings.configs, accepted, strict=True)
    )
    return DemoResult(settings, configs, (), 1797, 0.991, 359, 0.98, 0.0, 200.0, {"torch": "2"}, 2)


@pytest.mark.parametrize(
    ("accepted", "headline"),
    [
        ((0.75, 0.62), "Both networks make digits: a classifier accepts 75 % of Config A's and 62 %"),
        ((0.75, 0.52), "Not every network makes digits yet"),
        ((0.2, 0.1), "These are hardly digits yet: a classifier accepts only 20 %"),
    ],
)
def test_the_headline_says_what_is_seen(accepted: tuple[float, float], headline: str) -> None:
    html = compose(result(*accepted), {"A": b"GIF", "T": b"GIF"}, b"GIF").replace("\u00a0", " ").replace("&#x27;", "'")
    assert f"<h1>{headline}" in html
    assert "none of Config A's" in html  # no accepted image was turned
    assert "99.1 %" in html
    assert "17 dB for Config A and 17 dB for Config T" in html


def test_durations_and_uncertainties_are_plain() -> None:
    assert duration(41.6) == "42 s"
    assert duration(185) == "3 min 05 s"
    assert uncertainty(0.5, 256) == 6
    assert 0 < uncertainty(1.0, 256) < uncertainty(0.9, 256)
