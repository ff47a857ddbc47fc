"""The study report: one HTML file for the study team, from the tables of one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
from markupsafe import Markup

from dagster_project.lake.minimisation import Minimisation
from dagster_project.reports.figures.cohort import enrolment_figure, flow_figure
from dagster_project.reports.figures.heterogeneity import dhi_figure
from dagster_project.reports.figures.models import roc_figure
from dagster_project.reports.figures.reading import agreement_figure
from dagster_project.reports.figures.response import spider_figure, swimmer_figure, waterfall_figure
from dagster_project.reports.figures.survival import survival_figure
from dagster_project.reports.pages import draw, render
from dagster_project.reports.summaries.cohort import (
    Population,
    choose_population,
    list_stages,
    summarise_enrolment,
    summarise_exclusions,
    summarise_flow,
)
from dagster_project.reports.summaries.heterogeneity import (
    count_dhi_reasons,
    dhi_strips,
    list_patient_dhi,
    summarise_dhi,
)
from dagster_project.reports.summaries.models import (
    latest_runs,
    newest_ledger_line,
    roc_curves,
    summarise_dynamic,
    summarise_federated,
)
from dagster_project.reports.summaries.quality import (
    summarise_disclosure,
    summarise_gate,
    summarise_quarantine,
    summarise_reconciliation,
    summarise_scans,
)
from dagster_project.reports.summaries.reading import (
    count_triggers,
    limits_of_pairs,
    pair_reads,
    summarise_agreement,
    summarise_arbitrations,
    summarise_monitoring,
)
from dagster_project.reports.summaries.response import (
    count_best_responses,
    count_pseudoprogressions,
    list_courses,
    summarise_response,
    summarise_response_by,
    weight_disease_control,
)
from dagster_project.reports.summaries.survival import (
    compare_curves,
    count_pfs_reasons,
    list_survival,
    summarise_survival,
    summarise_times,
    survival_curves,
)
from dagster_project.reports.summaries.tables import (
    WHO,
    Row,
    Tables,
    completed,
    is_simulated,
    summarise_simulation,
)
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
    filled = completed(tables)
    population = choose_population(filled)
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
        simulated=is_simulated(filled),
        simulation=summarise_simulation(filled),
        **parts,
    )


def _cohort(tables: Tables, study: Study) -> dict[str, Any]:
    rules, enrolment = study.section("study"), summarise_enrolment(tables)
    stages, criteria = list_stages(tables, study), criterion_words(study)
    return {
        "enrolment": enrolment,
        "enrolment_total": {
            k: sum(r[k] for r in enrolment)
            for k in ("taken_in", "eligible", "responders", "non_responders", "undetermined")
        },
        "enrolment_figure": _draw_enrolment(enrolment, rules),
        "flow": summarise_flow(tables["eligibility"]),
        "criteria": criteria,
        "flow_figure": draw(lambda t: flow_figure(stages, names=dict(criteria.values()), theme=t)),
        "exclusions": summarise_exclusions(tables["training_cohort"]),
        "quarantine": summarise_quarantine(tables["quarantine"]),
        "disclosure": summarise_disclosure(tables["disclosure"]),
        "publish": Minimisation.of(study),
        "reconciliation": summarise_reconciliation(tables["reconciliation"]),
        "scans": summarise_scans(tables["scans"], study.section("scans")),
    }


def _draw_enrolment(enrolment: list[Row], rules: Mapping[str, Any]) -> Markup | None:
    counts = {
        r["site"]: (r["responders"], r["non_responders"], r["undetermined"]) for r in enrolment
    }
    targets = {
        "target_responders": rules["target_responders"],
        "target_non_responders": rules["target_non_responders"],
    }
    return draw(lambda t: enrolment_figure(counts, **targets, theme=t))


def _reading(tables: Tables, study: Study) -> dict[str, Any]:
    pairs = pair_reads(tables["reads"], tables["arbitrations"])
    first, second, settled = (pairs[name].to_list() for name in ("first", "second", "settled"))
    limits = limits_of_pairs(pairs)
    return {
        "agreement": summarise_agreement(tables["reader_agreement"]),
        "agreement_figure": draw(
            lambda t: agreement_figure(first, second, limits, settled=settled, theme=t)
        ),
        "arbitration": summarise_arbitrations(tables),
        "monitoring": summarise_monitoring(tables["reader_figures"]),
        "triggers": count_triggers(tables["arbitrations"]),
        "open_cases": tables["arbitrations"]
        .filter(pl.col("status") == "open")
        .sort(WHO)
        .to_dicts(),
        "gate": summarise_gate(tables["quality_verdicts"], study.digest),
    }


def _response(tables: Tables, population: Population) -> dict[str, Any]:
    whole, landmark = list_survival(tables, population)
    curve, from_t2 = survival_curves(whole), survival_curves(landmark)
    labels = {"x_label": "Days from T2", "y_label": "PFS from T2"}
    changes = population.of(tables["outcomes"]).drop_nulls("best_change_percent")
    kinds = changes["bor"].fill_null("NE").to_list()
    return {
        "rates": summarise_response(tables, population),
        "best_responses": count_best_responses(tables, population),
        "waterfall_figure": draw(
            lambda t: waterfall_figure(changes["best_change_percent"].to_list(), kinds, theme=t)
        ),
        "pseudoprogression": count_pseudoprogressions(tables, population),
        "survival": summarise_survival(whole),
        "landmark": summarise_survival(landmark),
        "survival_figure": draw(lambda t: survival_figure(curve, theme=t)),
        "pfs_reasons": count_pfs_reasons(tables, population),
        "landmark_figure": draw(lambda t: survival_figure(from_t2, **labels, theme=t)),
    }


def _courses(tables: Tables, population: Population, study: Study) -> dict[str, Any]:
    courses, (headings, rows) = (
        list_courses(tables, population),
        summarise_table_one(tables, population),
    )
    return {
        "table_one_headings": headings,
        "table_one": rows,
        "rates_by": summarise_response_by(tables, population),
        "weighted": weight_disease_control(
            tables, population, study.section("endpoints")["target_prevalence"]
        ),
        "times": summarise_times(tables, population),
        "landmark_test": compare_curves(list_survival(tables, population)[1]),
        "spider_figure": draw(lambda t: spider_figure(courses, theme=t)),
        "swimmer_figure": draw(lambda t: swimmer_figure(courses, theme=t)),
    }


def _heterogeneity(tables: Tables, population: Population) -> dict[str, Any]:
    rows = list_patient_dhi(tables, population)
    calibrated = rows.height > 0 and bool(rows["calibrated"].all())
    strips = dhi_strips(rows)
    return {
        "dhi": summarise_dhi(rows),
        "dhi_calibrated": calibrated,
        "dhi_reasons": count_dhi_reasons(tables["dhi"]),
        "dhi_figure": draw(lambda t: dhi_figure(strips, limit=calibrated, theme=t)),
    }


def _modelling(tables: Tables, study: Study) -> dict[str, Any]:
    runs = latest_runs(tables["model_runs"])
    tasks = list(dict.fromkeys(r["task"] for r in runs))
    return {
        "runs": runs,
        "target_prevalence": study.section("endpoints")["target_prevalence"],
        "earlier_runs": tables["model_runs"].height - len(runs),
        "roc_figures": {task: _draw_roc(tables, runs, task) for task in tasks},
        "alarms": [r for r in runs if r["auc"] >= study.section("model")["leakage_auc"]],
        "dynamic": summarise_dynamic(tables["dynamic_irecist"], tables["dynamic_risk"]),
        "federated": summarise_federated(tables["federated_runs"], tables["federated_results"]),
        "ledger": newest_ledger_line(tables["privacy_ledger"]),
    }


def _draw_roc(tables: Tables, runs: list[Row], task: str) -> Markup | None:
    curves = roc_curves(tables["predictions"], runs, task)
    named = {name.replace("_", " "): curve for name, curve in curves.items()}
    return draw(lambda t: roc_figure(named, theme=t))
