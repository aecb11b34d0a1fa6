"""The CPU's attention for narrow heads: compiled by Numba at first use, once for each width."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aliasfree.ops.backends.cpu.attention.layout import BACKWARD_JOB, FORWARD_JOB, KEYS
from aliasfree.ops.backends.cpu.simd.layout import LANES
from aliasfree.ops.backends.cpu.threads import Kernel, compile_kernel, run_on, scratch
from aliasfree.ops.dispatch import Call

__all__ = ["attention", "attention_backward", "refusal"]

WIDEST = 64
"""Numbers of a head; wider ones are better served by matrix products."""
PART = 16
"""Numbers of a head held in registers at a time."""


def refusal(call: Call) -> str | None:
    """Why it cannot attend over packed tokens of `call.shape` (N, L, 3 C); None = it can."""
    tokens, width = call.shape[1], call.shape[2] // (3 * call.heads)
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    if call.device.type != "cpu":
        return f"it runs on the CPU, not on {call.device.type}"
    if call.dtype not in (torch.float32, torch.bfloat16):
        return f"it computes in float32 and bfloat16, not {str(call.dtype).removeprefix('torch.')}"
    if width > WIDEST:
        return f"it serves heads of at most {WIDEST} numbers, not {width}"
    if tokens % LANES or not tokens:
        return f"it serves multiples of {LANES} tokens, not {tokens}"
    return None


def attention(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Output (N, L, C) in qkv's dtype, and log2 of the sums of the weights, float32 (N, heads, L)."""
    n, tokens, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    out, lse = qkv.new_empty(n, tokens, channels), torch.empty(n, heads, tokens)
    _run(qkv.contiguous(), None, out, lse, lse, heads)
    return out, lse


def attention_backward(grad: Tensor, qkv: Tensor, out: Tensor, lse: Tensor, heads: int) -> Tensor:
    """Gradient of qkv, in its shape and dtype."""
    result = torch.empty_like(qkv, memory_format=torch.contiguous_format)
    _run(qkv.contiguous(), grad.to(qkv.dtype).contiguous(), out.contiguous(), lse.contiguous(), result, heads)
    return result


def _run(qkv: Tensor, grad: Tensor | None, out: Tensor, lse: Tensor, result: Tensor, heads: int) -> None:
    """Fill out and lse; or, where grad is given, read them and fill result."""
    if not qkv.numel():
        return
    n, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // (3 * heads)
    part = max(p for p in range(1, min(width, PART) + 1) if width % p == 0)
    backward = grad is not None
    paired = qkv.dtype == torch.bfloat16 and part % 2 == 0 and multiplies_pairs()
    threads = max(1, min(torch.get_num_threads(), n * heads))
    layout = scratch_layout(tokens, width, backward, paired)
    floats, each, *_ = scratch(threads, layout.floats, 1)
    tensors = (x.data_ptr() for x in (qkv, qkv if grad is None else grad, out, lse, result))
    numbers = tokens, heads, width // part, n * heads, threads
    job = np.array((*tensors, floats, each, *numbers, 0, 0, layout.at), BACKWARD_JOB if backward else FORWARD_JOB)
    run_on(threads, _function(part, qkv.dtype, paired, backward).function, job.ctypes.data)


class ScratchLayout(NamedTuple):
    """Where each area of a thread's scratch begins, as `job.at` has it, and how many floats there are."""

    at: tuple[int, ...]
    floats: int


@lru_cache(maxsize=256)
def scratch_layout(tokens: int, width: int, backward: bool, paired: bool) -> ScratchLayout:
    """The scratch of one thread for heads of `width` numbers; `paired`: bfloat16 are multiplied in pairs."""
    pitch = tokens + LANES
    matrix, square, sums = pitch * width, LANES * LANES, width * LANES
    if backward:
        areas = {
            "queries": matrix,
            "grads": matrix,
            "keys": matrix,
            "values": matrix,
            "key_steps": matrix,
            "query_steps": matrix if paired else 0,
            "grad_steps": matrix if paired else 0,
            "norms": tokens,
            "deltas": tokens,
            "weights": square,
            "slopes": square,
            "to_queries": matrix,
            "to_keys": sums,
            "to_values": sums,
        }
    else:
        areas = {
            "queries": matrix,
            "keys": matrix,
            "values": matrix,
            "scores": KEYS * LANES,
            "weights": KEYS * LANES,
            "sums": sums,
            "tops": LANES,
            "totals": LANES,
        }
    begins = dict(zip(areas, accumulate(areas.values(), initial=0), strict=False))
    if backward and not paired:  # a word is one number, so rows of words over d and over L are the same
        begins["query_steps"], begins["grad_steps"] = begins["queries"], begins["grads"]
    names = (BACKWARD_JOB if backward else FORWARD_JOB)["at"].names or ()
    return ScratchLayout(tuple((begins | {"pitch": pitch})[name] for name in names), sum(areas.values()))


@lru_cache(maxsize=4 * PART)
def _function(part: int, dtype: torch.dtype, paired: bool, backward: bool) -> Kernel:
    from aliasfree.ops.backends.cpu.attention import kernels  # Numba takes a second to import

    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    name = f"CPU attention for heads of {part} numbers" + (", backward" if backward else "")
    return compile_kernel(lambda: kernels.compiled(part, storage, paired, backward), name)


@lru_cache(maxsize=1)
def multiplies_pairs() -> bool:
    """Whether the processor multiplies two bfloat16 at once."""
    from aliasfree.ops.backends.cpu.attention import arithmetic

    return arithmetic.multiplies_pairs()
