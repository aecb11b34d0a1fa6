"""Campaigns: processes killed, power cut and disks full at random moments, over and over. Not part of `make test`.

    CAMPAIGN_KILLS=1000 python -m pytest -s tests/campaigns/campaign_kill.py     (`make campaign` does it)

The work runs in forks of this process, which has everything imported, so that a trial costs a second and not ten.
After every kill the work goes on; once it comes to its end, what it leaves must be, bit for bit, what work that was
never stopped leaves. CAMPAIGN_SEED repeats a campaign.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

# all that the forks need is imported here, and nothing that starts a thread
from aliasfree.data import open_images
from aliasfree.errors import RunError
from aliasfree.measuring import sample_store
from aliasfree.measuring.evaluate import EvaluateSettings, evaluate
from aliasfree.sampling.sampler import SampleSettings
from aliasfree.sweep.recipe import read_recipe
from aliasfree.sweep.sweep import sweep
from aliasfree.training import RunFolder, RunSettings, train

KILLS = int(os.environ.get("CAMPAIGN_KILLS", "30"))
SEED = int(os.environ.get("CAMPAIGN_SEED", str(random.randrange(10**6))))
QUIET = Console(quiet=True)
PATIENCE = 600  # seconds for a piece of work that is not killed


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(sample_store, "PART", 20)


def start(work: Callable[[], None], **environment: str) -> int:
    """The pid of a fork that does the work and exits with 0, or with 1 and its traceback on standard error."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment)
        work()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)  # not where pytest captures it, which dies with the fork
    finally:
        sys.stderr.flush()
        os._exit(code)


def finish(pid: int, seconds: float = PATIENCE) -> int | None:
    """How a fork ended (0, 1, or minus a signal), or None when it has not within these seconds."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


class Pace:
    """The seconds that a piece of work takes, which change with what else the machine does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def moment(self, chance: random.Random) -> float:
        """Seconds after its start, within the work."""
        return chance.uniform(0, self.seconds)


def do(work: Callable[[], None]) -> Pace:
    """Do the work in a fork, undisturbed."""
    began = time.monotonic()
    assert finish(start(work)) == 0
    return Pace(time.monotonic() - began)


def killed(works: list[Callable[[], None]], pace: Pace, chance: random.Random, **environment: str) -> bool:
    """Start the work (one fork for each rank) and kill -9 all of it at a moment; False = it had finished."""
    ranks = [
        {**environment, **({"RANK": str(r), "LOCAL_RANK": str(r)} if len(works) > 1 else {})} for r in range(len(works))
    ]
    pids = [start(work, **rank) for work, rank in zip(works, ranks, strict=True)]
    began = time.monotonic()
    if (first := finish(pids[0], pace.moment(chance))) is not None:
        pace.seconds = (pace.seconds + time.monotonic() - began) / 2
        assert [first, *(finish(pid) for pid in pids[1:])] == [0] * len(pids)
        return False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert all(finish(pid) in (0, -signal.SIGKILL) for pid in pids)  # 0: it had just finished
    return True


def campaign(name: str, capsys: Any, kills: int, trial: Callable[[random.Random], int]) -> None:
    """Run trials until there were so many kills; trial(chance) gives how many it took."""
    chance, done, trials, began = random.Random(SEED), 0, 0, time.monotonic()
    while done < kills:
        done += trial(chance)
        trials += 1
    seconds = time.monotonic() - began
    with capsys.disabled():
        print(f"\n{name}: stopped {done} times in {trials} pieces of work, 0 lost ({seconds:.0f} s, seed {SEED})")


# training


def settings(out: Path) -> RunSettings:
    return RunSettings(
        data="digits", config="D-2N", out=out, image_size=8, base_channels=8, batch_size=2, steps=8, checkpoint_every=1,
        keep_checkpoints=2, sample_every=4, sample_num=2, sample_steps=2, augment="rotate", device="cpu",
    )  # fmt: skip


def training(out: Path) -> None:
    """As a user goes on: `--resume` when there is a run."""
    train(settings(out), resume=RunFolder(out).exists, console=QUIET)


def numbers(out: Path) -> dict[str, np.ndarray]:
    """All that must be the same: losses, weights, averages, the optimizer's state."""
    run = RunFolder(out)
    steps, losses = run.losses()
    found = {"steps": steps, "losses": losses}
    for group, tensors in run.load_checkpoint().tensors.items():
        found |= {f"{group}.{name}": tensor.numpy() for name, tensor in tensors.items()}
    return found | {f"model.{name}": t.numpy() for name, t in run.load_model().state_dict().items()}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []


def assert_clean(folder: Path) -> None:
    """Nothing half-written is left."""
    left = [str(p) for p in folder.rglob("*") if ".tmp" in p.name or p.name.startswith((".unfinished", "damaged"))]
    assert left == []


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
        open_images("digits", image_size=8)
        yield


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory) -> tuple[Path, Pace]:
    """A run that was never stopped, and its pace."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, do(lambda: training(out))


def test_training_killed_at_random_moments(whole, tmp_path, capsys):
    wanted, pace = numbers(whole[0]), whole[1]

    def trial(chance: random.Random) -> int:
        out, kills = tmp_path / "run", 0
        while killed([lambda: training(out)], pace, chance):
            kills += 1
        assert_same(numbers(out), wanted)
        assert_clean(out)
        shutil.rmtree(out)
        return kills

    campaign("training, one process", capsys, KILLS, trial)


def test_training_by_two_processes_killed_at_random_moments(cache, tmp_path, capsys):
    def ranks(port: int) -> dict[str, str]:
        return {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                "ACCELERATE_USE_CPU": "true"}  # fmt: skip

    port, began = ranks(free_port()), time.monotonic()
    pids = [start(lambda: training(tmp_path / "whole"), RANK=r, LOCAL_RANK=r, **port) for r in ("0", "1")]
    assert [finish(pid) for pid in pids] == [0, 0]
    pace, wanted = Pace(time.monotonic() - began), numbers(tmp_path / "whole")

    def trial(chance: random.Random) -> int:
        out, kills = tmp_path / "run", 0
        while killed([lambda: training(out)] * 2, pace, chance, **ranks(free_port())):
            kills += 1
        assert_same(numbers(out), wanted)
        assert_clean(out)
        shutil.rmtree(out)
        return kills

    campaign("training, two processes", capsys, max(1, KILLS // 4), trial)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# measuring, sweeping and caching

SWEEP = """
about = "tiny"
configs = ["A", "D-2N"]
seeds = [1]
[training]
image_size = 8
base_channels = 4
batch_size = 2
steps = 3
checkpoint_every = 1
[sampling]
steps = 2
scheduler = "ddpm-clipped"
batch_size = 10
[evaluation]
num = 70
features = "pixels"
equivariance = false
[[data]]
name = "digits"
"""


def test_measuring_killed_at_random_moments(whole, tmp_path, capsys):
    how = EvaluateSettings(data="digits", num=80, features="pixels", equivariance=False,
                           sampling=SampleSettings(steps=2, batch_size=10))  # fmt: skip

    def figures(out: Path) -> dict[str, Any]:
        files = sorted((out / "evaluation").rglob("part-*.npy"))
        found = evaluate(out, how, device="cpu")
        assert found is not None
        return {"fidelity": found.fidelity, "parts": [np.load(path).tobytes() for path in files]}

    first = Path(shutil.copytree(whole[0], tmp_path / "first"))
    pace = do(lambda: evaluate(first, how, device="cpu"))
    wanted = figures(first)

    def trial(chance: random.Random) -> int:
        out, kills = Path(shutil.copytree(whole[0], tmp_path / "run")), 0
        while killed([lambda: evaluate(out, how, device="cpu")], pace, chance):
            kills += 1
        assert figures(out) == wanted
        shutil.rmtree(out)
        return kills

    campaign("measuring", capsys, KILLS, trial)


def test_sweeping_killed_at_random_moments(cache, tmp_path, capsys):
    """Two cells of three steps, sampled, measured and put into a table."""
    (tmp_path / "recipe.toml").write_text(SWEEP)
    recipe = read_recipe(tmp_path / "recipe.toml")

    def sweeping(out: Path) -> None:
        sweep(recipe, out, device="cpu", console=QUIET)

    pace = do(lambda: sweeping(tmp_path / "whole"))
    runs = [cell.name for cell in recipe.cells]
    wanted = [numbers(tmp_path / "whole" / "runs" / name) for name in runs]
    table = (tmp_path / "whole" / "table.csv").read_text()

    def trial(chance: random.Random) -> int:
        out, kills = tmp_path / "sweep", 0
        while killed([lambda: sweeping(out)], pace, chance):
            kills += 1
        for name, cell in zip(runs, wanted, strict=True):
            assert_same(numbers(out / "runs" / name), cell)
        assert (out / "table.csv").read_text() == table
        assert_clean(out)
        shutil.rmtree(out)
        return kills

    campaign("sweeping", capsys, KILLS, trial)


@pytest.mark.parametrize("count", [1, 2])
def test_caching_killed_at_random_moments(tmp_path, capsys, monkeypatch, count):
    images = np.random.default_rng(0).integers(0, 256, (4000, 24, 24, 3), np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=images, labels=np.arange(4000) % 7)
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))

    def caching() -> None:
        open_images(tmp_path / "set.npz", image_size=16)

    pace = do(caching)
    wanted = open_images(tmp_path / "set.npz", image_size=16).fingerprint

    def trial(chance: random.Random) -> int:
        shutil.rmtree(tmp_path / "cache")
        kills = 0
        while killed([caching] * count, pace, chance):
            kills += 1
        assert open_images(tmp_path / "set.npz", image_size=16).fingerprint == wanted
        kept = [p.name for p in (tmp_path / "cache" / "images").iterdir() if not p.name.endswith(".lock")]
        assert len(kept) == 1, kept
        return kills

    campaign(f"caching, {count} process(es)", capsys, KILLS, trial)


# power and disks


def cut_power(folder: Path, journal: Path, chance: random.Random) -> None:
    """What a power cut may leave: of data that was never synced any part, from nothing to all; names as they were.

    journal  lines "inode size", written by `remember_syncs` at every sync
    """
    synced: dict[int, int] = {}
    for line in journal.read_text().splitlines():
        inode, size = map(int, line.split())
        synced[inode] = size
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".lock":
            stat = path.stat()
            least = min(synced.get(stat.st_ino, 0), stat.st_size)
            if least < stat.st_size:
                os.truncate(path, chance.randint(least, stat.st_size))


def remember_syncs(journal: Path, work: Callable[[], None]) -> Callable[[], None]:
    """The work, with every sync of a file noted."""

    def noted() -> None:
        sync = os.fsync
        log = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def fsync(handle: int) -> None:
            stat = os.fstat(handle)
            sync(handle)
            os.write(log, f"{stat.st_ino} {stat.st_size}\n".encode())

        os.fsync = fsync
        work()

    return noted


def test_training_through_power_cuts(whole, tmp_path, capsys):
    wanted, pace = numbers(whole[0]), whole[1]

    def trial(chance: random.Random) -> int:
        out, journal, cuts = tmp_path / "run", tmp_path / "journal", 0
        journal.write_text("")
        while killed([remember_syncs(journal, lambda: training(out))], pace, chance):
            cut_power(out, journal, chance)
            cuts += 1
        assert_same(numbers(out), wanted)
        shutil.rmtree(out)
        return cuts

    campaign("training through power cuts", capsys, KILLS, trial)


def test_training_on_disks_that_are_full_at_every_size(whole, tmp_path, capsys):
    """A file may grow to so many bytes and no further: the write fails as on a full disk; then there is room again."""
    wanted = numbers(whole[0])
    largest = max(p.stat().st_size for p in whole[0].rglob("*") if p.is_file())

    def full(out: Path, limit: int) -> Callable[[], None]:
        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with contextlib.suppress(RunError):  # the sentence about it; anything else is a failure of the campaign
                training(out)

        return work

    def trial(chance: random.Random) -> int:
        out = tmp_path / "run"
        for _ in range(3):
            do(full(out, int(largest ** chance.uniform(0.3, 1.0))))
        do(lambda: training(out))
        assert_same(numbers(out), wanted)
        assert_clean(out)
        shutil.rmtree(out)
        return 3

    campaign("training on full disks", capsys, max(3, KILLS // 3), trial)
