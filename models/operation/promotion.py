"""When a candidate becomes the champion: a rule of the protocol, never a hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from dagster_project.statistics.calibration import calibration
from dagster_project.statistics.roc import auc_difference
from models.evaluation.sanity import SanityCheck, judge_attributions
from models.evaluation.training import TrainedModel, compare_with_references, could_be_best
from models.learners.learners import Section

NOT_DUE = "not_due"
"""The verdict between two looks."""


@dataclass(frozen=True)
class Look:
    """One of the registered looks at whether a model is better.

    `number` counts from 1; `level` is what the look may spend of the error.
    """

    number: int
    level: float


def look_due(patients: int, looked: int, section: Section) -> Look | None:
    """The look that a cohort of this size is due for.

    None where it has been taken, or the first is not reached.

    Looks are registered by numbers of patients (`promotion_looks`), and each is taken once: a test
    every night at 5 % finds a better model in the end where none is (benchmarks/promotion.py).

    1. The error `promotion_p` is spent as O'Brien and Fleming's boundary spends it (Lan and DeMets,
       Biometrika 1983; 70:659-663): 2 - 2 Φ(z / √t) at a share t of the patients of the last look.
    2. A look may spend what has been reached since the look before it. The looks' levels add up to
       `promotion_p`, so that the error is kept whatever the correlation between looks: models are
       fitted anew at each.

    Parameters
    ----------
    patients
        Of the task's cohort now.
    looked
        Number of the last look taken; 0 where there was none.
    """
    looks = sorted(section["promotion_looks"])
    number = sum(patients >= at for at in looks)
    if number <= looked:
        return None
    spent = [_spent(at / looks[-1], section["promotion_p"]) for at in looks]
    return Look(number, spent[number - 1] - (spent[looked - 1] if looked else 0.0))


def next_look(looked: int, section: Section) -> str:
    """When the look after `looked` is; patients who withdraw give none back."""
    looks = sorted(section["promotion_looks"])
    return (
        f"the next look is at {looks[looked]} patients"
        if looked < len(looks)
        else "the last look has been taken"
    )


def _spent(share: float, error: float) -> float:
    normal = NormalDist()
    return 2 - 2 * normal.cdf(normal.inv_cdf(1 - error / 2) / sqrt(share))


@dataclass(frozen=True)
class Promotion:
    """Whether the candidate is promoted, and every condition it does not meet."""

    promoted: bool
    reasons: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In one word, for a tag."""
        return "promoted" if self.promoted else "held_back"


def judge_promotion(
    candidate: TrainedModel,
    trained: Sequence[TrainedModel],
    champion: np.ndarray | None,
    section: Section,
    checks: Mapping[str, SanityCheck],
    look: Look,
) -> Promotion:
    """Judge the candidate of a training at a registered look.

    1. No leakage alarm on it, and no negative control above chance.
    2. Calibration slope between the protocol's `promotion_slope` bounds.
    3. Better than each reference trained beside it, by the paired test for cross-fitted models
       (`evaluation.auc_difference`), at the level of the look divided by the number of models of
       which the candidate is the best.
    4. Where there is a champion: better than it, by the same test on the patients whom both predict
       without having seen them.
    5. Where it is a network, or a stack that leans on some: their attributions change when weights
       and labels are shuffled.

    Parameters
    ----------
    champion
        The present champion's probability of each of the candidate's patients, out of fold or as of
        a patient it was not trained on; NaN where it has none. None where there is no champion.
    checks
        The check by shuffling of every network of the training, by name.
    """
    level = look.level / max(1, sum(could_be_best(t) for t in trained))
    reasons = [
        f"{v.name} is {v.verdict}"
        for v in candidate.verdicts
        if v.name == "leakage_alarm" and v.verdict != "quiet"
    ]
    reasons += [
        f"{t.name}: {v.name} is {v.verdict}"
        for t in trained
        if t.negative_control
        for v in t.verdicts
        if v.verdict not in {"pass", "quiet"}
    ]
    _, slope = calibration(candidate.dataset.y, candidate.probabilities)
    low, high = section["promotion_slope"]
    if slope is None or not low <= slope <= high:
        reasons.append(
            f"calibration slope {'none' if slope is None else f'{slope:.2f}'} "
            f"is outside {low} to {high}"
        )
    reasons += _unbeaten(compare_with_references(candidate, trained), level)
    if champion is not None:
        reasons += _against_the_champion(candidate, champion, level)
    rests_on = judge_attributions(candidate.name, candidate.final.model, checks)
    reasons += [
        f"{v.name} of {network} is {v.verdict}: {v.detail}"
        for network, v in rests_on.items()
        if v.verdict != "pass"
    ]
    return Promotion(not reasons, tuple(reasons))


def _against_the_champion(candidate: TrainedModel, champion: np.ndarray, limit: float) -> list[str]:
    both = ~np.isnan(champion)
    y = candidate.dataset.y[both]
    if not y.any() or y.all():
        return [
            f"cannot be compared with the champion: both predict {y.size} patients unseen, "
            "of one class or none"
        ]
    gain, p = auc_difference(
        y, candidate.probabilities[both], champion[both], folds=int(candidate.fold.max()) + 1
    )
    if p is None or gain.value is None:
        return [f"not better than the champion on {y.size} patients: {gain.reason}"]
    figures_text = (
        f"gain {gain.value:+.3f}, p {p:.2g} (at most {limit:.2g} counts) on {y.size} patients"
    )
    return (
        [] if gain.value > 0 and p <= limit else [f"not better than the champion: {figures_text}"]
    )


def _unbeaten(found: dict[str, float], limit: float) -> list[str]:
    references = [
        n.removesuffix("_p").removeprefix("auc_gain_over_") for n in found if n.endswith("_p")
    ]
    beaten = {
        r
        for r in references
        if found[f"auc_gain_over_{r}"] > 0 and found[f"auc_gain_over_{r}_p"] <= limit
    }
    if not references:
        return ["no reference model was compared with it"]
    return [
        f"not better than {r}: gain {found[f'auc_gain_over_{r}']:+.3f}, "
        f"p {found[f'auc_gain_over_{r}_p']:.2g} (at most {limit:.2g} counts)"
        for r in references
        if r not in beaten
    ]
