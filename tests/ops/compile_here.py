"""Compiles Triton kernels for GPUs that need not be there, in a process of its own: the tests' own has the interpreter.

    python compile_here.py 90 hq:activate:bfloat16 2N:backward:float32 ...

prints one JSON object a line: the name, bytes of shared memory and of the cubin, and the target its PTX names.
"""

from __future__ import annotations

import json
import os
import re
import sys
from types import SimpleNamespace

os.environ["TRITON_INTERPRET"] = "0"

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from aliasfree.filters import BELOW_NYQUIST, FilterSpec
from aliasfree.ops.backends.gpu import kernels
from aliasfree.ops.backends.gpu.backend import Gpu, launch
from aliasfree.ops.backends.gpu.plan import activation_chain, resampling_chain

# bytes of shared memory a block may opt in to, and multiprocessors of one such GPU (CUDA C++ Programming Guide, table
# of technical specifications per compute capability)
GPUS = {80: (163 << 10, 108), 90: (227 << 10, 132), 100: (227 << 10, 148), 120: (99 << 10, 170)}
SIZE = (32, 32)


def main(capability: int, names: list[str]) -> None:
    shared, processors = GPUS[capability]
    gpu = Gpu(shared, processors, nvidia=True)
    # all that Triton asks a driver before it launches; what follows is the compilation of the real launch
    here = {
        "get_current_device": lambda: 0,
        "get_current_stream": lambda _: 0,
        "get_current_target": lambda: GPUTarget("cuda", capability, 32),
    }
    driver.set_active(SimpleNamespace(**here))
    for name in names:
        filter_name, op, dtype = name.split(":")
        spec = BELOW_NYQUIST if filter_name == "below-nyquist" else FilterSpec.named(filter_name)
        x = torch.zeros(16, 64, *SIZE, dtype=getattr(torch, dtype))
        if op == "resample":
            y = x.new_zeros(16, 64, 2 * SIZE[0], 2 * SIZE[1])
            job = launch(resampling_chain(spec, 2, "zeros", SIZE, up=True), (x,), y, gpu)
        else:
            backward = op == "backward"
            chain = activation_chain(spec, spec, 2, "zeros", SIZE, backward=backward)
            job = launch(chain, (x, x) if backward else (x,), x, gpu, "gelu")
        assert job.kernel == op
        compiled = getattr(kernels, op).run(grid=job.grid, warmup=True, **job.arguments)
        target = re.search(r"^\.target (\S+)", compiled.asm["ptx"], re.M).group(1)
        facts = {"shared": compiled.metadata.shared, "cubin": len(compiled.asm["cubin"]), "target": target}
        print(json.dumps({"name": name, **facts}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
