"""`aliasfree doctor`: what it says is so, and it removes nothing but what the library made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.data import open_images
from aliasfree.errors import RunError
from aliasfree.experiments import doctor
from aliasfree.experiments.caches import clear_caches, find_caches
from aliasfree.ops.backends.cpu.compiling import cache_folder
from aliasfree.ops.backends.cpu.fir import kernels as fir


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty data cache, and a folder of its own for compiled kernels."""
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "kernels"))
    return tmp_path / "cache"


def test_it_names_versions_threads_devices_extras_and_caches(cache):
    said = told()
    assert f"torch {torch.__version__.split('+')[0]}" in said
    assert f"{torch.get_num_threads()} of torch" in said
    assert str(cache / "images") in said
    found = json.loads(told("--json"))
    assert found["devices"].keys() >= {"cpu"}
    assert {extra["name"] for extra in found["extras"]} == doctor.EXTRAS.keys()


def test_its_extras_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    known = set(project["optional-dependencies"]) - {"all"}
    assert doctor.EXTRAS.keys() == known


def test_a_missing_package_is_named_with_the_command_that_brings_it(cache, monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "onnx", ("onnx", "no_such_module"))
    assert "pip install 'aliasfree[onnx]'" in told()


def test_kernels_are_told_compiled_once_they_are(tmp_path):
    code = (
        "import json, torch\n"
        "from aliasfree.experiments.doctor import examine\n"
        "from aliasfree.ops.attention import attention\n"
        "before = [k.compiled for k in examine().kernels if k.device == 'cpu']\n"
        "attention(torch.randn(1, 64, 48), 4)\n"
        "after = [k.compiled for k in examine().kernels if k.device == 'cpu']\n"
        "print(json.dumps([before, after]))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "ALIASFREE_BACKEND": ""}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, check=True)
    assert json.loads(done.stdout) == [[False] * 5, [False] * 4 + [True]]


def test_kernels_that_cannot_be_kept_or_run_are_told_with_the_reason(cache, monkeypatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert "set NUMBA_CACHE_DIR" in " ".join(told().split())  # wrapped where the path of this folder is long
    monkeypatch.setenv("ALIASFREE_BACKEND", "triton")
    monkeypatch.setattr("aliasfree.ops.backends.gpu.backend.TritonBackend.refusal", lambda *_: "no GPU")
    assert "cannot run this upsample2d: no GPU" in told()


def test_only_what_the_library_made_is_removed(cache, tmp_path):
    open_images("digits", image_size=8)
    kernels = cache_folder(fir.compiled)
    mine = [
        cache / "letter.txt",
        cache / "images" / "holiday.jpg",
        cache / "images" / "holiday" / "0d9334c3a450213f88068be121ddea3a",
        cache / "evaluation" / "thesis.json",
        cache / "evaluation" / "my-classifier-1.safetensors",
        kernels / "another.work-1.py311.nbi",
        kernels / "kernels.py",
    ]
    made = [
        cache / "evaluation" / "classifier-0bf907f3cbf1fce2-1x16x16.json",
        cache / "evaluation" / "features-pixels-8-52897e4d65b211bf-70.safetensors",
        cache / "images" / "0d9334c3a450213f88068be121ddea3a.new.xyz" / "images.npy",
        kernels / "kernels.compiled.locals.work-391.py311.nbi",
        kernels / "kernels.compiled.locals.work-391.py311.1.nbc",
    ]
    for path in (*mine, *made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    link = cache / "images" / ("a" * 32)
    link.symlink_to(tmp_path / "precious")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a.txt").write_text("years of work")
    found = find_caches()
    assert found[0].bytes > 1797 * 64  # the digits
    assert found[1].bytes == 14
    assert found[2].bytes == 14
    said = told("--clear-caches")
    assert str(cache / "images") in said
    assert all(path.read_text() == "content" for path in mine)
    assert not [path for path in made if path.exists()]
    assert not link.is_symlink()
    assert (tmp_path / "precious" / "a.txt").read_text() == "years of work"
    assert not [cache for cache in find_caches() if cache.entries]
    assert len(open_images("digits", image_size=8)) == 1797  # made again


def test_what_cannot_be_removed_is_named(cache, monkeypatch):
    open_images("digits", image_size=8)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(RunError, match="cannot be removed"):
        clear_caches()
