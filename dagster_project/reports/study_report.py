"""The study report: one HTML file for the study team, from the tables of one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from dagster_project.lake.minimisation import Minimisation
from dagster_project.reports import figures, response_figures
from dagster_project.reports import summaries as s
from dagster_project.reports.pages import Picture, draw, render
from dagster_project.reports.table_one import summarise_table_one
from dagster_project.reports.wording import criterion_words
from dagster_project.study import Study

SECTIONS: tuple[tuple[str, str, str], ...] = (
    ("about", "What this is", "说明"),
    ("enrolment", "Enrolment", "入组"),
    ("flow", "Eligibility", "入排流程"),
    ("quality", "Data quality", "数据质量"),
    ("agreement", "Agreement of the readers", "阅片一致性"),
    ("arbitration", "Arbitration", "仲裁"),
    ("gate", "Quality gate", "质控放行"),
    ("response", "Response", "疗效"),
    ("survival", "Progression-free survival", "无进展生存"),
    ("dhi", "Dynamic Heterogeneity Index", "动态异质性指数"),
    ("models", "Models", "模型"),
    ("federated", "Of all hospitals together", "各医院联合结果"),
    ("dynamic", "Dynamic iRECIST", "动态iRECIST"),
    ("limits", "What this report does not claim", "本报告不主张的内容"),
)
"""Anchor and heading of each section, in order."""


def render_study_report(
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
    digest: str = "",
) -> str:
    """One self-contained page that needs no network.

    Where a table is missing or empty, the page says so in its place. `digest` is that of what the
    page shows.
    """
    filled = s.completed(tables)
    population = s.choose_population(filled)
    parts = {
        **_cohort(filled, study),
        **_reading(filled, study),
        **_response(filled, population),
        **_courses(filled, population, study),
        **_heterogeneity(filled, population),
        **_modelling(filled, study),
    }
    return render(
        "study_report.html",
        sections=SECTIONS,
        study=study,
        snapshot=snapshot,
        generated_at=generated_at,
        digest=digest,
        population=population,
        simulated=s.is_simulated(filled),
        simulation=s.summarise_simulation(filled),
        **parts,
    )


def _cohort(tables: s.Tables, study: Study) -> dict[str, Any]:
    rules, enrolment = study.section("study"), s.summarise_enrolment(tables)
    stages = s.list_stages(tables, study)
    return {
        "enrolment": enrolment,
        "enrolment_total": {
            k: sum(r[k] for r in enrolment)
            for k in ("taken_in", "eligible", "responders", "non_responders", "undetermined")
        },
        "enrolment_figure": _draw_enrolment(enrolment, rules),
        "flow": s.summarise_flow(tables["eligibility"]),
        "criteria": criterion_words(study),
        "flow_figure": draw(lambda t: figures.flow_figure(stages, theme=t)),
        "exclusions": s.summarise_exclusions(tables["training_cohort"]),
        "quarantine": s.summarise_quarantine(tables["quarantine"]),
        "disclosure": s.summarise_disclosure(tables["disclosure"]),
        "publish": Minimisation.of(study),
        "reconciliation": s.summarise_reconciliation(tables["reconciliation"]),
        "scans": s.summarise_scans(tables["scans"], study.section("scans")),
    }


def _draw_enrolment(enrolment: list[s.Row], rules: Mapping[str, Any]) -> Picture | None:
    counts = {
        r["site"]: (r["responders"], r["non_responders"], r["undetermined"]) for r in enrolment
    }
    targets = {
        "target_responders": rules["target_responders"],
        "target_non_responders": rules["target_non_responders"],
    }
    return draw(lambda t: figures.enrolment_figure(counts, **targets, theme=t))


def _reading(tables: s.Tables, study: Study) -> dict[str, Any]:
    pairs = s.pair_reads(tables["reads"], tables["arbitrations"])
    first, second, settled = (pairs[name].to_list() for name in ("first", "second", "settled"))
    limits = s.limits_of_pairs(pairs)
    return {
        "agreement": s.summarise_agreement(tables["reader_agreement"]),
        "agreement_figure": draw(
            lambda t: figures.agreement_figure(first, second, limits, settled=settled, theme=t)
        ),
        "arbitration": s.summarise_arbitrations(tables),
        "monitoring": s.summarise_monitoring(tables["reader_figures"]),
        "triggers": s.count_triggers(tables["arbitrations"]),
        "open_cases": tables["arbitrations"]
        .filter(pl.col("status") == "open")
        .sort(s.WHO)
        .to_dicts(),
        "gate": s.summarise_gate(tables["quality_verdicts"], study.digest),
    }


def _response(tables: s.Tables, population: s.Population) -> dict[str, Any]:
    whole, landmark = s.list_survival(tables, population)
    curve, from_t2 = s.survival_curves(whole), s.survival_curves(landmark)
    labels = {"x_label": "Days from T2", "y_label": "PFS from T2"}
    changes = population.of(tables["outcomes"]).drop_nulls("best_change_percent")
    kinds = changes["bor"].fill_null("NE").to_list()
    return {
        "rates": s.summarise_response(tables, population),
        "best_responses": s.count_best_responses(tables, population),
        "waterfall_figure": draw(
            lambda t: figures.waterfall_figure(
                changes["best_change_percent"].to_list(), kinds, theme=t
            )
        ),
        "pseudoprogression": s.count_pseudoprogressions(tables, population),
        "survival": s.summarise_survival(whole),
        "landmark": s.summarise_survival(landmark),
        "survival_figure": draw(lambda t: figures.survival_figure(curve, theme=t)),
        "pfs_reasons": s.count_pfs_reasons(tables, population),
        "landmark_figure": draw(lambda t: figures.survival_figure(from_t2, **labels, theme=t)),
    }


def _courses(tables: s.Tables, population: s.Population, study: Study) -> dict[str, Any]:
    courses, (headings, rows) = (
        s.list_courses(tables, population),
        summarise_table_one(tables, population),
    )
    return {
        "table_one_headings": headings,
        "table_one": rows,
        "rates_by": s.summarise_response_by(tables, population),
        "weighted": s.weight_disease_control(
            tables, population, study.section("endpoints")["target_prevalence"]
        ),
        "times": s.summarise_times(tables, population),
        "landmark_test": s.compare_curves(s.list_survival(tables, population)[1]),
        "spider_figure": draw(lambda t: response_figures.spider_figure(courses, theme=t)),
        "swimmer_figure": draw(lambda t: response_figures.swimmer_figure(courses, theme=t)),
    }


def _heterogeneity(tables: s.Tables, population: s.Population) -> dict[str, Any]:
    rows = s.list_patient_dhi(tables, population)
    calibrated = rows.height > 0 and bool(rows["calibrated"].all())
    strips = s.dhi_strips(rows)
    return {
        "dhi": s.summarise_dhi(rows),
        "dhi_calibrated": calibrated,
        "dhi_reasons": s.count_dhi_reasons(tables["dhi"]),
        "dhi_figure": draw(lambda t: figures.dhi_figure(strips, limit=calibrated, theme=t)),
    }


def _modelling(tables: s.Tables, study: Study) -> dict[str, Any]:
    runs = s.latest_runs(tables["model_runs"])
    tasks = list(dict.fromkeys(r["task"] for r in runs))
    return {
        "runs": runs,
        "target_prevalence": study.section("endpoints")["target_prevalence"],
        "earlier_runs": tables["model_runs"].height - len(runs),
        "roc_figures": {task: _draw_roc(tables, runs, task) for task in tasks},
        "alarms": [r for r in runs if r["auc"] >= study.section("model")["leakage_auc"]],
        "dynamic": s.summarise_dynamic(tables["dynamic_irecist"]),
        "federated": s.summarise_federated(tables["federated_runs"], tables["federated_results"]),
        "ledger": s.newest_ledger_line(tables["privacy_ledger"]),
    }


def _draw_roc(tables: s.Tables, runs: list[s.Row], task: str) -> Picture | None:
    curves = s.roc_curves(tables["predictions"], runs, task)
    named = {name.replace("_", " "): curve for name, curve in curves.items()}
    return draw(lambda t: figures.roc_figure(named, theme=t))
