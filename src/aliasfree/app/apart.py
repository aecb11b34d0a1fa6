"""Work on models of strangers in a process of its own: it may take so much memory, and is killed when it is given up.

The process is forked from one that has imported the libraries and nothing else, so that it begins at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aliasfree.app.jobs import Job
from aliasfree.errors import AliasfreeError, ArgumentError

__all__ = ["run_apart"]

LOOK = 0.1
"""Seconds between two looks at the process."""
SHARE = 0.5
"""Of the memory that the machine has free when the work begins."""
LIBRARIES = [
    "aliasfree.conversion", "aliasfree.diffusion", "aliasfree.evaluation.equivariance",
    "aliasfree.measuring.conversion", "aliasfree.measuring.targets", "diffusers.models.unets.unet_2d",
]  # fmt: skip


def run_apart(job: Job, work: Callable[..., Any], *given: Any, memory: int | None = None) -> Any:
    """What `work(*given, progress=...)` returns, which is called in another process; all must be picklable.

    memory  bytes that the process may take; None = half of what is free

    Raises ArgumentError for any error of the work, and when it takes too much memory or dies; and Cancelled.
    """
    import psutil

    memory = memory or int(psutil.virtual_memory().available * SHARE)
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(LIBRARIES)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, work, given), daemon=True)
    process.start()
    theirs.close()
    kind, told = "progress", (0, 0)
    try:
        while kind == "progress":
            job.report(*told)
            if psutil.Process(process.pid).memory_info().rss > memory:
                raise ArgumentError(
                    f"The model takes more than {memory / 1e9:.1f} GB, too much for the studio; use it in Python."
                )
            if ours.poll(LOOK):
                kind, told = ours.recv()
    except (EOFError, OSError, psutil.NoSuchProcess) as error:
        raise ArgumentError(
            "The process that looked at the model died, as it does when memory runs out; use the model in Python."
        ) from error
    finally:
        process.kill()
        process.join()
        ours.close()
    if kind == "failed":
        raise ArgumentError(told)
    return told


def _work(pipe: Any, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """In the other process."""
    with contextlib.suppress(OSError):  # where the kernel has to kill one, it is this one and not the server
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        result = ("done", work(*given, progress=lambda done, total: pipe.send(("progress", (done, total)))))
    except AliasfreeError as error:
        result = ("failed", str(error))
    except Exception as error:  # a stranger's model may be wrong in any way; the terminal has the traceback
        traceback.print_exc()
        first = next(iter(str(error).splitlines()), "")[:200]
        result = ("failed", f"The model cannot be used ({type(error).__name__}: {first}); save it again.")
    pipe.send(result)
