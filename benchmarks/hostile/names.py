"""Good slices under names that no export should give them: they are used, and no name is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.hostile.setting import Setting, slice_bytes


def _named(name: bytes, setting: Setting) -> None:
    path = os.fsencode(setting.landing / "dicom") + b"/" + name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, slice_bytes())
    os.close(descriptor)


def _case_collides(setting: Setting) -> None:
    for name in ("IMAGE.DCM", "image.dcm", "Image.dcm"):
        setting.put(f"dicom/{name}", slice_bytes())


def _several(names: tuple[bytes, ...], setting: Setting) -> None:
    for name in names:
        _named(name, setting)


NAMES: Mapping[str, Callable[[Setting], Any]] = {
    "name with a newline": partial(_named, b"a\nb.dcm"),
    "name of control characters": partial(_named, bytes(range(1, 32))),
    "name from right to left": partial(_named, "\u202egnp.dcm".encode()),
    "name of emoji": partial(_named, "👩‍👩‍👧‍👦🫁.dcm".encode()),
    "name of 255 bytes": partial(_named, b"n" * 255),
    "name that is no UTF-8": partial(_named, b"\xff\xfe\x80.dcm"),
    "name of blanks": partial(_named, b"   "),
    "name of an option": partial(_named, b"-rf"),
    "names that are codes of a shell": partial(
        _several, (b"$(reboot)", b"`id`", b"a;b|c&d", b"'\"", b"%s%n{0}", b"<script>")
    ),
    "names of Windows": partial(
        _several, (b"CON", b"NUL.dcm", b"a:b", rb"C:\x.dcm", b"trailing. ")
    ),
    "hidden name": partial(_named, b".hidden"),
    "case collides, equal": _case_collides,
    "names in two forms of Unicode": partial(_several, ("é.dcm".encode(), "e\u0301.dcm".encode())),
}
