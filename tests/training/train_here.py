"""Runs in a process of its own: train by the settings of a JSON file, sending signals to itself on the way.

    train_here.py SETTINGS.json CACHE [--tune] [--resume] [--kill SIGNAL STEP RANK]...

With --tune, `aliasfree tune` by its settings, with its table in the end.

After a signal that stops the run in good order it is resumed at once, as long as there are more signals to send.
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
parser.add_argument("--tune", action="store_true")
parser.add_argument("--resume", action="store_true")
parser.add_argument("--kill", type=int, nargs=3, action="append", default=[])
args = parser.parse_args()

if __name__ == "__main__":
    from aliasfree.data import open_images
    from aliasfree.errors import AliasfreeError
    from aliasfree.experiments.tune import TableSettings, tune_and_measure
    from aliasfree.training import RunSettings, RunStopped, train, trainer
    from aliasfree.training.state import TrainingState
    from aliasfree.tuning import TuneSettings
    from aliasfree.tuning import trainer as tuner
    from aliasfree.tuning.state import TuningState

    class Tripwire:
        """Sends its process the next signal within the step asked for, on the rank asked for."""

        def advance(self, total: int) -> torch.Tensor:
            if args.kill and args.kill[0][1:] == [self.step + 1, self.accelerator.process_index]:
                os.kill(os.getpid(), args.kill[0][0])
            return super().advance(total)

    trainer.TrainingState = type("State", (Tripwire, TrainingState), {})
    tuner.TuningState = type("State", (Tripwire, TuningState), {})
    torch.set_num_threads(1)
    given = json.loads(args.settings.read_text())
    if args.tune:
        os.environ["ALIASFREE_CACHE"] = str(args.cache)
        settings = TuneSettings.from_dict(given)
    else:
        settings = RunSettings.from_dict(given)
        data = open_images(settings.data, image_size=settings.image_size, cache_dir=args.cache)
    resume = args.resume
    while True:
        try:
            if args.tune:
                _, table = tune_and_measure(settings, TableSettings(images=2, distance_images=0), resume=resume)
                print("no table" if table is None else "a table", flush=True)
            else:
                train(settings, data, resume=resume, on_step=lambda step, loss: print("step", step, flush=True))
        except RunStopped as stopped:
            print(stopped, file=sys.stderr, flush=True)
            args.kill[:] = args.kill[1:]
            if not args.kill:
                sys.exit(stopped.exit_code)
            resume = True
        except AliasfreeError as error:
            print(error, file=sys.stderr, flush=True)
            sys.exit(2)
        else:
            break
