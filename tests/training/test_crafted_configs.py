"""A config.json with wrong types, missing parts or absurd values costs one sentence, never a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from aliasfree.errors import AliasfreeError
from aliasfree.training import RunFolder, train
from aliasfree.training.card import write_card

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, float("inf"), "", "x", "\0", "1", [], [1], [[]], {}, {"a": 1}, "y" * 10**5,
)  # fmt: skip
MISSING = object()


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value in a JSON document."""
    if here:
        yield here
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths(below, (*here, key))
    elif isinstance(value, list):
        for k, below in enumerate(value):
            yield from paths(below, (*here, k))


def crafted(document: Any) -> Iterator[tuple[str, str]]:
    """(what was done, the text) of every value in turn being another one, or missing."""
    for place in paths(document):
        for value in (*VALUES, MISSING):
            copied = copy.deepcopy(document)
            holder = copied
            for key in place[:-1]:
                holder = holder[key]
            if value is MISSING:
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
            what = "missing" if value is MISSING else repr(value)[:30]
            yield f"{'.'.join(map(str, place))} = {what}", json.dumps(copied)


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any, digits: Any, make_settings: Any) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = make_settings(out, steps=1, base_channels=4, preconditioning="spectral", class_conditional=True)
    return train(settings, digits, console=Console(quiet=True))


def sentence(work: Any) -> str | None:
    """What it says, or None if it took what it was given; anything else is a traceback."""
    try:
        work()
    except AliasfreeError as error:
        text = str(error)
        assert "\n" not in text, text
        assert len(text) < 800, text
        return text
    return None


def read_all(run: RunFolder) -> None:
    """What sampling, measuring and going on do first."""
    assert run.settings.to_dict()["out"] == str(run.path)
    write_card(RunFolder(run.path), 7)


def test_each_value_of_a_run_in_turn(run):
    original, tracebacks = run.config_file.read_text(), []
    every = random.Random(2).sample(list(crafted(json.loads(original))), 400)  # of 1,600
    refused = 0
    try:
        for what, text in every:
            run.config_file.write_text(text)
            try:
                refused += sentence(lambda: read_all(run)) is not None
            except Exception as error:
                tracebacks.append(f"{what}: {type(error).__name__}: {error}")
    finally:
        run.config_file.write_text(original)
    assert not tracebacks, "\n".join(tracebacks)
    assert refused > len(every) / 3


@pytest.mark.parametrize("file", ["config.json", "model/config.json"])
def test_the_description_of_the_network(run, file):
    original, tracebacks = (run.path / file).read_text(), []
    document = json.loads(original)
    part = {"model": document["model"]} if file == "config.json" else document
    chosen = random.Random(0).sample(list(crafted(part)), 60)
    try:
        for what, text in chosen:
            content = {**document, **json.loads(text)} if file == "config.json" else json.loads(text)
            (run.path / file).write_text(json.dumps(content))
            try:
                sentence(lambda: run.load_model(ema=file != "config.json"))
            except Exception as error:
                tracebacks.append(f"{what}: {type(error).__name__}: {error}")
    finally:
        (run.path / file).write_text(original)
    assert not tracebacks, "\n".join(tracebacks)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"settings":' * 100_000,
        "",
        "null",
        "[]",
        '"run"',
        '{"settings": {}, "model": {}}',
        '{"settings": [], "model": {}}',
        '{"settings": {"data": "digits", "config": "A"}, "model": 3}',
        '{"settings": ' + "9" * 5000 + ', "model": {}}',
        "\ufeff{}",
        "{" + "\x00" * 10,
    ],
    ids=lambda text: text[:12],
)
def test_documents_that_are_none_of_a_run(run, tmp_path, text):
    other = RunFolder(tmp_path)
    other.config_file.write_text(text)
    assert sentence(lambda: read_all(other)) is not None
    assert sentence(lambda: other.load_model()) is not None


def test_going_on_with_a_crafted_run_is_refused_and_writes_nothing(run, digits, quiet):
    original, tracebacks = run.config_file.read_text(), []
    chosen = random.Random(1).sample(list(crafted(json.loads(original))), 15)
    weights = (run.model / "diffusion_pytorch_model.safetensors").read_bytes()
    try:
        for what, text in chosen:
            run.config_file.write_text(text)
            try:
                sentence(lambda: train(run.settings, digits, resume=True, console=quiet))  # it is finished at step 1
            except Exception as error:
                tracebacks.append(f"{what}: {type(error).__name__}: {error}")
            assert (run.model / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    finally:
        run.config_file.write_text(original)
    assert not tracebacks, "\n".join(tracebacks)
