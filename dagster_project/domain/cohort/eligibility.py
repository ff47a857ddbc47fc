"""Who belongs in the study: one verdict per patient and criterion, with its evidence.

The criteria are those of registration ChiCTR2600120951.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.imaging.slice_limits import FAULTS, UNKNOWN, slice_faults
from dagster_project.domain.imaging.timepoints import BASELINE, undated_cycles
from dagster_project.domain.response.findings import Rules, is_measurable
from dagster_project.domain.response.responses import finding_of
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import CONTRADICTORY, ELIGIBILITY
from dagster_project.study import Study

CRITERIA = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "E1", "E2", "E3", "E4", "E5")
"""The criteria in the order of the flow chart.

An exclusion is `met` where the patient passes it.
"""

VISITS = ("T0", "T1", "T2")
"""The visits at which a CT is asked for."""

DrugClass = Callable[[str], str | None]
"""Class of a generic name: pd1, pdl1, chemo, antiangiogenic, tki or other.

None where the name is not in the vocabulary.
"""

Row = Mapping[str, Any]
Patient = tuple[str, str]
Verdict = tuple[str, str]
"""Verdict (met, not_met, unknown) and evidence."""


@dataclass(frozen=True, slots=True)
class _Case:
    """All that the criteria look at of one patient."""

    patient: Row
    drugs: Sequence[Row]
    scans: Mapping[str, Row]
    baseline_lesions: Sequence[Row]
    n_open_reads: int
    last_day: int | None


def derive_eligibility(
    patients: pl.DataFrame,
    treatments: pl.DataFrame,
    timepoints: pl.DataFrame,
    scans: pl.DataFrame,
    lesions: pl.DataFrame,
    reads: pl.DataFrame,
    study: Study,
    *,
    drug_class: DrugClass | None = None,
) -> pl.DataFrame:
    """Judge every patient by every criterion.

    Missing data is `unknown`, never a silent pass; a patient is eligible only where all criteria
    are met.

    Parameters
    ----------
    patients, treatments, timepoints, scans, lesions, reads : pl.DataFrame
        The tables of those names.
    study : Study
        Sections eligibility, timepoints, scans and recist are used.
    drug_class : callable, optional
        Class of a generic drug name; the vocabulary's where it is not given.

    Returns
    -------
    pl.DataFrame
        The table eligibility.
    """
    judge = _judges(study, drug_class or _vocabulary())
    cases = _cases(patients, treatments, timepoints, scans, lesions, reads)
    rows = [
        (
            c.patient["site"],
            c.patient["patient"],
            criterion,
            *judge[criterion](c),
            c.patient["simulated"],
        )
        for c in cases
        for criterion in CRITERIA
    ]
    return pl.DataFrame(rows, schema=polars_schema(ELIGIBILITY), orient="row")


def _vocabulary() -> DrugClass:
    from dagster_project.lake.vocabulary import drug_class

    return drug_class


def _judges(study: Study, drug_class: DrugClass) -> dict[str, Callable[[_Case], Verdict]]:
    rules, recist = study.section("eligibility"), study.section("recist")
    return {
        "I1": lambda c: judge_histology(c.patient["histology"], rules),
        "I2": lambda c: judge_stage(c.patient["stage"], rules),
        "I3": lambda c: judge_treatment(
            c.patient["regimen"], [d["drugs"] for d in c.drugs], drug_class
        ),
        "I4": lambda c: _judge_visits(c, study.section("timepoints")),
        "I5": lambda c: _over_visits(c, lambda scan: judge_slices(scan, study.section("scans"))),
        "I6": lambda c: _judge_target(c, recist),
        "I7": lambda c: _judge_known(c.patient, ("age_years", "sex", "smoking", "ecog")),
        "I8": lambda c: _judge_known(c.patient, ("egfr", "alk", "pd_l1_tps")),
        "I9": lambda c: judge_age(c.patient["age_years"], rules),
        "E1": lambda c: _over_visits(c, judge_artifact),
        "E2": lambda c: _judge_absent(c.patient, "prior_malignancy"),
        "E3": lambda c: _judge_absent(c.patient, "organ_dysfunction"),
        "E4": lambda c: _judge_absent(c.patient, "target_radiotherapy"),
        "E5": lambda c: judge_consent(c.patient["consent"]),
    }


def _cases(
    patients: pl.DataFrame,
    treatments: pl.DataFrame,
    timepoints: pl.DataFrame,
    scans: pl.DataFrame,
    lesions: pl.DataFrame,
    reads: pl.DataFrame,
) -> Iterable[_Case]:
    drugs, chosen, taken = _by_patient(treatments), _by_patient(timepoints), _by_patient(scans)
    baseline, opened = (
        _by_patient(f.filter(pl.col("visit") == BASELINE))
        for f in (lesions, reads.filter(pl.col("locked_at").is_null()))
    )
    for row in patients.iter_rows(named=True):
        key = (row["site"], row["patient"])
        by_name = {s["scan"]: s for s in taken[key]}
        days = [r["day"] for r in (*drugs[key], *taken[key]) if r["day"] is not None]
        yield _Case(
            row,
            drugs[key],
            {t["visit"]: by_name[t["scan"]] for t in chosen[key] if t["scan"] in by_name},
            baseline[key],
            len(opened[key]),
            max(days, default=None),
        )


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def judge_histology(histology: str | None, rules: Rules) -> Verdict:
    """I1: non-small-cell lung cancer proven by histology or cytology."""
    if histology is None:
        return "unknown", "patients.histology is missing"
    return _met(histology in rules["histologies"]), "patients.histology"


def judge_stage(stage: str | None, rules: Rules) -> Verdict:
    """I2: stage III or IV, any sub-stage.

    No column holds resectability and radical radiotherapy: they remain the site's statement.
    """
    if stage is None:
        return "unknown", "patients.stage is missing"
    main = re.match(r"^(IV|I{1,3})", stage)
    return _met(bool(main) and main[0] in rules["stages"]), "patients.stage"  # type: ignore[index]


def judge_treatment(
    regimen: str | None, cycles: Sequence[str | None], drug_class: DrugClass
) -> Verdict:
    """I3: a PD-1 or PD-L1 antibody together with chemotherapy.

    1. the drugs given at the cycles, where any were written down, else the regimen
    2. both classes in one cycle (or the regimen): met
    3. no drug written down, or a name that the vocabulary does not know: unknown
    4. else not_met
    """
    given = [drugs for drugs in cycles if drugs]
    source, texts = (
        ("treatments.drugs", given) if given else ("patients.regimen", [regimen] if regimen else [])
    )
    names = [[name.strip() for name in text.split("+") if name.strip()] for text in texts]
    classes = [{drug_class(name) for name in cycle} for cycle in names]
    if any({"pd1", "pdl1"} & found and "chemo" in found for found in classes):
        return "met", f"{source}: PD-1 or PD-L1 antibody with chemotherapy"
    if not classes or any(None in found for found in classes):
        return (
            "unknown",
            f"{source}: a drug is not in the vocabulary"
            if classes
            else "patients.regimen and treatments.drugs are missing",
        )
    return "not_met", f"{source}: no PD-1 or PD-L1 antibody together with chemotherapy"


def _judge_visits(case: _Case, rules: Rules) -> Verdict:
    """I4: a CT at T0, T1 and T2; a missing one is unknown while its window may still be open."""
    missing = [v for v in VISITS if v not in case.scans]
    if not missing:
        return "met", f"timepoints: {', '.join(VISITS)}"
    if not case.drugs:
        return "unknown", "treatments has no cycle, so that no scan can be T0, T1 or T2"
    if all(d["cycle"] != 1 or d["day"] is None for d in case.drugs):
        return "unknown", "treatments has no date of cycle 1, so that no scan can be T0, T1 or T2"
    closed = [v for v in missing if _is_closed(v, case, rules)]
    if closed:
        return "not_met", f"timepoints: no CT in the window of {', '.join(closed)}"
    return "unknown", f"timepoints: {', '.join(missing)} not there yet"


def _is_closed(visit: str, case: _Case, rules: Rules) -> bool:
    if visit == "T0":
        return True
    days = {d["cycle"]: d["day"] for d in case.drugs}
    cycle = rules["t1_after_cycle"] if visit == "T1" else rules["t2_after_cycle"]
    if days.get(cycle) is None or case.last_day is None or undated_cycles(days, cycle):
        return False
    follows = days.get(cycle + 1)
    end = (
        days[cycle] + rules["days_without_next_cycle"]
        if follows is None
        else follows + rules["days_after_next_cycle"]
    )
    return bool(case.last_day > end)


def _over_visits(case: _Case, judge: Callable[[Row], Verdict]) -> Verdict:
    """One verdict of three scans, the worst of theirs.

    not_met where any fails, else unknown where any is unknown or missing, else met.
    """
    found = {v: judge(case.scans[v]) if v in case.scans else ("unknown", "no CT") for v in VISITS}
    worst = next(
        verdict
        for verdict in ("not_met", "unknown", "met")
        if verdict in {f[0] for f in found.values()}
    )
    shown = [
        f"{v} {case.scans[v]['scan'] + ' ' if v in case.scans else ''}{why}"
        for v, (verdict, why) in found.items()
        if verdict == worst
    ]
    return worst, f"scans: {'; '.join(shown)}"


def judge_slices(scan: Row, rules: Rules) -> Verdict:
    """I5, one scan: slices within the limit, none missing or twice.

    Both the nominal thickness and the measured spacing count.

    1. thickness or spacing above the limit, or a missing or duplicate slice: not_met
    2. thickness or spacing not known: unknown
    3. else met
    """
    found = slice_faults(scan, rules)
    unknown, above = found[UNKNOWN], [name for kind in FAULTS for name in found[kind]]
    if above:
        return "not_met", f"{', '.join(above)} above the limit"
    return (
        ("unknown", f"{', '.join(unknown)} missing")
        if unknown
        else ("met", "slices within the limit")
    )


def judge_artifact(scan: Row) -> Verdict:
    """E1, one scan: no severe motion or metal artifact.

    A reader's flag wins over the automatic ones.

    1. a reader has judged: the reader's word
    2. metal or motion above the limit: not_met
    3. either figure missing: unknown
    4. else met
    """
    flags = {name: scan[name] for name in ("metal_flag", "motion_flag")}
    if scan["reader_artifact_flag"] is not None:
        return _met(not scan["reader_artifact_flag"]), "reader_artifact_flag"
    raised, unknown = (
        [n for n, flag in flags.items() if flag],
        [n for n, flag in flags.items() if flag is None],
    )
    if raised:
        return "not_met", ", ".join(raised)
    return (
        ("unknown", f"{', '.join(unknown)} missing")
        if unknown
        else ("met", "metal_flag and motion_flag are clear")
    )


def _judge_target(case: _Case, recist: Rules) -> Verdict:
    """I6: at least one measurable target at T0."""
    thickness = case.scans[BASELINE]["slice_thickness_mm"] if BASELINE in case.scans else None
    if not case.baseline_lesions:
        waiting = f"; {case.n_open_reads} reads are not locked yet" if case.n_open_reads else ""
        return "unknown", f"lesions: no accepted read at T0{waiting}"
    targets = [
        finding_of(row)
        for row in case.baseline_lesions
        if row["role"] == "target" and row["is_present"]
    ]
    sized = {t.lesion: is_measurable(t, recist, thickness) for t in targets}
    if True in sized.values():
        return "met", f"lesions: {next(lesion for lesion, able in sized.items() if able)} at T0"
    unmeasured = [lesion for lesion, able in sized.items() if able is None]
    return (
        ("unknown", f"lesions: {', '.join(unmeasured)} not measured at T0")
        if unmeasured
        else ("not_met", "lesions: no measurable target at T0")
    )


def _judge_known(patient: Row, columns: Sequence[str]) -> Verdict:
    """I7, I8: every column is filled in."""
    missing = [name for name in columns if patient[name] is None]
    return (
        ("unknown", f"patients: {', '.join(missing)} missing")
        if missing
        else ("met", f"patients: {', '.join(columns)}")
    )


def judge_age(age_years: int | None, rules: Rules) -> Verdict:
    """I9: of age at the first cycle."""
    if age_years is None:
        return "unknown", "patients.age_years is missing"
    return _met(age_years >= rules["minimum_age_years"]), "patients.age_years"


def _judge_absent(patient: Row, column: str) -> Verdict:
    """E2, E3, E4: recorded as absent."""
    value = patient[column]
    return (
        ("unknown", f"patients.{column} is missing")
        if value is None
        else (_met(not value), f"patients.{column}")
    )


def judge_consent(consent: str | None) -> Verdict:
    """E5: consent was given and not withdrawn."""
    if consent == CONTRADICTORY:
        return "unknown", "patients.consent is contradictory"
    return (
        ("unknown", "patients.consent is missing")
        if consent is None
        else (_met(consent == "given"), f"patients.consent: {consent}")
    )


def _met(passes: bool) -> str:
    return "met" if passes else "not_met"


def derive_flow(eligibility: pl.DataFrame) -> pl.DataFrame:
    """Count the flow chart: each patient leaves at the first criterion not met or not known.

    Returns
    -------
    pl.DataFrame
        One row per criterion, in order: criterion, n_first_reason (patients that leave here),
        n_first_unknown (those of them for missing data), n_any_reason (patients that fail it at
        all), remaining.
    """
    verdicts: dict[Patient, dict[str, str]] = defaultdict(dict)
    for row in eligibility.iter_rows(named=True):
        verdicts[row["site"], row["patient"]][row["criterion"]] = row["verdict"]
    first = [
        next((c for c in CRITERIA if found.get(c) != "met"), None) for found in verdicts.values()
    ]
    unknown = [
        f
        for f, found in zip(first, verdicts.values(), strict=True)
        if f and found.get(f) != "not_met"
    ]
    rows, remaining = [], len(verdicts)
    for criterion in CRITERIA:
        remaining -= first.count(criterion)
        failing = sum(found.get(criterion) != "met" for found in verdicts.values())
        rows.append(
            (criterion, first.count(criterion), unknown.count(criterion), failing, remaining)
        )
    return pl.DataFrame(
        rows,
        schema=["criterion", "n_first_reason", "n_first_unknown", "n_any_reason", "remaining"],
        orient="row",
    )
