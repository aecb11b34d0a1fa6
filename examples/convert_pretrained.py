"""Convert the networks of a pretrained diffusers pipeline, say what that did, and save it converted.

python examples/convert_pretrained.py google/ddpm-cifar10-32 runs/ddpm-d-hq --config D-hq
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from aliasfree import conversion_report, convert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", help="a folder, or a name on the Hugging Face hub")
    parser.add_argument("out", type=Path, help="where the converted pipeline is saved")
    parser.add_argument("--config", default="D-hq", help="B, C or D, a dash, and a filter")
    parser.add_argument("--parts", nargs="+", default=["unet"], help="which of its networks: unet, vae, controlnet")
    arguments = parser.parse_args()

    pipeline = DiffusionPipeline.from_pretrained(arguments.pipeline)
    for part in arguments.parts:
        network = convert(pipeline.components[part], arguments.config)
        print(f"{part}: {conversion_report(network)}\n")
    pipeline.save_pretrained(arguments.out)

    again = DiffusionPipeline.from_pretrained(arguments.out)
    for part in arguments.parts:
        before, after = (p.components[part].state_dict() for p in (pipeline, again))
        assert all(torch.equal(value, before[name]) for name, value in after.items())
    print(f"Saved in {arguments.out}; `import aliasfree` and DiffusionPipeline.from_pretrained load it.")


if __name__ == "__main__":
    main()
