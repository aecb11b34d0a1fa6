"""`aliasfree evaluate`: runs and folders against real images, resumable, and what is refused."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from aliasfree.errors import AliasfreeError, ArgumentError
from aliasfree.estimate import Estimate
from aliasfree.evaluation import accuracy_score, classifier
from aliasfree.evaluation.features import ClassifierFeatures, PixelFeatures
from aliasfree.files import json_value
from aliasfree.measuring import sample_store
from aliasfree.measuring.evaluate import EvaluateSettings, _kept, evaluate, measure_samples
from aliasfree.measuring.extractors import classifier_for, make_extractor
from aliasfree.measuring.network_equivariance import network_equivariance
from aliasfree.measuring.noise_error import network_noise_error
from aliasfree.measuring.real_images import RealImages, open_real
from aliasfree.measuring.rotation import PAPER, RotationSettings, Way, evaluate_turned, every_way, rotation_curves
from aliasfree.measuring.sample_store import SampleStore
from aliasfree.reporting.rotation import samples_figure, table_text
from aliasfree.reporting.runs import measured_section, write_report
from aliasfree.results.metrics import AccuracyScore, Metrics, read_metrics
from aliasfree.sampling.sampler import MotionSettings, SampleSettings
from aliasfree.training import RunFolder, RunSettings, train
from aliasfree.training.setup import open_data

FAST = SampleSettings(steps=2, scheduler="ddpm-clipped", batch_size=40)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(sample_store, "PART", 50)
        patch.setattr(classifier, "IMAGES_SEEN", 5_000)
        patch.setattr(accuracy_score, "STEPS", 30)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of two steps on 8x8 digits."""
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = RunSettings(data="digits", config="A", out=out, image_size=8, base_channels=4, steps=2, batch_size=4,
                           device="cpu", sample_every=None)  # fmt: skip
    train(settings, console=Console(quiet=True))
    return out


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def real(_cache) -> RealImages:
    return open_real("digits", (8, 8), 1)


def turning(ways: list[Way], angles: list[float], num: int) -> RotationSettings:
    return RotationSettings(data="digits", ways=ways, angles=angles, num=num, sampling=FAST)


def save_images(folder: Path, images: torch.Tensor) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:04d}.png")
    return folder


def test_a_run_is_measured_and_a_stopped_measurement_goes_on(run):
    settings = EvaluateSettings(data="digits", num=120, features="pixels", sampling=FAST)
    facts = evaluate(run, settings, device="cpu")
    written = json.loads((run / "metrics.json").read_text())
    assert read_metrics(run).to_dict() == facts.to_dict() == written
    assert written["fidelity"]["pixels"]["generated"]["fid"]["value"] == facts.fidelity["pixels"].generated["fid"].value
    figures = facts.fidelity["pixels"]
    assert figures.images == {"generated": 120, "reference": 1438, "floor": 120}
    assert figures.generated["is"] is None
    for name in ("fid", "kid"):
        generated, floor = figures.generated[name], figures.floor[name]
        assert generated.low < generated.value < generated.high
        # noise is farther from digits than digits are
        assert generated.low > floor.value
    assert figures.floor["precision"].value > 0.6 > figures.generated["precision"].value
    assert facts.parameters == sum(p.numel() for p in RunFolder(run).load_model().parameters())
    assert facts.images_per_second > 0
    overall = facts.equivariance.overall
    assert None not in (overall.eq_t, overall.eq_t_frac, overall.eq_t_lanczos, overall.eq_r)
    moved = facts.sampler.motions[0]
    assert None not in (moved.eq_t, moved.eq_t_frac, moved.eq_t_lanczos, moved.eq_r)
    assert (facts.sampler.images, facts.sampler.steps) == (16, 2)

    with Image.open(run / "metrics.png") as shown:
        assert shown.size == (10 * 34 - 2, 10 * 34 - 2)
    parts = sorted((run / "evaluation").glob("*/part-*.npy"))
    assert [len(np.load(p)) for p in parts] == [50, 50, 20]
    stamps = [p.stat().st_mtime_ns for p in parts]
    parts[1].unlink()
    again = evaluate(run, settings, device="cpu")
    assert again.fidelity == facts.fidelity
    assert [p.stat().st_mtime_ns for p in (parts[0], parts[2])] == [stamps[0], stamps[2]]
    assert parts[1].exists()


def digits_folder(path: Path, count: int) -> Path:
    return save_images(path, open_real("digits", (8, 8), 1).train[:count])


def test_few_real_images_are_told_before_anything_is_sampled(run, tmp_path):
    """A fifth of them is the floor: where that is too small its FID is left out, and the rest is measured."""
    few = digits_folder(tmp_path / "few", 300)
    found = evaluate(run, EvaluateSettings(data=str(few), num=80, sampling=FAST, equivariance=False), device="cpu")
    figures = found.fidelity["pixels"]
    assert figures.images == {"generated": 80, "reference": 240, "floor": 60}
    assert figures.floor["fid"] is None
    assert figures.floor["kid"] is not None
    assert figures.generated["fid"].value > 0
    shutil.rmtree(run / "evaluation")
    fewer = digits_folder(tmp_path / "fewer", 75)
    with pytest.raises(ArgumentError, match=r"The 60 real images of .* over 64 features: take at least 65\.$"):
        evaluate(run, EvaluateSettings(data=str(fewer), num=80, sampling=FAST), device="cpu")
    ways = every_way([(0.0, 1.0)], ["spline"], ["independent"])
    with pytest.raises(ArgumentError, match="`num` must be more than 64"):
        evaluate_turned(run, turning(ways, [90.0], 64), device="cpu")
    assert not (run / "evaluation").exists()


def test_the_extractor_in_use_is_not_advised(tmp_path, real):
    colour = real.train[:60].repeat(1, 3, 1, 1)
    generated, folder = save_colour(tmp_path / "g", colour[:50]), save_colour(tmp_path / "r", colour)
    with pytest.raises(ArgumentError) as refused:
        evaluate(generated, EvaluateSettings(data=str(folder)), device="cpu")
    assert "pixels" not in str(refused.value)
    assert "classifier" not in str(refused.value)  # no labels


def save_colour(folder: Path, images: torch.Tensor) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy().copy()).save(folder / f"{i:04d}.png")
    return folder


def test_split_and_labels_overrule_what_the_folders_are_taken_for(tmp_path):
    for split, level in (("train", 40), ("test", 200)):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(8):
                Image.new("L", (8, 8), level + i).save(tmp_path / "set" / split / name / f"{i}.png")
    default = open_real(str(tmp_path / "set"))
    assert (len(default.train), len(default.test), default.held_out) == (16, 16, False)
    other = open_real(str(tmp_path / "set"), split="test", labels="none")
    assert other.train_labels is None
    assert (other.held_out, len(other.test)) == (False, 16)
    assert int(other.train.min()) >= 200 > int(other.test.max())
    every = open_real(str(tmp_path / "set"), split="all", labels="none")
    assert len(every.train) + len(every.test) == 32


def test_figures_of_other_features_are_kept_while_the_images_are_the_same(run):
    base = {"data": "digits", "num": 80, "sampling": FAST}
    evaluate(run, EvaluateSettings(**base, features="pixels"), device="cpu")
    both = evaluate(run, EvaluateSettings(**base, features="classifier"), device="cpu")
    assert set(both.fidelity) == {"pixels", "classifier"}
    assert both.fidelity["classifier"].accuracy > 0.5
    assert both.fidelity["classifier"].generated["is"].value >= 1
    other = evaluate(run, EvaluateSettings(**{**base, "num": 79}, features="pixels", equivariance=False), device="cpu")
    assert set(other.fidelity) == {"pixels"}


def test_of_fewer_images_and_in_another_place_the_networks_own_figures_are_kept(run, tmp_path, monkeypatch):
    base = {"data": "digits", "num": 80, "features": "pixels", "sampling": FAST}
    first = evaluate(run, EvaluateSettings(**base), device="cpu")
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    for name in ("network_equivariance", "sampler_equivariance", "network_noise_error"):
        monkeypatch.setattr(f"aliasfree.measuring.measures.{name}", lambda *_, **__: pytest.fail("measured again"))
    fewer = evaluate(moved, EvaluateSettings(**{**base, "num": 79}), device="cpu")
    assert fewer.num == 79
    for name in ("equivariance", "sampler", "noise_error"):
        assert getattr(fewer, name) == getattr(first, name) is not None
    assert fewer.fidelity["pixels"].images["generated"] == 79
    with pytest.raises(pytest.fail.Exception):  # another sampler moves otherwise
        evaluate(moved, EvaluateSettings(**{**base, "sampling": replace(FAST, steps=3)}), device="cpu")


def test_what_was_measured_of_the_images_is_kept_for_the_same_images_alone(run, tmp_path):
    found = evaluate(run, EvaluateSettings(data="digits", num=80, features="pixels", sampling=FAST), device="cpu")
    score = Estimate(0.5, 0.4, 0.6)
    before = replace(found, measured={**found.measured, "accuracy_score": AccuracyScore(generated=score, floor=score)})
    before.write(tmp_path / "metrics.json")
    same = _kept(tmp_path / "metrics.json", found)
    assert same is not None
    assert (same.accuracy_score, same.fidelity) == (before.accuracy_score, before.fidelity)
    fewer = _kept(tmp_path / "metrics.json", replace(found, num=79))
    assert fewer is not None
    assert (fewer.accuracy_score, fewer.fidelity, fewer.equivariance) == (None, {}, found.equivariance)
    assert _kept(tmp_path / "metrics.json", replace(found, weights="others")) is None


@pytest.mark.parametrize("torn", ['{"source": "runs/a", "num": 8', "", "\x00" * 64])
def test_a_torn_file_of_figures_is_measured_again_and_named(run, torn, tmp_path, caplog):
    settings = EvaluateSettings(data="digits", num=80, features="pixels", sampling=FAST, equivariance=False)
    path, elsewhere = run / "metrics.json", tmp_path / "mine.json"
    for file in (path, elsewhere):
        file.write_text(torn)
    found = evaluate(run, settings, device="cpu")
    assert read_metrics(run) == found
    assert f"{path} is damaged" in caplog.text
    with pytest.raises(ArgumentError, match=r"mine\.json exists"):  # no place of figures: it may be anything
        evaluate(run, settings, out=elsewhere, device="cpu")
    path.write_text('{"mine": 1}')
    with pytest.raises(ArgumentError, match=r"metrics\.json exists"):
        evaluate(run, settings, device="cpu")
    path.unlink()


def test_real_images_in_a_folder_are_as_good_as_real_images(tmp_path, real):
    folder = save_images(tmp_path / "images", real.test)
    facts = evaluate(folder, EvaluateSettings(data="digits", features="pixels"))
    figures = facts.fidelity["pixels"]
    for name, wanted in figures.floor.items():
        if wanted is not None:
            assert figures.generated[name].value == pytest.approx(wanted.value, rel=1e-6, abs=1e-9)
    assert (tmp_path / "images-metrics.json").is_file()


def test_the_papers_protocol_has_no_interval_and_allows_few_images(run):
    settings = EvaluateSettings(data="digits", protocol="paper", num=40, features="pixels", sampling=FAST,
                                equivariance=False)  # fmt: skip
    generated = evaluate(run, settings, device="cpu").fidelity["pixels"].generated
    fid, kid = generated["fid"], generated["kid"]
    assert fid.value > 0
    assert fid.low is None
    assert kid.spread > 0
    assert EvaluateSettings(data="digits", protocol="paper").count == 2000
    assert EvaluateSettings(data="digits").count == 10_000


class _Rank:
    """One of two processes, where the other has come to the end already."""

    count = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def wait(self) -> None:
        pass


def test_two_processes_sample_the_same_images_as_one_and_share_the_work(run, monkeypatch):
    alone = SampleStore(RunFolder(run), FAST, run / "one", "cpu").images(120)
    shares = []
    for rank in (0, 1):
        store = SampleStore(RunFolder(run), FAST, run / "two", "cpu", _Rank(rank))
        sample = store.sampler.sample
        sampled: list[int] = []
        monkeypatch.setattr(
            store.sampler, "sample", lambda i, *a, s=sample, n=sampled, **k: (n.extend(i), s(i, *a, **k))[1]
        )
        images = store.images(120) if rank else None
        if not rank:
            with pytest.raises(AliasfreeError, match="has not sampled it"):
                store.images(120)
        shares.append(sampled)
    assert [len(s) for s in shares] == [70, 50]
    assert sorted(shares[0] + shares[1]) == list(range(120))
    # rounding in the last bits of the arithmetic at most
    assert (images.int() - alone.int()).abs().max() <= 1


def test_too_few_images_are_refused_before_they_are_sampled(run):
    with pytest.raises(ArgumentError, match="64 images are too few for a Frechet distance over 64 features"):
        evaluate(run, EvaluateSettings(data="digits", num=64, features="pixels", sampling=FAST), device="cpu")
    assert not (run / "evaluation").exists()


@pytest.mark.parametrize(("make", "words"), [
    (lambda f, real: f.mkdir(), "no images"),
    (lambda f, real: save_images(f, real.test[:1]), "holds one image"),
    (lambda f, real: save_images(f, real.test[:30]), "30 images are too few for a Frechet distance over 64 features"),
])  # fmt: skip
def test_folders_that_cannot_be_measured_get_a_sentence(tmp_path, real, make, words):
    make(tmp_path / "f", real)
    with pytest.raises(AliasfreeError, match=words):
        evaluate(tmp_path / "f", EvaluateSettings(data="digits", features="pixels"))
    assert not (tmp_path / "f-metrics.json").exists()


def test_the_sentence_about_too_few_images_names_a_cure_that_helps(tmp_path, real):
    folder = save_images(tmp_path / "images", real.test[:40])
    with pytest.raises(ArgumentError, match=r"over 64 features: take at least 65\.$"):
        evaluate(folder, EvaluateSettings(data="digits", features="pixels"))


def test_images_of_mixed_sizes_can_be_brought_to_one_and_damaged_ones_left_out(tmp_path, real):
    folder = save_images(tmp_path / "images", real.test[:80])
    Image.fromarray(np.zeros((12, 12), np.uint8)).save(folder / "0000.png")
    (folder / "0001.png").write_bytes(b"junk")
    with pytest.raises(AliasfreeError, match="`skip_bad=True`"):
        evaluate(folder, EvaluateSettings(data="digits", features="pixels", image_size=8))
    facts = evaluate(folder, EvaluateSettings(data="digits", features="pixels", image_size=8, skip_bad=True))
    assert (facts.num, facts.image_size) == (79, (8, 8))


def test_a_runs_images_have_the_size_of_its_network(run):
    with pytest.raises(ArgumentError, match="leave out `image_size`"):
        evaluate(run, EvaluateSettings(data="digits", image_size=16), device="cpu")


def test_folders_and_runs_stand_in_one_report(run, tmp_path, real):
    folder = save_images(tmp_path / "images", real.test[:70])
    with pytest.raises(ArgumentError, match=r"aliasfree evaluate .*images --data"):
        write_report([folder], tmp_path / "r.html")
    for source in (run, folder):
        evaluate(source, EvaluateSettings(data="digits", num=70, features="pixels", sampling=FAST), device="cpu")
    rows, _ = write_report([run, folder], tmp_path / "r.html")
    assert [row.name for row in rows] == ["A", "images"]
    assert "eq_t" not in rows[1].figures


def test_images_of_mixed_sizes_are_refused(tmp_path, real):
    folder = save_images(tmp_path / "f", real.test[:3])
    Image.new("L", (9, 9)).save(folder / "odd.png")
    with pytest.raises(AliasfreeError, match="size"):
        evaluate(folder, EvaluateSettings(data="digits"))


@pytest.mark.parametrize("wrong", [{"protocol": "x"}, {"num": 1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ArgumentError):
        EvaluateSettings(data="digits", **wrong)


def test_extractors_are_found_by_name_or_say_what_is_missing(real, tmp_path):
    assert make_extractor("pixels", real).name == "pixels"
    with pytest.raises(ArgumentError, match="did you mean 'pixels'"):
        make_extractor("pixel", real)
    with pytest.raises(ArgumentError, match="need `features='inception'`"):
        make_extractor("pixels", real, tmp_path)
    nameless = RealImages("x", real.fingerprint, real.train, real.test, None, None, held_out=True)
    assert make_extractor(None, nameless).name == "pixels"
    with pytest.raises(ArgumentError, match="no labels"):
        make_extractor("classifier", nameless)


def test_held_out_images_are_no_training_images(real):
    assert (len(real.train), len(real.test), real.held_out) == (1438, 359, True)
    assert len(real.train) + len(real.test) == 1797
    again = open_real("digits", (8, 8), 1)
    assert torch.equal(again.test, real.test)


def test_a_networks_equivariance_is_given_at_each_noise_level_and_over_all(run, real):
    model = RunFolder(run).load_model()
    found = network_equivariance(model, real.test, num=4, levels=(0.1, 0.5))
    assert [level.t for level in found.levels] == [100, 500]
    for name in ("eq_t", "eq_t_frac", "eq_r"):
        levels = [getattr(level, name).value for level in found.levels]
        assert min(levels) <= getattr(found.overall, name).value <= max(levels)
    assert found == network_equivariance(model, real.test, num=4, levels=(0.1, 0.5))


def test_turned_samples_are_measured_beside_the_turned_image(run, real, tmp_path):
    judge = ClassifierFeatures(*classifier_for(real))
    store = SampleStore(RunFolder(run), FAST, run / "evaluation", "cpu")
    ways = [Way(noise="independent", schedule=(0.0, 1.0)), PAPER]
    curves = rotation_curves(store, ways, [45.0, 90.0], 80, judge, real.train)
    assert [c.name for c in curves] == [
        "fourier, independent, 0:1", "spline, independent, 0:1 (paper)", "x(0) turned, fourier",
            "x(0) turned, bicubic",
    ]  # fmt: skip
    for c in curves:
        assert c.degrees == (0.0, 45.0, 90.0)
        # the same upright images in all of them
        assert c.fd[0] == curves[0].fd[0]
        assert c.kept[0].value == 1.0
        assert c.step[0] is None
        assert c.right == (None, None, None)
    fourier = curves[2]
    # turned by 90 degrees and back is exact: nothing is lost and every class is kept
    assert fourier.kept[2].value == 1.0
    assert fourier.fd[2].value == pytest.approx(fourier.fd[0].value, rel=1e-6)
    assert fourier.db[2].value > 100
    # a network that was hardly trained draws something else when it is turned
    assert curves[0].db[2].value < 30
    assert all(c.fd[2].value > 0 for c in curves)


def test_a_way_that_turns_a_finished_image_is_the_baseline(run, real):
    """All of the turning after the last step is what turning the image is, but for the clipping to pixels."""
    judge = ClassifierFeatures(*classifier_for(real))
    store = SampleStore(RunFolder(run), FAST, run / "evaluation", "cpu")
    late, baseline, _ = rotation_curves(store, [Way(schedule=(1.0, 1.0))], [90.0], 80, judge, real.train)
    assert late.db[1].value > 40
    assert late.kept[1].value == pytest.approx(baseline.kept[1].value, abs=0.03)


def test_the_page_of_turned_samples_has_its_table_and_figures(run):
    curves, page = evaluate_turned(run, turning([PAPER], [0.0, 90.0], 70), device="cpu")
    html, facts = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert page == run / "rotation.html"
    assert [c["name"] for c in facts["curves"]] == [c.name for c in curves]
    assert html.count("data:image/png") == 2
    assert samples_figure(curves).width > 2 * 6 * 64  # two angles of six samples
    assert not any("shown" in c for c in facts["curves"])
    # the finished image turned agrees with itself without an error, and JSON says so
    exact = [json_value(c.figures()) for c in curves]
    assert [c["db"] for c in facts["curves"]] == [c["db"] for c in exact]
    assert exact[-2]["db"][0]["value"] == "Infinity"
    assert facts["run"] == str(run)
    assert page.with_suffix(".png").is_file()
    lines = table_text(curves).splitlines()
    assert lines[0].startswith("| theta = 90 |")
    assert len(lines) == 2 + 3
    with pytest.raises(ArgumentError, match="more than 64"):
        evaluate_turned(run, turning([PAPER], [0.0, 90.0], 10), device="cpu")


def test_the_papers_way_stands_beside_any_other(run):
    curves, _ = evaluate_turned(run, turning([Way(schedule=(1.0, 1.0))], [0.0, 90.0], 70), device="cpu")
    assert [c.name for c in curves][:2] == ["fourier, co-moving, 1:1", str(PAPER)]


def test_a_class_that_was_asked_for_has_its_column(run):
    curves, _ = evaluate_turned(run, turning([PAPER], [0.0, 90.0], 70), device="cpu")
    assert "class asked for" not in table_text(curves)
    asked = [replace(c, right=c.kept) for c in curves]
    lines = table_text(asked).splitlines()
    assert "| class kept | class asked for |" in lines[0]
    assert len({line.count("|") for line in lines}) == 1


def test_ways_that_do_not_exist_are_refused_before_anything_is_sampled():
    with pytest.raises(ArgumentError, match=r"`methods` has no 'furier'; did you mean 'fourier'\?"):
        every_way([(0, 1)], methods=["furier"])
    with pytest.raises(ArgumentError, match="`noises` has no 'comoving'; did you mean 'co-moving'"):
        every_way([(0, 1)], noises=["comoving"])


def test_images_at_rest_are_the_same_however_they_would_move(run):
    store = SampleStore(RunFolder(run), FAST, run / "evaluation", "cpu")
    assert store.key(PAPER.motion(0.0)) == store.key(Way(schedule=(0.5, 1.0)).motion(0.0))
    assert store.key(PAPER.motion(1.0)) != store.key(Way().motion(1.0))


def test_every_way_is_every_combination():
    ways = every_way([(0, 1), (0.5, 1)])
    assert len(set(ways)) == 8
    assert PAPER in ways
    assert PAPER.motion(30.0) == MotionSettings(rotate=30.0, method="spline", noise="independent", schedule=(0.0, 1.0))


def test_measured_runs_become_one_report(run, tmp_path):
    evaluate(run, EvaluateSettings(data="digits", num=70, features="pixels", sampling=FAST), device="cpu")
    rows, files = write_report([run], tmp_path / "r.html")
    assert [f.suffix for f in files] == [".md", ".csv", ".html"]
    assert rows[0].name == "A"
    assert {"eq_t_lanczos", "sampler_eq_t_frac", "sampler_eq_r"} <= set(rows[0].figures)
    html = (tmp_path / "r.html").read_text()
    assert html.count("data:image/png") == 4
    assert 'alt="the first images of A"' in html
    with pytest.raises(ArgumentError, match="`overwrite=True`"):
        write_report([run], tmp_path / "r.html")


def test_the_demos_section_measures_samples_in_memory(run):
    samples = np.moveaxis(SampleStore(RunFolder(run), FAST, run / "evaluation", "cpu").images(70).numpy(), 1, -1)
    real = open_real("digits", (8, 8), 1)
    metrics = measure_samples([(RunFolder(run), samples, 12.5)], real, PixelFeatures())
    assert metrics[0].images_per_second == 12.5
    section = measured_section(metrics)
    assert section.count("data:image/png") == 2
    assert "FID" in section
    assert "EQ-R" in section


def test_metrics_that_are_not_there_get_a_sentence(tmp_path):
    with pytest.raises(ArgumentError, match="aliasfree evaluate"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ArgumentError, match="not valid JSON"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ArgumentError, match="not written by"):
        read_metrics(tmp_path)


def test_the_first_real_images_of_class_folders_are_of_every_class(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    for split, count in (("train", 30), ("test", 15)):
        for label in range(3):
            folder = tmp_path / "data" / split / str(label)
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("L", (8, 8), 80 * label + i).save(folder / f"{i:02d}.png")
    for source, held_out in ((tmp_path / "data" / "train", True), (tmp_path / "data", False)):
        real = open_real(str(source), (8, 8))
        assert real.held_out == held_out
        for images, labels in ((real.train, real.train_labels), (real.test, real.test_labels)):
            assert set(labels[:12].tolist()) == {0, 1, 2}
            assert (images[:, 0, 0, 0] // 80).equal(labels.to(images.dtype))


OLD = {
    "source": "runs/Infinity", "config": "A", "data": "digits", "fingerprint": "f", "held_out": True,
    "image_size": [8, 8], "num": 70, "protocol": "default",
    "fidelity": {"pixels": {"key": "pixels", "images": {"generated": 70}, "floor": {"is": None}, "generated": {
        "is": None, "fid": {"value": 2.0, "low": 1.0, "high": 3.0, "spread": None}}}},
    "equivariance": {"images": 4, "repeats": 1, "periodic": True,
                     "overall": {"eq_t": {"value": None, "low": None, "high": None, "spread": None}},
                     "levels": [{"t": 20, "eq_t_frac": {"value": 1.5, "low": None, "high": None, "spread": None}}]},
}  # fmt: skip


def test_figures_written_before_there_was_a_word_for_infinity_still_read(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(OLD))
    old = read_metrics(tmp_path)
    assert old.source == "runs/Infinity"
    assert old.fidelity["pixels"].generated["fid"].half_width == 1.0
    assert old.equivariance.overall.eq_t is None
    assert old.equivariance.levels[0].eq_t_frac.value == 1.5
    assert (old.training, old.steps, old.spectra) == (None, None, None)
    assert Metrics.from_dict(old.to_dict()) == old


def test_the_error_of_the_predicted_noise_is_measured_on_test_images(run, real):
    errors = network_noise_error(RunFolder(run).load_model(), real, num=40)
    assert [e.t for e in errors] == [20, 100, 250, 500, 750, 950, None]
    # a network that was hardly trained knows little, but a little of the noise at the highest level
    assert all(0.2 < e.error.value < 2 for e in errors)
    assert all(e.error.low < e.error.value < e.error.high for e in errors)
    settings = EvaluateSettings(data="digits", num=70, features="pixels", equivariance=False, sampling=FAST)
    found = evaluate(run, settings, device="cpu")
    assert read_metrics(run).noise_error == found.noise_error
    assert found.noise_error[0].images == len(real.test)
    rows, _ = write_report([run], run / "report.html", overwrite=True)
    assert rows[0].figures["noise_error"] == found.noise_error[-1].error


def test_the_accuracy_score_needs_images_asked_for_by_class(run, tmp_path):
    wanted = {"data": "digits", "num": 70, "features": "pixels", "equivariance": False, "noise_error": False}
    with pytest.raises(ArgumentError, match="needs images of every class: give `class_label='each'`"):
        evaluate(run, EvaluateSettings(**wanted, accuracy_score=True, sampling=FAST), device="cpu")
    settings = RunSettings(
        data="digits", config="A", out=tmp_path / "classes", image_size=8, base_channels=4, steps=2,
        class_conditional=True, sample_every=None, device="cpu",
    )  # fmt: skip
    folder = train(settings, console=Console(quiet=True)).path
    each = replace(FAST, class_label="each")
    found = evaluate(folder, EvaluateSettings(**wanted, accuracy_score=True, sampling=each), device="cpu")
    score = read_metrics(folder).accuracy_score
    assert score == found.accuracy_score
    assert score.floor.value > max(0.2, score.generated.value)  # 70 real digits teach something, noise nothing
    rows, _ = write_report([folder], tmp_path / "report.html")
    assert rows[0].floor["accuracy_score"] == score.floor


def test_real_images_of_another_split_or_a_part_are_what_a_run_was_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    splits = {f"{k}_images": rng.integers(0, 256, (n, 8, 8), dtype=np.uint8) for k, n in (("train", 40), ("test", 30))}
    np.savez(tmp_path / "x.npz", **splits)
    few = open_real(str(tmp_path / "x.npz"), (8, 8), 1, split="test", num=20)
    assert (len(few.train), len(few.test), few.held_out) == (20, 40, False)
    settings = RunSettings(
        data=str(tmp_path / "x.npz"), config="A", out=tmp_path, image_size=8, split="test", num_images=20
    )
    trained = torch.from_numpy(np.array(open_data(settings).images))
    assert sorted(few.train.flatten(1).tolist()) == sorted(trained.flatten(1).tolist())


@pytest.mark.parametrize(
    ("old", "name"),
    [("evaluate", "EvaluateSettings"), ("equivariance", "network_equivariance"), ("subjects", "natural_noise")],
)
def test_modules_that_the_docs_named_are_still_found_under_their_old_names(old, name):
    with pytest.warns(DeprecationWarning, match=r"aliasfree\.measuring\."):
        assert getattr(importlib.import_module(f"aliasfree.experiments.{old}"), name)
