"""Results stored in the vault beside their inputs, so that no work is done twice.

They are named by the digest of what they were computed from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_project.lake.files import write_whole
from dagster_project.study import digest_of

if TYPE_CHECKING:
    import SimpleITK as sitk

CODE_VERSION = "4"
"""Version of the code; raise it when a change alters what a scan or an outline gives.

Everything measured is then computed anew.
"""

REFUSED = "refused"
"""Key under which a result says why a file cannot be used."""

SCAN_INPUTS = ("pixel_digest", "series_instance_uid", "frame_of_reference_uid", "input_fingerprint")
"""Columns of `scans` that decide what an outline is on that scan."""

KEPT_IMAGES = 2
"""Scans that a process holds in memory, about 0.2 GiB each at 400 slices.

They are the two of a pair, or the one whose lesions are measured.
"""


def fingerprint(*parts: object) -> str:
    """Digest of everything that a row is computed from."""
    return digest_of([CODE_VERSION, *parts])


def slices_of(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a scan's slices: what a result of its pixels depends on.

    Files of the vault are written once under a keyed name and never changed in place.
    """
    stats = ((file.name, file.stat()) for file in sorted(folder.glob("*.dcm")))
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def contents_of(folder: Path, noted: Mapping[str, str]) -> list[str]:
    """The contents of a scan's slices, in one order.

    The same delivery gives the same list, whenever and in whatever order it came.

    Parameters
    ----------
    noted
        Digest of each file of the vault when it was taken in, by its name below the site's folder.
        A file that is not noted there is identified by its name and time.
        Its size counts always, so that one which was cut is another.
    """
    found = []
    for name, size, changed in slices_of(folder):
        digest = noted.get(f"{folder.parent.name}/{folder.name}/{name}")
        found.append(f"{digest} {size}" if digest else f"{name} {size} {changed}")
    return sorted(found)


def outlines_file(
    folder: Path,
    contours: Path,
    digest: str,
    scan: Mapping[str, Any],
    positions: Sequence[int] = (),
) -> Path:
    """Where the outlines of a file of contours on a scan are cached.

    The name of the file is an input: a mask outside DICOM states its series and its lesion there
    alone, so that equal masks of two lesions or two readers have two results, and a renamed mask a
    new one.

    Parameters
    ----------
    folder
        The scan's folder.
    contours, digest
        The file in the vault and its SHA-256.
    scan
        Row of `scans`: pixels with their geometry, series, frame of reference and files.
    positions
        Which outlines of the file lie on this scan: others do when another scan comes.
    """
    inputs = (digest, contours.name, sorted(positions), *(scan[name] for name in SCAN_INPUTS))
    return folder / "masks" / f"{fingerprint('outlines', *inputs)}.json"


def images_file(folder: Path, digest: str) -> Path:
    """File of a scan's SOPInstanceUIDs, by the `input_fingerprint` of its row of `scans`."""
    return folder / "images" / f"{digest}.json"


def mask_file(folder: Path, mask_digest: str) -> Path:
    """File of a mask on a scan's grid, by the mask's own digest; a row of reads leads to it."""
    return folder / "masks" / f"{mask_digest[:32]}.npz"


def scan_folder(vault: Path, row: Mapping[str, Any]) -> Path:
    """The vault folder of a row's scan."""
    return vault / row["site"] / row["patient"] / row["scan"]


def write_cached(file: Path, result: Any) -> None:
    """Keep a result beside what it was computed from; it appears whole or not at all."""
    write_whole(file, json.dumps(result, ensure_ascii=False).encode())


def read_cached(file: Path) -> Any:
    """A result kept by an earlier run, or None."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


@lru_cache(maxsize=KEPT_IMAGES)
def scan_image(folder: Path, pixel_digest: str) -> sitk.Image:  # noqa: ARG001 - the cache's key
    """The scan in a folder of the vault; treat it as read-only.

    It is read once for all that a process measures on it in a row.

    The digest of its pixels is part of the key, since slices that come later make another image of
    the same folder.
    """
    from dagster_project.domain.imaging.series import read_series

    return read_series(folder).image
