"""`aliasfree demo`: Configs A and T trained on bundled digits, sampled, moved, judged, measured, and reported."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aliasfree.errors import RunError
from aliasfree.outputs import check_outputs
from aliasfree.results.demo import QUICK, ConfigResult, DemoResult, DemoSettings, Pixels

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from aliasfree.evaluation import Classifier
    from aliasfree.experiments.stages import Stages
    from aliasfree.results.metrics import Metrics
    from aliasfree.training import RunFolder, RunSettings

__all__ = ["QUICK", "DemoSettings", "run_demo"]


def run_demo(
    out: str | Path = "runs/demo",
    *,
    settings: DemoSettings | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Run the demo and give the path of its report.html, which is written last.

    out        a folder for the runs A/ and T/, the classifier, GIFs, demo.json and report.html. Runs that are
               there already with the same settings are used again, unfinished ones are trained on
    settings   None = `DemoSettings()`
    overwrite  runs with other settings are deleted instead of refused
    console    where progress goes; None = standard error

    Raises RunError for runs with other settings without `overwrite`, ArgumentError for files of its names that are
    there without its runs, and RunStopped on Ctrl-C during training.
    """
    from rich.console import Console

    from aliasfree.experiments.stages import Stages
    from aliasfree.reporting.demo import report_files, write_report

    began = time.monotonic()
    out, settings = Path(out), settings or DemoSettings()
    console = console or Console(stderr=True)
    runs = [_run_settings(settings, name, out) for name in settings.configs]
    states = [_state(run, overwrite) for run in runs]
    check_outputs(report_files(out, settings.configs), overwrite=overwrite, own=set(states) != {"new"})
    for run, state in zip(runs, states, strict=True):
        if state == "finished":
            console.print(
                f"{run.out} is trained already with these settings and is used again.", markup=False, highlight=False
            )
    costs = {"learning to read digits": 10.0}
    for run, state in zip(runs, states, strict=True):
        costs |= {} if state == "finished" else {_training(run.config): _COST_PER_STEP[run.config[0]] * settings.steps}
    for name in settings.configs:
        images = settings.samples + settings.film_angles * settings.film_seeds + settings.turned
        images += settings.strip_angles * settings.strip_seeds + settings.turned
        images += settings.frames * settings.film_images + 4 * settings.moved
        costs[_sampling(name)] = _COST_PER_SAMPLING_STEP[name[0]] * images * settings.sampling_steps
    costs["measuring"] = 3.0 * len(settings.configs)
    costs["writing the report"] = 3.0

    with Stages(costs, console) as stages:
        with stages.stage("learning to read digits") as report:
            judge = _Judge(settings, out, report)
        folders = [_train(run, state, stages) for run, state in zip(runs, states, strict=True)]
        results = []
        for folder, state in zip(folders, states, strict=True):
            with stages.stage(_sampling(folder.settings.config)) as report:
                results.append(_sample(folder, settings, judge, report, reused=state == "finished"))
        with stages.stage("measuring") as report:
            measured = judge.measure(list(zip(folders, results, strict=True)), report)
            metrics = [
                replace(m, measured={**m.measured, "sampler": result.sampler})
                for m, result in zip(measured, results, strict=True)
            ]
        with stages.stage("writing the report"):
            result = DemoResult(
                settings,
                tuple(results),
                tuple(metrics),
                *(judge.images, judge.accuracy, judge.tested_on, judge.real_accepted, judge.noise_accepted),
                time.monotonic() - began,
                *_machine(folders[0]),
            )
            return write_report(result, out)


# expected seconds on two cores; only their ratios matter, for the time left
_COST_PER_STEP = {"A": 0.07, "B": 0.072, "C": 0.078, "D": 0.08, "T": 0.114}
_COST_PER_SAMPLING_STEP = {"A": 0.0012, "B": 0.0012, "C": 0.0013, "D": 0.0013, "T": 0.004}


def _training(name: str) -> str:
    return f"training {name}"


def _sampling(name: str) -> str:
    return f"sampling with {name}"


def _run_settings(settings: DemoSettings, name: str, out: Path) -> RunSettings:
    from aliasfree.training import RunSettings

    return RunSettings(
        data="digits",
        config=name,
        out=out / name,
        image_size=settings.image_size,
        base_channels=settings.base_channels,
        steps=settings.steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        ema_decay=settings.ema_decay,
        preconditioning=settings.preconditioning,
        loss_weighting=settings.loss_weighting,
        class_conditional=True,
        seed=settings.seed,
        device="cpu",  # the same pictures with a GPU and without
        checkpoint_every=400,
        keep_checkpoints=2,
        sample_every=None,
    )


def _state(wanted: RunSettings, overwrite: bool) -> str:
    """ "new", "begun" or "finished"; raises RunError for a run with other settings, or deletes it."""
    from aliasfree.training import RunFolder

    folder = RunFolder(wanted.out)
    if not folder.exists:
        if folder.is_empty:
            return "new"
        raise RunError(f"{folder.path} is not empty and holds no run; remove it or choose another `out`.")
    there, here = (run.replace(out=wanted.out).to_dict() for run in (folder.settings, wanted))
    other = [f"{key} {there[key]}, not {here[key]}" for key in here if there[key] != here[key]]
    if other and not overwrite:
        raise RunError(
            f"{folder.path} holds a run with other settings ({'; '.join(other)}); give `overwrite=True` to delete it, "
            "or another `out`."
        )
    if other:
        with folder.lock():
            shutil.rmtree(folder.path)
        return "new"
    steps, _ = folder.losses()
    return "finished" if len(steps) >= (wanted.steps or 0) and folder.model.is_dir() else "begun"


def _train(settings: RunSettings, state: str, stages: Stages) -> RunFolder:
    from rich.console import Console

    from aliasfree.training import RunFolder, RunStopped, train

    if state == "finished":
        return RunFolder(settings.out)
    total = settings.steps or 0
    with stages.stage(_training(settings.config)) as report:

        def on_step(step: int, loss: float) -> None:
            report(step, total, f"step {step}/{total}, loss {loss:.3f}")

        try:
            return train(settings, resume=state == "begun", on_step=on_step, console=Console(quiet=True))
        except RunStopped as error:
            signal_number = error.exit_code - 128
            raise RunStopped("Stopped and saved; the same `aliasfree demo` again goes on.", signal_number) from error


class _Judge:
    """A classifier of the real digits, and what it says about images."""

    def __init__(self, settings: DemoSettings, out: Path, progress: Callable[[int, int], None]) -> None:
        import torch

        from aliasfree.data import unit_range
        from aliasfree.evaluation import accepted_share, cached_classifier
        from aliasfree.measuring.real_images import open_real

        self.real = open_real("digits", (settings.image_size, settings.image_size))
        assert self.real.train_labels is not None
        assert self.real.test_labels is not None
        images, test = unit_range(self.real.train), unit_range(self.real.test)
        self.confidence = settings.confidence
        self.classifier: Classifier
        self.classifier, self.accuracy = cached_classifier(
            out / "classifier.safetensors",
            *(images, self.real.train_labels, test, self.real.test_labels),
            epochs=settings.classifier_epochs,
            progress=progress,
        )
        self.images, self.tested_on = len(images) + len(test), len(test)
        self.real_accepted = accepted_share(self.classifier, test, self.confidence)
        noise = torch.randn((1000, *test.shape[1:]), generator=torch.Generator().manual_seed(settings.seed))
        self.noise_accepted = accepted_share(self.classifier, noise.clamp(-1, 1), self.confidence)

    def measure(
        self, sampled: list[tuple[RunFolder, ConfigResult]], report: Callable[[int, int], None]
    ) -> list[Metrics]:
        """Fidelity, equivariance and spectra of each config, by this classifier's features."""
        from aliasfree.evaluation.features import ClassifierFeatures
        from aliasfree.measuring.evaluate import measure_samples

        runs = [(folder, result.samples, result.images_per_second) for folder, result in sampled]
        return measure_samples(runs, self.real, ClassifierFeatures(self.classifier, self.accuracy), report)

    def classes(self, pixels: Pixels) -> NDArray[np.int64]:
        """The class of each image (N, H, W, C), -1 = not accepted."""
        confidence, label = self._probabilities(pixels).max(1)
        return label.masked_fill(confidence < self.confidence, -1).numpy()

    def _probabilities(self, pixels: Pixels) -> Tensor:
        import torch

        from aliasfree.data import unit_range

        return self.classifier.probabilities(unit_range(torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())))


def _sample(
    folder: RunFolder, settings: DemoSettings, judge: _Judge, report: Callable[..., None], *, reused: bool
) -> ConfigResult:
    from aliasfree.experiments.film import film_run
    from aliasfree.measuring.rotation import PAPER
    from aliasfree.measuring.sampler_equivariance import sampler_equivariance
    from aliasfree.sampling.sampler import MotionSettings, Sampler, SampleSettings
    from aliasfree.training.losses import read_losses

    s = settings
    sampler = Sampler(
        folder,
        SampleSettings(
            steps=s.sampling_steps,
            scheduler=s.scheduler,
            seed=s.seed,
            class_label="each",
            guidance=s.guidance,
            batch_size=64,
        ),
        device="cpu",
    )
    ours = MotionSettings(schedule=s.window)
    papers = PAPER.motion(0.0)
    film_angles = np.linspace(-90, 90, s.film_angles).tolist()
    strip_angles = np.linspace(-90, 90, s.strip_angles).tolist()
    film_rows = [i for i in range(s.film_seeds) for _ in film_angles]
    strip_rows = [i for i in range(s.strip_seeds) for _ in strip_angles]
    moving = s.frames * s.film_images, 4 * s.moved  # still, by whole pixels, by fractions, turned
    everything = s.samples + len(film_rows) + len(strip_rows) + 2 * s.turned + sum(moving)
    before = 0

    def told(what: str, images: int) -> Callable[[int, int], None]:
        return lambda done, total: report(before + images * done / total, everything, what)

    def sample(what: str, rows: list[int], motion: MotionSettings, angles: list[float] | None = None) -> Pixels:
        nonlocal before
        images = sampler.sample(rows, motion, angles, told(what, len(rows)))
        before += len(rows)
        return images

    began = time.monotonic()
    samples = sample(f"{s.samples} upright images", list(range(s.samples)), replace(ours, rotate=0.0))
    sampling_seconds = time.monotonic() - began
    shifted = film_run(
        sampler, folder.settings.config, s.film_images, frames=s.frames, travel=s.travel,
        progress=told("the film", moving[0]),
    )  # fmt: skip
    before += moving[0]
    in_motion = sampler_equivariance(sampler, s.moved, windows=((0.0, 0.0),), progress=told("moved samples", moving[1]))
    before += moving[1]
    film = sample("the animation", film_rows, ours, film_angles * s.film_seeds)
    paper_strip = sample("the paper's strip", strip_rows, papers, strip_angles * s.strip_seeds)
    upright = judge.classes(samples)
    kept: list[float | None] = []
    for motion in (ours, papers):
        turned = sample("images turned by 90°", list(range(s.turned)), replace(motion, rotate=90.0))
        back = judge.classes(np.rot90(turned, -1, axes=(1, 2)))
        sure = upright[: s.turned] >= 0
        kept.append(float((back == upright[: s.turned])[sure].mean()) if sure.any() else None)
    steps, losses = folder.losses()
    speed = [float(line["images_per_second"]) for line in read_losses(folder.losses_file)]
    return ConfigResult(
        name=folder.settings.config,
        parameters=sampler.pipeline.unet.num_parameters(),
        steps=steps,
        losses=losses,
        training_seconds=sum(s.batch_size / v for v in speed),
        sampling_seconds=sampling_seconds,
        reused=reused,
        samples=samples,
        accepted=float((upright >= 0).mean()),
        as_asked=float((upright == np.arange(s.samples) % 10).mean()),
        classes=tuple(int((upright == k).sum()) for k in range(10)),
        shifted=shifted,
        sampler=in_motion,
        film=film.reshape(s.film_seeds, s.film_angles, *film.shape[1:]),
        paper_strip=paper_strip.reshape(s.strip_seeds, s.strip_angles, *paper_strip.shape[1:]),
        kept=kept[0],
        paper_kept=kept[1],
    )


def _machine(folder: RunFolder) -> tuple[dict[str, str], int]:
    import torch

    return {k: str(v) for k, v in folder.config.get("versions", {}).items()}, torch.get_num_threads()
