"""What the README tells a new user to type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
CODE = [block.split("```")[0] for block in (ROOT / "README.md").read_text().split("```python\n")[1:]]


@pytest.fixture
def fresh(tmp_path):
    """Run code in a new process and an empty folder; what it prints."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_model_is_converted_turned_saved_and_loaded_as_it_says(make, fresh, tmp_path):
    (code,) = (block for block in CODE if "convert(unet" in block)
    make("UNet2DModel", torch.float32).save_pretrained(tmp_path / "path/of/a/model")
    assert "num_inference_steps=50" in code
    printed = fresh(code.replace("num_inference_steps=50", "num_inference_steps=2") + "print(type(pipeline.unet))")
    assert "Config D-hq: " in printed
    assert printed.rstrip().endswith("<class 'aliasfree.AliasFreeStockUNet2DModel'>")
    assert Image.open(tmp_path / "turned.png").size == (16, 16)
    loaded = fresh(
        "from aliasfree import AliasFreePipeline\n"
        "print(AliasFreePipeline.from_pretrained('converted').unet.config['alias_free'])"
    )
    assert loaded.strip() == "D-hq"
