"""When two labels mean one lesion: spelling does not count, unless that would make one of two."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

MERGED = re.compile(r"\s*[+/&,]\s*")
"""Between the labels of lesions that merged: T01/T02."""

Row = Mapping[str, Any]
Patient = tuple[str, str]
Place = tuple[str, str, str, str, str]
"""Site, patient, scan, reader and the key of the label."""


def normal_label(label: str) -> str:
    """A label without case, blanks, hyphens and underscores.

    Between two digits any of these is a hyphen.

    >>> normal_label("Nodule 1") == normal_label("nodule_1"), normal_label("L1_1")
    (True, 'l1-1')
    """
    between_digits = re.sub(r"(?<=\d)[\s_-]+(?=\d)", "-", written_label(label))
    return re.sub(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)", "", between_digits)


def written_label(label: str) -> str:
    """A label as it is written, but for full-width forms, case and outer blanks.

    >>> (
    ...     written_label("L1-1 ") == written_label("l1-1"),
    ...     written_label("L1-1") == written_label("L11"),
    ... )
    (True, False)
    """
    return unicodedata.normalize("NFKC", label).strip().casefold()


@dataclass(frozen=True)
class Labels:
    """Which labels of a patient mean one lesion.

    Attributes
    ----------
    ambiguous
        Site, patient and normal label of the labels that a reader uses for two lesions of one scan,
        such as L1-1 and L11. These are compared as written; all others by their normal label.
    """

    ambiguous: frozenset[tuple[str, str, str]] = frozenset()

    def key(self, row: Row, label: str) -> str:
        """What two labels of the row's patient have in common where they mean one lesion."""
        normal = normal_label(label)
        known = (row["site"], row["patient"], normal) in self.ambiguous
        return written_label(label) if known else normal

    def place(self, row: Row, scan: str, label: str) -> Place:
        """Site, patient, scan, reader and key of a label."""
        return (row["site"], row["patient"], scan, row["reader"], self.key(row, label))


def labels_of_outlines(outlines: Iterable[Row]) -> Labels:
    """How the labels of these outlines are compared.

    Two spellings with one normal label are two lesions where one reader outlined both on one scan
    and the outlines lie apart (`lie_apart`).

    Parameters
    ----------
    outlines
        Rows with site, patient, scan, reader, label, voxel_count, volume_mm3, centroid_*_mm.
    """
    drawn: dict[Hashable, list[Row]] = defaultdict(list)
    for row in outlines:
        if row["voxel_count"]:
            place = (row["site"], row["patient"], row["scan"], row["reader"])
            drawn[(*place, normal_label(row["label"]))].append(row)
    found = {
        (a["site"], a["patient"], normal_label(a["label"]))
        for rows in drawn.values()
        for a, b in combinations(rows, 2)
        if written_label(a["label"]) != written_label(b["label"]) and lie_apart(a, b)
    }
    return Labels(frozenset(found))


def labels_of_reads(reads: Iterable[Row]) -> Labels:
    """Labels of reads: two names of one scan and reader are two lesions."""
    spellings: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in reads:
        place = (row["site"], row["patient"], row["reader"], row["scan"])
        spellings[(*place, normal_label(row["lesion"]))].add(written_label(row["lesion"]))
    twice = (key for key, written in spellings.items() if len(written) > 1)
    return Labels(frozenset((key[0], key[1], key[-1]) for key in twice))


def lie_apart(a: Row, b: Row) -> bool:
    """Whether the centroids of two outlines are farther apart than the smaller's radius.

    The radius is that of a ball of the smaller outline's volume.

    An outline without a volume (`outlines.NO_VOLUME`) is measured by the other's; two of them lie
    apart unless their centroids are one.
    """
    axes = ("centroid_x_mm", "centroid_y_mm", "centroid_z_mm")
    distance = math.dist([a[axis] for axis in axes], [b[axis] for axis in axes])
    volumes = [row["volume_mm3"] for row in (a, b) if row["volume_mm3"] is not None]
    radius = (3 * min(volumes, default=0.0) / (4 * math.pi)) ** (1 / 3)
    return distance > radius
