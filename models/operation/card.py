"""What is known of one trained model.

Its figures, its signature, and the facts that its model card and the guidelines' answers give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from dagster_project.statistics.calibration import calibration
from dagster_project.statistics.pooling import pool_sites
from dagster_project.study import TARGET_PREVALENCE
from models.evaluation.curves import shown
from models.evaluation.sanity import SanityCheck
from models.evaluation.training import TrainedModel, compare_with_references


@dataclass(frozen=True)
class TrainingRecord:
    """What is the same for every model of one training, and is written with each.

    `amendments` are recorded decisions by which the protocol is looser than the registration.
    """

    trained: tuple[TrainedModel, ...]
    snapshot: int
    protocol_digest: str
    verdicts: tuple[dict[str, Any], ...]
    amendments: str | None = None
    checks: Mapping[str, SanityCheck] = field(default_factory=dict)


ROLES = ("model", "negative_control")
"""What a trained model is, by whether it is a negative control."""


def role(model: TrainedModel) -> str:
    """One of `ROLES`."""
    return ROLES[model.negative_control]


def figures(model: TrainedModel, trained: Sequence[TrainedModel]) -> dict[str, float]:
    """The model's figures by name, without those that cannot exist.

    evaluation.json says why they cannot.
    """
    estimates = {
        name: getattr(model.evaluation, name)
        for name in ("auc", "sensitivity", "specificity", "accuracy", "ppv", "npv")
    }
    estimates |= {f"auc_site_{site}": auc for site, auc in model.evaluation.auc_by_site.items()}
    bounds = {
        f"{name}{end}": getattr(e, part)
        for name, e in estimates.items()
        for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    intercept, slope = calibration(model.dataset.y, model.probabilities)
    pooled = pool_sites(model.dataset.y, model.probabilities, model.dataset.sites, len(model.fits))
    rest = {
        "brier": model.evaluation.brier,
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "auc_sites_pooled": pooled.auc.value,
        "auc_sites_i2": pooled.i2,
        "cutoff": float(model.cutoffs.mean()),
        "final_cutoff": model.final.cutoff,
        "missing_share": _missing_share(model),
        **compare_with_references(model, trained),
        **{
            f"control_auc_{t.name}": t.auc for t in trained if t.negative_control and t is not model
        },
    }
    appraised = {
        f"{name}{end}": getattr(e, part)
        for name, e in model.appraisal.figures.items()
        for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    return {
        name: float(value)
        for name, value in {**appraised, **bounds, **rest}.items()
        if value is not None and np.isfinite(value)
    }


def _missing_share(model: TrainedModel) -> float:
    return float(np.isnan(model.dataset.X).mean())


def signature(model: TrainedModel) -> dict[str, Any]:
    """What the model takes and gives, by name, block and visits."""
    series = model.dataset.series
    return {
        "columns": [asdict(c) for c in model.dataset.columns],
        "output": "probability of response, 0 to 1",
        "series": {k: list(getattr(series, k)) for k in ("visits", "regions", "features")}
        if series
        else None,
    }


def card_facts(model: TrainedModel, record: TrainingRecord, sanity: str) -> dict[str, str]:
    """What the model card and the guidelines' answers are filled in with."""
    entries, data = figures(model, record.trained), model.dataset
    slope = entries.get("calibration_slope")
    gained = "; ".join(
        f"AUC {entries[k]:+.3f} over {k.removeprefix('auc_gain_over_')} (p {entries[f'{k}_p']:.2g})"
        for k in entries
        if f"{k}_p" in entries
    )
    return {
        "name": model.name,
        "task": data.task.name,
        "landmark": data.task.landmark,
        "visits": ", ".join(data.task.visits),
        "label": data.label_definition,
        "kind": model.final.model.kind,
        "blocks": ", ".join(sorted(set(data.feature_blocks))) or "series",
        "n_features": str(len(data.columns)),
        "n_patients": str(data.y.size),
        "n_positive": str(int(data.y.sum())),
        "n_sites": str(len(set(data.sites))),
        "n_folds": str(len(model.cutoffs)),
        "prevalence": f"{data.y.mean():.1%}",
        "predictive_values": _predictive_values(model),
        "missing_share": f"{entries.get('missing_share', 0.0):.1%}",
        "snapshot": str(record.snapshot),
        "cohort_digest": model.cohort_digest,
        "protocol_digest": record.protocol_digest,
        "amendments": record.amendments or "",
        "simulated": str(bool(data.simulated.any())).lower(),
        "auc": shown(model.evaluation.auc),
        "brier": f"{entries['brier']:.3f}",
        "calibration_slope": "none" if slope is None else f"{slope:.2f}",
        "final_cutoff": f"{entries['final_cutoff']:.3f}",
        "comparison": gained or "no reference model was compared with it",
        "sanity": sanity,
    }


def _predictive_values(model: TrainedModel) -> str:
    """PPV and NPV in the cohort, and in practice or why not."""
    e, found, share = (
        model.evaluation,
        model.appraisal.figures,
        model.appraisal.facts.get(TARGET_PREVALENCE),
    )
    ppv, npv = found["ppv_in_practice"], found["npv_in_practice"]
    cohort = f"in this cohort PPV {shown(e.ppv)}, NPV {shown(e.npv)}"
    if ppv.value is None and npv.value is None:
        return f"{cohort}; in practice not known: {ppv.reason}"
    return (
        f"{cohort}; where {share:.0%} respond, as assumed of practice, "
        f"PPV {shown(ppv)}, NPV {shown(npv)}"
    )
