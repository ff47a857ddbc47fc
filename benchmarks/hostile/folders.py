"""What lies in a folder and is no file of a delivery, and folders and times that no export has."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.hostile.setting import Setting, slice_bytes

Stop = Callable[[], None]


def pipe(place: str, setting: Setting) -> None:
    """A named pipe that nothing writes to."""
    path = setting.put(place, b"")
    path.unlink()
    os.mkfifo(path)


def link(place: str, target: str, setting: Setting) -> None:
    """A symbolic link."""
    path = setting.put(place, b"")
    path.unlink()
    path.symlink_to(target)


def _socket(setting: Setting) -> None:
    """Bound by a short name: a socket's path has no more than 107 bytes."""
    before = Path.cwd()
    os.chdir(setting.landing / "dicom")
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("s")
    finally:
        os.chdir(before)


def _device(setting: Setting) -> None:
    """Where no device may be made, a link to one."""
    path = setting.landing / "dicom" / "device"
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _links_in_a_circle(setting: Setting) -> None:
    for one, other in (("a", "b"), ("b", "c"), ("c", "a")):
        link(f"dicom/{one}", other, setting)


def _doubling_links(setting: Setting) -> None:
    for n in range(40):
        (setting.landing / "dicom" / str(n)).mkdir()
        for name in ("a", "b"):
            (setting.landing / "dicom" / str(n) / name).symlink_to(
                setting.landing / "dicom" / str(n + 1)
            )


def _another_sites_folder(setting: Setting) -> None:
    other = setting.root / "landing" / "CD" / "dicom"
    other.mkdir(parents=True)
    (other / "scan.dcm").write_bytes(slice_bytes())
    (setting.landing / "dicom" / "other").symlink_to(other)


def _within(setting: Setting) -> None:
    setting.put("dicom/real", slice_bytes())
    (setting.landing / "dicom" / "link").symlink_to("real")


NO_FILES: Mapping[str, Callable[[Setting], Any]] = {
    "pipe": partial(pipe, "dicom/p"),
    "pipe of a reader": partial(pipe, "reads/R1/1.2.3__L1.nii.gz"),
    "socket": _socket,
    "device": _device,
    "link to an endless device": partial(link, "dicom/z", "/dev/zero"),
    "link to random numbers": partial(link, "dicom/r", "/dev/urandom"),
    "link to memory": partial(link, "dicom/m", "/proc/self/mem"),
    "link to the terminal": partial(link, "dicom/t", "/dev/tty"),
    "link to passwords": partial(link, "dicom/p", "/etc/passwd"),
    "link to itself": partial(link, "dicom/l", "l"),
    "links in a circle": _links_in_a_circle,
    "link to nowhere": partial(link, "dicom/n", "gone"),
    "link to the root": partial(link, "dicom/root", "/"),
    "link to its own parent": partial(link, "dicom/up", ".."),
    "links between folders": _doubling_links,
    "link to another site": _another_sites_folder,
    "link within the landing": _within,
    "file of 8 TiB": lambda s: s.sparse("dicom/8T", 2**43 - 2**12),
    "file of 2 GiB that begins as DICOM": lambda s: s.sparse(
        "dicom/2G", 2**31, bytes(128) + b"DICM"
    ),
    "file of 1 GiB of nothing": lambda s: s.sparse("dicom/1G", 2**30),
}


def meanwhile(step: Callable[[Path, int], None], setting: Setting) -> Callable[[], Stop]:
    """Change a file all the time while the site is taken in."""
    path = setting.put("dicom/moving", slice_bytes())
    ended = threading.Event()

    def go_on() -> None:
        n = 0
        while not ended.wait(0.002):
            with contextlib.suppress(OSError):
                step(path, n)
            n += 1

    def begin() -> Stop:
        thread = threading.Thread(target=go_on)
        thread.start()

        def stop() -> None:
            ended.set()
            thread.join()

        return stop

    return begin


def _grow(path: Path, _n: int) -> None:
    with path.open("ab") as file:
        file.write(bytes(2**16))


def _vanish(path: Path, n: int) -> None:
    if n % 2:
        path.write_bytes(slice_bytes())
    else:
        path.unlink()


def _exchange(path: Path, n: int) -> None:
    path.unlink(missing_ok=True)
    if n % 3 == 0:
        os.mkfifo(path)
    elif n % 3 == 1:
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(slice_bytes())


def _dated(seconds: float, setting: Setting) -> None:
    path = setting.put("dicom/dated", slice_bytes())
    os.utime(path, (seconds, seconds))


def _closed_file(setting: Setting) -> None:
    """As root every file is readable: then it is a link to what even root may not read."""
    path = setting.put("dicom/closed", slice_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()
        path.symlink_to("/proc/1/mem")


def _closed_folder(setting: Setting) -> None:
    path = setting.put("dicom/closed/1.dcm", slice_bytes()).parent
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.chmod(0o700)
        (path / "1.dcm").unlink()
        (path / "fd").symlink_to("/proc/1/fd")


def _many(count: int, make: Callable[[Path], None], setting: Setting) -> None:
    folder = setting.landing / "dicom" / "many"
    folder.mkdir()
    for n in range(count):
        make(folder / str(n))


def _deep(setting: Setting) -> None:
    """Longer than any path may be: made folder by folder."""
    before = Path.cwd()
    os.chdir(setting.landing / "dicom")
    try:
        for _ in range(60):
            name = "d" * 100
            Path(name).mkdir()
            os.chdir(name)
        Path("1.dcm").write_bytes(slice_bytes())
    finally:
        os.chdir(before)


FOLDERS: Mapping[str, Callable[[Setting], Any]] = {
    "a hundred thousand empty files": partial(_many, 100_000, Path.touch),
    "ten thousand empty folders": partial(_many, 10_000, Path.mkdir),
    "deep folders": _deep,
    "closed file": _closed_file,
    "closed folder": _closed_folder,
    "mtime in the future": partial(_dated, time.time() + 10**9),
    "mtime before 1970": partial(_dated, -(10.0**9)),
    "grows while read": partial(meanwhile, _grow),
    "vanishes while read": partial(meanwhile, _vanish),
    "replaced while read": partial(meanwhile, _exchange),
    "file in the place of dicom of a reader": lambda s: s.put("reads/R1", b"x"),
    "ten thousand readers": lambda s: (
        [(s.landing / "reads" / f"R{n}").mkdir(parents=True) for n in range(10_000)] and None
    ),
}
