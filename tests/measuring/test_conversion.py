"""Converting a diffusers model: measured before and after with the same ruler."""

from __future__ import annotations

import json

import pytest
from diffusers import UNet2DModel

from aliasfree.errors import CheckpointError
from aliasfree.measuring.conversion import convert_and_measure
from aliasfree.measuring.targets import SubjectSettings, open_subject


@pytest.fixture
def folder(tmp_path):
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    UNet2DModel(
        sample_size=16, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4,
        layers_per_block=1, **blocks,
    ).save_pretrained(tmp_path / "model")  # fmt: skip
    return tmp_path / "model"


def test_conversion_raises_equivariance_and_says_what_it_did(folder):
    told: list[int] = []
    subject = open_subject(str(folder), SubjectSettings())
    done = convert_and_measure(subject, "D-hq", "circular", progress=lambda k, _: told.append(k))
    assert done.after.eq_t > done.before.eq_t + 5
    assert done.after.eq_t_frac > done.before.eq_t_frac + 5
    assert done.before.eq_r is not None
    assert done.model is subject.model
    assert len(done.report.touched) > 4
    assert told == [0, 1, 2, 3, 4]


def test_a_model_that_names_a_pipeline_is_refused(folder):
    (folder / "config.json").write_text(json.dumps({"_class_name": "DiffusionPipeline"}))
    with pytest.raises(CheckpointError, match="names the class 'DiffusionPipeline'"):
        open_subject(str(folder), SubjectSettings())
