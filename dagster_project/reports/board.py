"""The board page: one sheet per patient and visit, as of that visit.

It holds nothing dated later, and its only script is the viewer's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.reading.arbitration import mask_readers
from dagster_project.domain.reading.blinded_names import lesion_names
from dagster_project.domain.response.board_decisions import page_code
from dagster_project.domain.response.recist import progression_threshold_mm
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.domain.response.sum_error import ReaderError
from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.tables import BOARD_DECISIONS, LESION_LOCATIONS
from dagster_project.reports import board_words as w
from dagster_project.reports.arbitration import LETTERS, far_from_place
from dagster_project.reports.board_course import Drawing, Plan, draw_course
from dagster_project.reports.board_sentences import sentences_of
from dagster_project.reports.crops import decode_crop, draw_still, side_of
from dagster_project.reports.due_list import CATEGORIES, CONFIRMS
from dagster_project.reports.pages import data_uri, render
from dagster_project.reports.patient_reports import may_show_reads
from dagster_project.reports.risks import risks_of
from dagster_project.reports.summaries.tables import Row, Tables, completed, is_simulated
from dagster_project.reports.viewer import ViewerCrop, viewer_values
from dagster_project.reports.wording import BLOCK_STATUS, STATES, tone
from dagster_project.study import Study, digest_of

TABLES_READ = (
    "patients",
    "treatments",
    "timepoints",
    "reads",
    "lesion_locations",
    "arbitrations",
    "lesions",
    "clinical_status",
    "dynamic_irecist",
    "dynamic_evidence",
    "dynamic_risk",
    "board_decisions",
)
"""Tables that a board page reads; each has a row per patient or more."""

NOT_DECIDED_BY = (BOARD_DECISIONS.name, LESION_LOCATIONS.name)
"""Recorded decisions, and what was proposed to readers: the reads are what a board decides by."""

DECIDED_BY = (*(name for name in TABLES_READ if name not in NOT_DECIDED_BY), "responses")
"""Tables that the code of a page is a digest of."""

DERIVED, DERIVED_DIGITS = ("dynamic_irecist", "dynamic_evidence", "dynamic_risk"), 2
"""Tables of derived figures, and the digits that of these count in the code of a page."""

CODED = {"dynamic_risk": ("visit", "question", "horizon_days", "withheld", "probability", "gate")}
"""Columns that count in the code of a page, where not all do.

Patients and events behind a risk grow with every CT elsewhere.
"""

OF_THE_SITE = "S"
"""Letter of outlines that were found among the site's images."""

TILES = 6
"""Pictures that a sheet has room for."""

TILE_WIDTHS_MM = ((4, 38.0), (5, 34.0), (TILES, 29.0))
"""Width of a picture on paper by the largest number of them."""

REPEATABLE = 1.96
"""Half length of an error bar in standard deviations: 95 % of one reader's sums."""

NOT_SHOWN: w.Both = (
    "No picture while a read is open or the case waits for its arbiter.",
    "阅片未锁定或待仲裁期间不显示图像。",
)

BASELINE_STATE = ("Baseline", "基线", "other")
WAITING_STATE = ("Waiting for arbitration", "待仲裁", "none")
UNREAD_STATE = ("Not evaluated", "未评价", "none")

STATUS: Mapping[str, w.Both] = {
    **BLOCK_STATUS,
    "due": ("CT due", "应复查CT"),
    "overdue": ("CT overdue", "CT已逾期"),
    "undated": ("day unknown", "日期不详"),
}


@dataclass(frozen=True)
class AsOf:
    """What was derived as of each visit beside the tables.

    Attributes
    ----------
    responses
        Rows of responses, each of its visit alone (`derive_responses_as_of`).
    blocks
        Rows of irecist_blocks with `as_of_visit` (`derive_blocks_as_of`).
    planned
        Day of the next planned CT (`plan_next_scans`).
    error
        Error of a sum between readers.
    """

    responses: pl.DataFrame
    blocks: pl.DataFrame
    planned: pl.DataFrame
    error: ReaderError


@dataclass(frozen=True)
class Sheet:
    """One page before it is filled: whose, of which visit, from which rows, with which crops.

    `crops` are digests by visit and lesion; what they are of is read only where a page is written.
    """

    patient: str
    visit: str
    own: Mapping[str, pl.DataFrame]
    blocks: Sequence[Row]
    planned_day: int | None
    error: ReaderError
    crops: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def site(self) -> str:
        """The patient's hospital."""
        return _site(self.own)

    @property
    def day(self) -> int | None:
        """Day of the visit from the first cycle."""
        own = self.own["timepoints"].filter(visit=self.visit)
        return own["day"][0] if own.height else None

    def page_code(self, study: Study) -> str:
        """Code of what a board decides by: the rows and the protocol behind the page.

        1. Pictures, the program and recorded decisions have no part in it, nor the order of rows.
        2. Figures that are derived in units of the readers of all hospitals count with
           `DERIVED_DIGITS`: a read elsewhere moves their last digits, which no page prints.
        """
        rows = {name: _canonical(name, self.own[name]) for name in DECIDED_BY}
        return page_code(
            [
                [self.site, self.patient, self.visit],
                rows,
                sorted(json.dumps(block, sort_keys=True, default=str) for block in self.blocks),
                self.planned_day,
                [_rounded(self.error.value), self.error.source],
                study.digest,
            ]
        )

    def digest(self, study: Study, code: str) -> str:
        """Digest of all that the page shows: rows, pictures, protocol and the program's own."""
        rows = {
            name: frame.drop("recorded_at", strict=False).to_dicts()
            for name, frame in self.own.items()
        }
        return digest_of(
            [
                self.patient,
                self.visit,
                rows,
                self.blocks,
                self.planned_day,
                [self.error.value, self.error.source],
                sorted([*key, value] for key, value in self.crops.items()),
                study.digest,
                code,
            ]
        )


def _canonical(name: str, rows: pl.DataFrame) -> list[str]:
    """The rows of a table as texts in order, the same in whatever order they come."""
    counted = rows.select(CODED[name]) if name in CODED else rows
    found = counted.drop("recorded_at", strict=False).to_dicts()
    if name in DERIVED:
        found = [{column: _rounded(value) for column, value in row.items()} for row in found]
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in found)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DERIVED_DIGITS}g}") if isinstance(value, float) else value


def cut_sheet(patient: str, visit: str, own: Mapping[str, pl.DataFrame], found: AsOf) -> Sheet:
    """The rows of one page: those of the patient, dated no later than the visit.

    Parameters
    ----------
    own
        The tables of `TABLES_READ` with that patient's rows.
    """
    scans = own["timepoints"].filter(visit=visit)
    day = scans["day"][0] if scans.height else None
    date = scans["scan_date"][0] if scans.height else None
    seen = own["timepoints"].filter(pl.col("scan_date") <= date)["visit"].implode()
    kept = {
        name: frame.filter(pl.col("visit").is_in(seen)) if "visit" in frame.columns else frame
        for name, frame in own.items()
    }
    kept["responses"] = found.responses.filter(pl.col("visit").is_in(seen), patient=patient)
    kept["dynamic_irecist"] = kept["dynamic_irecist"].filter(visit=visit)
    kept["dynamic_evidence"] = kept["dynamic_evidence"].filter(visit=visit)
    kept["dynamic_risk"] = kept["dynamic_risk"].filter(visit=visit)
    kept["treatments"] = own["treatments"].filter(pl.col("treatment_date") <= date)
    kept["clinical_status"] = own["clinical_status"].filter(pl.col("status_date") <= date)
    kept["board_decisions"] = own["board_decisions"].filter(visit=visit)
    kept["arbitrations"] = own["arbitrations"].select("site", "patient", "status", "simulated")
    blocks = found.blocks.filter(patient=patient)
    planned = found.planned.filter(patient=patient, visit=visit)["planned_scan_day"].to_list()
    waits = (own["arbitrations"]["status"] == "open").any()
    if waits:
        kept["responses"] = kept["responses"].clear()
    return Sheet(
        patient,
        visit,
        kept,
        []
        if waits
        else blocks.filter(pl.col("as_of_visit").is_in(seen))
        .sort("as_of_visit", "block")
        .to_dicts(),
        planned[0] if planned and day is not None else None,
        found.error,
    )


def list_sheets(tables: Tables) -> list[tuple[str, str]]:
    """Patient and visit of every page: each dated visit of a patient whom the lake has read."""
    read = tables["lesions"].select("patient").unique()
    dated = tables["timepoints"].drop_nulls("scan_date").join(read, on="patient", how="semi")
    return list(dated.sort("site", "patient", "scan_date").select("patient", "visit").iter_rows())


def page_codes(
    tables: Tables, found: AsOf, study: Study, cases: Collection[tuple[str, str]]
) -> frozenset[str]:
    """Codes of the pages of these patients and visits as the tables are now.

    A case that waits for its arbiter has no page.
    """
    filled = completed(tables)
    codes = set()
    for patient, visit in list_sheets(filled):
        if (patient, visit) in cases:
            own = {name: filled[name].filter(patient=patient) for name in TABLES_READ}
            codes.add(cut_sheet(patient, visit, own, found).page_code(study))
    return frozenset(codes)


def letters_of(own: Tables, site_reader: str) -> dict[str, str]:
    """Reader → letter by which pages without names call that reader.

    The two readers of a patient have the letters under which an arbiter would see them; outlines
    found among the site's images have one of their own.
    """
    readers = sorted(set(own["reads"]["reader"]) - {site_reader})
    found = {reader: chr(ord("A") + place) for place, reader in enumerate(readers)}
    if len(readers) == len(LETTERS):
        row = own["reads"].row(0, named=True)
        masked = mask_readers(row["site"], row["patient"], readers)
        found = {reader: letter for letter, reader in masked.items()}
    return {**found, site_reader: OF_THE_SITE}


def render_board(
    sheet: Sheet,
    study: Study,
    *,
    digest: str,
    snapshot: int,
    generated_at: datetime,
    crops: Mapping[tuple[str, str], bytes] | None = None,
) -> str:
    """One page of a patient and visit, whole in English and whole in Chinese.

    Parameters
    ----------
    digest
        `Sheet.digest`, which the page bears.
    crops
        By visit and lesion, as `encode_crop` wrote them: for the viewer and the still pictures.
    """
    own, site_reader = sheet.own, study.section("reads")["site_reader"]
    shown = may_show_reads(own, site_reader)
    letters = letters_of(own, site_reader)
    now = _block_at(sheet, sheet.visit)
    visits = _visits(sheet)
    this = visits[-1]
    pictures = _pictures(sheet, visits, crops or {}) if shown else []
    return render(
        "board.html",
        sheet=sheet,
        study=study,
        digest=digest,
        snapshot=snapshot,
        generated_at=generated_at,
        site=_site(own),
        simulated=is_simulated(dict(own)),
        facts=w.facts_of(_first(own["patients"]) or {}, Minimisation.of(study)),
        regimen=w.regimen_words((_first(own["patients"]) or {}).get("regimen")),
        given=own["treatments"].height,
        code=(code := sheet.page_code(study)),
        decided=_decided(sheet, code),
        status=w.status_words(_latest_status(own["clinical_status"])),
        state=_state(sheet, this),
        response=this["response"],
        day=this["day"],
        due=_due(sheet, now, study),
        course=_course(sheet, visits, now, letters if shown else {}, study),
        error=(100 * REPEATABLE * sheet.error.value, w.words(w.SOURCES, sheet.error.source)),
        sentences=_sentences(sheet, visits, now, study),
        evidence=_evidence(sheet, letters if shown else {}),
        comparison=_comparison(sheet),
        risk=risks_of(_risks(own), may_show=shown),
        pictures=pictures,
        letters=sorted({letter for row in pictures for letter in row["letters"]}),
        tile_mm=_tile_mm(pictures),
        lesions=_sizes(sheet, visits),
        far=_far(own, letters) if shown else [],
        seen=[v["visit"] for v in visits],
        accepted=_accepted_letter(own, letters) if shown else None,
        reads_shown=shown,
        not_shown=NOT_SHOWN,
        **viewer_values(
            [ViewerCrop(v, lesion, crop) for (v, lesion), crop in (crops or {}).items()]
            if shown
            else []
        ),
    )


def _first(frame: pl.DataFrame) -> Row | None:
    return frame.row(0, named=True) if frame.height else None


def _site(own: Tables) -> str:
    return str(own["timepoints"]["site"][0]) if own["timepoints"].height else ""


def _latest_status(states: pl.DataFrame) -> Row | None:
    return states.sort("status_date").row(-1, named=True) if states.height else None


def _decided(sheet: Sheet, code: str) -> dict[str, Any] | None:
    """The decision that was recorded on this visit, in words; None where there is none.

    `as_it_was` says whether the board looked at what this page shows.
    """
    rows = sheet.own["board_decisions"].sort("number").to_dicts()
    if not rows:
        return None
    if rows[0]["status"] == "contradictory":
        return {"contradictory": True}
    row = rows[0]
    return {
        **row,
        "contradictory": False,
        "decision": w.value_of("decision", row["decision"]),
        "decided_by": w.value_of("decided_by", row["decided_by"]),
        "as_it_was": row["page_code"] == code,
    }


def _visits(sheet: Sheet) -> list[Row]:
    """Visits up to this one in order, each with its accepted response and sum."""
    accepted = {r["visit"]: r for r in sheet.own["responses"].filter(evaluator=ACCEPTED).to_dicts()}
    baseline = _baseline_sum(sheet, accepted)
    found = []
    for row in sheet.own["timepoints"].sort("scan_date", "visit").to_dicts():
        response = accepted.get(row["visit"])
        first = row["visit"] == BASELINE
        later = response["sum_mm"] if response else None
        size = baseline if first else later
        found.append(
            {
                "visit": row["visit"],
                "day": row["day"],
                "sum_mm": size,
                "response": None if first else response,
                "state": None if first or not response else response["irecist_response"],
                "tone": "base"
                if first
                else tone(response["irecist_response"] if response else None),
            }
        )
    return found


def _baseline_sum(sheet: Sheet, accepted: Mapping[str, Row]) -> float | None:
    """Sum at T0: that of the responses, else, at T0 itself, of the accepted targets."""
    known = [r["baseline_sum_mm"] for r in accepted.values() if r["baseline_sum_mm"] is not None]
    if known:
        return float(known[0])
    sizes = [
        r["short_axis_mm"] if r["is_lymph_node"] else r["longest_diameter_mm"]
        for r in sheet.own["lesions"].filter(visit=BASELINE, role="target").to_dicts()
    ]
    waits = (sheet.own["arbitrations"]["status"] == "open").any()
    return float(sum(sizes)) if sizes and None not in sizes and not waits else None


def _block_at(sheet: Sheet, visit: str, evaluator: str = ACCEPTED) -> Row | None:
    """The last block as of a visit; None where none had begun."""
    found = [b for b in sheet.blocks if (b["as_of_visit"], b["evaluator"]) == (visit, evaluator)]
    return found[-1] if found else None


def _state(sheet: Sheet, this: Row) -> dict[str, Any]:
    """Name and tone of the state, and the status of the block where one is open."""
    row = _first(sheet.own["dynamic_irecist"])
    if row is None:
        waits = (sheet.own["arbitrations"]["status"] == "open").any()
        name = WAITING_STATE if waits else UNREAD_STATE
        return {
            "name": BASELINE_STATE if this["visit"] == BASELINE and not waits else name,
            "block": None,
        }
    block = w.words(STATUS, row["block_status"]) if row["state"] == "open" else None
    return {"name": STATES[row["state"]], "block": block}


def _due(sheet: Sheet, block: Row | None, study: Study) -> dict[str, Any]:
    """What is due after this visit: advice, window, planned CT, and what confirms or resets."""
    row = _first(sheet.own["dynamic_irecist"])
    opened = block if block and block["outcome"] == "open" else None
    rules = study.section("irecist")
    return {
        "advice": w.words(w.ADVICE, row["advice"]) if row else w.ADVICE["as_scheduled"],
        "planned_day": sheet.planned_day,
        "block": opened,
        "inside": opened and opened["planned_inside"],
        "began": opened and w.joined(CATEGORIES[c] for c in opened["categories"]),
        "also": opened and w.joined(CONFIRMS[c] for c in opened["confirms_also"]),
        "reason": opened and opened["reason"] and w.translated(opened["reason"]),
        "window": rules,
        "readers": _readers_differ(sheet, opened),
    }


def _readers_differ(sheet: Sheet, opened: Row | None) -> bool:
    """Whether the readers differ on the block: of the accepted read, or of one reader alone."""
    here = [b for b in sheet.blocks if b["as_of_visit"] == sheet.visit]
    if opened is not None:
        return opened["readers_agree"] is False
    return any(b["readers_agree"] is False and b["outcome"] == "open" for b in here)


def _plan(sheet: Sheet, block: Row | None) -> Plan:
    if block is None or block["outcome"] != "open":
        return Plan(sheet.planned_day)
    window = (block["confirm_from_day"], block["confirm_to_day"])
    return Plan(
        sheet.planned_day,
        None if None in window else window,
        block["confirm_if_sum_mm"],
        block["reset_below_mm"],
    )


def _course(
    sheet: Sheet, visits: Sequence[Row], block: Row | None, letters: Mapping[str, str], study: Study
) -> Drawing | None:
    recist, last = study.section("recist"), visits[-1]["response"]
    baseline = next((v["sum_mm"] for v in visits if v["visit"] == BASELINE), None)
    nadir = last["nadir_mm"] if last else baseline
    taken = {r["visit"]: r["reader"] for r in sheet.own["lesions"].to_dicts()}
    others: dict[str, list[tuple[str, float]]] = {}
    for row in sheet.own["responses"].filter(pl.col("evaluator") != ACCEPTED).to_dicts():
        is_other = row["evaluator"] in letters and row["evaluator"] != taken.get(row["visit"])
        if is_other and row["sum_mm"] is not None:
            others.setdefault(row["visit"], []).append((letters[row["evaluator"]], row["sum_mm"]))
    return draw_course(
        visits,
        others,
        _plan(sheet, block),
        sheet.own["treatments"].drop_nulls("day")["day"].to_list(),
        REPEATABLE * sheet.error.value,
        None if baseline is None else recist["response_ratio"] * baseline,
        None if nadir is None else progression_threshold_mm(nadir, recist),
    )


def _sentences(sheet: Sheet, visits: Sequence[Row], now: Row | None, study: Study) -> list[w.Both]:
    response = visits[-1]["response"]
    if response is None:
        return []
    before = _block_at(sheet, visits[-2]["visit"]) if len(visits) > 1 else None
    was_open = before if before and before["outcome"] == "open" else None
    return sentences_of(response, was_open, now, study.section("recist"))


def _items(sheet: Sheet) -> dict[str, Row]:
    return {row["item"]: row for row in sheet.own["dynamic_evidence"].to_dicts()}


def _evidence(sheet: Sheet, letters: Mapping[str, str]) -> list[dict[str, Any]]:
    items = _items(sheet)
    if not letters:
        items.pop("readers_agree", None)
    return w.evidence_rows(items, letters)


def _comparison(sheet: Sheet) -> dict[str, Any] | None:
    """The class of the open block: its counts with bounds, or the reason why there is none."""
    row = _items(sheet).get("comparison_class")
    if row is None:
        return None
    return {
        **row,
        "label": w.translated(row["text"]),
        "source": ("this study", "本研究")
        if row["class_source"] == "study"
        else w.translated(row["class_source"]),
        "why": w.translated(row["reason"]) if row["reason"] else None,
        "open": None
        if row["class_n"] is None
        else row["class_n"] - row["class_confirmed"] - row["class_reset"],
    }


def _risks(own: Tables) -> list[Row]:
    return own["dynamic_risk"].sort("question", "horizon_days").to_dicts()


def _far(own: Tables, letters: Mapping[str, str]) -> list[Row]:
    """Outlines far from their place; no lesion's name says which reader a letter is."""
    rows = far_from_place(own["lesion_locations"], letters)
    lesions = {*own["reads"]["lesion"], *own["lesion_locations"]["lesion"]}
    return [
        {**row, "lesion": lesion_names(row["patient"], lesions, sorted(letters))[row["lesion"]]}
        for row in rows
    ]


def _accepted_letter(own: Tables, letters: Mapping[str, str]) -> str | None:
    readers = {r for r in own["lesions"]["reader"].to_list() if r in letters}
    return letters[next(iter(readers))] if len(readers) == 1 else None


# -- lesions ---------------------------------------------------------------------------------------


def _size(row: Row) -> float | None:
    if not row["is_present"]:
        return None if row["is_lymph_node"] else 0.0
    return row["short_axis_mm"] if row["is_lymph_node"] else row["longest_diameter_mm"]


def _sizes(sheet: Sheet, visits: Sequence[Row]) -> list[dict[str, Any]]:
    """Each lesion with its size at each visit, targets first, then new ones, then the rest."""
    waits = (sheet.own["arbitrations"]["status"] == "open").any()
    rows = [] if waits else sheet.own["lesions"].to_dicts()
    by_lesion: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_lesion.setdefault(row["lesion"], {})[row["visit"]] = row
    found = []
    for lesion, seen in by_lesion.items():
        first = next(iter(seen.values()))
        found.append(
            {
                "lesion": lesion,
                "role": first["role"],
                "role_words": w.words(w.ROLES, first["role"]),
                "organ": w.value_of("organ", first["organ"]),
                "node": first["is_lymph_node"],
                "sizes": [_size(seen[v["visit"]]) if v["visit"] in seen else None for v in visits],
                "gone": [v["visit"] in seen and not seen[v["visit"]]["is_present"] for v in visits],
            }
        )
    order = {"target": 0, "new": 1, "non_target": 2}
    return sorted(found, key=lambda row: (order.get(row["role"], 3), row["lesion"]))


def _pictures(
    sheet: Sheet, visits: Sequence[Row], contents: Mapping[tuple[str, str], bytes]
) -> list[dict[str, Any]]:
    """The lesions that the sheet has room for, each at T0, at the visit before and at this one.

    All pictures of a lesion have one scale and one window.
    """
    names = [v["visit"] for v in visits]
    shown = list(dict.fromkeys([names[0], *names[-2:]]))
    found = []
    outlined = {lesion for visit, lesion in contents if visit in shown}
    listed = [row for row in _sizes(sheet, visits) if row["lesion"] in outlined]
    for lesion in listed[: max(1, TILES // len(shown))]:
        keys = [(v, lesion["lesion"]) for v in shown if (v, lesion["lesion"]) in contents]
        crops = {visit: decode_crop(contents[visit, name]) for visit, name in keys}
        side = side_of(list(crops.values()))
        window = "lung" if lesion["organ"][0] == "lung" else "soft"
        tiles = []
        for visit in shown:
            place = names.index(visit)
            crop = crops.get(visit)
            still = draw_still(crop, side, window) if crop else None
            tiles.append(
                {
                    "visit": visit,
                    "size": lesion["sizes"][place],
                    "gone": lesion["gone"][place],
                    "still": still,
                    "uri": data_uri(still.png) if still else None,
                }
            )
        letters = {letter for crop in crops.values() for letter in crop.outlines}
        found.append({**lesion, "tiles": tiles, "window": window, "side": side, "letters": letters})
    return found


def _tile_mm(pictures: Sequence[dict[str, Any]]) -> float:
    """Width of a picture on paper: few are larger."""
    tiles = sum(len(row["tiles"]) for row in pictures)
    return next(width for most, width in TILE_WIDTHS_MM if tiles <= most)
