"""A course for the board page: the domain's own rows, and a CT with lesions of two readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import SimpleITK as sitk

from dagster_project.domain.evaluation.dynamic_evaluation import courses_of
from dagster_project.domain.evaluation.dynamic_risk import Sources, derive_dynamic_risk
from dagster_project.domain.response.as_of_visits import (
    derive_blocks_as_of,
    derive_responses_as_of,
    plan_next_scans,
)
from dagster_project.domain.response.block_rows import derive_irecist_blocks
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic import derive_dynamic_irecist
from dagster_project.domain.response.dynamic_evidence import derive_dynamic_evidence
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.iupd_cohort import derive_iupd_cohort
from dagster_project.domain.response.responses import derive_responses
from dagster_project.domain.response.sum_error import find_reader_error
from dagster_project.lake.clock import CLOCK_SCHEMA
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BY_NAME
from dagster_project.reports.board import AsOf
from dagster_project.reports.crops import cut_crop, encode_crop
from tests.domain.courses import STUDY
from tests.domain.records import DAY_ZERO, cycles, follow_up, lesions, table, timepoints

MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
PATIENT = "BJCH-A"
SPACING = (0.7, 0.7, 1.0)
READERS = ("R1", "R2")


def case(
    sizes, other=None, visits=("T0", "T1", "T2"), events=(), states=(), days=None, locked=True
):
    """Tables of a patient whose accepted read is R1's, and what is as of each visit."""
    scans = timepoints(*visits, **({"days": days} if days else {}))
    accepted = lesions(**sizes).with_columns(reader=pl.lit("R1"), n_readers=pl.lit(2, pl.Int32))
    by_reader = {"R1": accepted, "R2": lesions(**(other or sizes))}
    given, known = cycles(0, 21, 42, 63, 84), follow_up(*events)
    status = table("clinical_status", *states)
    evaluators = {"accepted": accepted, **by_reader}
    graded = pl.concat(
        derive_responses(
            rows,
            scans,
            evaluator=name,
            recist=STUDY.section("recist"),
            irecist=STUDY.section("irecist"),
            clinical_status=status,
        )
        for name, rows in evaluators.items()
    ).with_columns(recorded_at=pl.lit(MOMENT, pl.Datetime("us", "UTC")))
    standard = standard_of(STUDY, shipped_classes())
    clock = pl.DataFrame(
        [("BJCH", PATIENT, DAY_ZERO + timedelta(400))], schema=CLOCK_SCHEMA, orient="row"
    )
    blocks = derive_blocks_as_of(evaluators, scans, known, given, status, STUDY.sections, standard)
    today = derive_irecist_blocks(
        evaluators, scans, known, given, status, clock, STUDY.sections, standard
    )
    dhi = empty(BY_NAME["dhi"])
    tables = {
        "patients": table(
            "patients",
            {
                "sex": "F",
                "age_years": 61,
                "histology": "adenocarcinoma",
                "stage": "IVA",
                "pd_l1_tps": 40.0,
                "egfr": "wild_type",
                "alk": "negative",
                "line": 1,
                "regimen": "pembrolizumab+pemetrexed+carboplatin",
            },
        ),
        "treatments": given,
        "timepoints": scans,
        "reads": _reads(by_reader, locked=locked),
        "lesion_locations": table("lesion_locations"),
        "lesions": accepted,
        "responses": graded,
        "clinical_status": status,
        "board_decisions": table("board_decisions"),
        "irecist_blocks": today,
        "dynamic_evidence": derive_dynamic_evidence(
            graded, today, accepted, scans, dhi, STUDY.sections, standard
        ),
        "dynamic_irecist": derive_dynamic_irecist(graded, today, dhi, STUDY.sections, standard),
    }
    tables["dynamic_risk"] = _risks(
        tables, scans, blocks, plan_next_scans(scans, given, STUDY.sections)
    )
    found = AsOf(
        derive_responses_as_of(evaluators, scans, status, STUDY.sections),
        blocks,
        plan_next_scans(scans, given, STUDY.sections),
        find_reader_error(graded, STUDY.section("dynamic")),
    )
    return tables, found


def _risks(tables, scans, known, planned):
    """Of the patient alone: no model, and the shipped class of an open block."""
    standard = standard_of(STUDY, shipped_classes())
    names = ("predictions", "model_runs", "training_cohort", "outcomes", "time_to_event")
    none = {name: empty(BY_NAME[name]) for name in names}
    labels = derive_iupd_cohort(
        tables["responses"],
        tables["irecist_blocks"],
        find_reader_error(tables["responses"], STUDY.section("dynamic")),
        STUDY.sections,
        standard,
    )
    courses = courses_of(
        tables["responses"],
        tables["irecist_blocks"],
        known,
        scans,
        planned,
        none["time_to_event"],
        empty(BY_NAME["dynamic_irecist"]),
        empty(BY_NAME["dynamic_risk"]),
    )
    sources = Sources(
        none["predictions"],
        none["model_runs"],
        none["training_cohort"],
        none["outcomes"],
        scans,
        labels,
    )
    return derive_dynamic_risk(courses, (), sources, STUDY.sections, standard, gate="open")


def _reads(by_reader, *, locked):
    rows = [
        {**{k: v for k, v in row.items() if k in BY_NAME["reads"].names}, "reader": reader}
        | {"locked_at": MOMENT if locked or reader == "R1" else None, "mask_digest": "m"}
        for reader, frame in by_reader.items()
        for row in frame.to_dicts()
    ]
    return table("reads", *rows)


def ball(size_mm, shape=(64, 150, 150), *, direction=None, seed=3, spacing=SPACING):
    """A CT with a ball of soft tissue in lung, and its mask (z, y, x)."""
    dx, dy, dz = spacing
    z, y, x = np.indices(shape)
    middle = [n / 2 - 0.5 for n in shape]
    mask = (
        ((z - middle[0]) * dz) ** 2 + ((y - middle[1]) * dy) ** 2 + ((x - middle[2]) * dx) ** 2
    ) <= (size_mm / 2) ** 2
    noise = np.random.default_rng(seed).normal(0, 25, shape)
    image = sitk.GetImageFromArray((np.where(mask, 40, -850) + noise).astype(np.int16))
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(direction)
    return image, mask


@cache
def crop_of(size_mm, seed=3):
    """A crop of a ball with two readers' outlines; the second one's is a little larger."""
    image, mask = ball(size_mm, seed=seed)
    _, larger = ball(size_mm * 1.1, seed=seed)
    middle, row = mask.shape[0] // 2, mask.shape[1] // 2
    columns = np.flatnonzero(mask[middle, row])
    ends = np.array([[columns[0], row, middle], [columns[-1], row, middle]], float)
    return encode_crop(cut_crop(image, {"A": mask, "B": larger}, mask, ends))
