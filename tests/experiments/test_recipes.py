"""Recipes: arguments that exist, and commands that take them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.errors import ArgumentError
from aliasfree.experiments.recipes import RECIPES, find_recipe
from aliasfree.measuring.evaluate import EvaluateSettings
from aliasfree.results.demo import DemoSettings
from aliasfree.sampling.sampler import SampleSettings
from aliasfree.training import RunSettings


def aliasfree(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_holds_arguments_that_differ_from_the_defaults(name):
    recipe = find_recipe(name)
    data = {} if "data" in recipe.training else {"data": "digits"}
    settings = RunSettings(config="A", out="runs/x", **data, **recipe.training)
    plain = RunSettings(config="A", out="runs/x", data="another")
    assert all(getattr(settings, k) != getattr(plain, k) for k in recipe.training)
    SampleSettings(**recipe.sampling)
    measured = {**recipe.sampling, **recipe.evaluation}
    sampling = {k: v for k, v in measured.items() if k in SampleSettings.__dataclass_fields__}
    rest = {k: v for k, v in measured.items() if k not in sampling}
    EvaluateSettings(**data, **rest, sampling=SampleSettings(**sampling))


def test_the_recipe_for_digits_is_the_demos():
    recipe, demo = RECIPES["digits"], DemoSettings()
    assert all(getattr(demo, k) == v for k, v in recipe.training.items() if k not in ("data", "class_conditional"))
    sampling = recipe.sampling
    assert (sampling["steps"], sampling["guidance"]) == (demo.sampling_steps, demo.guidance)
    assert sampling["scheduler"] == demo.scheduler


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ArgumentError, match="did you mean 'mnist-16'"):
        find_recipe("mnist16")


def test_commands_take_a_recipe_and_what_is_typed_overrules_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    run: Path = tmp_path / "run"
    small = ("--steps", 2, "--base-channels", 4, "--image-size", 8, "--sample-every", 0, "--device", "cpu")
    aliasfree("train", "--recipe", "digits", "--config", "A", "--out", run, *small)
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["data"], settings["lr"], settings["class_conditional"]) == ("digits", 2e-3, True)
    assert (settings["steps"], settings["base_channels"], settings["image_size"]) == (2, 4, 8)
    aliasfree("sample", run, "--recipe", "digits", "--num", 1, "--steps", 2, "--out", tmp_path / "images")
    sampled = json.loads((tmp_path / "images.json").read_text())
    assert (sampled["scheduler"], sampled["guidance"], sampled["class_label"]) == ("ddpm-clipped", 3.0, "each")
    assert (sampled["num"], sampled["steps"]) == (1, 2)
    aliasfree("evaluate", run, "--recipe", "digits", "--num", 70, "--steps", 2, "--features", "pixels")
    measured = json.loads((run / "metrics.json").read_text())
    assert (measured["data"], measured["num"], measured["sampling"]["guidance"]) == ("digits", 70, 3.0)


def test_the_list_shows_each_recipe_as_options():
    shown = aliasfree("recipes")
    assert all(f"{name}: {recipe.about}" in shown for name, recipe in RECIPES.items())
    assert "train    --ema-decay 0 --grad-clip 0\n" in shown
    assert "--class each --guidance 2" in shown
