"""A reader's own worklist, and for each scan to be read the places where known lesions may lie.

It holds that reader's own reads and nothing else: no other reader's, no response, no probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagster_project.domain.reading.entry_checks import EntryQuestion
from dagster_project.lake.reasons import chinese_reason
from dagster_project.reports import board_words as w
from dagster_project.reports.pages import data_uri, render
from dagster_project.reports.places import EDGES, PIXELS, PLANES, SIDE_MM
from dagster_project.reports.summaries.tables import Row
from dagster_project.reports.wording import number
from dagster_project.study import Study

GAP_MM = 7.0
"""Around the place no line is drawn, so that the cross hides nothing of the lesion."""

PLANE_NAMES: Mapping[str, w.Both] = {
    "axial": ("axial", "轴位"),
    "coronal": ("coronal", "冠状位"),
    "sagittal": ("sagittal", "矢状位"),
}

STATUS: Mapping[str, w.Both] = {
    "to_read": ("to be read", "待阅片"),
    "open": ("delivered, not locked", "已送达，未锁定"),
}


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion that the reader knows, where it may lie on the scan, and the CT there.

    Attributes
    ----------
    row
        Values of LESION_LOCATIONS.
    last
        The reader's last read of the lesion before.
    png
        `draw_place`; None without a place.
    """

    row: Row
    last: Row
    window: str
    png: bytes | None = None


@dataclass(frozen=True)
class ReaderScan:
    """A scan that a reader has not locked yet."""

    patient: str
    visit: str
    day: int | None
    status: str
    lesions: Sequence[PlacedLesion] = ()
    questions: Sequence[EntryQuestion] = ()

    @property
    def has_page(self) -> bool:
        """Whether there is anything to show of it."""
        return bool(self.lesions) or self.status == "open"

    @property
    def file_name(self) -> str:
        """Name of its page beside the worklist."""
        return f"{self.patient}_{self.visit}.html"


@dataclass(frozen=True)
class ReaderWork:
    """All that one reader of a hospital has to do.

    Attributes
    ----------
    locked
        How many scans the reader has locked.
    far
        Rows of LESION_LOCATIONS of locked reads whose outline lies far from the place.
    """

    site: str
    reader: str
    scans: Sequence[ReaderScan]
    locked: int
    far: Sequence[Row] = field(default_factory=tuple)
    simulated: bool = False


def question_words(question: EntryQuestion) -> w.Both:
    """A question in both languages, with the protocol's own numbers."""
    found, limit = number(question.found, 1), number(question.limit, 1)
    if question.code == "lesion_missing":
        return (
            f"{question.about}: not read at this visit. A lesion that is gone is read as absent.",
            f"{question.about}：本次访视无记录。病灶消失时请记为“不存在”。",
        )
    if question.code == "below_minimum":
        return (
            f"{question.about}: {found} mm, and a target has {limit} mm at least at baseline.",
            f"{question.about}：{found} mm；基线靶病灶至少应为{limit} mm。",
        )
    n, most = f"{question.found:g}", f"{question.limit:g}"
    if question.code == "too_many_targets":
        return f"{n} targets, {most} allowed.", f"靶病灶{n}个，方案允许{most}个。"
    organ = w.value_of("organ", question.about.replace(" ", "_"))
    return (
        f"{n} targets in {organ[0]}, {most} allowed.",
        f"{organ[1]}靶病灶{n}个，方案允许{most}个。",
    )


def render_reader_worklist(
    work: ReaderWork, study: Study, *, snapshot: int, generated_at: datetime
) -> str:
    """The reader's worklist, by patient and day."""
    return render(
        "reader.html",
        work=work,
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        status=STATUS,
        placed={scan.file_name: _n_placed(scan) for scan in work.scans},
    )


def _n_placed(scan: ReaderScan) -> int:
    return sum(one.png is not None for one in scan.lesions)


def render_reader_scan(
    work: ReaderWork,
    scan: ReaderScan,
    study: Study,
    *,
    digest: str,
    snapshot: int,
    generated_at: datetime,
) -> str:
    """One scan: each known lesion with its place on three planes, and questions before the lock."""
    return render(
        "reader_scan.html",
        work=work,
        scan=scan,
        study=study,
        digest=digest,
        snapshot=snapshot,
        generated_at=generated_at,
        status=STATUS[scan.status],
        lesions=[_shown(one) for one in scan.lesions],
        questions=[question_words(question) for question in scan.questions],
        planes=[(PLANE_NAMES[name], EDGES[name], _cross(k)) for k, name in enumerate(PLANES)],
        width=len(PLANES) * PIXELS,
        side=PIXELS,
        side_mm=SIDE_MM,
    )


def _shown(one: PlacedLesion) -> dict[str, Any]:
    last = one.last
    size = last["short_axis_mm"] if last["is_lymph_node"] else last["longest_diameter_mm"]
    reason = one.row.get("reason")
    return {
        **one.row,
        "role": w.words(w.ROLES, last["role"]),
        "organ": w.value_of("organ", last["organ"]),
        "size": size,
        "short_axis": last["is_lymph_node"],
        "gone": not last["is_present"],
        "last_visit": last["visit"],
        "window": one.window,
        "uri": data_uri(one.png) if one.png else None,
        "why": (reason, chinese_reason(reason)) if reason else None,
    }


def _cross(place: int) -> str:
    """Path of a cross with a gap in the middle of the plane at a place in the picture."""
    middle, left = PIXELS / 2, place * PIXELS
    gap, arm = GAP_MM / SIDE_MM * PIXELS, PIXELS * 0.32
    x = left + middle
    ends = [
        f"M{x + sign * gap:g} {middle:g}H{x + sign * (gap + arm):g}"
        f"M{x:g} {middle + sign * gap:g}V{middle + sign * (gap + arm):g}"
        for sign in (-1, 1)
    ]
    return "".join(ends)
