"""What a probability is based on: contributions of the inputs to the logit.

Contributions are by feature, block, region, visit and lesion. Attention is not an explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.statistics.correlation import mean_rank_correlation
from dagster_project.statistics.logistic import logit
from models.data.datasets import DELTA, RADIOMICS, SERIES, Dataset
from models.learners.baselines import LinearModel
from models.learners.boosting import BoostedModel
from models.learners.fusion import StackModel
from models.learners.harmonised import HarmonisedModel
from models.learners.learners import FittedModel
from models.learners.networks import NetworkModel, frame_of, inputs_of

if TYPE_CHECKING:
    from models.evaluation.training import TrainedModel

STEPS = 32
"""Points of the path from the training patients' mean (all zero) to the patient."""

TOP = 10
"""Features listed for each patient: those of greatest absolute contribution."""

Parts = dict[tuple[str, str], np.ndarray]
"""Contributions to the logit by scope and item.

Each is an array (seeds, patients), with one row where there are no seeds.
"""


def attribute(model: NetworkModel, dataset: Dataset) -> np.ndarray:
    """Integrated gradients (Sundararajan et al. 2017) of each seed's logit.

    The array is (seeds, patients, lesions, regions, visits, features).

    The baseline is the training patients' mean with the same lesions and days; a patient's
    attributions add up to the difference of the logits.
    """
    import torch
    from captum.attr import IntegratedGradients

    arrays = model.arrays(dataset)
    x, *rest = (torch.from_numpy(arrays[name]) for name in inputs_of(arrays))
    network = frame_of(model.facts)
    found = []
    for seed in range(len(next(iter(model.weights.values())))):
        network.load_state_dict(
            {k: torch.from_numpy(np.ascontiguousarray(v[seed])) for k, v in model.weights.items()}
        )
        found.append(
            IntegratedGradients(network)
            .attribute(
                x, additional_forward_args=tuple(rest), n_steps=STEPS, internal_batch_size=256
            )
            .numpy()
        )
    return np.stack(found)


def importance(model: NetworkModel, dataset: Dataset) -> dict[str, Any]:
    """Mean absolute attribution by feature, region and visit as shares, and its stability.

    The stability is how alike the seeds rank the inputs (mean Spearman correlation).
    """
    each = ranking(model, dataset)
    mean = each.mean(axis=0)
    total = max(float(mean.sum()), 1e-12)
    names = {"regions": (1, 2), "visits": (0, 2), "features": (0, 1)}
    shares = {
        key: dict(zip(model.facts[key], (mean.sum(axis=axes) / total).tolist(), strict=True))
        for key, axes in names.items()
    }
    return {**shares, "stability": stability(each.reshape(len(each), -1))}


def ranking(model: NetworkModel, dataset: Dataset) -> np.ndarray:
    """Mean absolute attribution of each input over patients: (seeds, regions, visits, features)."""
    return np.asarray(np.abs(attribute(model, dataset)).sum(axis=2).mean(axis=1))


def stability(attributions: np.ndarray) -> float | None:
    """Mean Spearman correlation between the rows, over inputs that any of them uses.

    None for one row, for a single such input, or where a row is constant.

    Inputs that no patient has are zero in every row: ranked along, they would make any two rows
    alike.
    """
    used = attributions[:, (attributions != 0).any(axis=0)]
    if min(used.shape) < 2 or not np.ptp(used, axis=1).all():
        return None
    return mean_rank_correlation(used)


def contributions(model: FittedModel, dataset: Dataset) -> Parts:
    """What each input adds to each patient's logit.

    1. Linear: coefficient times standardised value, which is its integrated gradient from the
       training patients' mean; of corrected values where a correction stands before it.
    2. Boosting: LightGBM's TreeSHAP (Lundberg et al. 2020).
    3. Network: integrated gradients over the temperature, one row per seed; block `series`.
    4. Stack: its members' contributions times their weights, and `member`, which is the weight
       times the member's own logit.

    The items of scope `block` add up to the logit less the logit at the baseline, which a network
    takes at the patient's own lesions and days; those of region and lesion only where an input has
    one.
    """
    known: Mapping[type, Callable[[Any, Dataset], Parts]] = {
        LinearModel: _linear,
        BoostedModel: _boosted,
        NetworkModel: _network,
        StackModel: _stacked,
        HarmonisedModel: _harmonised,
    }
    return known[type(model)](model, dataset)


def _linear(model: LinearModel, dataset: Dataset) -> Parts:
    x = model.values(dataset)
    return _by_column(
        (np.where(np.isnan(x), model.medians, x) - model.means) / model.scales * model.coefficients,
        model.features,
        dataset,
    )


def _harmonised(model: HarmonisedModel, dataset: Dataset) -> Parts:
    return _linear(model.linear, model.correction.apply(dataset))


def _boosted(model: BoostedModel, dataset: Dataset) -> Parts:
    import lightgbm

    found = lightgbm.Booster(model_str=model.text).predict(
        model.values(dataset), pred_contrib=True, num_threads=1
    )
    return _by_column(np.asarray(found)[:, :-1], model.features, dataset)


def _by_column(values: np.ndarray, names: tuple[str, ...], dataset: Dataset) -> Parts:
    columns, parts = {c.name: c for c in dataset.columns}, Parts()
    for name, value in zip(names, values.T, strict=True):
        column = columns[name]
        where = [("feature", name), ("block", column.block), ("visit", "-".join(column.visits))]
        if column.block in {DELTA, RADIOMICS}:
            where += [("region", name.split("@")[1])]
        for key in where:
            parts[key] = parts.get(key, 0.0) + value[None]
    return parts


def _network(model: NetworkModel, dataset: Dataset) -> Parts:
    each = attribute(model, dataset) / model.temperature
    parts: Parts = {("block", SERIES): each.sum(axis=(2, 3, 4, 5))}
    for scope, axis, names in (
        ("lesion", 2, [str(i) for i in range(each.shape[2])]),
        ("region", 3, model.facts["regions"]),
        ("visit", 4, model.facts["visits"]),
        ("feature", 5, model.facts["features"]),
    ):
        rest = tuple(a for a in (2, 3, 4, 5) if a != axis)
        parts |= {
            (scope, name): value
            for name, value in zip(names, np.moveaxis(each.sum(axis=rest), 2, 0), strict=True)
        }
    return parts


def _stacked(model: StackModel, dataset: Dataset) -> Parts:
    parts = Parts()
    for name, member, weight in zip(model.names, model.members, model.weights, strict=True):
        if not weight:
            continue
        parts["member", name] = weight * logit(member.probabilities(dataset))[None]
        for key, value in contributions(member, dataset).items():
            parts[key] = parts.get(key, 0.0) + weight * value
    return parts


def attribution_rows(model: FittedModel, dataset: Dataset) -> pl.DataFrame:
    """Contributions of each patient, one row per scope and item.

    Columns: site, patient, task, scope, item, value, spread over seeds (NULL without), simulated.

    Of features the `TOP` of each patient; lesions are named by their place in the order of their
    names (`name_lesions`).
    """
    parts = contributions(model, dataset)
    return pl.DataFrame(
        [row for i in range(dataset.y.size) for row in _patient_rows(parts, dataset, i)], schema=ROW
    )


ROW = {
    "site": pl.String(),
    "patient": pl.String(),
    "task": pl.String(),
    "scope": pl.String(),
    "item": pl.String(),
    "value": pl.Float64(),
    "ensemble_sd": pl.Float64(),
    "simulated": pl.Boolean(),
}
"""Columns of `attribution_rows`."""


def held_out_attributions(trained: TrainedModel) -> pl.DataFrame:
    """`attribution_rows` of the patients of a training.

    Each patient is explained by the model of the fold that held the patient out.
    """
    return pl.concat(
        [
            attribution_rows(fit.model, trained.dataset.take(trained.fold == k))
            for k, fit in enumerate(trained.fits)
        ]
    )


def _patient_rows(parts: Parts, dataset: Dataset, i: int) -> list[dict[str, Any]]:
    by_part = {key: value[:, i] for key, value in parts.items() if value[:, i].any()}
    order = sorted(
        (key for key in by_part if key[0] == "feature"),
        key=lambda key: -abs(float(by_part[key].mean())),
    )
    shown = [*(key for key in by_part if key[0] != "feature"), *order[:TOP]]
    who = {
        "site": dataset.sites[i],
        "patient": dataset.patients[i],
        "task": dataset.task.name,
        "simulated": bool(dataset.simulated[i]),
    }
    return [
        {
            **who,
            "scope": scope,
            "item": item,
            "value": float(by_part[scope, item].mean()),
            "ensemble_sd": float(by_part[scope, item].std())
            if by_part[scope, item].size > 1
            else None,
        }
        for scope, item in shown
    ]


def name_lesions(
    rows: pl.DataFrame, lesions: pl.DataFrame, visits: tuple[str, ...]
) -> pl.DataFrame:
    """`attribution_rows` with the lesions' names in place of their positions.

    Positions count the sorted names of the lesions that are present at a visit that the task sees.
    """
    seen = lesions.filter(
        pl.col("visit").is_in(list(visits)) & pl.col("is_present").fill_null(value=False)
    )
    places = (
        seen.select("site", "patient", "lesion")
        .unique()
        .sort("site", "patient", "lesion")
        .with_columns(
            scope=pl.lit("lesion"),
            item=pl.int_range(pl.len()).over("site", "patient").cast(pl.String),
        )
    )
    named = rows.join(
        places, on=["site", "patient", "scope", "item"], how="left", maintain_order="left"
    )
    return named.with_columns(item=pl.coalesce("lesion", "item")).drop("lesion")
