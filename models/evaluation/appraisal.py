"""Everything that out-of-fold probabilities show of a model.

As figures, tables and facts that can be logged without knowing the probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.domain.response.endpoints import LANDMARK
from dagster_project.statistics.bootstrap import bootstrap_mean
from dagster_project.statistics.calibration import calibration_curve, calibration_estimates
from dagster_project.statistics.concordance import concordance_index
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.decision_curve import net_benefit
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.pooling import Pooled, pool_sites
from dagster_project.statistics.predictive_values import predictive_values_in_practice
from dagster_project.statistics.roc import auc_delong, subgroup_aucs
from dagster_project.statistics.sample_size import expected_auc_reach, sample_size
from dagster_project.study import TARGET_PREVALENCE
from models.data.datasets import DHI, Dataset
from models.data.risk_groups import compare_risk_groups
from models.learners.learners import Fit, Section


@dataclass(frozen=True)
class Appraisal:
    """What is logged beside `Evaluation`; no table names a patient.

    Parameters
    ----------
    figures
        Figures with interval where one exists; a value of None has a reason.
    tables
        Tables of any height, by name.
    facts
        How the figures were come by: folds, seeds, what was fitted within them.
    """

    figures: Mapping[str, Estimate]
    tables: Mapping[str, pl.DataFrame]
    facts: Mapping[str, str | int | float]


@dataclass(frozen=True, eq=False)
class Held:
    """A model's probabilities on patients it had not seen.

    Fold, probability and call of each patient, and the fit of each fold.
    """

    fold: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    fits: Sequence[Fit]


def appraise(
    whole: Dataset, seen: Dataset, held: Held, sites: Pooled | str, section: Section, seed: int
) -> Appraisal:
    """Appraise one model.

    Parameters
    ----------
    whole, seen
        The data set with all columns, for subgroups and times, and with those the model saw.
    sites
        Each hospital predicted by a model without it, or why this was not done.
    """
    y, p = whole.y, held.probabilities
    folds = len(held.fits)
    slopes = [of_folds(estimate, folds) for estimate in calibration_estimates(y, p)]
    survival, medians = _survival(whole, held, seed)
    figures = {
        "brier_bootstrap": of_folds(bootstrap_mean((p - y) ** 2, seed=seed), folds, 0.0, 1.0),
        "calibration_intercept": slopes[0],
        "calibration_slope": slopes[1],
        **_in_practice(whole, held, section),
        **medians,
        **_site_figures(y, p, whole.sites, sites, folds),
    }
    tables = {
        "calibration_curve": pl.DataFrame(calibration_curve(y, p)),
        "decision_curve": pl.DataFrame(net_benefit(y, p, folds)),
        "subgroups": subgroups(whole, p, folds),
        "sample_size": _sample_size(seen, folds),
        "folds": _folds(y, held),
        **({"risk_groups": survival} if survival.height else {}),
    }
    if isinstance(sites, Pooled):
        tables["held_out_sites"] = pl.DataFrame(
            [
                {"site": s, **_counts(y, np.asarray(whole.sites) == s), **vars(e)}
                for s, e in sites.sites.items()
            ],
            infer_schema_length=None,
        )
    return Appraisal(
        figures,
        tables,
        {**_facts(y, held, sites, section, seed), "dhi_limits": _told_of_limits(seen, held)},
    )


def _survival(whole: Dataset, held: Held, seed: int) -> tuple[pl.DataFrame, dict[str, Estimate]]:
    if whole.progression is None or np.isnan(whole.progression.days).all():
        return pl.DataFrame(), {
            "c_index": Estimate(
                None, reason="no time without progression after the landmark is known"
            )
        }
    time = whole.progression
    table, medians = compare_risk_groups(time, held.positive)
    given = concordance_index(time.days, time.events, held.probabilities, seed=seed)
    c_index = of_folds(given, len(held.fits), 0.0, 1.0)
    return table, {"c_index": c_index, **medians}


def _in_practice(whole: Dataset, held: Held, section: Section) -> dict[str, Estimate]:
    """Predictive values at the share of responders in practice.

    For a task that predicts response and a section that has the share.
    """
    why = None
    if whole.task.name == LANDMARK:
        why = (
            "the share in practice is of responders, "
            f"and task {LANDMARK} tells freedom from progression"
        )
    elif TARGET_PREVALENCE not in section:
        why = f"[endpoints] {TARGET_PREVALENCE} was not handed over"
    if why:
        return dict.fromkeys(("ppv_in_practice", "npv_in_practice"), Estimate(None, reason=why))
    found = predictive_values_in_practice(whole.y, held.positive, section[TARGET_PREVALENCE])
    return {name: of_folds(figure, len(held.fits), 0.0, 1.0) for name, figure in found.items()}


def _site_figures(
    y: np.ndarray, p: np.ndarray, where: Sequence[str], sites: Pooled | str, folds: int
) -> dict[str, Estimate]:
    within = pool_sites(y, p, where, folds)
    known = {
        "auc_sites_within_folds": within.auc,
        "auc_sites_within_folds_i2": Estimate(
            within.i2, reason=None if within.i2 is not None else within.auc.reason
        ),
    }
    if isinstance(sites, str):
        return known | {"auc_held_out_sites": Estimate(None, reason=sites)}
    return known | {
        "auc_held_out_sites": sites.auc,
        "auc_held_out_sites_i2": Estimate(
            sites.i2, reason=None if sites.i2 is not None else sites.auc.reason
        ),
    }


def subgroups(dataset: Dataset, probabilities: np.ndarray, folds: int) -> pl.DataFrame:
    """Counts and AUC by hospital, stage, PD-L1 and line of treatment.

    Patients without a known value form a group of their own.
    """
    found = subgroup_aucs(
        dataset.y,
        probabilities,
        {
            f"{factor}={level}": mask
            for factor, levels in _factors(dataset).items()
            for level, mask in levels.items()
        },
        folds,
    )
    rows = [
        {
            "factor": name.split("=", 1)[0],
            "level": name.split("=", 1)[1],
            "n": row["n"],
            "n_positive": row["n_positive"],
            **vars(row["auc"]),
        }
        for name, row in found.items()
    ]
    text, number = ("factor", "level", "reason"), ("value", "lower", "upper")
    return pl.DataFrame(
        rows,
        schema_overrides={**dict.fromkeys(text, pl.String), **dict.fromkeys(number, pl.Float64)},
        infer_schema_length=None,
    )


def _factors(dataset: Dataset) -> dict[str, dict[str, np.ndarray]]:
    where = np.asarray(dataset.sites)
    factors = {"site": {s: where == s for s in sorted(set(dataset.sites))}}
    bounds = {
        "stage_iv": {"III": (-np.inf, 0.5), "IV": (0.5, np.inf)},
        "pd_l1_tps": {"below 1": (-np.inf, 1), "1 to 49": (1, 50), "50 or more": (50, np.inf)},
        "line": {"first": (-np.inf, 1.5), "later": (1.5, np.inf)},
    }
    for name in (n for n in bounds if n in dataset.feature_names):
        x = dataset.values_of([name])[:, 0]
        factors[name.removesuffix("_iv")] = {
            level: (x >= low) & (x < high) for level, (low, high) in bounds[name].items()
        } | {"unknown": np.isnan(x)}
    return factors


def _counts(y: np.ndarray, mask: np.ndarray) -> dict[str, int]:
    return {"n": int(mask.sum()), "n_positive": int(y[mask].sum())}


def _sample_size(seen: Dataset, folds: int) -> pl.DataFrame:
    """The sample size that so many columns need, beside the actual one.

    A network sees no columns, and its nodes' features are counted once.
    """
    y = seen.y
    offered = len(seen.columns) or (
        len(seen.series.features) * len(seen.series.regions) if seen.series else 0
    )
    criteria = sample_size(max(offered, 1), float(y.mean()))
    reach = expected_auc_reach(0.75, int(y.sum()), int((~y).sum()), folds)
    rows = [
        {
            "criterion": c.name,
            "needed": c.needed,
            "patients": y.size,
            "met": y.size >= c.needed,
            "basis": c.basis,
        }
        for c in criteria
    ]
    summary = {
        "criterion": "auc_interval",
        "needed": None,
        "patients": y.size,
        "met": None,
        "basis": f"an AUC of 0.75 out of fold is known to ± {reach:.3f}",
    }
    return pl.DataFrame([*rows, summary], infer_schema_length=None)


def _folds(y: np.ndarray, held: Held) -> pl.DataFrame:
    """One row per outer fold.

    Counts, AUC, cut-off, and what was chosen within the fold's training patients.
    """
    rows = [
        {
            "fold": k,
            **_counts(y, held.fold == k),
            "auc": auc_delong(y[held.fold == k], held.probabilities[held.fold == k]).value,
            "cutoff": fit.cutoff,
            **fit.chosen,
        }
        for k, fit in enumerate(held.fits)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _facts(
    y: np.ndarray, held: Held, sites: Pooled | str, section: Section, seed: int
) -> dict[str, str | int | float]:
    sizes = np.bincount(held.fold)
    return {
        "outer_folds": len(held.fits),
        "inner_folds": section["inner_folds"],
        "fold_seed": seed,
        "folds_grouped_by": "patient",
        "folds_stratified_by": "site and label",
        "fold_smallest": int(sizes.min()),
        "fold_largest": int(sizes.max()),
        "fitted_within_training_folds": (
            "imputation, scaling, reader stability, habitat codebook, limits of DHI, "
            "column filter, strength, temperature, stack weights, cut-off"
        ),
        "interval_of_auc": (
            "DeLong with the variance for folds, one probability out of fold per patient; "
            "of hospitals and subgroups Newcombe's with it"
        ),
        "share_positive_called": float(held.positive.mean()),
        "share_positive": float(y.mean()),
        **({TARGET_PREVALENCE: section[TARGET_PREVALENCE]} if TARGET_PREVALENCE in section else {}),
        "reader_stability": "judged in each training fold"
        if all("features_judged" in f.chosen for f in held.fits)
        else "not judged: no column needs it, or too few reads in pairs",
        "held_out_sites": "each hospital predicted by a model without it"
        if isinstance(sites, Pooled)
        else sites,
    }


def _told_of_limits(seen: Dataset, held: Held) -> str:
    """By what DHI was divided."""
    if DHI not in seen.feature_blocks:
        return "not asked for: no column of DHI"
    if seen.comparisons is None:
        return "those of the table, which the whole cohort gave"
    few = any(not f.chosen.get("dhi_lesions", 1.0) for f in held.fits)
    return (
        "the shipped ones: too few lesions in a training fold"
        if few
        else "fitted in each training fold"
    )
