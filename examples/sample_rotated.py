"""Sample the same digits at several angles, turned while they are sampled.

python examples/sample_rotated.py runs/example rotated.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from aliasfree import AliasFreePipeline, PaperDDPMScheduler
from aliasfree.diffusion import sample_generators
from aliasfree.pictures import angle_label, save_png, strip
from aliasfree.training import RunFolder

ANGLES = (-90.0, -45.0, 0.0, 45.0, 90.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder, as examples/train_digits.py writes it")
    parser.add_argument("out", type=Path, help="the picture to write, a PNG")
    parser.add_argument("--num", type=int, default=4, help="digits")
    parser.add_argument("--steps", type=int, default=50, help="sampling steps")
    arguments = parser.parse_args()

    pipeline = AliasFreePipeline(RunFolder(arguments.run).load_model(), PaperDDPMScheduler())
    columns = []
    for angle in ANGLES:
        output = pipeline(
            arguments.num,
            arguments.steps,
            rotate=angle,
            schedule=(0.7, 0.95),  # the late steps, in which the digit is decided already
            noise="co-moving",
            generator=sample_generators(seed=0, indices=range(arguments.num)),
        )
        columns.append(np.stack([np.asarray(image)[..., None] for image in output.images]))
    save_png(strip(np.stack(columns, axis=1), [angle_label(a) for a in ANGLES]), arguments.out)


if __name__ == "__main__":
    main()
