"""The learning rate of a step: a pure function, so that a resumed run goes on with the same one."""

from __future__ import annotations

import math

from aliasfree.training.settings import RunSettings


def learning_rate(settings: RunSettings, step: int, total: int) -> float:
    """The learning rate of `step`, from 1 to `total`, the last of the run.

    It rises linearly over the first `settings.lr_warmup` steps, and then stays ("constant") or falls to 0 just after
    the last step, along half a cosine ("cosine", Loshchilov and Hutter 2017, eq. 5) or a line ("linear").

    >>> settings = RunSettings(data="digits", config="A", out="run", lr=1.0, lr_warmup=2, lr_schedule="linear")
    >>> [learning_rate(settings, step, 6) for step in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = settings.lr_warmup
    if step <= warmup:
        return settings.lr * step / warmup
    if settings.lr_schedule == "constant":
        return settings.lr
    done = (step - 1 - warmup) / max(total - warmup, 1)
    return settings.lr * ((1 + math.cos(math.pi * done)) / 2 if settings.lr_schedule == "cosine" else 1 - done)
