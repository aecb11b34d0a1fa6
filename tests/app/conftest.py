"""The real server in a process of its own, tiny networks for it, and a real browser, if there is one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from aliasfree.training import RunSettings, train

# whoever the server speaks to is written down; sys.addaudithook sees what Python code connects to
WATCHED = """
import sys
out, sys.argv[1:] = sys.argv[1], sys.argv[2:]
def watch(event, arguments):
    if event == "socket.connect":
        told = arguments[1]
    elif event == "socket.getaddrinfo":
        told = arguments[:1]
    else:
        return
    if isinstance(told, tuple) and str(told[0]) not in ("127.0.0.1", "::1", "localhost"):
        with open(out, "a") as file:
            file.write(f"{event} {told}\\n")
sys.addaudithook(watch)
from aliasfree.cli import main
main()
"""


def make_run(out: Path, config: str, **changes: object) -> Path:
    """A run of two steps on digits, 16x16."""
    settings = RunSettings(
        data="digits", config=config, out=out, image_size=16, base_channels=4, steps=2, batch_size=4, device="cpu",
        class_conditional=True, sample_every=2, sample_num=4, sample_steps=2,
    )  # fmt: skip
    train(settings.replace(**changes), console=Console(quiet=True))
    return out


ODD = {
    "z-latin": "config.json is not UTF-8",
    "z-deep": "config.json is nested too deep",
    "z-list": "config.json holds no object",
    "z-other": "config.json is of no run and of no model",
    "z-classes": "config.json has no usable number of classes (`num_class_embeds` is many)",
    "z-pipe": "config.json is no regular file",
    "z-dangling": "config.json No such file or directory",
    "z-\\xff": "name is not UTF-8",
}
"""Folders below runs/ that cannot be offered, and what the studio says of each."""


def make_odd(runs: Path) -> None:
    """Make them."""
    contents = {
        "z-latin": b'{"name": "\xff"}',
        "z-deep": b"[" * 100_000,
        "z-list": b"[1]",
        "z-other": b'{"settings": 1, "model": {}}',
        "z-classes": b'{"_class_name": "UNet2DModel", "num_class_embeds": "many"}',
        os.fsdecode(b"z-\xff"): b'{"_class_name": "UNet2DModel"}',
    }
    for name, content in contents.items():
        (runs / name).mkdir(parents=True)
        (runs / name / "config.json").write_bytes(content)
    for name in ("z-pipe", "z-dangling"):
        (runs / name).mkdir()
    os.mkfifo(runs / "z-pipe" / "config.json")
    (runs / "z-dangling" / "config.json").symlink_to("nowhere")


@dataclass
class Served:
    """A server that runs: its address, the folder that it runs in and its process."""

    address: str
    folder: Path
    process: subprocess.Popen[str]
    outside: Path

    def end(self) -> int:
        """Its exit code after Ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def serve(folder: Path, *arguments: str) -> Served:
    """The studio on a free port, in a folder."""
    outside = folder / "outside.txt"
    command = [sys.executable, "-c", WATCHED, str(outside), "app", "--no-browser", "--port", "0", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO", "HF_"))}
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, line + process.stdout.read()
    return Served(found[0], folder, process, outside)


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> Path:
    """A folder with runs/ (A, T, a broken one and odd folders) and a diffusers model."""
    from diffusers import UNet2DModel

    folder = tmp_path_factory.mktemp("studio")
    make_run(folder / "runs" / "a", "A")
    make_run(folder / "runs" / "t", "T")
    shutil.copytree(folder / "runs" / "a", folder / "runs" / "z-broken")
    (folder / "runs" / "z-broken" / "model" / "diffusion_pytorch_model.safetensors").write_text("no weights")
    shutil.copytree(folder / "runs" / "a", folder / "runs" / "z-goes")
    make_odd(folder / "runs")
    (folder / "secret.txt").write_text("a secret of this machine")
    Image.new("L", (64, 64), 99).save(folder / "private.png")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    torch.manual_seed(2)  # what conversion gains depends on the weights
    UNet2DModel(
        sample_size=16, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4,
        layers_per_block=1, **blocks,
    ).save_pretrained(folder / "model")  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def served(networks) -> Iterator[Served]:
    """The studio over `networks`."""
    server = serve(networks, "model")
    yield server
    server.end()
