"""Many images of a run, sampled in parts that are kept: a stopped measurement goes on, several processes share one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aliasfree.errors import ArgumentError, RunError
from aliasfree.files import write_file, write_json
from aliasfree.sampling.sampler import MotionSettings, Sampler, SampleSettings

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.training import RunFolder

__all__ = ["Processes", "SampleStore"]

PART = 250
"""Images in a part; image i is in part i // PART, whatever the batch size."""


class Processes:
    """This process among those that torchrun started; alone without it."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.count > 1:
            import torch.distributed as dist

            if not dist.is_initialized():
                dist.init_process_group("gloo", timeout=timedelta(days=7))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()


class SampleStore:
    """Images number 0, 1, ... of a run's seed at any motion, from disk where they were sampled before.

    folder  where parts lie, in one folder for each set of weights, settings and motion
    """

    def __init__(
        self,
        run: RunFolder,
        settings: SampleSettings,
        folder: Path,
        device: str = "auto",
        processes: Processes | None = None,
    ) -> None:
        self.sampler = Sampler(run, settings, device)
        self.settings, self.folder = settings, folder
        self.processes = processes or Processes()
        digest = hashlib.sha256()
        for name, tensor in self.sampler.pipeline.unet.state_dict().items():
            digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
        self.weights = digest.hexdigest()[:16]

    def key(self, motion: MotionSettings) -> str:
        """A name for all that decides the images; method, noise and window count only where something moves."""
        moving = motion.rotate or any(motion.translate) or motion.zoom != 1
        chosen = dataclasses.asdict(self.settings) | (dataclasses.asdict(motion) if moving else {})
        del chosen["batch_size"]
        text = json.dumps([self.weights, chosen], sort_keys=True)
        return f"{self.settings.scheduler}{self.settings.steps}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def images(
        self,
        num: int,
        motion: MotionSettings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """The first `num` images, uint8 (num, C, H, W); sampled by all processes, given to each. num >= 1."""
        import torch

        if num < 1:
            raise ArgumentError(f"`num` must be at least 1, not {num}.")
        motion = motion or MotionSettings()
        folder = self.folder / self.key(motion)
        parts = [range(start, min(start + PART, num)) for start in range(0, num, PART)]
        for k, part in enumerate(parts):
            if k % self.processes.count == self.processes.rank and self._known(folder, part) is None:
                self._sample(folder, part, motion, num, progress)
        self.processes.wait()
        found = []
        for part in parts:
            pixels = self._known(folder, part)
            if pixels is None:
                raise RunError(f"{_path(folder, part)} is missing: another process has not sampled it; start again.")
            found.append(pixels)
        return torch.from_numpy(np.moveaxis(np.concatenate(found), -1, 1).copy())

    def speed(self, motion: MotionSettings | None = None) -> float | None:
        """Images per second of one process, over the parts that were sampled at a motion; None = not known."""
        seconds = images = 0.0
        for path in (self.folder / self.key(motion or MotionSettings())).glob("part-*.json"):
            note = json.loads(path.read_text())
            seconds, images = seconds + note["seconds"], images + note["images"]
        return images / seconds if seconds else None

    def _sample(
        self,
        folder: Path,
        part: Sequence[int],
        motion: MotionSettings,
        num: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        import io

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(part[0] + len(part) * done // total, num)

        began = time.monotonic()
        pixels = self.sampler.sample(part, motion, progress=report)
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        write_file(_path(folder, part), buffer.getvalue())
        note = {"images": len(part), "seconds": time.monotonic() - began}
        write_json(_path(folder, part).with_suffix(".json"), note)

    @staticmethod
    def _known(folder: Path, part: Sequence[int]) -> np.ndarray | None:
        path = _path(folder, part)
        if not path.is_file():
            return None
        try:
            pixels: np.ndarray = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError):  # damaged: sampled again
            return None
        return pixels[: len(part)] if len(pixels) >= len(part) else None


def _path(folder: Path, part: Sequence[int]) -> Path:
    return folder / f"part-{part[0]:06d}.npy"
