"""A small invented cohort with every table that the pages read.

It has three sites, one of them real on paper, two simulated.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from types import MappingProxyType

import numpy as np
import polars as pl

from dagster_project.domain.evaluation.risk_reasons import NO_POPULATION
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.tables import BY_NAME
from dagster_project.study import load_study

SITES = {"NORTH": (22, True), "SOUTH": (16, True), "EAST": (7, False)}
CRITERIA = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "E1", "E2", "E3", "E4", "E5")
MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
DAY_ZERO = date(2025, 6, 1)
VISIT_DAYS = {"T0": -7, "T1": 55, "T2": 98}
READERS = ("READER_A", "READER_B")
TYPICAL = {
    "input_fingerprint": "f" * 16,
    "series_instance_uid": "2.25.1",
    "study_instance_uid": "2.25.2",
    "pixel_digest": "d" * 16,
    "n_missing_slices": 0,
    "n_duplicate_slices": 0,
    "n_repeated_slices": 0,
    "rows": 512,
    "columns": 512,
    "pixel_spacing_row_mm": 0.7,
    "pixel_spacing_column_mm": 0.7,
    "selection_reason": "rule T, thinnest series",
    "alternative_scans": [],
    "changed_since_t0": [],
    "mask_source": "RTSTRUCT",
    "n_outside": 0,
    "recorded_at": MOMENT,
    "rule": "overall: target response and no new lesion",
    "evidence": "scans.slice_thickness_mm",
    "snapshot": 41,
    "protocol_digest": "0" * 16,
    "cohort_digest": "c" * 16,
    "trained_at": MOMENT,
    "evaluated_at": MOMENT,
    "label_definition": "CR or PR after T1",
    "model_version": "1",
    "mlflow_run_id": "r1",
    "calibrated": True,
    "standard_version": "1",
    "standard_digest": "5" * 16,
}


def table(name, rows):
    """Rows as the table's frame: a column that a row leaves out is typical, else NULL."""
    if not rows:
        return empty(BY_NAME[name])
    columns = BY_NAME[name].columns
    return conform(
        pl.DataFrame(
            [{c.name: r.get(c.name, TYPICAL.get(c.name)) for c in columns} for r in rows],
            infer_schema_length=None,
        ),
        BY_NAME[name],
    )


@cache
def whole():
    """Every table of the cohort."""
    made = _Cohort(np.random.default_rng(7)).rows
    return MappingProxyType({name: table(name, made.get(name, [])) for name in BY_NAME})


def without(*names):
    """The cohort with some tables gone."""
    return {name: frame for name, frame in whole().items() if name not in names}


def bare():
    """Every table there, none with a row."""
    return {name: empty(t) for name, t in BY_NAME.items()}


class _Cohort:
    def __init__(self, random):
        self.random, self.rows = random, {name: [] for name in BY_NAME}
        for site, (n, simulated) in SITES.items():
            for number in range(n):
                self.add_patient(site, simulated, number)
        self.add_agreement()
        self.add_verdicts()
        self.add_models()

    def add(self, name, **row):
        self.rows[name].append(row)

    def add_patient(self, site, simulated, number):
        who = {"site": site, "patient": f"{site}-{self.code()}", "simulated": simulated}
        responds = bool(self.random.random() < 0.5)
        failed = {2: "I4", 5: "I5", 9: "E1", 13: "I8"}.get(number)
        visits = [v for v in VISIT_DAYS if not (v == "T2" and failed == "I4")]
        self.add_case_report(who)
        for criterion in CRITERIA:
            verdict = "met" if criterion != failed else ("unknown" if failed == "I8" else "not_met")
            self.add("eligibility", **who, criterion=criterion, verdict=verdict)
        sums = self.add_visits(who, visits, responds, thick=failed == "I5")
        self.add_response(who, visits, sums, responds, number, failed)
        self.add(
            "quarantine",
            **who,
            stage="reads",
            item=f"scan {number}",
            reason="contour refers to a series that is not here: "
            "send the series or the right contour",
        )

    def code(self):
        return (
            "".join(self.random.choice(list("ABCDEFGHJKMNPQRSTVWXYZ234567"), 16))
            + "-"
            + str(self.random.choice(list("ABCDEFGH")))
        )

    def add_case_report(self, who):
        draw = self.random.choice
        self.add(
            "patients",
            **who,
            sex=str(draw(["F", "M"])),
            age_years=int(draw(range(45, 82))),
            smoking=str(draw(["never", "former", "current"])),
            ecog=int(draw([0, 1])),
            stage=str(draw(["IIIB", "IVA", "IVB"])),
            histology="adenocarcinoma",
            egfr="wild_type",
            alk="negative",
            pd_l1_tps=float(draw([0, 5, 40, 80])),
            regimen="pembrolizumab+pemetrexed+carboplatin",
            consent="given",
            in_case_report=True,
            line=1,
        )
        for cycle in range(1, 7):
            self.add(
                "treatments",
                **who,
                cycle=cycle,
                treatment_date=DAY_ZERO + timedelta(21 * (cycle - 1)),
                day=21 * (cycle - 1),
                drugs="pembrolizumab+pemetrexed",
            )
        self.add(
            "follow_up",
            **who,
            number=1,
            event_date=DAY_ZERO + timedelta(300),
            day=300,
            event="alive",
        )

    def add_visits(self, who, visits, responds, *, thick):
        base, sums = float(self.random.uniform(20, 70)), {}
        rate = self.random.uniform(0.4, 0.85) if responds else self.random.uniform(0.9, 1.3)
        for step, visit in enumerate(visits):
            scan = f"S{who['patient'][-10:]}{visit}"
            at = {"scan_date": DAY_ZERO + timedelta(VISIT_DAYS[visit]), "day": VISIT_DAYS[visit]}
            self.add(
                "scans",
                **who,
                **at,
                scan=scan,
                n_slices=320,
                slice_thickness_mm=1.25 if thick else 1.0,
                slice_spacing_mm=1.0,
                metal_flag=False,
                motion_flag=visit == "T1" and base > 65,
                truncated_flag=False,
                rescale_flag=False,
                noise_flag=None,
                chest_flag=True,
                kernel="Br40",
                manufacturer="SIEMENS",
            )
            self.add("timepoints", **who, **at, visit=visit, scan=scan)
            sums[visit] = sum(
                self.add_lesion(who, visit, scan, lesion, base * share * rate**step)
                for lesion, share in (("L1", 0.7), ("L2", 0.3))
            )
        return sums

    def add_lesion(self, who, visit, scan, lesion, diameter):
        facts = {
            "role": "target",
            "organ": "lung",
            "is_lymph_node": False,
            "is_present": True,
            "too_small_to_measure": False,
            "measurement_source": "mask",
            "border_rule": "even_odd_pixel_centres",
        }
        sizes = [round(diameter + noise, 1) for noise in (0.0, float(self.random.normal(0, 1.2)))]
        for reader, size in zip(READERS, sizes, strict=True):
            self.add(
                "reads",
                **who,
                **facts,
                visit=visit,
                scan=scan,
                lesion=lesion,
                reader=reader,
                longest_diameter_mm=size,
                short_axis_mm=size * 0.7,
                volume_mm3=size**3 / 3,
                voxel_count=900,
                mean_hu=31.0,
                locked_at=MOMENT,
            )
        self.add(
            "lesions",
            **who,
            **{k: v for k, v in facts.items() if k not in {"measurement_source", "border_rule"}},
            visit=visit,
            scan=scan,
            lesion=lesion,
            reader=READERS[0],
            acceptance_basis="agreement",
            n_readers=2,
            longest_diameter_mm=sizes[0],
            short_axis_mm=sizes[0] * 0.7,
            volume_mm3=sizes[0] ** 3 / 3,
            voxel_count=900,
        )
        self.add(
            "reader_agreement",
            **who,
            scope="lesion",
            visit=visit,
            lesion=lesion,
            measurement="mask",
            n=1,
            n_resolved=1,
            dice_median=0.86,
            dice_minimum=0.86,
        )
        return sizes[0]

    def add_response(self, who, visits, sums, responds, number, failed):
        base, states = sums["T0"], []
        for visit in visits[1:]:
            change = 100 * (sums[visit] / base - 1)
            overall = "PR" if change <= -30 else "PD" if change >= 20 else "SD"
            states.append(overall)
            self.add_state(who, visit, sums, overall, change)
        best = next((s for s in ("PR", "SD", "PD") if s in states), "NE")
        event = bool(self.random.random() < (0.5 if responds else 0.85))
        days = int(self.random.integers(110, 520 if responds else 300))
        self.add(
            "outcomes",
            **who,
            bor=best,
            bor_confirmed="PR" if states == ["PR", "PR"] else "SD",
            ibor=f"i{best}" if best != "PD" else "iUPD",
            responder=best == "PR",
            best_change_percent=min(100 * (sums[v] / base - 1) for v in visits[1:]),
            pfs_days=days,
            pfs_event=event,
            pfs_reason="PD at a scheduled visit" if event else "no PD, alive",
            pfs_from_t2_days=days - 98 if "T2" in visits and states[-1] != "PD" else None,
            pfs_from_t2_event=event if "T2" in visits and states[-1] != "PD" else None,
            pseudoprogression=number == 4,
            pseudoprogression_d1_nadir=number == 4,
            pseudoprogression_d2=number in {4, 6},
            pseudoprogression_d2_nadir=number == 4,
        )
        self.add_dhi(who, visits, responds)
        if "T2" in visits:
            label = states[-1] == "PR"
            self.add(
                "training_cohort",
                **who,
                task="T1",
                included=failed is None,
                exclusion=None if failed is None else "ineligible",
                label=label,
            )
            for model, pull in (
                ("clinical", 0.05),
                ("size_change", 0.16),
                ("delta_radiomics", 0.22),
            ):
                p = float(
                    np.clip(
                        0.5 + (pull if label else -pull) + self.random.normal(0, 0.2), 0.01, 0.99
                    )
                )
                self.add(
                    "predictions",
                    **who,
                    task="T1",
                    model=model,
                    probability=p,
                    predicted_positive=p > 0.5,
                    observed_response=label,
                    fold=number % 5,
                    gate="open",
                )
        if number % 7 == 3:
            settled = number != 3
            self.add(
                "arbitrations",
                **who,
                status="settled" if settled else "open",
                triggers=["sum_difference T1", "dice T2 L1"],
                n_lesion_visits=6,
                reader_a=READERS[0],
                reader_b=READERS[1],
                accepted_reader=READERS[1] if settled else None,
                arbiter="ARBITER" if settled else None,
                decided_at=MOMENT if settled else None,
            )

    def add_state(self, who, visit, sums, overall, change):
        irecist = "iUPD" if overall == "PD" else f"i{overall}"
        shared = {
            **who,
            "visit": visit,
            "day": VISIT_DAYS[visit],
            "overall_response": overall,
            "overall_response_as_of_visit": overall,
            "irecist_response": irecist,
            "change_from_baseline_percent": change,
        }
        for evaluator in ("accepted", *READERS):
            self.add(
                "responses",
                **shared,
                evaluator=evaluator,
                scan_date=DAY_ZERO + timedelta(VISIT_DAYS[visit]),
                sum_mm=sums[visit],
                baseline_sum_mm=sums["T0"],
                nadir_mm=min(sums.values()),
                change_from_nadir_percent=change,
                target_response=overall,
                target_response_arithmetic=overall,
                nontarget_response="NONE",
                new_lesion=False,
            )
        p = float(self.random.random())
        state = {"iUPD": "open", "iCPD": "confirmed", "iNE": "not_gradable"}.get(
            irecist, "controlled"
        )
        asked = state == "controlled"
        self.add(
            "dynamic_irecist",
            **shared,
            state=state,
            block_status="waiting" if state == "open" else None,
            advice={"open": "ct_from_day_to_day", "controlled": "as_scheduled"}.get(state, "none"),
            advice_from_day=81 if state == "open" else None,
            advice_to_day=113 if state == "open" else None,
            dhi=1.4,
        )
        self.add(
            "dynamic_risk",
            **{n: shared[n] for n in ("site", "patient", "visit", "day", "simulated")},
            question="progression",
            horizon_days=180,
            probability=p if asked else None,
            probability_lower=0.8 * p if asked else None,
            probability_upper=0.8 * p + 0.2 if asked else None,
            base_rate=0.3,
            n=40,
            events=21,
            ood_score=1.1 if asked else None,
            in_population=asked,
            withheld=not asked,
            source="supermodel" if asked else None,
            reason=None if asked else NO_POPULATION[state],
            gate="open",
        )

    def add_dhi(self, who, visits, responds):
        for earlier, later in (("T0", "T1"), ("T1", "T2"), ("T0", "T2")):
            if later not in visits:
                continue
            for lesion in ("*", "L1", "L2"):
                value = float(self.random.gamma(4, 0.35 if responds else 0.25))
                missing = lesion == "L2"
                self.add(
                    "dhi",
                    **who,
                    scope="patient" if lesion == "*" else "lesion",
                    lesion=lesion,
                    from_visit=earlier,
                    to_visit=later,
                    n_voxels=None if missing else 1400,
                    **dict.fromkeys(
                        (
                            "dhi",
                            "dhi_magnitude",
                            "texture",
                            "density",
                            "u_texture",
                            "u_density",
                            "u_spatial",
                        ),
                        None if missing else value,
                    ),
                    spatial=None if missing else 0.2,
                    delta_log_volume=None
                    if missing
                    else float(self.random.normal(-0.9 if responds else 0.1, 0.5)),
                    delta_median_hu=None if missing else -6.0,
                    wasserstein_hu=None if missing else float(9 * value + self.random.gamma(2, 3)),
                    reason="fewer than 300 voxels" if missing else None,
                )

    def add_agreement(self):
        for site in ("*", *SITES):
            for measurement in ("longest_diameter_mm", "volume_mm3", "mask"):
                figures = (
                    {"dice_median": 0.87, "dice_minimum": 0.61}
                    if measurement == "mask"
                    else {
                        "icc_raw": 0.91,
                        "icc_raw_lower": 0.86,
                        "icc_raw_upper": 0.95,
                        "icc_resolved": 0.95,
                        "icc_lower": 0.92,
                        "icc_upper": 0.97,
                        "bias": 0.2,
                        "loa_lower": -2.1,
                        "loa_upper": 2.5,
                    }
                )
                self.add(
                    "reader_agreement",
                    scope="cohort" if site == "*" else "site",
                    site=site,
                    patient="*",
                    visit="*",
                    lesion="*",
                    measurement=measurement,
                    n=130,
                    n_resolved=110,
                    arbitrated_share=0.15,
                    **figures,
                    pooled_with="NORTH, SOUTH" if site == "EAST" else None,
                    reason="fewer than 30 pairs" if site == "EAST" else None,
                    simulated=site != "EAST",
                )

    def add_verdicts(self):
        for rule, scope, kind, figure, limit, verdict, detail in (
            (
                "arbitrations_open",
                "NORTH",
                "cohort",
                1.0,
                0.0,
                "fail",
                "1 discordant case is not arbitrated",
            ),
            ("arbitrations_open", "SOUTH", "cohort", 0.0, 0.0, "pass", "none open"),
            (
                "icc_resolved",
                "NORTH longest_diameter_mm",
                "cohort",
                0.95,
                0.85,
                "pass",
                "ICC 0.95, lower bound 0.92",
            ),
            (
                "icc_resolved",
                "EAST longest_diameter_mm",
                "cohort",
                0.95,
                0.85,
                "warn",
                "judged pooled with NORTH, SOUTH",
            ),
            (
                "slice_thickness",
                "cohort",
                "row",
                3.0,
                None,
                "warn",
                "3 patients left out: a slice above 1 mm",
            ),
        ):
            self.add(
                "quality_verdicts",
                rule=rule,
                scope=scope,
                kind=kind,
                statistic=figure,
                threshold=limit,
                verdict=verdict,
                detail=detail,
                protocol_digest=load_study().digest,
            )

    def add_models(self):
        for model, auc in (("clinical", 0.56), ("size_change", 0.79), ("delta_radiomics", 0.86)):
            self.add(
                "model_runs",
                task="T1",
                model=model,
                alias="candidate" if model == "delta_radiomics" else None,
                n_patients=38,
                n_positive=16,
                n_features=12,
                auc=auc,
                auc_lower=auc - 0.12,
                auc_upper=min(auc + 0.1, 1.0),
                sensitivity=0.75,
                specificity=0.7,
                accuracy=0.72,
                ppv_in_practice=0.7,
                ppv_in_practice_lower=0.52,
                ppv_in_practice_upper=0.83,
                npv_in_practice=0.75,
                npv_in_practice_lower=0.58,
                npv_in_practice_upper=0.87,
                brier=0.2,
                cutoff=0.5,
                snapshot=30,
                simulated=True,
            )
