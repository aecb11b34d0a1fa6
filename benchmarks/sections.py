"""The sections of a run, each in a process of its own where there are several.

What ran before leaves its mark on the allocator: a plain PyTorch op with large temporaries can then be four times as
fast, because its pages are no longer handed back and faulted in at every call.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks import growth, network, ops, sampling
from benchmarks.results import Row, Section, Settings

__all__ = ["measure_sections"]

MEASURES: dict[Section, Callable[[Settings, Callable[[str], None]], Iterator[Row]]] = {
    "ops": ops.measure,
    "network": network.measure,
    "sampling": sampling.measure,
    "growth": growth.measure,
}


def measure_sections(sections: Sequence[Section], settings: Settings) -> list[Row]:
    """The rows of all sections in turn. Raises what measuring raises."""
    if len(sections) == 1:
        return _measure(sections[0], settings, torch.get_num_threads())
    rows: list[Row] = []
    for section in sections:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows += pool.submit(_measure, section, settings, torch.get_num_threads()).result()
    return rows


def _measure(section: Section, settings: Settings, threads: int) -> list[Row]:
    from rich.console import Console

    torch.set_num_threads(threads)
    with Console(stderr=True).status("") as status:
        return list(MEASURES[section](settings, status.update))
