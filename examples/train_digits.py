"""Train an alias-free diffusion model on scikit-learn's digits, by the library instead of the command line.

python examples/train_digits.py runs/example --steps 2000
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aliasfree.training import RunFolder, RunSettings, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the run folder; run again on it to go on with the training")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--config", default="D-hq")
    arguments = parser.parse_args()

    settings = RunSettings(
        data="digits",
        config=arguments.config,
        out=arguments.out,
        image_size=16,
        base_channels=32,
        batch_size=64,
        lr=1e-3,
        ema_decay=0.999,
        steps=arguments.steps,
    )
    folder = train(settings, resume=RunFolder(arguments.out).exists)

    steps, losses = folder.losses()
    print(f"{len(steps)} steps, last loss {losses[-1]:.4f}; the weights are in {folder.model}")


if __name__ == "__main__":
    main()
