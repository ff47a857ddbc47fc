"""What a network's probability rests on: integrated gradients to features, regions and visits; attention is not an explanation."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.datasets import Dataset
from models.networks import INPUTS, NetworkModel, architecture
from models.series import arrange

STEPS = 32
"""Points of the path from the training patients' mean (all zero) to the patient."""


def attribute(model: NetworkModel, dataset: Dataset) -> np.ndarray:
    """Integrated gradients (Sundararajan et al. 2017) of each seed's logit: (seeds, patients, lesions, regions, visits, features).

    The baseline is the training patients' mean with the same lesions and days; a patient's attributions add up to the difference
    of the logits.
    """
    import torch
    from captum.attr import IntegratedGradients

    arrays = model.scaler.apply(arrange(dataset.series, dict(model.facts))) if dataset.series else {}
    x, *rest = (torch.from_numpy(arrays[name]) for name in INPUTS)
    network = architecture(model.facts["architecture"], model.facts).eval()
    found = []
    for seed in range(len(next(iter(model.weights.values())))):
        network.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v[seed])) for k, v in model.weights.items()})
        found.append(IntegratedGradients(network).attribute(x, additional_forward_args=tuple(rest), n_steps=STEPS, internal_batch_size=256).numpy())
    return np.stack(found)


def importance(model: NetworkModel, dataset: Dataset) -> dict[str, Any]:
    """Mean absolute attribution by feature, region and visit as shares, and how alike the seeds rank the inputs (mean Spearman)."""
    each = np.abs(attribute(model, dataset)).sum(axis=2).mean(axis=1)
    mean = each.mean(axis=0)
    total = max(float(mean.sum()), 1e-12)
    names = {"regions": (1, 2), "visits": (0, 2), "features": (0, 1)}
    shares = {key: dict(zip(model.facts[key], (mean.sum(axis=axes) / total).tolist(), strict=True)) for key, axes in names.items()}
    return {**shares, "stability": stability(each.reshape(len(each), -1))}


def stability(attributions: np.ndarray) -> float | None:
    """Mean Spearman correlation between the rows over inputs that any of them uses; None for one row or a single such input.

    Inputs that no patient has are zero in every row: ranked along, they would make any two rows alike.
    """
    from scipy.stats import rankdata

    used = attributions[:, (attributions != 0).any(axis=0)]
    if min(used.shape) < 2:
        return None
    correlation = np.corrcoef(rankdata(used, axis=1))
    return float(correlation[np.triu_indices(len(used), 1)].mean())
