"""How kernels are compiled: Numba's options, two hints to its compiler, and when compiled code is out of date."""

from __future__ import annotations

import ast
import logging
import zlib
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

__all__ = [
    "cache_folder",
    "depends_on",
    "inlined",
    "jit",
    "keep_apart",
    "kernel",
    "sources",
    "sources_version",
    "unliteral",
]

# only kernels call these, so they need no wrappers for Python and no compiled code of their own on disk
jit = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = numba.njit(nogil=True, error_model="numpy", inline="always")  # else LLVM would compile it twice
_LOG = logging.getLogger("aliasfree")


def kernel(function: Any) -> Any:
    """A C function of the address of a record, compiled and kept on disk; `kept` says whether it could be.

    Where no folder can be written to, or the disk is full or what it holds is damaged, it is compiled for this process.
    """
    made: Any
    try:
        made = _c_function(cache=True)(function)
        made.kept = True
    except Exception as error:  # a damaged file fails in any way of Python's reader
        if isinstance(error, numba.core.errors.NumbaError):
            raise
        _say_uncached(str(error).splitlines()[0])
        made = _c_function(cache=False)(function)
        made.kept = False
    return made


def _c_function(*, cache: bool) -> Any:
    return numba.cfunc(types.void(types.intp), nogil=True, cache=cache, error_model="numpy")


def cache_folder(function: Any) -> Path:
    """Where Numba keeps the compiled code of the file that `function` is of. Raises RuntimeError if nowhere."""
    return Path(numba.njit(cache=True)(function).stats.cache_path)


_SAID: list[str] = []


def _say_uncached(reason: str) -> None:
    if _SAID:
        return
    _SAID.append(reason)
    _LOG.warning(
        "aliasfree's compiled kernels cannot be kept on disk (%s), so every process compiles them anew; set "
        "NUMBA_CACHE_DIR to a folder that can be written to.",
        reason,
    )


@intrinsic
def unliteral(typing: Any, x: Any) -> Any:
    """x; Numba compiles a function anew for every constant it is called with, but not for unliteral(constant)."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return args[0]

    return types.unliteral(x)(x), build


@intrinsic
def keep_apart(typing: Any) -> Any:
    """Forbids LLVM to inline the function that calls this: copies of long ones cost seconds of compiling."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def depends_on(typing: Any, version: Any) -> Any:
    """Does nothing. A kernel that calls it with `sources_version` is compiled anew when that has changed."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(version), build


def sources(path: Path) -> list[Path]:
    """A file and the files of this package that it imports, directly or not."""
    package, folder = __name__.rpartition(".")[0], Path(__file__).parent
    known = {path}
    todo = [path]
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_bytes())):
            if not isinstance(node, ast.ImportFrom) or not f"{node.module}.".startswith(f"{package}."):
                continue
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            files = [folder.joinpath(*name.removeprefix(package).split(".")).with_suffix(".py") for name in names]
            new = {file for file in files if file.is_file()} - known
            known |= new
            todo += new
    return sorted(known)


def sources_version(path: Path) -> int:
    """A number that differs with every change of `sources(path)`.

    Numba takes compiled code from the disk as long as the one file that holds the kernel is the same, and the variables
    that the kernel takes from the function around it. So this number, as such a variable (`depends_on`), makes it
    compile anew when any other source changes.
    """
    return zlib.crc32(b"".join(file.read_bytes() for file in sources(path)))
