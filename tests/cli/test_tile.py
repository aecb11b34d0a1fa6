"""`aliasfree tile`."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.conversion import rolled_db
from aliasfree.loading import load_model, load_pipeline

BLOCKS = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16}


def unet():
    torch.manual_seed(0)
    return UNet2DModel(**BLOCKS, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)


@pytest.fixture
def saved(tmp_path):
    unet().save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def aliasfree(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def test_a_saved_model_is_tiled_with_its_proof_and_back(saved, tmp_path):
    said = aliasfree("tile", saved, "--axes", "x", "--out", tmp_path / "tiled")
    assert int(said.split(" to ")[1].split(" dB")[0]) > 100
    assert rolled_db(load_model(tmp_path / "tiled"), "x") > 100
    assert rolled_db(load_model(tmp_path / "tiled"), "y") < 20
    aliasfree("tile", tmp_path / "tiled", "--undo", "--out", tmp_path / "back")
    assert json.loads((tmp_path / "back" / "config.json").read_text())["_class_name"] == "UNet2DModel"
    before, after = (load_model(p).state_dict() for p in (saved, tmp_path / "back"))
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_every_part_of_a_saved_pipeline_is_tiled(tmp_path):
    coder = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    LDMPipeline(VQModel(**BLOCKS, **coder, num_vq_embeddings=16), unet(), DDIMScheduler()).save_pretrained(
        tmp_path / "pipe"
    )
    said = aliasfree("tile", tmp_path / "pipe", "--out", tmp_path / "tiled")
    assert "vqvae (AliasFreeVQModel)" in said
    assert "unet (AliasFreeStockUNet2DModel)" in said
    pipe = load_pipeline(tmp_path / "tiled")
    assert min(rolled_db(pipe.vqvae), rolled_db(pipe.unet)) > 100


def test_what_cannot_be_done_is_told_in_a_sentence_and_writes_nothing(saved, tmp_path):
    out = tmp_path / "out"
    assert "--axes are x" in aliasfree("tile", saved, "--axes", "z", "--out", out, code=2)
    assert "is not tiled" in aliasfree("tile", saved, "--undo", "--out", out, code=2)
    assert "holds no diffusers model" in aliasfree("tile", tmp_path, "--out", out, code=2)
    assert "is read by this call" in aliasfree("tile", saved, "--out", saved, "--overwrite", code=2)
    (saved / "config.json").write_text('{"_class_name": "SomethingModel"}')
    assert "does not have" in aliasfree("tile", saved, "--out", out, code=2)
    assert not out.exists()
