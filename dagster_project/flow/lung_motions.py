"""How the lungs moved from one scan of the vault to another, found once per pair of scans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_project.flow.result_cache import (
    KEPT_IMAGES,
    REFUSED,
    fingerprint,
    read_cached,
    slices_of,
    write_cached,
)

if TYPE_CHECKING:
    from dagster_project.domain.imaging.series import Series
    from dagster_project.domain.reading.lesion_locations import NextScan


@dataclass(frozen=True)
class ScanPair:
    """Two scans of a patient, in folders of the vault."""

    earlier: Path
    later: Path

    @property
    def file(self) -> Path:
        """Where the motion is stored: named after the slices of both scans."""
        scans = (self.earlier.name, slices_of(self.earlier), self.later.name, slices_of(self.later))
        return self.later / "pairs" / f"{fingerprint('lungs', *scans)}.json"


def next_scan(earlier: Path, later: Path) -> NextScan | str:
    """The motion from the earlier to the later scan, found if it is not known yet.

    Without a motion it is the reason why there is none.
    """
    from dagster_project.domain.reading.lesion_locations import FAILED

    pair = ScanPair(earlier, later)
    try:
        if read_cached(pair.file) is None:
            find_motion(pair)
    except (ValueError, RuntimeError):
        return FAILED
    return known_motion(pair)


def unknown_pairs(pairs: Iterable[ScanPair]) -> list[ScanPair]:
    """Pairs whose lungs have not been laid over each other yet."""
    return [pair for pair in dict.fromkeys(pairs) if read_cached(pair.file) is None]


def find_motion(pair: ScanPair) -> bool:
    """Lay the lungs of a pair over each other and store the motion; False where there is none.

    A refusal is stored as well: only another scan would change it.
    """
    from dagster_project.domain.imaging.lung_registration import Ct, LungsError, register_lungs

    earlier, later = _series(pair.earlier), _series(pair.later)
    try:
        found = register_lungs(Ct(earlier.image, earlier.affine), Ct(later.image, later.affine))
    except LungsError as error:
        write_cached(pair.file, {REFUSED: str(error)})
        return False
    facts = {
        "matrix": found.matrix.tolist(),
        "correlation": found.correlation,
        "shared": found.shared,
        "affine": later.affine.tolist(),
        "size": list(later.image.GetSize()),
    }
    write_cached(pair.file, facts)
    return True


@lru_cache(maxsize=KEPT_IMAGES)
def _series(folder: Path) -> Series:
    from dagster_project.domain.imaging.series import read_series

    return read_series(folder)


def known_motion(pair: ScanPair) -> NextScan | str:
    """What was stored of a pair.

    Raises
    ------
    LookupError
        Where nothing was.
    """
    from dagster_project.domain.imaging.lung_registration import LungMotion
    from dagster_project.domain.reading.lesion_locations import NextScan

    stored = read_cached(pair.file)
    if stored is None:
        raise LookupError("the lungs of these scans were not laid over each other yet")
    if REFUSED in stored:
        return str(stored[REFUSED])
    motion = LungMotion(np.array(stored["matrix"]), stored["correlation"], stored["shared"])
    return NextScan(motion, np.array(stored["affine"]), tuple(stored["size"]))
