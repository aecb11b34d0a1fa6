"""The device a user names, checked: its name without torch, and then whether there is one."""

from __future__ import annotations

import re

from aliasfree.errors import ArgumentError, did_you_mean

__all__ = ["DEVICES", "check_device", "find_device"]

DEVICES = ("auto", "cpu", "cuda")


def check_device(name: str) -> None:
    """Raise ArgumentError for what is no name of a device: one of `DEVICES`, or a numbered one, "cuda:1"."""
    if name not in DEVICES and not re.fullmatch(r"cuda:\d+", name):
        raise ArgumentError(f"There is no `device` {name!r}{did_you_mean(name, DEVICES)}.")


def find_device(name: str) -> str:
    """The device to use: "auto" is CUDA where there is one. Raises ArgumentError when it is not here.

    >>> from aliasfree.devices import find_device
    >>> find_device("cpu")
    'cpu'
    """
    check_device(name)
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if name != "cpu" and not count:
        raise ArgumentError("There is no CUDA device here; leave out `device` or give `device='cpu'`.")
    number = name.partition(":")[2]
    if number and int(number) >= count:
        raise ArgumentError(f"There is no `device` {name!r} here, the last one is cuda:{count - 1}.")
    return name
