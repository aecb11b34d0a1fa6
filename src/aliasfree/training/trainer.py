"""The training loop: the paper's objective on accelerate, resumable bit for bit."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor

from aliasfree.data import export_images
from aliasfree.errors import RunError
from aliasfree.pictures import save_png
from aliasfree.progress import bar
from aliasfree.training import checkpoint as checkpoints
from aliasfree.training import setup
from aliasfree.training.card import write_card
from aliasfree.training.checkpoint import Checkpoint
from aliasfree.training.checkpoint_names import resume_command
from aliasfree.training.learning_rate import learning_rate
from aliasfree.training.logs import Journal
from aliasfree.training.losses import StepRecord
from aliasfree.training.processes import make_accelerator, on_main
from aliasfree.training.resources import check_resources
from aliasfree.training.run_folder import RunFolder, check_folder
from aliasfree.training.samples import sample_grid
from aliasfree.training.settings import RunSettings
from aliasfree.training.state import TrainingState
from aliasfree.training.stopping import RunStopped, StopRequest, signal_name

if TYPE_CHECKING:
    from aliasfree.data import ImageData

_STEPS_BETWEEN_READS = 10  # on a GPU, where reading a loss waits for the device; 1 on a CPU


def train(
    settings: RunSettings,
    data: ImageData | None = None,
    *,
    resume: bool = False,
    until: float | None = None,
    on_step: Callable[[int, float], None] | None = None,
    console: Console | None = None,
) -> RunFolder:
    """Train a network by the paper's objective and leave everything in the run folder `settings.out`.

    data      the images; None = open `settings.data`
    resume    go on with the run in that folder from its newest whole checkpoint; with the same machine, libraries and
              number of processes and threads, its losses and weights are then bit for bit those of a run never stopped
    until     `time.time()` at which to save and stop, after the step; None = train to the end
    on_step   called on the main process with (step, loss), step from 1
    console   where progress and notes go; None = standard error, `Console(quiet=True)` = nowhere

    Several processes: start the same call under `torchrun`; `settings.batch_size` is per process.

    Raises `RunError` (folder in use or not empty, disk full, loss not finite), `CheckpointError` (no whole checkpoint,
    other architecture or data), `RunStopped` after SIGTERM, Ctrl-C or at `until` (a checkpoint has been saved),
    and what `open_images` raises.

    >>> from rich.console import Console
    >>> from aliasfree.training import RunSettings, train
    >>> settings = RunSettings(
    ...     data="digits", config="A", out="run", image_size=16, base_channels=4, steps=2, sample_every=None
    ... )
    >>> run = train(settings, console=Console(quiet=True))
    >>> steps, losses = run.losses()
    >>> steps.tolist(), run.latest_checkpoint().name
    ([1, 2], 'step-00000002')
    >>> type(run.load_model()).__name__
    'AliasFreeUNet2DModel'
    """
    accelerator = make_accelerator(settings)
    console = console or Console(stderr=True)
    folder = RunFolder(settings.out)
    on_main(accelerator, lambda: check_folder(folder, resume))
    before = folder.config if resume else {}
    settings = setup.settled(settings)
    check_resources(settings)  # before images of that size are made
    if data is None:
        place = before.get("data", {}).get("path")
        silent = Console(quiet=True)
        told = console if accelerator.is_main_process else silent
        with accelerator.main_process_first(), bar("reading images", "images", told) as show:
            data = setup.open_data(settings, show, place and Path(place))
    check_resources(settings, data, accelerator.num_processes)
    model = setup.build_model(settings, data, before["model"] if resume and folder.latest_checkpoint() else None)

    def make() -> Run:
        state = TrainingState(settings, data, model, accelerator)
        return Run(settings, data, state, folder, on_step, console)

    run_in(folder, accelerator, make, resume=resume, until=until)
    return folder


def run_in(folder: RunFolder, accelerator: Any, make: Callable[[], Run], *, resume: bool, until: float | None) -> None:
    """Hold the folder's lock, make the run, begin or resume it, and train; raises what `train` does."""
    with contextlib.ExitStack() as stack:
        on_main(accelerator, lambda: stack.enter_context(folder.lock()))
        on_main(accelerator, lambda: check_folder(folder, resume))
        run = make()
        data = run.data
        stack.callback(run.state.stream.close)
        if data.skipped:
            left_out = f"{len(data.skipped)} damaged image(s) left out, {len(data)} kept (see config.json)"
            run.say(f"{left_out}; the first: {data.skipped[0]}")
        begin = run.resume if resume else run.start
        if begin():
            stop = stack.enter_context(StopRequest(accelerator.num_processes == 1, until))
            run.loop(stop)
        accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        accelerator.end_training()


class Run:
    """The state of a run between steps, and what is done with it."""

    def __init__(
        self,
        settings: Any,
        data: Any,
        state: TrainingState,
        folder: RunFolder,
        on_step: Callable[[int, float], None] | None,
        console: Console,
    ) -> None:
        accelerator = state.accelerator
        self.settings, self.data, self.accelerator, self.folder = settings, data, accelerator, folder
        self.on_step, self.console = on_step, console
        self.is_main = accelerator.is_main_process
        self.alone = accelerator.num_processes == 1
        self.state = state
        self.total = settings.total_steps(len(data), accelerator.num_processes)
        self.saved_step = -1
        self.journal: Journal | None = None  # of the main process, within the loop
        # per step since the last reading: (loss, gradient norm, the losses that it is the sum of), on the device
        self.unread: list[Tensor] = []
        self.read_every = 1 if self.state.device.type == "cpu" else _STEPS_BETWEEN_READS
        self.clock = time.perf_counter()
        self.failure: RunError | None = None

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.step

    def say(self, text: str) -> None:
        """A note to the user, once."""
        if self.is_main:
            self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    # before the loop

    def start(self) -> bool:
        """Begin a new run in the empty folder."""

        def write() -> None:
            with self.disk():
                self.folder.clear_leftovers()
                self.folder.write_config(self.describe())
                write_card(self.folder, 0)
                self.folder.samples.mkdir(exist_ok=True)
                wanted = self.settings.save_training_images
                if wanted:
                    export_images(self.data, self.folder.training_images, None if wanted < 0 else wanted)

        on_main(self.accelerator, write)
        if self.settings.model is not None:  # the run's own from now on: its folder may go
            on_main(self.accelerator, self.write_first)
        return True

    def resume(self) -> bool:
        """Take up the run of the folder; False when it has reached its last step already."""
        checkpoint = on_main(self.accelerator, self.find_checkpoint)
        if checkpoint is not None:
            self.restore(checkpoint)
        finished = self.step >= self.total
        if finished:
            more = "ask for more steps or epochs to train on"
            self.say(f"The run {self.folder.path} is finished at step {self.step}; {more}.")
        else:
            done = f"from step {self.step}" if checkpoint else "from the beginning, as it had no checkpoint yet"
            self.say(f"Going on with {self.folder.path} {done}, to step {self.total}.")
        return not finished

    def find_checkpoint(self) -> Checkpoint | None:
        """The newest whole checkpoint of this run, after all checks; runs on the main process."""
        changes = self.check_resume()
        with self.disk():
            self.folder.clear_leftovers()
            checkpoints.clear_unfinished(self.folder.checkpoints)
            checkpoint, damaged = checkpoints.load_latest(self.folder.checkpoints)
            for path, error in damaged:
                self.say(f"{error} It is skipped for the one before and kept as {checkpoints.set_aside(path).name}.")
            if changes:
                self.say(f"Not the same as when the run began: {', '.join(changes)}.")
            config = self.folder.config
            resumed = {"step": checkpoint.step if checkpoint else 0, "changes": changes}
            history = [*config.get("resumed", []), resumed]
            self.folder.write_config({**config, "settings": self.settings.to_dict(), "resumed": history})
            self.folder.samples.mkdir(exist_ok=True)
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's numbers in place."""
        self.state.restore(checkpoint)
        self.saved_step = checkpoint.step
        self.total = self.settings.total_steps(
            len(self.data), self.accelerator.num_processes, step=self.step, images_seen=self.state.images_seen
        )
        on_main(self.accelerator, self.write_model)

    def check_resume(self) -> list[str]:
        """What changed since the run began and may; raises `CheckpointError` for what may not."""
        return setup.check_resume(self.folder, self.describe())

    def describe(self) -> dict[str, Any]:
        """The content of config.json."""
        return setup.describe(self.settings, self.data, self.state.model, self.accelerator.num_processes)

    # the loop

    def loop(self, stop: StopRequest) -> None:
        """Train to the last step, or to the one in which a stop is asked for."""
        s = self.settings
        if not self.alone:
            self.state.settle_buckets()
        if self.is_main:
            with self.disk():
                self.journal = Journal(self.folder, self.step, self.total, self.console)
        try:
            self.clock = time.perf_counter()
            while self.step < self.total:
                self.unread.append(self.state.advance(self.total))
                last = self.step == self.total
                save = last or self.step % s.checkpoint_every == 0
                sample = s.sample_every is not None and (last or self.step % s.sample_every == 0)
                sample = sample and not self.state.is_coarse(self.step)  # not yet a network for the whole side
                signal_number = 0
                if save or sample or len(self.unread) >= self.read_every or (self.alone and stop.signal_number):
                    signal_number = self.read_losses(stop)
                self.write(bool(save or signal_number), sample)
                if signal_number and not last:
                    raise self.stopped(signal_number)
                if save or sample:
                    self.clock = time.perf_counter()
        finally:
            if self.journal is not None:
                with self.disk():
                    self.journal.close()

    def read_losses(self, stop: StopRequest) -> int:
        """Read, check and log the losses since the last time; the signal to stop for that any process got, or 0.

        Raises `RunError` naming the first step whose loss or gradient is not finite, on all processes.
        """
        count = len(self.unread)
        rows = torch.stack(self.unread)
        flags = torch.zeros(1, rows.shape[1], device=rows.device)
        flags[0, 0], flags[0, 1] = float(stop.signal_number), float(self.failure is not None)
        own = torch.cat([rows, flags])  # (count + 1, 2 + parts)
        self.unread.clear()
        every = self.accelerator.gather(own[None]).double().cpu()  # (processes, count + 1, 2 + parts)
        self.raise_failure(every[:, -1, 1].max() > 0)
        now = time.perf_counter()
        speed = count * self.state.stream.global_batch / max(now - self.clock, 1e-9)
        self.clock = now
        records: list[StepRecord] = []
        for i, (loss, norm, *parts) in enumerate(every[:, :-1].mean(0).tolist(), self.step - count + 1):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                self.write_records(records)
                what = f"The loss is {loss}" if not math.isfinite(loss) else f"The norm of the gradient is {norm}"
                raise self.diverged(f"{what} at step {i}")
            rate = learning_rate(self.settings, i, self.total)
            known = dict(zip(self.state.parts, parts, strict=True))
            records.append(StepRecord(i, loss, rate, norm or None, speed, known))
        self.write_records(records)
        return int(every[:, -1, 0].max())

    def write_records(self, records: list[StepRecord]) -> None:
        """Log on the main process; when the disk refuses, all are told at the next reading."""
        if self.journal is None:
            return
        try:
            with self.disk():
                self.journal.write(records)
        except RunError as error:
            if self.alone:
                raise
            self.failure = error
        if self.on_step is not None:
            for record in records:
                self.on_step(record.step, record.loss)

    def raise_failure(self, failed: Any) -> None:
        """Stop all processes when the main one could not write."""
        if failed:
            raise self.failure or RunError("The main process could not write its logs; see its message.")

    def diverged(self, what: str) -> RunError:
        """The sentence for a run that has left the finite numbers."""
        left = self.folder.latest_checkpoint()
        advice = "a smaller `lr` or `grad_clip=1`"
        if left is None:
            return RunError(f"{what}, and no checkpoint was written before; start a new run with {advice}.")
        return RunError(
            f"{what}; the checkpoint {left} is from before, so go on from it with `resume=True` and {advice}."
        )

    def stopped(self, signal_number: int) -> RunStopped:
        """The sentence for a run that was asked to stop."""
        return RunStopped(
            f"Stopped by {signal_name(signal_number)} after step {self.step} of {self.total}, and saved; go on with "
            f"{resume_command(self.folder.path)}.",
            signal_number,
        )

    # what is written

    def write(self, save: bool, sample: bool) -> None:
        """What is due after a step: a checkpoint, a grid of samples."""
        if save:
            self.save()
        if sample:
            on_main(self.accelerator, self.sample)

    def save(self) -> None:
        """Write a checkpoint of this step, unless its weights are not finite, and then `model/`."""
        if self.saved_step == self.step:
            return
        if not self.state.is_finite():
            raise self.diverged(f"The weights are not finite after step {self.step}")
        on_main(self.accelerator, self.write_checkpoint)
        self.saved_step = self.step

    def write_checkpoint(self) -> None:
        """Logs first, so that they reach as far as the checkpoint does; then the checkpoint; then `model/`."""
        assert self.journal is not None
        with self.disk():
            self.journal.sync()
        checkpoints.save_checkpoint(
            self.folder.checkpoints,
            self.step,
            self.state.tensors(),
            self.state.counters(),
            keep=self.settings.keep_checkpoints,
        )
        self.write_model()

    def write_first(self) -> None:
        """A checkpoint before the first step."""
        checkpoints.save_checkpoint(self.folder.checkpoints, 0, self.state.tensors(), self.state.counters(), keep=1)

    def write_model(self) -> None:
        """The averaged weights into `model/`, and the card."""
        with self.disk():
            self.folder.write_model(self.state.average.model)
            write_card(self.folder, self.step)

    def sample(self) -> None:
        """A grid of samples of the averaged weights into `samples/` and TensorBoard."""
        assert self.journal is not None
        with self.disk(), self.accelerator.autocast():
            image = sample_grid(self.state.average.model, self.settings)
            save_png(image, self.folder.samples / f"step-{self.step:08d}.png")
            self.journal.picture("samples", image, self.step)

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """Turn a disk that takes no more into the sentence about it."""
        try:
            yield
        except OSError as error:
            if not checkpoints.is_cannot_write(error):
                raise
            where = error.filename or self.folder.path
            raise checkpoints.cannot_write(where, error, self.folder.checkpoints) from error
