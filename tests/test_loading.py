"""Saved models and pipelines: a cause is told where there is one."""

from __future__ import annotations

import json

import diffusers
import pytest

from aliasfree import loading
from aliasfree.errors import CheckpointError
from aliasfree.loading import load_model, load_pipeline


def test_a_class_that_is_not_here_is_named_with_its_cause_where_that_is_known(tmp_path, monkeypatch):
    def says(load, file: str, **content: str) -> str:
        (tmp_path / file).write_text(json.dumps(content))
        with pytest.raises(CheckpointError) as caught:
            load(tmp_path)
        return str(caught.value)

    here = f"which diffusers {diffusers.__version__} does not have as a"
    unknown = says(load_model, "config.json", _class_name="UNet9DModel", _diffusers_version="0.1.0")
    assert unknown.endswith(f"names the class 'UNet9DModel', {here} model; give a folder that save_pretrained wrote.")
    later = says(load_model, "config.json", _class_name="UNet9DModel", _diffusers_version="99.1")
    assert later.endswith("; it was saved by diffusers 99.1: update diffusers.")
    assert f"{here} pipeline" in says(load_pipeline, "model_index.json", _class_name="DDPMScheduler")

    class StandIn:  # as diffusers makes one where transformers is missing
        _backends = ("torch", "transformers")

    monkeypatch.setattr(diffusers, "StableDiffusionPipeline", StandIn, raising=False)
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None if name == "transformers" else object())
    assert says(load_pipeline, "model_index.json", _class_name="StableDiffusionPipeline").endswith(
        "names the class StableDiffusionPipeline, which needs transformers: `pip install transformers`."
    )
