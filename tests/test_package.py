"""The package as people get it: what is in it, and that it works where nothing of this folder is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FILES = {
    path.relative_to(ROOT / "src").as_posix()
    for path in (ROOT / "src" / "aliasfree").rglob("*")
    if path.is_file() and path.parent.name != "__pycache__"
}
PICTURES = (".png", ".gif", ".mp4", ".ipynb")
LARGEST = 1_000_000
"""Bytes of a wheel or an sdist. The code is a third of it."""


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints, without the paths of the tests."""
    clean: dict[str, str] = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ALIASFREE_"))}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folder: Path, target: str, out: Path) -> Path:
    """The sdist or the wheel of a source folder."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out, cwd=folder)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built from the unpacked sdist, as `python -m build` does."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The `bin` of a new environment with the wheel. What that depends on is lent by the environment of the tests."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=place)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    (own / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def names(archive: Path) -> set[str]:
    """The files of a wheel or an sdist; those of an sdist without the folder that they all lie in."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            return set(packed.namelist())
    with tarfile.open(archive) as packed:
        return {name.partition("/")[2] for name in packed.getnames()}


def test_a_wheel_holds_the_modules_recipes_types_and_licence_and_nothing_else(wheel):
    held = names(wheel)
    recipes = {f"aliasfree/recipes/{path.name}" for path in (ROOT / "recipes").iterdir()}
    assert {n for n in held if ".dist-info/" not in n} == FILES | recipes
    assert "aliasfree/py.typed" in held
    assert not [n for n in held if n.endswith(PICTURES)]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)
    assert wheel.stat().st_size < LARGEST


def test_an_sdist_holds_the_sources_and_no_tests_or_pictures(sdist):
    held = names(sdist)
    assert held >= {f"src/{name}" for name in FILES} | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    assert not [n for n in held if n.startswith(("tests", "docs", "notebooks")) or n.endswith(PICTURES)]
    assert sdist.stat().st_size < LARGEST


def test_the_extra_called_all_brings_what_the_others_bring(wheel):
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith(".dist-info/METADATA"))
        about = Parser().parsestr(packed.read(name).decode())
    extras = set(about.get_all("Provides-Extra"))
    assert extras >= {"all", "app", "cluster", "efficientnet", "inception", "notebooks", "onnx"}
    needed = [Requirement(line) for line in about.get_all("Requires-Dist")]
    brought = {e: {r.name for r in needed if r.marker and r.marker.evaluate({"extra": e})} for e in extras}
    assert all(brought.values())
    assert brought["all"] == set().union(*(brought[extra] for extra in extras - {"all"}))


@pytest.mark.slow
def test_an_installed_wheel_runs_from_its_own_files(installed, tmp_path):
    where = run(installed / "python", "-c", "import aliasfree; print(aliasfree.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent)
    assert run(installed / "aliasfree", "--version", cwd=tmp_path).startswith("aliasfree ")
    code = "from aliasfree.sweep.recipe import shipped; print(shipped('paper-small'))"
    recipe = run(installed / "python", "-c", code, cwd=tmp_path).strip()
    assert Path(recipe).is_relative_to(installed.parent)


@pytest.mark.slow
def test_the_quick_demo_of_an_installed_wheel_writes_everything(installed, tmp_path):
    own = {"ALIASFREE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    said = run(installed / "aliasfree", "demo", "--quick", cwd=tmp_path, **own)
    out = tmp_path / "runs" / "demo-quick"
    assert str(Path("runs/demo-quick/report.html")) in said
    made = {path.name for path in out.iterdir()}
    assert made >= {"A", "T", "demo.json", "film.gif", "report.html", "rotation-A.gif", "rotation-T.png"}
