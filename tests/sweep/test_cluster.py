"""A sweep on a real Ray cluster of two nodes on this machine, one of which is killed; storages by fsspec."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.errors import ArgumentError
from aliasfree.sweep.cluster import ClusterSettings, run_on_ray
from aliasfree.sweep.recipe import read_recipe
from aliasfree.sweep.storage import CellStorage
from aliasfree.sweep.sweep import sweep
from aliasfree.training import RunFolder, train

STEPS = 40
RECIPE = f"""
configs = ["A", "B-2N"]
seeds = [1, 2]
[training]
image_size = 8
base_channels = 4
batch_size = 2
steps = {STEPS}
checkpoint_every = 1
[sampling]
steps = 2
[evaluation]
num = 70
features = "pixels"
equivariance = false
noise_error = false
[[data]]
name = "digits"
"""


class _Watch(threading.Thread):
    """Kills a node when two cells are being trained, and notes when each cell was finished, each time."""

    def __init__(self, out: Path, kill) -> None:
        super().__init__(daemon=True)
        self.out, self.kill = out, kill
        self.killed_at: list[str] = []
        self.marks: dict[str, set[int]] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            training = [p for p in self.out.glob("runs/*/*/*") if list(p.glob("checkpoints/step-*"))]
            unfinished = [str(p) for p in training if not (p / "cell.json").exists()]
            if len(unfinished) >= 2 and not self.killed_at:
                self.killed_at = unfinished
                self.kill()
            for mark in self.out.glob("runs/*/*/*/cell.json"):
                self.marks.setdefault(str(mark.parent.relative_to(self.out / "runs")), set()).add(
                    mark.stat().st_mtime_ns
                )
            time.sleep(0.02)


def _patiently(start):
    """Ray gives a node 30 seconds to start, which a busy machine may need more than once."""
    for _ in range(9):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@pytest.mark.slow
def test_a_sweep_outlives_a_node_that_is_killed_and_runs_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "600")  # a machine may have much else to do
    told = "Ray is not installed: clusters are NOT tested (pip install 'aliasfree[cluster]')"
    ray = pytest.importorskip("ray", reason=told)
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe, out = read_recipe(tmp_path / "tiny.toml"), tmp_path / "out"
    memory = {"object_store_memory": 80 * 2**20}
    cluster = _patiently(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory}))
    try:
        second = _patiently(lambda: cluster.add_node(num_cpus=1, **memory))
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        watch = _Watch(out, partial(cluster.remove_node, second, allow_graceful=False))
        watch.start()
        result = sweep(recipe, out, device="cpu", console=Console(quiet=True), run=partial(
            run_on_ray, settings=ClusterSettings(address=cluster.address)
        ))  # fmt: skip
        watch.over.set()
        watch.join()
        assert len(ray.nodes()) == 2
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(watch.killed_at) == 2, "a node was killed while cells were trained"
    assert (result.finished, result.failed, result.stopped) == (4, {}, False)
    assert {name: len(times) for name, times in watch.marks.items()} == dict.fromkeys(watch.marks, 1)
    assert len(watch.marks) == 4
    runs = [RunFolder(p) for p in out.glob("runs/*/*/*") if p.is_dir()]
    assert all(run.losses()[0].tolist() == list(range(1, STEPS + 1)) for run in runs)
    again = [run for run in runs if run.config["resumed"]]
    assert len(again) == 1, "the killed node's cell went on elsewhere, the other was left alone"
    assert str(again[0].path) in watch.killed_at
    # bit for bit as if nothing had happened
    settings = again[0].settings.replace(out=tmp_path / "alone")
    alone = train(settings, console=Console(quiet=True))
    assert np.array_equal(alone.losses()[1], again[0].losses()[1])


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_storage_holds_what_the_folder_holds(tmp_path, scheme):
    url = f"{scheme}://{tmp_path}/there"
    here = tmp_path / "here"
    (here / "checkpoints" / "step-1").mkdir(parents=True)
    (here / "checkpoints" / "step-1" / "w").write_bytes(b"1")
    (here / "losses.csv").write_text("a")
    (here / ".lock").write_text("1")
    storage = CellStorage(url, "digits/A/seed-1", here)
    storage.fetch()  # nothing there yet
    storage.push()
    (here / "losses.csv").write_text("ab")
    (here / "checkpoints" / "step-1" / "w").unlink()
    (here / "checkpoints" / "step-2").mkdir()
    (here / "checkpoints" / "step-2" / "w").write_bytes(b"2")
    (here / "cell.json").write_text("{}")
    storage.push_sometimes()  # the last time was a moment ago
    one = tmp_path / "one"
    CellStorage(url, "digits/A/seed-1", one).fetch()
    assert files(one) == {"losses.csv": b"a", "checkpoints/step-1/w": b"1"}
    storage.push()
    two, three = tmp_path / "two", tmp_path / "three"
    CellStorage(url, "digits/A/seed-1", two).fetch()
    assert files(two) == {"losses.csv": b"ab", "checkpoints/step-2/w": b"2", "cell.json": b"{}"}
    CellStorage(url, "digits/A/seed-1", three).fetch(checkpoints=False)
    assert files(three) == {"losses.csv": b"ab", "cell.json": b"{}"}
    CellStorage(url, "digits/A/seed-2", three / "x").fetch()
    assert not (three / "x").exists()


def test_what_a_cluster_cannot_do_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="`storage` 'nothing://x'"):
        CellStorage("nothing://x", "a", tmp_path)
    for wrong in ({"gpus_per_run": -1.0}, {"cpus_per_run": 0.0}):
        with pytest.raises(ArgumentError):
            ClusterSettings(**wrong)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "tiny.toml"), "--gpus-per-run", "0.5"])
    assert done.exit_code == 2
    assert "--gpus-per-run is for a cluster; give --ray as well." in done.output
