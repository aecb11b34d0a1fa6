"""Settings are checked once, on construction, and survive JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from aliasfree.errors import ArgumentError, ConfigError
from aliasfree.training import RunSettings

GIVEN = {"data": "digits", "config": "D-2N", "out": Path("runs/x")}


def test_defaults_are_those_of_the_paper():
    s = RunSettings(**GIVEN)
    assert (s.epochs, s.batch_size, s.lr, s.weight_decay, s.seed) == (100, 16, 3e-4, 0.01, 42)
    assert (s.image_size, s.num_train_timesteps, s.augment) == (32, 1000, "none")


def test_settings_read_back_from_json_are_equal():
    s = RunSettings(**GIVEN, image_size=(16, 24), grad_clip=None, steps=7, augment="flip")
    assert RunSettings.from_dict(json.loads(json.dumps(s.to_dict()))) == s


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_size": 28}, "24 or 32"),
        ({"image_size": (16, 20)}, "16 or 24"),
        ({"image_size": 0}, "multiple of 8"),
        ({"steps": 0}, "`steps`"),
        ({"steps": 2.5}, "whole number"),
        ({"epochs": 0}, "`epochs`"),
        ({"lr": -1.0}, "`lr`"),
        ({"lr": math.nan}, "`lr`"),
        ({"lr_warmup": -1}, "`lr_warmup`"),
        ({"lr_schedule": "cosin"}, "did you mean 'cosine'"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"checkpoint_every": 0}, "`checkpoint_every`"),
        ({"keep_checkpoints": 0}, "`keep_checkpoints`"),
        ({"ema_decay": 1.0}, "`ema_decay`"),
        ({"grad_clip": 0.0}, "`grad_clip`"),
        ({"weight_decay": -0.1}, "`weight_decay`"),
        ({"channels": 2}, "`channels`"),
        ({"base_channels": 6}, "multiple of 4"),
        ({"augment": "flop"}, "did you mean 'flip'"),
        ({"mixed_precision": "fp16"}, "bf16"),
        ({"padding_mode": "zero"}, "did you mean 'zeros'"),
        ({"sample_steps": 1000}, "at most 999"),
        ({"class_dropout": 1.5}, "`class_dropout`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_sentence_naming_the_argument(changes, says):
    with pytest.raises(ArgumentError) as error:
        RunSettings(**{**GIVEN, **changes})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_config_and_an_unknown_setting_name_the_nearest():
    with pytest.raises(ConfigError, match="D-2N"):
        RunSettings(data="digits", config="D-2M", out=Path("x"))
    with pytest.raises(ConfigError, match="batch_size"):
        RunSettings.from_dict({**GIVEN, "batchsize": 4})


def test_epochs_count_every_image_once_and_several_processes_share_them():
    s = RunSettings(**GIVEN, epochs=2, batch_size=16)
    assert s.total_steps(100, 1) == math.ceil(200 / 16)
    assert s.total_steps(100, 4) == math.ceil(200 / 64)
    # after 64 images on four processes the rest is done by one
    assert s.total_steps(100, 1, step=1, images_seen=64) == 1 + math.ceil(136 / 16)


def test_giving_epochs_on_resume_replaces_the_number_of_steps():
    s = RunSettings(**GIVEN, steps=10)
    assert s.replace(epochs=3).steps is None
    assert s.replace(lr=1e-3).steps == 10
