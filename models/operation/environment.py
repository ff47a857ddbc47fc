"""What a model was trained with: versions and kind of machine, never its name, user or paths."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import distributions


def describe_environment() -> dict[str, object]:
    """What a model was trained with.

    Python, operating system, type of machine, number of processors, kind of GPU, and the version of
    every installed package.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": os.cpu_count() or 0,
        "gpu": _gpu(),
        "packages": dict(_packages()),
    }


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    """Names and versions; read once, since each lies in a long file of its package."""
    return tuple(sorted((str(d.metadata["Name"]).lower(), d.version) for d in distributions()))


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
