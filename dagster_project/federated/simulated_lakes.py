"""Hospitals simulated as tables: a home for each, whose lake passes its own gate.

There is no image: reads, responses and features are drawn (`simulation.tables`), what follows from
them by rule (agreement of readers, the training cohort) is derived by the study's own rules.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.domain.cohort.eligibility import CRITERIA
from dagster_project.domain.cohort.training_cohort import derive_training_cohort
from dagster_project.domain.reading.agreement import derive_pairs, derive_reader_agreement
from dagster_project.flow.dhi import pair_tasks
from dagster_project.flow.result_cache import write_cached
from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import bind_medium
from dagster_project.lake.home import Home
from dagster_project.lake.schema import conform, polars_schema
from dagster_project.lake.tables import BY_NAME
from dagster_project.resources import Lakehouse
from dagster_project.simulation.tables import DAYS, SimulatedTables, Truth, simulate_tables
from dagster_project.study import Study, load_study

READERS = ("R1", "R2")
READER_ERROR = 0.01
"""Relative difference of the second reader's diameters."""

FIRST_CYCLE = dt.date(2026, 1, 5)
AT = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
KEY = ["site", "patient"]

PLAIN: Mapping[Any, Any] = {
    pl.String: "simulated",
    pl.Boolean: False,
    pl.Int32: 0,
    pl.Int64: 0,
    pl.Float64: 0.0,
    pl.Date: FIRST_CYCLE,
    pl.Datetime: AT,
}
"""What stands in a column that is never NULL and that nothing is drawn for."""


def simulate_hospitals(
    folder: Path, codes: Sequence[str], *, patients: int, seed: int
) -> SimulatedTables:
    """A home with a lake and trial keys for each hospital, at `folder/CODE`; the pooled tables.

    Parameters
    ----------
    codes
        Of the hospitals.
    patients
        Of all of them together.
    """
    study = load_study()
    features = study.section("model")["network_features"]
    whole = simulate_tables(Truth(), features, patients=patients, seed=seed, codes=codes)
    for code in codes:
        write_lake(Home(folder / code), whole.of_site(code), study)
    return whole


def write_lake(home: Home, drawn: SimulatedTables, study: Study) -> None:
    """Write a lake of one hospital's tables, and trial keys to which its pseudonyms are bound."""
    home.make()
    keys = unlock(create_throwaway_medium(home.throwaway_medium))
    bind_medium(home.crosswalk, keys.recipient)
    lakehouse = Lakehouse(root=str(home.root))
    tables = lake_tables(drawn, study)
    for name, frame in tables.items():
        lakehouse.lake.replace(name, fill_table(name, frame))
    causes = {name: fill_table(name, tables[name]) for name in CAUSES}
    cohort = derive_training_cohort(**causes, study=study)
    snapshot = lakehouse.lake.snapshot()
    lakehouse.lake.replace("training_cohort", cohort.with_columns(snapshot=pl.lit(snapshot)))
    pairs = {tuple(pair[n] for n in PAIR): pair for pair in drawn.pairs}
    for task in pair_tasks(lakehouse):
        pair = pairs[tuple(task.key[n] for n in PAIR)]
        write_cached(task.kept, {**pair, **task.key})


CAUSES = ("eligibility", "outcomes", "responses", "timepoints")
"""Tables from which the training cohort follows."""

PAIR = ("site", "patient", "lesion", "from_visit", "to_visit")


def fill_table(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The table's columns: the frame's, else NULL, or a plain value where NULL is not allowed."""
    kinds = polars_schema(BY_NAME[name])
    rows = frame.with_columns(simulated=True)
    known = [c for c in rows.columns if c in kinds and rows[c].null_count() < rows.height]
    missing = [
        pl.lit(_plain(c, kinds[c.name]), kinds[c.name]).alias(c.name)
        for c in BY_NAME[name].columns
        if c.name not in known
    ]
    return conform(rows.select(*known, *missing), BY_NAME[name])


def _plain(column: Any, kind: Any) -> Any:
    if column.nullable:
        return None
    if isinstance(kind, pl.List):
        return []
    return (column.allowed or (PLAIN[type(kind) if isinstance(kind, pl.Datetime) else kind],))[0]


def lake_tables(drawn: SimulatedTables, study: Study) -> dict[str, pl.DataFrame]:
    """Rows of the lake's tables by name, but for the training cohort."""
    visits, reads = _visits(drawn), _reads(drawn)
    rules = study.section("agreement")
    agreement = derive_reader_agreement(derive_pairs(reads), pl.DataFrame(), rules)
    return {
        "patients": drawn.patients.with_columns(
            histology=pl.lit("adenocarcinoma"), consent=pl.lit("given"), in_case_report=True
        ),
        "scans": visits,
        "timepoints": visits,
        "reads": reads,
        "reader_agreement": agreement,
        "lesions": _lesions(drawn),
        "eligibility": _eligibility(drawn),
        "responses": _responses(drawn),
        "outcomes": _outcomes(drawn),
        "time_to_event": _times(drawn),
        "radiomic_features": drawn.radiomic_features.with_columns(
            scan=_digest("patient", "visit"), input_fingerprint=_digest("patient", "visit")
        ),
        "delta_features": drawn.delta_features.with_columns(
            input_fingerprint=_digest("patient", "lesion")
        ),
        "dhi": drawn.dhi.with_columns(input_fingerprint=_digest("patient")),
        "feature_stability": _stability(study),
    }


def _digest(*columns: str) -> pl.Expr:
    """64 hexadecimal digits that differ where the columns do."""
    text = pl.concat_str(*columns, separator="/")
    parts = [text.hash(seed).cast(pl.String).str.pad_start(20, "0") for seed in range(4)]
    return pl.concat_str(parts).str.slice(0, 64)


def _day() -> pl.Expr:
    days = dict(zip(("T0", "T1", "T2"), DAYS, strict=True))
    return pl.col("visit").replace_strict(days, return_dtype=pl.Int32)


def _visits(drawn: SimulatedTables) -> pl.DataFrame:
    visits = drawn.lesions.select(*KEY, "visit").unique(maintain_order=True)
    return visits.with_columns(
        scan=_digest("patient", "visit"),
        pixel_digest=_digest("patient", "visit"),
        input_fingerprint=_digest("patient", "visit"),
        series_instance_uid=pl.concat_str(pl.lit("2.25."), pl.struct(*KEY, "visit").hash(1)),
        study_instance_uid=pl.concat_str(pl.lit("2.25."), pl.struct(*KEY, "visit").hash(2)),
        day=_day(),
        scan_date=pl.lit(FIRST_CYCLE) + pl.duration(days=_day()),
        manufacturer=pl.lit("SIMULATED"),
        kernel=pl.concat_str(pl.lit("B"), pl.col("site").hash(1) % 2 + 30),
        slice_thickness_mm=1.0,
        slice_spacing_mm=1.0,
        n_slices=pl.lit(300),
        rows=pl.lit(512),
        columns=pl.lit(512),
        pixel_spacing_row_mm=0.7,
        pixel_spacing_column_mm=0.7,
    )


def _lesions(drawn: SimulatedTables) -> pl.DataFrame:
    return drawn.lesions.with_columns(
        scan=_digest("patient", "visit"),
        mask_digest=pl.when("is_present").then(_digest("patient", "visit", "lesion")),
        acceptance_basis=pl.lit("agreement"),
        n_readers=pl.lit(2),
        organ=pl.lit("lung"),
        is_lymph_node=False,
        too_small_to_measure=False,
    )


def _reads(drawn: SimulatedTables) -> pl.DataFrame:
    """Both readers' lesions; the second measures a little otherwise."""
    lesions = _lesions(drawn).with_columns(
        short_axis_mm=pl.col("longest_diameter_mm") * 0.8,
        locked_at=pl.lit(AT),
        mask_source=pl.lit("SEG"),
        input_fingerprint=pl.col("scan"),
    )
    other = (pl.struct("patient", "visit", "lesion").hash(3) % 2001).cast(pl.Float64) / 1000 - 1
    sizes = ("longest_diameter_mm", "short_axis_mm", "volume_mm3")
    second = lesions.with_columns(pl.col(sizes) * (1 + READER_ERROR * other))
    read = [
        f.with_columns(reader=pl.lit(r)) for r, f in zip(READERS, (lesions, second), strict=True)
    ]
    return fill_table("reads", pl.concat(read))


def _eligibility(drawn: SimulatedTables) -> pl.DataFrame:
    who = drawn.patients.select(KEY)
    met = who.join(pl.DataFrame({"criterion": CRITERIA}), how="cross")
    return met.with_columns(verdict=pl.lit("met"), evidence=pl.lit("simulated"))


def _responses(drawn: SimulatedTables) -> pl.DataFrame:
    """Response of the last visit as drawn; sums of each reader and of the accepted read."""
    responder = drawn.cohort.select(*KEY, "label")
    responded = (pl.col("visit") == "T2") & pl.col("label")
    answer = pl.when(responded).then(pl.lit("PR")).otherwise(pl.lit("SD"))
    accepted = drawn.responses.select(*KEY, "visit", "sum_mm").with_columns(
        evaluator=pl.lit("accepted")
    )
    sums = (
        _reads(drawn)
        .group_by(*KEY, "visit", evaluator="reader")
        .agg(sum_mm=pl.col("longest_diameter_mm").fill_null(0.0).sum())
    )
    every = pl.concat([accepted, sums.select(accepted.columns)]).join(responder, on=KEY)
    return every.with_columns(
        day=_day(),
        scan_date=pl.lit(FIRST_CYCLE) + pl.duration(days=_day()),
        overall_response=answer,
        irecist_response=pl.concat_str(pl.lit("i"), answer),
        rule=pl.lit("simulated"),
        recorded_at=pl.lit(AT),
    )


def _outcomes(drawn: SimulatedTables) -> pl.DataFrame:
    after = pl.col("pfs_days") - DAYS[-1]
    return drawn.outcomes.with_columns(
        pfs_from_t2_days=pl.when(after > 0).then(after),
        pfs_from_t2_event=pl.when(after > 0).then("pfs_event"),
    )


def _times(drawn: SimulatedTables) -> pl.DataFrame:
    rows = drawn.outcomes.select(*KEY, days="pfs_days", event="pfs_event")
    later = rows.with_columns(
        days=pl.col("days") + 90, event=pl.col("event") & (rows["days"] < 300)
    )
    return pl.concat(
        frame.with_columns(
            endpoint=pl.lit(name),
            version=pl.lit("main"),
            origin=pl.lit("first_cycle"),
            reason=pl.lit("simulated"),
        )
        for name, frame in (("pfs", rows), ("os", later))
    )


def _stability(study: Study) -> pl.DataFrame:
    """All features that networks see are stable but the last."""
    from dagster_project.radiomics.regions import region_names

    features = list(study.section("model")["network_features"])
    regions = pl.DataFrame({"region": region_names(study.section("radiomics"))})
    each = regions.join(pl.DataFrame({"feature": features}), how="cross")
    return each.with_columns(stable=pl.col("feature") != features[-1])
