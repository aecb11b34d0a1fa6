"""Every public function and class shows in its docstring how it is used, and the example gives what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import aliasfree

MODULES = (
    "aliasfree",
    "aliasfree.config",
    "aliasfree.conversion",
    "aliasfree.data",
    "aliasfree.diffusion",
    "aliasfree.diffusion.clipping",
    "aliasfree.evaluation",
    "aliasfree.evaluation.aliasing",
    "aliasfree.evaluation.comparison",
    "aliasfree.evaluation.equivariance",
    "aliasfree.evaluation.features",
    "aliasfree.evaluation.fidelity",
    "aliasfree.evaluation.intervals",
    "aliasfree.evaluation.lanczos",
    "aliasfree.evaluation.noise_error",
    "aliasfree.evaluation.inception",
    "aliasfree.evaluation.pretrained",
    "aliasfree.evaluation.spectra",
    "aliasfree.filters",
    "aliasfree.models",
    "aliasfree.nn",
    "aliasfree.ops",
    "aliasfree.pictures",
    "aliasfree.training",
    "aliasfree.tuning",
)

WITHOUT_EXAMPLE = {
    "aliasfree.evaluation.inception.InceptionFeatures": "its weights, 91 MB, would have to be downloaded",
    "aliasfree.evaluation.pretrained.FidelityFeatures": "the weights would have to be downloaded",
}
"""Public names whose docstring has no example, and why."""


def _public() -> dict[str, Any]:
    """Every function and class of this package that a module of `MODULES` exports, once, by its shortest name."""
    found: dict[Any, str] = {}
    for module in sorted(MODULES, key=len):
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            value = getattr(loaded, name)
            if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__.startswith("aliasfree"):
                found.setdefault(value, f"{module}.{name}")
    return {name: value for value, name in found.items()}


PUBLIC = _public()


def _examples(name: str) -> list[doctest.DocTest]:
    """The examples of a docstring and of a class's methods. They begin with no name defined, as in a new session."""
    found = doctest.DocTestFinder(exclude_empty=True).find(PUBLIC[name], name, module=False, globs={})
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - set(WITHOUT_EXAMPLE)))
def test_the_docstring_has_an_example_that_gives_what_it_says(name, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for examples that write files
    monkeypatch.setenv("ALIASFREE_CACHE", str(cache))
    for variable in ("ALIASFREE_BACKEND", "ALIASFREE_DATA"):
        monkeypatch.delenv(variable, raising=False)
    examples = _examples(name)
    assert examples, f"the docstring of {name} has no example (>>> ...)"
    said: list[str] = []
    for example in examples:
        doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


def test_the_exceptions_are_public_and_have_no_example():
    assert set(WITHOUT_EXAMPLE) <= set(PUBLIC)
    assert not [name for name in WITHOUT_EXAMPLE if _examples(name)]


def test_arguments_are_a_table_in_every_docstring():
    headings = re.compile(r"^ *(Args|Arguments|Attributes|Parameters|Raises|Returns|Yields):$", re.MULTILINE)
    package = Path(aliasfree.__file__).parent
    assert not [str(path) for path in package.rglob("*.py") if headings.search(path.read_text(encoding="utf-8"))]
