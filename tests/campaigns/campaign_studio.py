"""Campaign: many visitors of the studio at once, on loopback. Not part of `make test`.

    CAMPAIGN_VISITORS=20 CAMPAIGN_REQUESTS=50 python -m pytest -s tests/campaigns/campaign_studio.py

Each visitor loads the page, drags sliders, compares filters and asks for what is wrong. Every request must be answered,
every wrong one by its sentence, and the server's memory must stay what it was after the first tenth.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.app.conftest import Served, make_run, serve
from tests.app.talk import ask, function, open_page, visitor

VISITORS = int(os.environ.get("CAMPAIGN_VISITORS", "20"))
REQUESTS = int(os.environ.get("CAMPAIGN_REQUESTS", "50"))
GROWTH = 1.1
"""Of memory, after the first tenth of the requests."""


@pytest.fixture
def server(tmp_path) -> Iterator[Served]:
    """The studio over two tiny runs."""
    for name, config in (("a", "A"), ("t", "T")):
        make_run(tmp_path / "runs" / name, config)
    served = serve(tmp_path)
    yield served
    assert served.end() == 130


def megabytes(server: Served) -> float:
    """What the server's process holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def controls(rng: random.Random, steps: int) -> list[object]:
    """Values of the tab Move."""
    turn, right = rng.uniform(-180, 180), rng.uniform(-8, 8)
    return [["runs/a", "runs/t"], rng.randrange(100), "3", steps, "ddpm-clipped", 3, turn, right, 0, 1, "fourier",
            "co-moving", "before the first step", 0, 1]  # fmt: skip


def test_the_studio_answers_all_its_visitors_and_keeps_its_memory(server):
    memory: list[float] = []
    seconds: dict[str, list[float]] = {}

    def visit(number: int) -> None:
        rng = random.Random(number)
        with visitor(server.address) as client:
            config = open_page(client)
            drag, let_go = function(config, "rotate", "input"), function(config, "rotate", "release")
            compare = function(config, "compare")
            kinds = {
                "page": lambda: client.get("/").text,
                "drag": lambda: ask(client, drag, controls(rng, 8)),
                "let go": lambda: ask(client, let_go, controls(rng, 8)),
                "wrong": lambda: ask(client, let_go, controls(rng, 0)),
                "filters": lambda: ask(client, compare, ["D-2N", "D-hq", "zone plate", None]),
            }
            expected = {
                "page": "aliasfree", "drag": "af-row", "let go": "dB", "wrong": "must be a whole number",
                "filters": "af-chart",
            }  # fmt: skip
            for _ in range(REQUESTS):
                kind = rng.choices(list(kinds), [1, 5, 2, 1, 0.3])[0]
                began = time.monotonic()
                answer = kinds[kind]()
                seconds.setdefault(kind, []).append(time.monotonic() - began)
                assert expected[kind] in answer, (kind, answer[-600:])
                memory.append(megabytes(server))

    with ThreadPoolExecutor(VISITORS) as pool:
        list(pool.map(visit, range(VISITORS)))
    assert len(memory) == VISITORS * REQUESTS
    settled, last = max(memory[: max(1, len(memory) // 10)]), max(memory[-max(1, len(memory) // 10) :])
    for kind, taken in seconds.items():
        taken.sort()
        print(f"{kind}: {len(taken)} requests, median {taken[len(taken) // 2]:.2f} s, longest {taken[-1]:.2f} s")
    print(f"memory: {settled:.0f} MB after a tenth of the requests, {last:.0f} MB at the end")
    assert last < GROWTH * settled
