"""One process or several: the accelerator, and work that one process does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from aliasfree.devices import find_device
from aliasfree.errors import AliasfreeError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class _Wanted(Protocol):
    @property
    def device(self) -> str: ...
    @property
    def mixed_precision(self) -> str: ...


def make_accelerator(settings: _Wanted) -> Accelerator:
    """An accelerator on the device asked for; under torchrun it joins the other processes (gloo on CPUs)."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedDataParallelKwargs

    cpu = find_device(settings.device) == "cpu"
    # accelerate keeps precision and device for the life of the process; two runs in one process may differ in them
    alone = PartialState._shared_state == {} or PartialState().num_processes == 1
    AcceleratorState._reset_state(reset_partial_state=alone)
    return Accelerator(
        cpu=cpu,
        mixed_precision=settings.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
    )


def on_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """Do `work` on the main process only and give its result to all; its `AliasfreeError` is raised on all."""
    result: list[object] = [None, None]
    if accelerator.is_main_process:
        try:
            result[0] = work()
        except AliasfreeError as error:
            if accelerator.num_processes == 1:
                raise
            result[1] = error
    if accelerator.num_processes > 1:
        torch.distributed.broadcast_object_list(result, src=0)
    if isinstance(result[1], BaseException):
        raise result[1]
    return result[0]  # type: ignore[return-value]
