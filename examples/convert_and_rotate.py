"""Turn what a Stable Diffusion pipeline samples, while it samples it, with its networks made alias-free.

python examples/convert_and_rotate.py stable-diffusion-v1-5/stable-diffusion-v1-5 "a red maple leaf" leaf.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from aliasfree import convert
from aliasfree.diffusion import MotionCallback

ANGLES = (-45.0, 0.0, 45.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", help="a folder, or a name on the Hugging Face hub")
    parser.add_argument("prompt")
    parser.add_argument("out", type=Path, help="the picture to write: one turn beside the other")
    parser.add_argument("--config", default="B-hq", help="pretrained weights take B as it is; C and D want fine-tuning")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.pipeline).to(device)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    convert(pipeline.unet, arguments.config)
    convert(pipeline.vae, arguments.config)

    turns = []
    for angle in ANGLES:
        motion = MotionCallback(rotate=angle, schedule=(0.5, 0.8), noise="co-moving")
        output = pipeline(
            arguments.prompt,
            num_inference_steps=arguments.steps,
            generator=torch.Generator().manual_seed(0),
            callback_on_step_end=motion,
        )
        turns.append(output.images[0])
    width, height = turns[0].size
    sheet = Image.new("RGB", (width * len(turns), height))
    for i, image in enumerate(turns):
        sheet.paste(image, (i * width, 0))
    sheet.save(arguments.out)


if __name__ == "__main__":
    main()
