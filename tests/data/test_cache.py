from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aliasfree.data import cache, export_images, open_images, unit_range
from aliasfree.errors import ArgumentError, DataError

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "set.npz"
    images = np.random.default_rng(0).integers(0, 256, (700, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(700) % 7)
    return path


def _pixels(path: Path) -> np.ndarray:
    return np.load(path)["images"].transpose(0, 3, 1, 2)


def test_images_are_a_read_only_memory_map(source):
    data = open_images(source)
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert np.array_equal(data.images, _pixels(source))


def test_second_opening_reads_the_cache_and_gives_the_same(source, monkeypatch):
    first = open_images(source)
    before = [(p, p.stat().st_mtime_ns) for p in sorted(first.folder.iterdir())]
    second = open_images(source, progress=lambda done, total: pytest.fail("decoded again"))
    assert [(p, p.stat().st_mtime_ns) for p in sorted(second.folder.iterdir())] == before
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.labels, first.labels)
    assert second.class_names == first.class_names


def test_settings_have_caches_of_their_own(source):
    folders = {
        open_images(source, **kw).folder for kw in ({}, {"image_size": 16}, {"channels": 1}, {"image_size": (8, 16)})
    }
    assert len(folders) == 4


def test_changed_content_of_the_same_length_is_noticed(source):
    before = open_images(source)
    stat = source.stat()
    raw = bytearray(source.read_bytes())
    raw[1000] ^= 0xFF  # inside the first image's array data; the zip checksum then fails, which proves it was read
    source.write_bytes(raw)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="truncated or corrupt"):
        open_images(source)
    assert len(before) == 700


def test_fingerprint_is_of_content_not_of_place_or_format(source, tmp_path, write_png):
    for i in range(3):
        write_png(tmp_path / "f" / "ab"[i % 2] / f"{i}.png", (i, 2, 3))
    images = np.stack([np.full((8, 8, 3), (i, 2, 3), np.uint8) for i in (0, 2, 1)])
    np.savez(tmp_path / "same.npz", images=images, labels=np.array(["a", "a", "b"]))
    np.savez(tmp_path / "other.npz", images=images, labels=np.array(["a", "b", "b"]))
    folder, same, other = (open_images(tmp_path / n).fingerprint for n in ("f", "same.npz", "other.npz"))
    assert folder == same
    assert folder != other


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_damaged_cache_is_noticed_and_made_again(source, file, damage):
    good = open_images(source)
    victim = good.folder / file
    raw = bytearray(victim.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    if damage == "remove":
        victim.unlink()
    else:
        victim.write_bytes({"cut": raw[:-7], "empty": b""}.get(damage, raw))
    with pytest.warns(UserWarning, match=r"is damaged .*making it again"):
        again = open_images(source)
    assert np.array_equal(again.images, _pixels(source))
    assert again.fingerprint == good.fingerprint
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_images(source)
    assert len(list(good.folder.parent.iterdir())) == 2  # the folder and its lock: nothing left over


def test_failed_decoding_leaves_nothing_behind(tmp_path, write_png):
    write_png(tmp_path / "d" / "a.png")
    (tmp_path / "d" / "b.png").write_bytes(b"x")
    with pytest.raises(DataError):
        open_images(tmp_path / "d", cache_dir=tmp_path / "c")
    assert [p.suffix for p in (tmp_path / "c" / "images").iterdir()] == [".lock"]


def _open_and_die(source: Path, cache: Path) -> None:
    open_images(source, cache_dir=cache, progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))


def test_leavings_of_a_killed_process_are_cleared(source, tmp_path):
    process = FORK.Process(target=_open_and_die, args=(source, tmp_path / "c"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert any(".new." in p.name for p in (tmp_path / "c" / "images").iterdir())
    data = open_images(source, cache_dir=tmp_path / "c")
    assert np.array_equal(data.images, _pixels(source))
    assert not any(".new." in p.name for p in (tmp_path / "c" / "images").iterdir())


def _open_together(source: Path, cache: Path, start, answers) -> None:
    decoded = []
    start.wait()
    data = open_images(source, cache_dir=cache, progress=lambda done, total: decoded.append(done))
    answers.put((bool(decoded), data.fingerprint, int(data.images.sum(dtype=np.int64))))


def test_of_processes_that_open_at_once_one_decodes_and_all_get_the_whole_set(source, tmp_path):
    start, answers = FORK.Barrier(4), FORK.Queue()
    running = [FORK.Process(target=_open_together, args=(source, tmp_path / "c", start, answers)) for _ in range(4)]
    for process in running:
        process.start()
    got = [answers.get(timeout=60) for _ in running]
    for process in running:
        process.join()
    assert sorted(decoded for decoded, _, _ in got) == [False, False, False, True]
    assert {total for _, _, total in got} == {int(_pixels(source).sum(dtype=np.int64))}
    assert len({fingerprint for _, fingerprint, _ in got}) == 1


def test_memory_stays_bounded_while_decoding(tmp_path):
    images = np.zeros((6000, 64, 64, 3), np.uint8)
    np.savez_compressed(tmp_path / "large.npz", images=images)
    tracemalloc.start()
    try:
        data = open_images(tmp_path / "large.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data.images.shape == (6000, 3, 64, 64)
    assert peak < 0.6 * images.nbytes  # a few chunks, however many images there are


def test_unwritable_cache_folder_is_one_sentence_with_the_cure(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written .*ALIASFREE_CACHE"):
        open_images(source, cache_dir=tmp_path / "file")


@pytest.mark.parametrize("place", ["/proc/no/cache", "file", None])
def test_without_a_place_to_write_images_are_opened_uncached_with_one_warning(source, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    cache._of_this_process.cache_clear()
    cache._warn_uncached.cache_clear()
    if place is None:  # no home at all
        monkeypatch.delenv("ALIASFREE_CACHE")
        monkeypatch.setattr(Path, "home", lambda: Path("~"))
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        monkeypatch.setenv("ALIASFREE_CACHE", place)
    with pytest.warns(UserWarning, match="Nothing is kept"):
        first = open_images(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = open_images(source, image_size=16)
    assert np.array_equal(first.images, _pixels(source))
    assert second.image_size == (16, 16)
    assert open_images(source).folder == first.folder  # decoded once in a process
    assert not (tmp_path / "~").exists()


def test_a_cache_that_is_filled_but_read_only_is_read(source, monkeypatch):
    first = open_images(source)
    monkeypatch.setattr(cache, "writable_root", lambda: pytest.fail("asked for a place to write"))
    assert open_images(source).folder == first.folder


def test_progress_reaches_the_total(source):
    seen = []
    open_images(source, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (700, 700)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_samples_match_one_by_one_and_in_batches(source):
    data = open_images(source)
    batch = data.__getitems__([5, 699, 3])
    assert [s["index"] for s in batch] == [5, 699, 3]
    assert [s["label"] for s in batch] == [5, 699 % 7, 3]
    for sample in batch:
        alone = data[sample["index"]]
        assert torch.equal(alone["image"], sample["image"])
        assert alone["label"] == sample["label"]
        assert np.array_equal(sample["image"].numpy(), _pixels(source)[sample["index"]])
    assert data[-1]["index"] == 699
    with pytest.raises(IndexError):
        data[700]


def test_writing_to_a_sample_does_not_reach_the_cache(source):
    data = open_images(source)
    data[0]["image"].zero_()
    assert np.array_equal(open_images(source).images, _pixels(source))


def test_pickle_carries_no_pixels_and_opens_the_map_again(source):
    data = open_images(source)
    raw = pickle.dumps(data)
    assert len(raw) < data.images.nbytes / 10
    again = pickle.loads(raw)
    assert np.array_equal(again.images, data.images)
    assert np.array_equal(again.labels, data.labels)


def test_loader_with_workers_delivers_every_image_once(source):
    loader = torch.utils.data.DataLoader(open_images(source), 128, num_workers=2, multiprocessing_context="fork")
    batches = list(loader)
    assert torch.cat([b["index"] for b in batches]).tolist() == list(range(700))
    assert batches[0]["image"].dtype == torch.uint8
    assert np.array_equal(torch.cat([b["image"] for b in batches]).numpy(), _pixels(source))


def test_unit_range_maps_0_and_255_to_the_ends():
    mapped = unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert mapped.dtype == torch.float32
    assert mapped.tolist() == pytest.approx([-1, -0.6, 1])


def test_exported_pngs_hold_the_same_pixels(source, tmp_path):
    data = open_images(source)
    assert export_images(data, tmp_path / "out", 3) == 3
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["000000.png", "000001.png", "000002.png"]
    for i, file in enumerate(files):
        assert np.array_equal(np.asarray(Image.open(file)).transpose(2, 0, 1), data.images[i])
    grey = open_images(source, channels=1)
    export_images(grey, tmp_path / "grey", 1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "grey" / "000000.png")), grey.images[0, 0])


@pytest.mark.parametrize("size", [0, -8, (8,), (8, 8, 8), 8.0, True])
def test_sizes_that_are_no_sizes_are_refused(source, size):
    with pytest.raises(ArgumentError, match="positive whole numbers"):
        open_images(source, image_size=size)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_channels_other_than_one_and_three_are_refused(source, channels):
    with pytest.raises(ArgumentError, match="1 or 3 channels"):
        open_images(source, channels=channels)


def test_cache_holds_the_facts_in_readable_form(source):
    meta = json.loads((open_images(source).folder / "meta.json").read_text())
    assert meta["shape"] == [700, 3, 8, 8]
    assert meta["class_names"] == list("0123456")
