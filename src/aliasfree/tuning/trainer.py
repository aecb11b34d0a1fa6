"""`tune`: the training loop of `aliasfree train`, with a teacher, a curve and a stop rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from aliasfree.data import open_images
from aliasfree.errors import CheckpointError, DataError, RunError
from aliasfree.files import write_json
from aliasfree.outputs import check_outputs
from aliasfree.progress import bar
from aliasfree.training import setup
from aliasfree.training.processes import make_accelerator, on_main
from aliasfree.training.resources import check_disk, check_memory
from aliasfree.training.run_folder import RunFolder, check_folder
from aliasfree.training.trainer import Run, run_in
from aliasfree.tuning.curve import Point, best, is_over
from aliasfree.tuning.lora import add_lora, merged
from aliasfree.tuning.measure import fidelity, point_db
from aliasfree.tuning.samples import Pool, own_samples
from aliasfree.tuning.settings import TuneSettings
from aliasfree.tuning.state import TuningState, seen_by
from aliasfree.tuning.teachers import Pair, fingerprint, open_pair, reads, step_floor

__all__ = ["CURVE", "SAMPLES", "held_out", "open_training_data", "read_settings", "settled", "tune"]

CURVE = "curve.json"
SAMPLES = "teacher_samples.safetensors"
ALLOWED = {"autoencoder": 0.2, "unet": 0.03}
"""What may be lost of fidelity: dB of PSNR, a share of the teacher's error."""


def tune(
    settings: TuneSettings,
    *,
    resume: bool = False,
    until: float | None = None,
    on_step: Callable[[int, float], None] | None = None,
    console: Console | None = None,
) -> RunFolder:
    """Convert the model in `settings.model` and train it towards what it was; leave all in the folder `settings.out`.

    resume, until, on_step, console  as in `aliasfree.training.train`; a resumed run is bit for bit one never stopped

    `out/model` is the tuned model, a folder of diffusers: the averaged weights at the point of the curve that is kept
    (see `curve.best`). `out/curve.json` has the points, `out/config.json` the settings.

    Raises what `open_pair` and `train` do, and `CheckpointError` on resume if teacher or data are others.

    >>> from diffusers import AutoencoderKL
    >>> from rich.console import Console
    >>> from aliasfree.tuning import TuneSettings, tune
    >>> small = dict(block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, in_channels=1, out_channels=1)
    >>> blocks = dict(down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    >>> AutoencoderKL(**small, **blocks).save_pretrained("stock")
    >>> settings = TuneSettings(
    ...     model="stock", config="T", out="tuned", data="digits", steps=2, measure_images=2, num_images=32)
    >>> run = tune(settings, console=Console(quiet=True))
    >>> import aliasfree
    >>> aliasfree.AliasFreeAutoencoderKL.from_pretrained(run.model).config["alias_free"]
    'T'
    """
    accelerator = make_accelerator(settings)
    console = console or Console(stderr=True)
    folder = RunFolder(settings.out)
    on_main(accelerator, lambda: _check_start(folder, settings, resume))
    settings = settled(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        pair = open_pair(settings)
        if settings.lora:
            add_lora(pair.student, settings.lora)
    settings.weights(pair.kind)  # refused before anything is written
    check_disk(settings.steps, folder.path)
    check_memory(step_floor(pair, settings.batch_size), settings.device, "`batch_size` or `image_size`")
    told = console if accelerator.is_main_process else Console(quiet=True)
    for model in (pair.teacher, pair.autoencoder):
        if model is not None:
            model.to(accelerator.device)
    opened: dict[str, Any] = {}
    if settings.data is not None:
        with accelerator.main_process_first(), bar("reading images", "images", told) as show:
            opened["data"] = open_training_data(settings, pair, show)
            opened["held"], opened["apart"] = held_out(settings, pair, opened["data"])

    def make() -> TuningRun:
        if settings.data is None:
            with bar("sampling the teacher", "samples", told) as show:
                count, steps = settings.samples + settings.measure_images, settings.sample_steps
                pool = own_samples(pair, folder.path / SAMPLES, count, steps, settings.seed, show)
            every = torch.from_numpy(pool.images)
            opened.update(data=Pool(every[: settings.samples]), held=every[settings.samples :], apart=True, pool=pool)
        state = TuningState(settings, opened["data"], pair, accelerator)
        held = seen_by(pair, opened["held"].to(accelerator.device), _generator(accelerator.device))
        return TuningRun(
            settings, opened["data"], state, folder, on_step, console,
            held=held, apart=opened["apart"], pool=opened.get("pool"),
        )  # fmt: skip

    run_in(folder, accelerator, make, resume=resume, until=until)
    return folder


def read_settings(out: Path) -> TuneSettings:
    """The settings of the run in a folder. Raises `RunError` where there is none."""
    folder = RunFolder(out)
    folder.check_command("tune")
    return folder.settings_of(TuneSettings)


def open_training_data(settings: TuneSettings, pair: Pair, progress: Any = None) -> Any:
    """The images to train on, at the size of the model and with its channels."""
    assert settings.data is not None
    data = open_images(
        settings.data, image_size=pair.image_size, channels=pair.image_channels, split=settings.split,
        skip_bad=settings.skip_bad, progress=progress,
    )  # fmt: skip
    return data if settings.num_images is None else data.some(settings.num_images)


def held_out(settings: TuneSettings, pair: Pair, data: Any, num: int | None = None) -> tuple[Tensor, bool]:
    """(uint8 images (N, C, H, W), whether none of them is trained on): of the other split where there is one."""
    assert settings.data is not None
    num, apart = num or settings.measure_images, True
    try:
        other = open_images(
            settings.data, image_size=pair.image_size, channels=pair.image_channels,
            split="test" if settings.split == "train" else "train", skip_bad=settings.skip_bad,
        )  # fmt: skip
        apart = other.fingerprint != open_training_data(settings.replace(num_images=None), pair).fingerprint
    except DataError:
        other, apart = data, False
    return torch.from_numpy(np.array(other.some(num).images)), apart


def _check_start(folder: RunFolder, settings: TuneSettings, resume: bool) -> None:
    if resume:
        check_folder(folder, resume)
        folder.check_command("tune")
        return
    if folder.path.exists():
        check_outputs([folder.path], reads=reads(settings), own=folder.is_empty)
    check_folder(folder, resume)


def settled(settings: TuneSettings) -> TuneSettings:
    """The same from wherever it is read again: relative paths made absolute."""
    from aliasfree.data.registry import absolute

    paths = {name: getattr(settings, name) for name in ("model", "vae", "embeddings")}
    made = {name: path.expanduser().absolute() for name, path in paths.items() if path is not None}
    return settings.replace(data=None if settings.data is None else absolute(settings.data), **made)


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(0)


class TuningRun(Run):
    """A run whose samples are points of a curve, and whose model is that of the best of them."""

    state: TuningState
    settings: TuneSettings

    def __init__(self, *arguments: Any, held: Tensor, apart: bool, pool: Pool | None) -> None:
        super().__init__(*arguments)
        self.held, self.apart, self.pool = held, apart, pool
        self.pair = self.state.pair
        self.theirs = fidelity(self.pair, self.pair.teacher, held).mean().item()
        self.patience = 0 if self.settings.is_control else self.settings.patience

    def start(self) -> bool:
        """Begin a new run in the empty folder."""

        def write() -> None:
            with self.disk():
                self.folder.clear_leftovers()
                self.folder.write_config(self.describe())
                if self.pool is not None:
                    self.pool.write(self.folder.path / SAMPLES)

        on_main(self.accelerator, write)
        if not self.apart:
            self.say("The data have no other split, so fidelity is measured on images that are trained on.")
        return True

    def describe(self) -> dict[str, Any]:
        """The content of config.json."""
        model: Any = self.pair.student
        found = setup.describe(self.settings, self.data, model, self.accelerator.num_processes)  # type: ignore[arg-type]
        found["trained"] = sum(p.numel() for p in self.state.parameters)
        return {"command": "tune", "teacher": fingerprint(self.pair.teacher), **found}

    def check_resume(self) -> list[str]:
        """What changed since the run began and may; raises `CheckpointError` for another teacher, model or data."""
        before, now = self.folder.config, self.describe()
        if before.get("teacher") != now["teacher"]:
            raise CheckpointError(
                f"The run in {self.folder.path} was begun with another teacher than the one in "
                f"{self.settings.model}; put that one back, or choose another `out`."
            )
        for name in ("lora", "attention_rate", *(n for n in before["settings"] if n in ("vae", "embeddings"))):
            if before["settings"].get(name) != now["settings"].get(name):
                raise CheckpointError(
                    f"The run in {self.folder.path} was begun with `{name}` {before['settings'].get(name)}; "
                    f"leave it out to go on with it, or choose another `out`."
                )
        return setup.check_resume(self.folder, now)

    def restore(self, checkpoint: Any) -> None:
        """Put a checkpoint's numbers in place; a run that its stop rule ended stays so."""
        super().restore(checkpoint)
        if is_over(self.state.points, self.patience):
            self.total = self.step

    def write(self, save: bool, sample: bool) -> None:
        """A point of the curve, and with it a checkpoint; the run ends when the stop rule says so."""
        if sample:
            point = on_main(self.accelerator, self.measure)
            self.state.points = [*(p for p in self.state.points if p.step < point.step), point]
            if is_over(self.state.points, self.patience) and self.step < self.total:
                self.say(f"No better point for {self.patience} measurements: stopped at step {self.step}.")
                self.total = self.step
        if save or sample:
            self.save()

    def measure(self) -> Point:
        """The point of this step, of the averaged weights."""
        model = merged(self.state.average.model).eval()
        with self.accelerator.autocast():
            db = point_db(self.pair, model, self.held)
            found = fidelity(self.pair, model, self.held).mean().item()
        lost = self.theirs - found if self.pair.kind == "autoencoder" else found / self.theirs - 1
        bound = self.settings.most_lost or ALLOWED[self.pair.kind]
        point = Point(self.step, db, found, lost, lost <= bound)
        what, unit = ("PSNR", "dB") if self.pair.kind == "autoencoder" else ("test error", "")
        figure = f"{found:.2f}" if unit else f"{found:.5f}"
        if self.journal is not None:
            with self.disk():
                self.journal.figures({"EQ-T_frac": db, what: found}, self.step)
        loss = f"{lost:+.2f} dB" if unit else f"{lost:+.1%}"
        self.say(f"step {self.step}: EQ-T_frac {db:.1f} dB, {what} {figure} (lost {loss} of the teacher's)")
        return point

    def write_model(self) -> None:
        """The averaged weights into `model/`, if this step is the point to keep, or there is none yet."""
        kept = kept_point(self.settings, self.state.points)
        facts = {"teacher": self.theirs, "kept": kept and kept.step, "points": [vars(p) for p in self.state.points]}
        with self.disk():
            write_json(self.folder.path / CURVE, facts)
            if kept is None or kept.step == self.step or not (self.folder.model / "config.json").is_file():
                self.folder.write_model(merged(self.state.average.model))


def kept_point(settings: TuneSettings, points: Sequence[Point]) -> Point | None:
    """The point whose weights are the model: `best`, or of a control, which gains no equivariance, the last."""
    return (points[-1] if points else None) if settings.is_control else best(points)


def curve_of(folder: RunFolder) -> tuple[float, list[Point]]:
    """(the teacher's fidelity, the points) of a run. Raises `RunError` before the first checkpoint."""
    file = folder.path / CURVE
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}); go on with the run, which writes it.") from error
    return float(content["teacher"]), [Point(**p) for p in content["points"]]
