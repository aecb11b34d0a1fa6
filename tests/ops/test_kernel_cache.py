"""Compiled kernels are kept on disk where that can be; where it cannot, they work all the same."""

from __future__ import annotations

import ctypes
import errno
import logging
from pathlib import Path

import pytest

pytest.importorskip("numba")
from numba.core import caching

from aliasfree.ops.backends.cpu import compiling
from aliasfree.ops.backends.cpu.threads import compile_kernel


@pytest.fixture(autouse=True)
def _say_again(monkeypatch):
    monkeypatch.setattr(compiling, "_SAID", [])


def compiled(path: Path):
    """A small kernel of a file of its own, that adds one to the number at an address."""
    path.write_text(
        "from aliasfree.ops.backends.cpu.compiling import kernel\n"
        "from aliasfree.ops.backends.cpu.simd.memory import ints\n\n"
        "def make():\n"
        "    @kernel\n"
        "    def work(address):\n"
        "        ints(address)[0] += 1\n"
        "    return work\n"
    )
    scope: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    number = ctypes.c_int64(41)
    kernel = compile_kernel(scope["make"], "test kernels")
    kernel.function(ctypes.addressof(number))
    assert number.value == 42
    return kernel.owner


def test_a_kernel_is_kept_and_read_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    assert compiled(tmp_path / "a.py").kept
    assert "kept on disk for the next time" in caplog.text
    assert compiled(tmp_path / "a.py").cache_hits


def test_without_a_folder_to_write_to_it_is_compiled_with_one_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with caplog.at_level(logging.WARNING):
        assert not compiled(tmp_path / "a.py").kept
        assert not compiled(tmp_path / "b.py").kept
    assert len(caplog.records) == 1
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_a_full_disk_does_not_stop_it(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert not compiled(tmp_path / "a.py").kept
    assert "No space left" in caplog.text


def test_a_damaged_file_does_not_stop_it(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    compiled(tmp_path / "a.py")
    for path in (tmp_path / "cache").rglob("*.nb?"):
        path.write_bytes(path.read_bytes()[:20])
    assert not compiled(tmp_path / "a.py").kept
