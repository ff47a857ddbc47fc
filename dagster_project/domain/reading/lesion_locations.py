"""Where each lesion that a reader knows is proposed to lie on the next scan.

It is a proposal for the reader's eye: nothing is outlined, renamed or measured by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dagster_project.domain.imaging.grids import to_index
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import LESION_LOCATIONS

if TYPE_CHECKING:
    from dagster_project.domain.imaging.lung_registration import LungMotion

METHOD = "rigid_lungs"
"""How places are found (`domain/imaging/lung_registration.py`)."""

Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]

CENTROID = ("centroid_x_mm", "centroid_y_mm", "centroid_z_mm")
PLACE = ("x_mm", "y_mm", "z_mm")
VOXEL = ("voxel_column", "voxel_row", "voxel_slice")

FAR = "far_from_place"
"""Code of a measurement that lies far from the proposed place."""

FAR_REASON = (
    "outlined far from where the lesion is expected from the scan before "
    "([reads] far_from_place_mm of study.toml); check whether it is the same lesion"
)
NO_OUTLINE = "the lesion was outlined on no scan before"
OUTSIDE = "the place lies outside the images of this scan"
FAILED = "the scans could not be laid over each other; the next run tries again"


@dataclass(frozen=True)
class NextScan:
    """How the chest moved from one scan to the next, and the grid of the next.

    Attributes
    ----------
    affine
        (4, 4): from index (x, y, z) to patient coordinates in mm.
    size
        Voxels along (x, y, z).
    """

    motion: LungMotion
    affine: Floats
    size: tuple[int, int, int]


@dataclass(frozen=True)
class KnownLesion:
    """A lesion that a reader knows from earlier visits, on a scan of a later one.

    Attributes
    ----------
    outlined
        The reader's last read before with an outline; None where there is none.
    read
        The reader's read of the lesion on that scan; None where there is none yet.
    last
        The reader's last read before, outlined or not.
    """

    visit: str
    scan: str
    outlined: Row | None
    read: Row | None
    last: Row


def list_known(reads: Iterable[Row], timepoints: pl.DataFrame) -> list[KnownLesion]:
    """Each lesion of each reader at each later visit, in order of the visits.

    1. A lesion is known at a visit where the reader has a read of it at an earlier one.
    2. It is looked for on the scan that the reader read at that visit, else on the one that the
       protocol chose.
    3. Its place comes from the last earlier visit at which the reader outlined it: an absent lesion
       is looked for where it was.

    Parameters
    ----------
    reads
        Rows of READS, of any readers and patients.
    timepoints
        The table of that name; visits without a date have no place in the order and are left out.
    """
    visits: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for visit in timepoints.drop_nulls("scan_date").sort("scan_date", "visit").to_dicts():
        visits[visit["site"], visit["patient"]].append(visit)
    own: dict[tuple[str, ...], dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in reads:
        own[row["site"], row["patient"], row["reader"]][row["visit"]][row["lesion"]] = row
    return [
        known
        for (site, patient, _), by_visit in sorted(own.items())
        for known in _followed(visits[site, patient], by_visit)
    ]


def _followed(
    visits: Iterable[Row], by_visit: Mapping[str, Mapping[str, Row]]
) -> Iterator[KnownLesion]:
    last: dict[str, Row] = {}
    outlined: dict[str, Row] = {}
    for visit in visits:
        here = by_visit.get(visit["visit"], {})
        scan = next((row["scan"] for row in here.values()), visit["scan"])
        for lesion in sorted(last):
            yield KnownLesion(
                visit["visit"], scan, outlined.get(lesion), here.get(lesion), last[lesion]
            )
        last.update(here)
        outlined.update({name: row for name, row in here.items() if _centre(row) is not None})


def _centre(read: Row | None) -> Floats | None:
    if read is None or read[CENTROID[0]] is None:
        return None
    return np.array([read[name] for name in CENTROID])


def derive_lesion_locations(
    known: Iterable[KnownLesion], found: Mapping[tuple[str, str], NextScan | str], far_mm: float
) -> pl.DataFrame:
    """LESION_LOCATIONS without `input_fingerprint`.

    1. The place is the centre of the last outline, moved as the lungs moved; its voxel is the
       nearest of the scan.
    2. No place, with the reason: never outlined before, lungs that cannot be laid over each other,
       a place outside the images.
    3. Where the reader outlined the lesion on that scan, `distance_mm` is from the place to the
       centre of that outline. It is flagged where it exceeds `far_mm` and half the sum of both
       longest diameters, so that spheres of that size would not touch.

    Parameters
    ----------
    known
        `list_known`.
    found
        By earlier and later scan: the next scan, or the reason why there is no motion.
    far_mm
        `[reads] far_from_place_mm` of study.toml.
    """
    schema = {
        name: kind
        for name, kind in polars_schema(LESION_LOCATIONS).items()
        if name != "input_fingerprint"
    }
    rows = [{**dict.fromkeys(schema), **locate(one, found, far_mm)} for one in known]
    return pl.DataFrame(rows, schema=schema)


def locate(
    known: KnownLesion, found: Mapping[tuple[str, str], NextScan | str], far_mm: float
) -> dict[str, Any]:
    """Values of one row of LESION_LOCATIONS; columns that are left out are NULL."""
    row = {name: known.last[name] for name in ("site", "patient", "reader", "lesion", "simulated")}
    row |= {"visit": known.visit, "scan": known.scan, "flags": []}
    centre = _centre(known.outlined)
    if known.outlined is None or centre is None:
        return {**row, "reason": NO_OUTLINE}
    row |= {"from_visit": known.outlined["visit"], "from_scan": known.outlined["scan"]}
    there = found.get((known.outlined["scan"], known.scan), FAILED)
    if isinstance(there, str):
        return {**row, "reason": there}
    place = (there.motion.matrix @ [*centre, 1.0])[:3]
    voxel = np.rint(to_index(there.affine, place[None])[0]).astype(int)
    if (voxel < 0).any() or (voxel >= there.size).any():
        return {**row, "reason": OUTSIDE}
    return {
        **row,
        "method": METHOD,
        "correlation": there.motion.correlation,
        "shared_lungs": there.motion.shared,
        **dict(zip(PLACE, place.tolist(), strict=True)),
        **dict(zip(VOXEL, voxel.tolist(), strict=True)),
        **_compared(known.outlined, known.read, place, far_mm),
    }


def _compared(outlined: Row, read: Row | None, place: Floats, far_mm: float) -> dict[str, Any]:
    centre = _centre(read)
    if read is None or centre is None:
        return {}
    distance = float(np.linalg.norm(centre - place))
    sizes = [row["longest_diameter_mm"] or 0.0 for row in (outlined, read)]
    return {
        "distance_mm": distance,
        "flags": [FAR] if distance > max(far_mm, sum(sizes) / 2) else [],
    }
