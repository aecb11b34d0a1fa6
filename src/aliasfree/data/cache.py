"""Decoded images on disk: one uint8 array file, labels and facts, made once and memory-mapped from then on.

A cache folder is written under another name and renamed when complete, so it is whole or absent, and processes may
share it. Checksums show damage; a damaged folder is made again, with a warning. Where no cache can be written (no home,
a read-only disk), images are decoded into a folder that goes with the process, with one warning.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from aliasfree.data.decode import PEAK, without_remarks
from aliasfree.data.source import Source
from aliasfree.data.writing import BLOCK_BYTES, ArraySink, Shaper, block_checksums
from aliasfree.errors import DataError
from aliasfree.files import sync

__all__ = ["CacheMeta", "cache_root", "ensure", "writable_root"]

_FORMAT = 3
DARK = 2**14
"""A set of 16-bit images that stays below this is a quarter as bright as it could be: often 12-bit or 10-bit data."""
_MAX_BLOCKS_CHECKED = 128
_PROGRESS_IMAGES = 256
_MOST_CLASSES = 1_000_000
_IMAGES, _LABELS, _META = "images.npy", "labels.npy", "meta.json"


@dataclass(frozen=True)
class CacheMeta:
    """The facts beside the pixels, as stored in meta.json."""

    shape: tuple[int, int, int, int]
    """(N, C, H, W)."""
    class_names: tuple[str, ...] | None
    labelled: bool
    fingerprint: str
    """sha256 of pixels, labels, class names and shape."""
    skipped: tuple[str, ...]
    """One sentence for each bad file left out."""
    blocks: tuple[int, ...]
    """crc32 of images.npy in blocks of 16 MiB."""
    labels_crc: int
    notes: tuple[str, ...] = ()
    """How the files were understood, a phrase each."""
    format: int = _FORMAT


class _DamagedError(Exception):
    """What is wrong with a cache folder."""


def cache_root(cache_dir: Path | None = None) -> Path:
    """The given folder, else $ALIASFREE_CACHE, else ~/.cache/aliasfree; of this process where there is no home."""
    if cache_dir is not None:
        return Path(cache_dir)
    try:
        return Path(os.environ.get("ALIASFREE_CACHE") or "~/.cache/aliasfree").expanduser()
    except RuntimeError as error:
        _warn_uncached(str(error))
        return _of_this_process()


def writable_root() -> Path:
    """`cache_root()`, or, with a warning, a folder of this process where that cannot be written. Raises OSError."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
            raise  # a full disk, say
        _warn_uncached(f"{root}: {error.strerror}")
        return _of_this_process()


@lru_cache(maxsize=1)
def _warn_uncached(reason: str) -> None:
    """Warn, once for each reason."""
    warnings.warn(
        f"Nothing is kept from one process to the next: the cache cannot be written ({reason}). Set ALIASFREE_CACHE to "
        "a folder that can be.",
        stacklevel=2,
    )


@lru_cache(maxsize=1)
def _of_this_process() -> Path:
    """A folder for this process, removed at its end."""
    folder = tempfile.TemporaryDirectory(prefix="aliasfree-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def ensure(
    source: Source,
    *,
    image_size: tuple[int, int] | None,
    channels: int | None,
    skip_bad: bool,
    root: Path | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Path, CacheMeta]:
    """The cache folder for a source with these settings, made if it is absent or damaged; and its facts.

    image_size  (height, width) in pixels; None = as stored
    channels    1 or 3; None = as stored
    skip_bad    leave out images that cannot be read; False = the first one is an error
    root        the folder of all caches; None = `cache_root`, or one of this process where that cannot be written
    progress    called with (done, total) while decoding

    Raises DataError as the source does, for bad files without `skip_bad`, and for a folder that cannot be written.
    """
    settings = [_FORMAT, type(source).__name__, source.split, image_size, channels]
    key = hashlib.sha256(json.dumps([settings, source.stamp()]).encode()).hexdigest()[:32]
    folder = (root or cache_root()) / "images" / key
    meta = _existing(folder)
    if meta is None:
        try:
            if root is None:
                folder = writable_root() / "images" / key
            meta = _build_locked(source, folder, image_size, channels, skip_bad, progress)
        except OSError as error:
            reason = error.strerror or error
            cure = "free space there, or set ALIASFREE_CACHE to another folder."
            raise DataError(f"The image cache {folder.parent} cannot be written ({reason}); {cure}") from error
    if meta.skipped and not skip_bad:
        raise DataError(meta.skipped[0])
    return folder, meta


def load_labels(folder: Path) -> np.ndarray:
    """The stored labels, int64 (N,)."""
    labels: np.ndarray = np.load(folder / _LABELS, allow_pickle=False)
    return labels


def map_images(folder: Path) -> np.memmap:
    """The stored images as a read-only memory map, uint8 (N, C, H, W)."""
    images = np.load(folder / _IMAGES, mmap_mode="r", allow_pickle=False)
    assert isinstance(images, np.memmap)
    return images


def _existing(folder: Path) -> CacheMeta | None:
    if not folder.is_dir():
        return None
    try:
        return _verified(folder)
    except _DamagedError as damage:
        warnings.warn(f"The image cache {folder} is damaged ({damage}); making it again.", stacklevel=4)
        return None


def _verified(folder: Path) -> CacheMeta:
    try:
        raw = json.loads((folder / _META).read_text(encoding="utf-8"))
        if raw.pop("sha256") != _digest(raw):
            raise _DamagedError(f"{_META} does not match its checksum")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        meta = CacheMeta(**fields)
        size = (folder / _IMAGES).stat().st_size
        if -(-size // BLOCK_BYTES) != len(meta.blocks):
            raise _DamagedError(f"{_IMAGES} has the wrong length")
        # All of an ordinary set; evenly spread blocks, first and last among them, of a very large one.
        chosen = np.unique(np.linspace(0, len(meta.blocks) - 1, _MAX_BLOCKS_CHECKED).astype(int))
        with (folder / _IMAGES).open("rb") as file:
            for block in chosen:
                file.seek(int(block) * BLOCK_BYTES)
                if zlib.crc32(file.read(BLOCK_BYTES)) != meta.blocks[block]:
                    raise _DamagedError(f"{_IMAGES} does not match its checksum")
        if meta.labelled and zlib.crc32((folder / _LABELS).read_bytes()) != meta.labels_crc:
            raise _DamagedError(f"{_LABELS} does not match its checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(str(error) or type(error).__name__) from error
    return meta


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _build_locked(
    source: Source,
    folder: Path,
    size: tuple[int, int] | None,
    channels: int | None,
    skip_bad: bool,
    progress: Callable[[int, int], None] | None,
) -> CacheMeta:
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            try:
                return _verified(folder)  # another process made it while this one waited
            except _DamagedError:
                condemned = Path(tempfile.mkdtemp(prefix=f"{folder.name}.old.", dir=folder.parent))
                folder.rename(condemned / "damaged")
        for leftover in folder.parent.glob(f"{folder.name}.*.*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.new.", dir=folder.parent))
        try:
            meta = _write(source, aside, size, channels, skip_bad, progress)
            aside.chmod(0o755)  # mkdtemp makes it private
            aside.rename(folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return meta


def _write(
    source: Source,
    folder: Path,
    size: tuple[int, int] | None,
    channels: int | None,
    skip_bad: bool,
    progress: Callable[[int, int], None] | None,
) -> CacheMeta:
    skipped: list[str] = []

    def bad(error: DataError) -> None:
        if not skip_bad:
            raise error
        skipped.append(str(error))

    total = source.count()
    labels: list[int] = []
    shaper = Shaper(size, channels, source.resample)
    done, peak = 0, 0
    with (folder / _IMAGES).open("w+b") as file, without_remarks():
        sink = ArraySink(file)
        for item in source.items(bad):
            if isinstance(item.image, Image.Image):
                peak = max(peak, item.image.info.get(PEAK, 0))
            sink.add(shaper(item))
            if item.label is not None:
                if item.label < 0:
                    raise DataError(f"{item.name} has the label {item.label}; labels are whole numbers from 0.")
                labels.append(item.label)
            done += 1
            if progress is not None and done % _PROGRESS_IMAGES == 0:
                progress(done + len(skipped), max(total, done + len(skipped)))
        if not done:
            why = f": all {len(skipped)} are bad, such as: {skipped[0]}" if skipped else "; give a source with images."
            raise DataError(f"{source.path} yields no images{why}")
        shape = sink.finish()
        blocks = block_checksums(file)
        _sync(file)
    if progress is not None:
        progress(done + len(skipped), done + len(skipped))
    names = source.class_names if labels else None
    if labels and names is None:
        if max(labels) >= _MOST_CLASSES:
            raise DataError(f"{source.path} has the label {max(labels)}; labels are classes counted from 0, not ids.")
        names = tuple(str(i) for i in range(max(labels) + 1))
    if names is not None and max(labels) >= len(names):
        raise DataError(f"{source.path} has the label {max(labels)} but {len(names)} classes; correct the labels.")
    notes = source.notes
    if 0 < peak < DARK:
        notes = (*notes, f"16-bit images that reach {peak} of 65535 only: dark, unless they are rescaled")
        warnings.warn(f"{source.path}: {notes[-1]} (divide the values by {peak} and save them anew).", stacklevel=6)
    stored = np.asarray(labels, "<i8")
    sink.hash.update(stored.tobytes())
    sink.hash.update(json.dumps([shape, names]).encode())
    labels_crc = 0
    if labels:
        with (folder / _LABELS).open("w+b") as file:
            np.save(file, stored)
            _sync(file)
        labels_crc = zlib.crc32((folder / _LABELS).read_bytes())
    meta = CacheMeta(shape, names, bool(labels), sink.hash.hexdigest(), tuple(skipped), blocks, labels_crc, notes)
    content = json.loads(json.dumps(asdict(meta)))
    with (folder / _META).open("w+b") as file:
        file.write(json.dumps({**content, "sha256": _digest(content)}, indent=1).encode())
        _sync(file)
    return meta


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
