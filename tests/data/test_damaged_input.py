"""Every reader, fed damaged files: images or a `DataError`, and never a traceback."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import resource
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aliasfree.data import open_images
from aliasfree.errors import AliasfreeError, DataError

STATUS = Path("/proc/self/status")
EXAMPLES = int(os.environ.get("CAMPAIGN_EXAMPLES", "40"))


def _png(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, images=np.zeros((3, 4, 4), np.uint8), labels=[0, 1, 2])
    return file.getvalue()


def _batch() -> bytes:
    return pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, protocol=2)


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("b/test_batch")
        info.size = len(_batch())
        archive.addfile(info, io.BytesIO(_batch()))
    return file.getvalue()


IDX = struct.pack(">4I", 2051, 2, 4, 4) + bytes(range(32))
CSV = b"label,a,b,c,d\n1,2,3,4,5\n0,9,8,7,6\n"
GOOD = {
    "a-images-idx3-ubyte": IDX,
    "a-images-idx3-ubyte.gz": gzip.compress(IDX),
    "a.csv": CSV,
    "a.csv.gz": gzip.compress(CSV),
    "a.npz": _npz(),
    "a.zip": _zip({"a/0.png": _png(), "b/0.png": _png(), "dataset.json": b'{"labels": [["a/0.png", 1]]}'}),
    "test.tar.gz": _tar(),
    "test_batch": _batch(),
    **{f"a.{s}": _png(k) for s, k in (("png", "PNG"), ("jpg", "JPEG"), ("gif", "GIF"), ("tif", "TIFF"),
                                      ("webp", "WEBP"), ("bmp", "BMP"), ("tga", "TGA"), ("jp2", "JPEG2000"))},
    "metadata.csv": b"file_name,label\n0.png,cat\n1.png,dog\n",
    "metadata.jsonl": b'{"file_name": "0.png", "label": "cat"}\n{"file_name": "1.png", "label": "dog"}\n',
    "dataset.json": b'{"labels": [["0.png", 1], ["1.png", 0]]}',
}  # fmt: skip


@st.composite
def _damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    raw = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        many = draw(st.sampled_from([1, 4]))
        raw[at : at + many] = draw(st.binary(min_size=many, max_size=many))
    return bytes(raw[: draw(st.integers(0, len(raw)) | st.just(len(raw)))])


def _peak() -> int:
    """Most memory of this process since `_new_peak`, in KiB; where the system does not tell, since its start."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))


def _new_peak() -> int:
    """Begin to measure anew: what Hypothesis keeps of thousands of examples is not the reader's."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _read(name: str, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "d"
        root.mkdir()
        (root / name).write_bytes(raw)
        if name in ("metadata.csv", "metadata.jsonl", "dataset.json"):
            for i in range(2):
                (root / f"{i}.png").write_bytes(_png())
        single = name.startswith(("a-", "a.csv", "a.npz", "a.zip", "test.tar"))
        before, begin = _new_peak(), time.monotonic()
        split = "test" if name.startswith("test") else "train"
        with contextlib.suppress(AliasfreeError):
            data = open_images(root / name if single else root, split=split, cache_dir=Path(folder) / "c")
            assert len(data) > 0
        assert time.monotonic() - begin < 5
    assert _peak() - before < 2**20  # KiB


@pytest.mark.parametrize("name", sorted(GOOD))
def test_damaged_files_give_images_or_one_sentence(name):
    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(_damaged(GOOD[name]))
    def check(raw: bytes) -> None:
        _read(name, raw)

    check()


def _huge_png() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"x")) + chunk(b"IEND", b"")


def _huge_npy(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a-images-idx3-ubyte", struct.pack(">4I", 2051, 1, 65536, 65536)),
        ("a-images-idx3-ubyte", struct.pack(">4I", 2051, 2**32 - 1, 28, 28)),
        ("a.npz", _zip({"images.npy": _huge_npy("(1, 65536, 65536)")})),
        ("a.npz", _zip({"images.npy": _huge_npy("(4294967296, 28, 28)")})),
        ("a.npz", _zip({"images.npy": _huge_npy("(1, 2, 2)") + b"1234", "labels.npy": _huge_npy("(4294967296,)")})),
        ("a.zip", _zip({"a/0.png": _huge_png()})),
        ("a.zip", _zip({"a/0.png": bytes(300 * 2**20)})),
        ("a.csv.gz", gzip.compress(bytes(100 * 2**20), 1)),
        ("a.png", _huge_png()),
    ],
    ids=[
        "idx image",
        "idx count",
        "npz image",
        "npz count",
        "npz labels",
        "png in zip",
        "zip bomb",
        "gzip bomb",
        "png",
    ],
)
def test_claims_of_gigabytes_are_refused_before_they_are_allocated(tmp_path, name, raw):
    (tmp_path / name).write_bytes(raw)
    before, begin = _new_peak(), time.monotonic()
    with pytest.raises(DataError):
        open_images(tmp_path / name if name != "a.png" else tmp_path)
    assert time.monotonic() - begin < 5
    assert _peak() - before < 2**20  # KiB


def test_a_pickle_that_numbers_more_objects_than_it_has_bytes_is_refused_before_room_is_made(tmp_path):
    (tmp_path / "test_batch").write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**27) + b".")
    before = _new_peak()
    with pytest.raises(DataError, match="it numbers 134217728 objects in 9 bytes"):
        open_images(tmp_path, split="test")
    assert _peak() - before < 2**17  # KiB


def test_a_name_in_an_archive_that_is_no_text_is_told(tmp_path):
    raw = bytearray(_npz())
    raw[7] |= 8  # the local header says that the name is UTF-8
    raw[30] = 0xB0
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(DataError, match=r"truncated or corrupt \('utf-8' codec"):
        open_images(tmp_path / "a.npz")
