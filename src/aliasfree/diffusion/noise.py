"""White noise that depends on the sample alone: never on the batch it is drawn in, nor on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aliasfree.errors import ArgumentError

__all__ = ["Generators", "MovedNoise", "draw", "per_sample_generators", "sample_generators"]

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator for the batch, one for each sample, or torch's global one."""


def sample_generators(seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per sample, a function of (seed, index) alone: same seed, same images, whatever the batch.

    seed, indices  integers >= 0; an index may occur more than once (one image at many angles)
    Raises ArgumentError for a negative one.

    >>> import torch
    >>> from aliasfree.diffusion import sample_generators
    >>> first, second = sample_generators(seed=0, indices=[0, 1])
    >>> again = sample_generators(seed=0, indices=[1])[0]  # sample 1, in another batch
    >>> torch.equal(torch.randn(4, generator=second), torch.randn(4, generator=again))
    True
    """
    if min(seed, *indices, 0) < 0:
        raise ArgumentError("the seed and the indices of the samples must be 0 or more")
    seeds = [int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> 1) for i in indices]
    return [torch.Generator().manual_seed(s) for s in seeds]


def per_sample_generators(generator: Generators, n: int) -> list[torch.Generator]:
    """n generators. From a single one (or torch's global one) a 63-bit seed a sample is drawn, in order, so that two
    batches of 4 get what one batch of 8 would. Raises ArgumentError for a list of another length."""
    if generator is None or isinstance(generator, torch.Generator):
        device = "cpu" if generator is None else generator.device
        seeds = [int(torch.randint(2**63 - 1, (), generator=generator, device=device)) for _ in range(n)]
        return [torch.Generator().manual_seed(s) for s in seeds]
    if not (isinstance(generator, Sequence) and all(isinstance(g, torch.Generator) for g in generator)):
        raise ArgumentError(
            f"generator is a torch.Generator or a list of them, not {generator!r}: torch.Generator().manual_seed(0)"
        )
    if len(generator) != n:
        raise ArgumentError(f"expected one generator, or {n} (one per sample), got {len(generator)}")
    return list(generator)


def draw(
    generators: Sequence[torch.Generator], shape: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Standard normal (len(generators), *shape), in float32, sample by sample; moved to the device in one piece."""
    samples = [torch.randn(*shape, generator=g, device=g.device, dtype=torch.float32) for g in generators]
    return torch.stack(samples).to(device, dtype)


class MovedNoise(TorchFunctionMode):
    """While active, white noise drawn in the samples' shape comes out moved. A scheduler's step runs inside it.

    move   of (N, ...); with `each` it moves every sample by another amount, else it takes any N
    shape  of the samples. Noise is drawn for all of them, or for one after the other (a list of generators)
    """

    def __init__(self, move: Callable[[Tensor], Tensor], shape: torch.Size, each: bool) -> None:
        super().__init__()
        self.move, self.shape, self.each, self.drawn = move, shape, each, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func not in (torch.randn, torch.randn_like) or out.shape[1:] != self.shape[1:]:
            return out
        if not self.each or len(out) == self.shape[0]:
            return self.move(out)
        index = self.drawn % self.shape[0]
        self.drawn += 1
        return self.move(out.expand(self.shape))[index : index + 1]
