"""The compiled CPU kernels that lie on the disk, and where."""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KERNELS", "CachedKernels", "cached_kernels"]

KERNELS = ("fir", "ideal", "attention")
"""The folders beside this file; each has its kernels in a module `kernels`."""


@dataclass(frozen=True)
class CachedKernels:
    """Compiled code on the disk. A kernel is compiled again when its source has changed, so this may be out of date."""

    folder: Path | None  # Numba keeps it here or in folders below; None = nowhere
    reason: str | None  # why nowhere
    files: dict[str, tuple[Path, ...]]  # one of KERNELS -> its files; () = not compiled yet

    @property
    def all_files(self) -> list[Path]:
        """Those of all kernels."""
        return [path for files in self.files.values() for path in files]


def cached_kernels() -> CachedKernels:
    """What Numba keeps of this library's kernels."""
    nothing: dict[str, tuple[Path, ...]] = dict.fromkeys(KERNELS, ())
    if importlib.util.find_spec("numba") is None:
        return CachedKernels(None, "numba is not installed (pip install numba)", nothing)
    from aliasfree.ops.backends.cpu.compiling import cache_folder

    modules = {name: importlib.import_module(f"{__package__}.{name}.kernels") for name in KERNELS}
    try:
        folders = {name: cache_folder(module.compiled) for name, module in modules.items()}
    except (RuntimeError, OSError) as error:
        reason = f"{str(error).splitlines()[0]}; set NUMBA_CACHE_DIR to a folder that can be written to"
        return CachedKernels(None, reason, nothing)
    files = {name: tuple(p for p in sorted(d.glob("kernels.*.nb[ic]")) if p.is_file()) for name, d in folders.items()}
    return CachedKernels(Path(os.path.commonpath(folders.values())), None, files)
