"""What the group of the home may read, whatever the umask: pages, and what is published.

Groups are given one by one: a set-group-ID bit would do it by itself, and a hardened service may
set none (RestrictSUIDSGID of systemd).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER, FILE = 0o750, 0o640


def group_of(folder: Path) -> int:
    """The group of a folder."""
    return folder.stat().st_gid


def share_folder(folder: Path, like: Path) -> Path:
    """Make a folder that the group of another one may read."""
    folder.mkdir(parents=True, exist_ok=True)
    _share(folder, group_of(like))
    return folder


def share_tree(top: Path, like: Path) -> Path:
    """Open a file, or a folder with all in it, to the group of another folder."""
    group = group_of(like)
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            _share(path, group)
    return top


def _share(path: Path, group: int) -> None:
    """The group stays as it is where this account may not give files to the other one."""
    with suppress(OSError):
        os.chown(path, -1, group)
    path.chmod(FOLDER if path.is_dir() else FILE)
