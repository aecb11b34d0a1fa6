"""CIFAR-10 as its authors publish it: five pickled batches and a test batch, in a folder or a tar archive.

A pickle can run code; these are read by an unpickler that knows only NumPy arrays and builtin containers.
"""

from __future__ import annotations

import codecs
import io
import pickle
import pickletools
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aliasfree.data.source import Bad, Item, Source, stamp_file
from aliasfree.errors import DataError

_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TAR = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
_MOST_BYTES = 64 * 2**20  # a batch takes 31 MB
_INNER = "cifar-10-batches-py"
_MEMORISE = {"PUT", "BINPUT", "LONG_BINPUT"}


class CifarBatchesSource(Source):
    """A folder with `data_batch_1` .. `data_batch_5` and `test_batch`, one above it, or `cifar-10-python.tar.gz`."""

    priority: ClassVar[int] = 9
    class_names = _NAMES

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return _batch_folder(path) is not None
        return bool(_TAR.search(path.name))

    def stamp(self) -> list[str]:
        if self.split not in _BATCHES:
            raise DataError(f"{self.path} has no {self.split!r} split; CIFAR-10 has 'train' and 'test'.")
        if self.path.is_dir():
            return [stamp_file(p) for p in self._files()]
        return [stamp_file(self.path)]

    def count(self) -> int:
        return 10_000 * len(_BATCHES[self.split])

    def items(self, bad: Bad) -> Iterator[Item]:  # noqa: ARG002
        for name, raw in self._raw():
            pixels, labels = _batch(raw, name)
            for i, (row, label) in enumerate(zip(pixels, labels, strict=True)):
                yield Item(row.reshape(3, 32, 32).transpose(1, 2, 0), int(label), f"{name}[{i}]")

    def _files(self) -> list[Path]:
        folder = _batch_folder(self.path)
        assert folder is not None
        files = [folder / name for name in _BATCHES[self.split]]
        absent = [f.name for f in files if not f.is_file()]
        if absent:
            raise DataError(f"{folder} lacks {', '.join(absent)}; fetch the archive again and unpack all of it.")
        return files

    def _raw(self) -> Iterator[tuple[str, bytes]]:
        if self.path.is_dir():
            for file in self._files():
                yield str(file), file.read_bytes()
            return
        wanted = set(_BATCHES[self.split])
        try:
            with tarfile.open(self.path) as archive:
                members = {Path(m.name).name: m for m in archive.getmembers() if m.isfile()}
                absent = sorted(wanted - set(members))
                if absent:
                    raise DataError(f"{self.path} lacks {', '.join(absent)}; it is not CIFAR-10's archive for Python.")
                for name in _BATCHES[self.split]:
                    member = archive.extractfile(members[name])
                    assert member is not None
                    raw = member.read(_MOST_BYTES + 1)
                    if len(raw) > _MOST_BYTES:
                        raise DataError(f"{self.path}!{name} is larger than any batch of CIFAR-10; fetch it again.")
                    yield f"{self.path}!{name}", raw
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise DataError(f"{self.path} is truncated or corrupt ({error}); fetch it again.") from error


def _batch_folder(path: Path) -> Path | None:
    names = {n for batch in _BATCHES.values() for n in batch}
    return next((f for f in (path, path / _INNER) if any((f / n).is_file() for n in names)), None)


def _batch(raw: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    content = load_plain_pickle(raw, name)
    if isinstance(content, dict):
        content = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}
    pixels = content.get("data") if isinstance(content, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise DataError(f"{name} is no CIFAR-10 batch: 'data' must be uint8 rows of 3072 values; fetch it again.")
    labels = np.asarray(content.get("labels", []))
    numbers = labels.shape == (len(pixels),) and labels.dtype.kind in "iu"
    if not numbers or labels.min(initial=0) < 0 or labels.max(initial=0) > 9:
        raise DataError(f"{name} is no CIFAR-10 batch: 'labels' must be {len(pixels)} numbers 0..9; fetch it again.")
    return pixels, labels


def _encode_latin1(text: str, encoding: str) -> bytes:
    """What `_codecs.encode` is used for in pickles of arrays, and no other codec."""
    if codecs.lookup(encoding).name != "iso8859-1":
        raise pickle.UnpicklingError(f"codec {encoding!r} is not allowed")
    return text.encode("latin-1")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # the function itself, wherever this NumPy keeps it
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is neither an array nor a builtin container")


def load_plain_pickle(raw: bytes, name: str) -> Any:
    """A pickle of NumPy arrays and builtin containers; anything else in it is refused before it can run.

    raw   the bytes of the pickle
    name  its name in messages

    Raises DataError for a damaged pickle, or one of anything but arrays, dicts, lists, tuples, strings and numbers.
    """
    try:
        for opcode, number, _ in pickletools.genops(raw):  # executes nothing
            # room is made for all numbers up to this one; whoever counts has fewer than there are bytes
            if opcode.name in _MEMORISE and number is not None and number >= len(raw):
                raise pickle.UnpicklingError(f"it numbers {number} objects in {len(raw)} bytes")
        return _PlainUnpickler(io.BytesIO(raw), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{name} was refused or is damaged: {error}; fetch it from its original place.") from error
    except Exception as error:  # a damaged pickle makes the reconstruction fail in any way
        raise DataError(f"{name} is truncated or corrupt ({error}); fetch it again.") from error
