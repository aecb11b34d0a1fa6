"""Runs in a process of its own: train by the settings of a JSON file, optionally killing itself at a step.

train_here.py SETTINGS.json CACHE [--resume] [--kill NUMBER --at STEP [--rank RANK]]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

parser = argparse.ArgumentParser()
parser.add_argument("settings", type=Path)
parser.add_argument("cache", type=Path)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--kill", type=int)
parser.add_argument("--at", type=int)
parser.add_argument("--rank", type=int, default=0)
args = parser.parse_args()

if __name__ == "__main__":
    from aliasfree.data import open_images
    from aliasfree.errors import AliasfreeError
    from aliasfree.training import RunSettings, train
    from aliasfree.training import state as training_state

    torch.set_num_threads(1)
    settings = RunSettings.from_dict(json.loads(args.settings.read_text()))
    data = open_images(settings.data, image_size=settings.image_size, cache_dir=args.cache)

    class Tripwire(training_state.TrainingState):
        """Sends this process the signal within the step asked for, on the rank asked for."""

        def advance(self) -> torch.Tensor:
            if args.kill and self.step + 1 == args.at and self.accelerator.process_index == args.rank:
                os.kill(os.getpid(), args.kill)
            return super().advance()

    from aliasfree.training import trainer

    trainer.TrainingState = Tripwire
    try:
        train(settings, data, resume=args.resume, on_step=lambda step, loss: print("step", step, flush=True))
    except AliasfreeError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(getattr(error, "exit_code", 2))
