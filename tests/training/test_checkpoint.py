"""A checkpoint is whole or it is not there."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch

from aliasfree.errors import CheckpointError, RunError
from aliasfree.training import checkpoint as ck
from tests.interrupted import stopped_before_each_call

TENSORS = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "ema": {"w": torch.ones(2, 3)}, "optimizer": {}}


def save(folder: Path, step: int, keep: int = 3) -> Path:
    return ck.save_checkpoint(folder, step, TENSORS, {"images_seen": 16 * step}, keep=keep)


def test_a_checkpoint_reads_back_exactly(tmp_path):
    save(tmp_path, 5)
    checkpoint, damaged = ck.load_latest(tmp_path)
    assert checkpoint.step == 5
    assert checkpoint.state["images_seen"] == 80
    assert torch.equal(checkpoint.tensors["model"]["w"], TENSORS["model"]["w"])
    assert damaged == []


def test_the_latest_is_found_by_number_and_only_the_newest_are_kept(tmp_path):
    for step in (2, 10, 100_000_000, 9):
        save(tmp_path, step, keep=3)
    assert [p.name for p in ck.list_checkpoints(tmp_path)] == ["step-00000009", "step-00000010", "step-100000000"]
    assert ck.load_latest(tmp_path)[0].step == 100_000_000


def test_no_checkpoint_at_all_is_no_error(tmp_path):
    assert ck.load_latest(tmp_path / "absent") == (None, [])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, Path.unlink])
def test_any_damage_to_any_file_is_recognised_named_and_skipped(tmp_path, file, damage):
    save(tmp_path, 1)
    damage(save(tmp_path, 2) / file)
    checkpoint, damaged = ck.load_latest(tmp_path)
    assert checkpoint.step == 1
    ((path, error),) = damaged
    assert path.name == "step-00000002"
    assert "step-00000002" in str(error)
    assert file in str(error)


@pytest.mark.parametrize("damage", [cut_short, Path.unlink, lambda p: p.write_text("[]"), lambda p: p.write_text("{}")])
def test_a_broken_manifest_makes_a_damaged_checkpoint(tmp_path, damage):
    damage(save(tmp_path, 2) / ck.MANIFEST)
    with pytest.raises(CheckpointError, match="damaged"):
        ck.load_latest(tmp_path)


def test_when_every_checkpoint_is_damaged_all_are_named(tmp_path):
    for step in (1, 2):
        flip_a_bit(save(tmp_path, step) / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"step-00000001, step-00000002.*new run"):
        ck.load_latest(tmp_path)


def test_a_damaged_checkpoint_set_aside_is_no_checkpoint_any_more(tmp_path):
    path = save(tmp_path, 4)
    ck.set_aside(path)
    assert ck.list_checkpoints(tmp_path) == []
    assert save(tmp_path, 4).is_dir()


def test_what_a_killed_process_had_begun_is_not_taken_for_a_checkpoint_and_is_cleared(tmp_path):
    save(tmp_path, 1)
    half = tmp_path / ".unfinished-step-00000002"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert ck.load_latest(tmp_path)[0].step == 1
    ck.clear_unfinished(tmp_path)
    assert not half.exists()


def test_a_disk_that_takes_no_more_leaves_the_old_checkpoint_and_no_rest(tmp_path):
    big = {**TENSORS, "model": {"w": torch.zeros(200_000)}}
    save(tmp_path, 1, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunError, match=r"step-00000001 is intact.*make room"):
            ck.save_checkpoint(tmp_path, 2, big, {}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert ck.load_latest(tmp_path)[0].step == 1


def test_the_state_of_adamw_goes_through_flat_tensors_unchanged(tmp_path):
    def trained(model, optimizer, steps):
        for i in range(steps):
            optimizer.zero_grad()
            model(torch.full((2, 3), float(i + 1))).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    names = [n for n, _ in model.named_parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    trained(model, optimizer, 3)
    packed = {name: t.clone() for name, t in ck.pack_optimizer(optimizer, names).items()}
    other = torch.nn.Linear(3, 2)
    other.load_state_dict(model.state_dict())
    restored = torch.optim.AdamW(other.parameters(), lr=0.1, fused=True)
    ck.unpack_optimizer(restored, packed, names)
    trained(model, optimizer, 2)
    trained(other, restored, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_manifest_lists_every_file_with_its_checksum(tmp_path):
    path = save(tmp_path, 3)
    listed = json.loads((path / ck.MANIFEST).read_text())["files"]
    assert {*listed, ck.MANIFEST} == {p.name for p in path.iterdir()}


def test_a_step_saved_again_by_a_process_killed_before_any_call_is_old_or_new_to_the_next(tmp_path):
    """As after going on from an earlier checkpoint; the one of this step is the only one."""

    def step_five(images_seen: int) -> None:
        ck.save_checkpoint(tmp_path, 5, TENSORS, {"images_seen": images_seen}, keep=3)

    def prepare() -> None:
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        step_five(1)

    seen = []
    for k in stopped_before_each_call(prepare, lambda: step_five(2), kill=True):
        ck.clear_unfinished(tmp_path)
        checkpoint, damaged = ck.load_latest(tmp_path)
        assert checkpoint is not None, f"killed before call {k}"
        assert not damaged, f"killed before call {k}"
        assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []
        seen.append(checkpoint.state["images_seen"])
    assert seen == sorted(seen)
    assert {*seen} == {1, 2}
    for _ in stopped_before_each_call(prepare, lambda: step_five(2), kill=False):
        ck.clear_unfinished(tmp_path)
        assert ck.load_latest(tmp_path)[0].state["images_seen"] in (1, 2)
