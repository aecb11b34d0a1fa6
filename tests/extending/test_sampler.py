"""A sampler is one registration: the page's example, in settings, in the pipeline and on the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler
from typer.testing import CliRunner

from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel
from aliasfree.cli import app
from aliasfree.diffusion import SCHEDULERS, make_scheduler, register_scheduler, sample_generators
from aliasfree.errors import ArgumentError
from aliasfree.sampling.sampler import SampleSettings

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def _as_it_was():
    before = dict(SCHEDULERS)
    yield
    SCHEDULERS.clear()
    SCHEDULERS.update(before)


def test_the_sampler_of_the_page_samples_and_turns_by_its_name():
    section = PAGE.read_text().partition("## Add a sampler")[2]
    with pytest.raises(ArgumentError, match="no `scheduler` 'euler-a'"):
        SampleSettings(scheduler="euler-a")
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {})
    assert SampleSettings(scheduler="euler-a").scheduler == "euler-a"
    pipeline = AliasFreePipeline(AliasFreeUNet2DModel("A", 8, 1, 1, 4), make_scheduler("euler-a"))
    assert isinstance(pipeline.scheduler, EulerAncestralDiscreteScheduler)

    def sampled(**motion):
        return pipeline(1, 3, generator=sample_generators(0, [0]), output_type="pt", **motion).images

    assert torch.equal(sampled(), sampled())
    assert not torch.equal(sampled(), sampled(rotate=90.0, schedule=(0.0, 1.0)))
    refused = CliRunner().invoke(app, ["sample", "nowhere", "--scheduler", "euler-b"])
    assert "did you mean 'euler-a'" in " ".join(refused.output.split())


@pytest.mark.parametrize(("name", "make", "words"), [
    ("Euler A", lambda total, _: DDIMScheduler(total), "small letters"),
    ("ddim", lambda total, _: DDIMScheduler(total), "already"),
    ("other", lambda _total, _: object(), "AttributeError"),
    ("other", lambda _total, _: DDIMScheduler(500), "it has 500"),
    ("other", lambda total, _: DDIMScheduler(total, prediction_type="sample"), "prediction_type"),
    ("other", lambda total, _: DDIMScheduler(total, beta_schedule="scaled_linear"), "noise levels"),
    ("other", lambda: None, "TypeError"),
])  # fmt: skip
def test_a_sampler_that_cannot_work_is_refused_when_it_is_registered(name, make, words):
    with pytest.raises(ArgumentError, match=words):
        register_scheduler(name, make)
    assert "other" not in SCHEDULERS
