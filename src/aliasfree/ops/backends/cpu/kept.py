"""The compiled CPU kernels that lie on the disk, and where."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KERNELS", "KeptKernels", "kept_kernels"]

KERNELS = {
    "walk": "filtered activations, up- and downsampling",
    "dense_kernels": "the same by the ideal filter",
    "attention_kernels": "attention",
}
"""Module -> what its kernels are for."""


@dataclass(frozen=True)
class KeptKernels:
    """Compiled code on the disk. A kernel is compiled again when its source has changed, so this may be out of date."""

    folder: Path | None  # where Numba keeps it; None = nowhere
    reason: str | None  # why nowhere
    files: dict[str, tuple[Path, ...]]  # module -> its files; () = not compiled yet

    @property
    def all_files(self) -> list[Path]:
        """Those of all modules."""
        return [path for files in self.files.values() for path in files]


def kept_kernels() -> KeptKernels:
    """What Numba keeps of this library's kernels."""
    nothing: dict[str, tuple[Path, ...]] = dict.fromkeys(KERNELS, ())
    if importlib.util.find_spec("numba") is None:
        return KeptKernels(None, "numba is not installed (pip install numba)", nothing)
    from aliasfree.ops.backends.cpu import walk
    from aliasfree.ops.backends.cpu.compiling import cache_folder

    try:
        folder = cache_folder(walk.compiled)
    except (RuntimeError, OSError) as error:
        reason = f"{str(error).splitlines()[0]}; set NUMBA_CACHE_DIR to a folder that can be written to"
        return KeptKernels(None, reason, nothing)
    files = {name: tuple(p for p in sorted(folder.glob(f"{name}.*.nb[ic]")) if p.is_file()) for name in KERNELS}
    return KeptKernels(folder, None, files)
