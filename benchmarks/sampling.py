"""Images a second: the paper's full ancestral chain, 50 steps of DDIM, 20 of DPM-Solver++; and what a rotation adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from aliasfree.diffusion import AliasFreePipeline, make_scheduler
from aliasfree.ops import rotate2d
from benchmarks.builds import forward_call, make_network, slow_build
from benchmarks.results import Row, Settings
from benchmarks.timing import Function, Quartiles, alternate

__all__ = ["CONFIG", "Sampler", "measure", "measure_rotation", "measure_sampler", "samplers"]

CONFIG = "D-2N"
SHAPE = (16, 3, 32, 32)
GPU_SHAPE = (64, 3, 32, 32)
STEPS_OF_THE_CHAIN = 20
"""Of the 999 steps of the ancestral chain so many are timed: they are all alike."""


@dataclass(frozen=True)
class Sampler:
    """A scheduler's name, the steps it takes, and how many of them are timed."""

    what: str
    scheduler: str
    steps: int
    timed: int

    @property
    def scale(self) -> float:
        """From the seconds timed to those of all steps."""
        return self.steps / self.timed


def samplers(settings: Settings) -> tuple[Sampler, ...]:
    """The three of the table; in a quick run a few steps of each."""
    few = 2 if settings.extent == "quick" else 1000
    chain = Sampler("ancestral, T = 1000", "ddpm", 999, min(few, STEPS_OF_THE_CHAIN))
    if settings.bars:
        return (chain,)
    ddim, dpm = (
        Sampler(what, name, n, min(few, n)) for what, name, n in (("DDIM", "ddim", 50), ("DPM-Solver++", "dpm++", 20))
    )
    return chain, ddim, dpm


def measure(settings: Settings, report: Callable[[str], None]) -> Iterator[Row]:
    """One row a sampler, and one for the rotation of a batch; under `--bars` only what a GPU's bars need."""
    gpu = settings.device.type == "cuda"
    shape = GPU_SHAPE if gpu else SHAPE
    if settings.bars and not gpu:
        return
    for sampler in samplers(settings):
        report(f"sampling, {sampler.what}")
        yield measure_sampler(sampler, shape, settings)
    if not settings.bars:
        report("rotation of a batch")
        yield measure_rotation(shape, settings)


def measure_sampler(sampler: Sampler, shape: tuple[int, int, int, int], settings: Settings) -> Row:
    """Ours in float32 and in bfloat16 against the slow build in float32, the same pipeline around all."""
    ours: Any = make_network(CONFIG, shape, settings.device)
    in_bfloat16: Any = make_network(CONFIG, shape, settings.device)
    torch.nn.Module.to(in_bfloat16, torch.bfloat16)  # the model's own `to` warns of layers to be kept in float32: none
    if settings.compile:
        ours.forward, in_bfloat16.forward = torch.compile(ours.forward), torch.compile(in_bfloat16.forward)
    networks = {"ours": ours, "ours bfloat16": in_bfloat16, "slow": slow_build(CONFIG, shape, settings.device)}
    calls = {name: _sampling(network, sampler, shape[0], settings) for name, network in networks.items()}
    for network in networks.values():
        _sampling(network, replace(sampler, timed=min(2, sampler.timed)), shape[0], settings)()
    samples = alternate(calls, settings.budget(20.0), settings.device, least=3, warm_up=0)
    rates = {name: shape[0] / (readings * sampler.scale) for name, readings in samples.items()}
    scaled = sampler.timed < sampler.steps
    return Row(
        section="sampling",
        what=sampler.what,
        variant=CONFIG,
        shape=shape,
        dtype="float32",
        mode=f"{sampler.steps} steps",
        seconds={name: Quartiles.of(readings * sampler.scale) for name, readings in samples.items()},
        ratios={
            "slow / ours": samples.ratio("slow", "ours"),
            "slow / ours bfloat16": samples.ratio("slow", "ours bfloat16"),
        },
        values={f"images/s {name}": float(Quartiles.of(rate).median) for name, rate in rates.items()}
        | {"steps timed": sampler.timed},
        rounds=samples.rounds,
        note=f"{sampler.timed} steps timed, scaled to {sampler.steps}" if scaled else "",
    )


def _sampling(network: Any, sampler: Sampler, batch: int, settings: Settings) -> Function:
    """`sampler.timed` steps for a batch."""
    pipeline = AliasFreePipeline(network, make_scheduler(sampler.scheduler))
    generator = torch.Generator(settings.device).manual_seed(0)

    def sample() -> None:
        pipeline(
            batch_size=batch,
            num_inference_steps=sampler.timed,
            generator=generator,
            output_type="pt",
            progress=lambda _done, _steps: None,
        )

    return sample


def measure_rotation(shape: tuple[int, int, int, int], settings: Settings) -> Row:
    """One small `fourier` rotation of a batch over one evaluation of the network."""
    x = torch.randn(shape, device=settings.device)
    network = make_network(CONFIG, shape, settings.device)
    calls: dict[str, Function] = {
        "ours": lambda: rotate2d(x, 0.09),
        "network": forward_call(network, shape, settings.device, False),
    }
    samples = alternate(calls, settings.budget(5.0), settings.device, least=settings.least)
    return Row(
        section="sampling",
        what="rotation of a batch",
        variant="fourier",
        shape=shape,
        dtype="float32",
        mode="forward",
        seconds={name: samples.seconds(name) for name in samples},
        ratios={"ours / network": samples.ratio("ours", "network")},
        rounds=samples.rounds,
    )
