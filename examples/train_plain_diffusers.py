"""Train an alias-free diffusers model with plain diffusers and accelerate: convert it, and nothing else changes.

accelerate launch examples/train_plain_diffusers.py runs/plain
"""

import argparse

import torch
from accelerate import Accelerator
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from sklearn.datasets import load_digits

from aliasfree import convert

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("out", help="where the trained pipeline is saved")
parser.add_argument("--steps", type=int, default=2000)
arguments = parser.parse_args()

images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1  # 1797 of (1, 8, 8) in [-1, 1]
blocks = {"block_out_channels": (32, 64), "norm_num_groups": 8, "layers_per_block": 1, "attention_head_dim": 8}
down, up = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
unet = UNet2DModel(8, 1, 1, down_block_types=down, up_block_types=up, **blocks)
convert(unet, "D-hq")

scheduler = DDPMScheduler()
accelerator = Accelerator()
loader = torch.utils.data.DataLoader(images, batch_size=64, shuffle=True, drop_last=True)
model, optimizer, loader = accelerator.prepare(unet, torch.optim.AdamW(unet.parameters(), lr=1e-3), loader)
step = 0
while step < arguments.steps:
    for clean in loader:
        noise, t = torch.randn_like(clean), torch.randint(1000, (len(clean),), device=clean.device)
        loss = torch.nn.functional.mse_loss(model(scheduler.add_noise(clean, noise, t), t).sample, noise)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
if accelerator.is_main_process:
    DDPMPipeline(accelerator.unwrap_model(model), scheduler).save_pretrained(arguments.out)
