"""diffusers' own tests of models, run against ours.

They are no part of the installed package. Given a checkout of its source this file runs them, else it holds nothing:

    DIFFUSERS_SOURCE=path/to/diffusers python -m pytest -o addopts="-q --import-mode=importlib" \
        tests/models/test_diffusers_mixin.py

It goes without --strict-markers because their tests have markers of their own.

docs/convert.md says what passes. The properties themselves (saving, loading, dtypes, checkpointing, training ...) are
tested in test_unet.py and in tests/conversion, always.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import torch

import aliasfree

SOURCE = os.environ.get("DIFFUSERS_SOURCE")

if SOURCE:
    # their package is called "tests" as ours is: import it under another name
    where = importlib.util.spec_from_file_location("diffusers_tests", Path(SOURCE) / "tests" / "__init__.py")
    sys.modules["diffusers_tests"] = importlib.util.module_from_spec(where)
    theirs = importlib.import_module("diffusers_tests.models.testing_utils")

    class _Paper(theirs.BaseModelTesterConfig):
        model_class = aliasfree.AliasFreeUNet2DModel
        main_input_name = "sample"
        output_shape = (3, 16, 16)

        def get_init_dict(self) -> dict:
            return {"alias_free": "D-hq", "sample_size": 16, "base_channels": 8}

        def get_dummy_inputs(self) -> dict:
            noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
            return {"sample": noise, "timestep": torch.tensor([10])}

    class _Stock(_Paper):
        """A UNet2DModel of diffusers, for comparison."""

        model_class = aliasfree.AliasFreeStockUNet2DModel.__bases__[0]

        def get_init_dict(self) -> dict:
            return {
                "block_out_channels": (4, 8),
                "norm_num_groups": 2,
                "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
                "attention_head_dim": 3,
                "layers_per_block": 2,
                "sample_size": 16,
            }

    class _Converted(_Stock):
        model_class = aliasfree.AliasFreeStockUNet2DModel

    class TestPaper(_Paper, theirs.ModelTesterMixin): ...

    class TestPaperTraining(_Paper, theirs.TrainingTesterMixin):
        def test_gradient_checkpointing_is_applied(self):
            super().test_gradient_checkpointing_is_applied(expected_set={"AliasFreeUNet2DModel"})

    class TestPaperMemory(_Paper, theirs.MemoryTesterMixin): ...

    class TestStock(_Stock, theirs.ModelTesterMixin): ...

    class TestStockTraining(_Stock, theirs.TrainingTesterMixin): ...

    class TestStockMemory(_Stock, theirs.MemoryTesterMixin): ...

    class TestConverted(_Converted, theirs.ModelTesterMixin): ...

    class TestConvertedTraining(_Converted, theirs.TrainingTesterMixin):
        def test_gradient_checkpointing_is_applied(self):
            blocks = {"AttnUpBlock2D", "AttnDownBlock2D", "UNetMidBlock2D", "UpBlock2D", "DownBlock2D"}
            super().test_gradient_checkpointing_is_applied(expected_set=blocks)

    class TestConvertedMemory(_Converted, theirs.MemoryTesterMixin): ...
