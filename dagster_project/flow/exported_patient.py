"""What the lake and the vault hold of one patient, as an export needs it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.domain.reading.arbitration import mask_readers
from dagster_project.domain.reading.blinded_names import lesion_names
from dagster_project.domain.reading.release import Release, release_of_visits
from dagster_project.domain.response.as_of_visits import derive_blocks_as_of, derive_responses_as_of
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.flow.irecist_blocks import BLOCK_TABLES
from dagster_project.flow.reads import drawn_reads
from dagster_project.flow.responses import ACCEPTED, reads_by_reader
from dagster_project.flow.result_cache import scan_folder
from dagster_project.interchange.measurement_reports import Visit
from dagster_project.reports.board import letters_of

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse
    from dagster_project.study import Study

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

TABLES_READ = (*BLOCK_TABLES, "arbitrations", "scans")

UNKNOWN = (
    'the lake has no patient of that pseudonym; `lakehouse sql "SELECT patient FROM patients"` '
    "lists them. Nothing is left of a patient who has withdrawn. "
    "数据湖中没有该研究编号；已退出研究的患者数据已全部删除"
)
WITHDRAWN = (
    "the patient has withdrawn from the study, and nothing of the patient may be sent out. "
    "该患者已退出研究，不得导出其任何数据"
)
HELD_OUT = (
    "the patient is held out of all tables until somebody clarifies whether consent was withdrawn; "
    "correct column consent of patients.csv, then run again. "
    "该患者的知情同意状态有矛盾，澄清前不得导出；请更正 patients.csv 的 consent 列后重新运行"
)
NO_VISIT = (
    "the patient has no visit {visit}; there are {known}. 该患者没有访视 {visit}；现有 {known}"
)
NO_SCAN = (
    "no CT of the patient is assigned to a visit; `lakehouse status` shows why. "
    "该患者没有归入访视的CT；原因见 `lakehouse status`"
)


class ExportRefused(ValueError):
    """A patient of whom nothing is exported; the message says why, in both languages."""


@dataclass(frozen=True)
class ExportedVisit:
    """One visit of an export.

    Attributes
    ----------
    scans
        Folders of the vault with the digest of the pixels that the lake measured on: the scan of
        the visit first, then others of it that were outlined.
    outlines
        Rows of `reads` with an outline, by letter; none where no outline may leave.
    lesions, reads
        Rows of `lesions`, and of `reads` of the reader who is accepted; none where results may not
        leave.
    """

    visit: str
    date: dt.date | None
    study_uid: str
    release: Release
    scans: Sequence[tuple[Path, str]]
    outlines: Mapping[str, Rows]
    lesions: Rows
    reads: Rows
    facts: Visit


def find_visits(
    lakehouse: Lakehouse, patient: str, wanted: Sequence[str] = ()
) -> list[ExportedVisit]:
    """The visits of a patient in order of time, or those that are wanted.

    Raises
    ------
    ExportRefused
        Where the patient is not in the lake, has withdrawn or is held out, or has no such visit.
    """
    own = _own_rows(lakehouse, patient)
    times = own["timepoints"].sort("scan_date", "visit", nulls_last=True).to_dicts()
    names = [row["visit"] for row in times]
    for visit in wanted:
        if visit not in names:
            raise ExportRefused(NO_VISIT.format(visit=visit, known=", ".join(names)))
    rules = lakehouse.study.section("reads")
    own |= _without_readers(patient, own)
    releases = release_of_visits(
        own["reads"],
        names,
        case_open=(own["arbitrations"]["status"] == "open").any(),
        blinded_readers=rules["blinded_readers"],
        site_reader=rules["site_reader"],
    )
    derived = _derived(lakehouse.study, own)
    return [
        _visit(lakehouse, own, row, releases[row["visit"]], derived)
        for row in times
        if not wanted or row["visit"] in wanted
    ]


def _own_rows(lakehouse: Lakehouse, patient: str) -> dict[str, pl.DataFrame]:
    site = patient.rpartition("-")[0]
    if site in lakehouse.home.sites() and patient in lakehouse.held_out(site):
        raise ExportRefused(HELD_OUT)
    frames = lakehouse.read("patients", *TABLES_READ)
    known, *own = (frame.filter(patient=patient) for frame in frames)
    if not known.height:
        raise ExportRefused(WITHDRAWN if _has_left(lakehouse, patient) else UNKNOWN)
    found = dict(zip(TABLES_READ, own, strict=True))
    if not found["timepoints"].height:
        raise ExportRefused(NO_SCAN)
    return found


def _without_readers(patient: str, own: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Reads and lesions under names that hint at no reader."""
    reads, lesions = own["reads"], own["lesions"]
    known = [*reads["lesion"], *lesions["lesion"]]
    names = lesion_names(patient, known, sorted({*reads["reader"], *lesions["reader"]}))
    return {
        name: own[name].with_columns(lesion=pl.col("lesion").replace(names))
        for name in ("reads", "lesions")
    }


def _has_left(lakehouse: Lakehouse, patient: str) -> bool:
    """Whether this is the mark of a patient who has withdrawn."""
    from dagster_project.intake.identity.pseudonyms import (
        UnknownPseudonymError,
        crosswalk_file,
        mark_of,
    )

    if not crosswalk_file(lakehouse.home.crosswalk).is_file():
        return False
    try:
        return mark_of(lakehouse.home.crosswalk, patient) == patient
    except UnknownPseudonymError:
        return False


@dataclass(frozen=True)
class _AsOf:
    responses: pl.DataFrame
    blocks: pl.DataFrame


def _derived(study: Study, own: Mapping[str, pl.DataFrame]) -> _AsOf:
    """Accepted responses and blocks by what was known on the day of each visit."""
    reads = {ACCEPTED: own["lesions"], **reads_by_reader(own["reads"])}
    blocks = derive_blocks_as_of(
        reads,
        own["timepoints"],
        own["follow_up"],
        own["treatments"],
        own["clinical_status"],
        study.sections,
        standard_of(study, shipped_classes()),
    )
    responses = derive_responses_as_of(
        reads, own["timepoints"], own["clinical_status"], study.sections
    )
    return _AsOf(responses.filter(evaluator=ACCEPTED), blocks.filter(evaluator=ACCEPTED))


def _visit(
    lakehouse: Lakehouse,
    own: Mapping[str, pl.DataFrame],
    row: Row,
    release: Release,
    derived: _AsOf,
) -> ExportedVisit:
    visit, results = row["visit"], release == "results"
    reads = drawn_reads(own["reads"], lakehouse.study).filter(visit=visit)
    reads = reads.sort("reader", "lesion") if release != "images" else reads.clear()
    lesions = own["lesions"].filter(visit=visit).sort("lesion")
    lesions = lesions if results else lesions.clear()
    names = [row["scan"], *sorted({*reads["scan"], *lesions["scan"]} - {row["scan"]})]
    scans = {r["scan"]: r for r in own["scans"].to_dicts()}
    accepted = reads.join(
        lesions.select("lesion", "reader", "scan"), on=["lesion", "reader", "scan"]
    )
    return ExportedVisit(
        visit,
        row["scan_date"],
        scans[row["scan"]]["study_instance_uid"],
        release,
        [(scan_folder(lakehouse.home.vault, scans[n]), scans[n]["pixel_digest"]) for n in names],
        _by_letter(own, reads, lakehouse.study.section("reads")["site_reader"]),
        lesions.to_dicts(),
        accepted.to_dicts(),
        Visit(
            row["day"],
            _first(derived.responses.filter(visit=visit)) if results else None,
            _block_at(derived.blocks.filter(as_of_visit=visit), visit) if results else None,
            simulated=row["simulated"],
        ),
    )


def _first(rows: pl.DataFrame) -> Row | None:
    return rows.row(0, named=True) if rows.height else None


def _block_at(blocks: pl.DataFrame, visit: str) -> Row | None:
    """The last block, unless an earlier visit has confirmed or reset it."""
    last = _first(blocks.sort("block", descending=True))
    if last and last["outcome"] in {"confirmed", "reset"} and last["resolved_visit"] != visit:
        return None
    return last


def _by_letter(
    own: Mapping[str, pl.DataFrame], reads: pl.DataFrame, site_reader: str
) -> dict[str, list[Row]]:
    """Outlines by the letter that stands for their reader."""
    letters = reader_letters(own, site_reader)
    found = {
        letters[str(reader)]: rows.to_dicts()
        for (reader,), rows in reads.group_by(["reader"], maintain_order=True)
    }
    return dict(sorted(found.items()))


def reader_letters(own: Mapping[str, pl.DataFrame], site_reader: str) -> dict[str, str]:
    """Reader → letter, as on the pages without names.

    In a case the two readers have the letters of its page also where a third one has read.
    """
    letters = letters_of(own, site_reader)
    case = _first(own["arbitrations"])
    if case is None:
        return letters
    two = (case["reader_a"], case["reader_b"])
    masked = mask_readers(case["site"], case["patient"], two)
    others = sorted(set(letters) - {*two, site_reader})
    return {
        **letters,
        **{reader: chr(ord("C") + place) for place, reader in enumerate(others)},
        **{reader: letter for letter, reader in masked.items()},
    }
