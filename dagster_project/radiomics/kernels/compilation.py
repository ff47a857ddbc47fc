"""How every kernel is compiled: cached on disk, even where the installation is read-only."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config as numba_config

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function when it is first called, and keep the machine code for later processes.

    numba writes to `NUMBA_CACHE_DIR`, else beside the module, else to the user's cache folder, and
    raises where none is writable: then the code goes to a private folder among the temporary files,
    or is not kept at all.

    A kernel must not call itself (a cached recursion crashes later processes) and calls kernels of
    its own module alone (numba does not notice that a function in another module has changed).
    """
    try:
        return _compiled(function, cache=True)
    except RuntimeError:
        folder = private_folder(Path(tempfile.gettempdir()))
    if folder is not None:
        numba_config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]  # numba makes its settings at run time
    return _compiled(function, cache=folder is not None)


def _compiled(function: Function, *, cache: bool) -> Function:
    compiled: Any = numba.njit(cache=cache, error_model="numpy")(function)
    return compiled


def private_folder(parent: Path) -> Path | None:
    """A folder there that belongs to this user alone, made if need be.

    None where someone else could write into it.
    """
    folder = parent / f"lakehouse-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    private = (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    )
    return folder if private else None
