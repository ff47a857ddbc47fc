"""When a candidate becomes the champion: a rule of the protocol, never a hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.calibration import calibration
from models.learners import Section
from models.training import TrainedModel, gains


@dataclass(frozen=True)
class Promotion:
    """Whether the candidate is promoted, and every condition it does not meet."""

    promoted: bool
    reasons: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In one word, for a tag."""
        return "promoted" if self.promoted else "held_back"


def judge_promotion(candidate: TrainedModel, trained: Sequence[TrainedModel], champion_auc: float | None, section: Section) -> Promotion:
    """Judge the candidate of a training.

    1. No leakage alarm on it, and no negative control above chance.
    2. Calibration slope between the protocol's `promotion_slope` bounds.
    3. Better than each reference trained beside it, by DeLong's paired test at `promotion_p`.
    4. AUC above the present champion's, as logged when that one was trained: on other patients, so no paired test is possible.
    """
    reasons = [f"{v.name} is {v.verdict}" for v in candidate.verdicts if v.name == "leakage_alarm" and v.verdict != "quiet"]
    reasons += [f"{t.name}: {v.name} is {v.verdict}" for t in trained if t.negative_control for v in t.verdicts if v.verdict not in {"pass", "quiet"}]
    _, slope = calibration(candidate.dataset.y, candidate.probabilities)
    low, high = section["promotion_slope"]
    if slope is None or not low <= slope <= high:
        reasons.append(f"calibration slope {'none' if slope is None else f'{slope:.2f}'} is outside {low} to {high}")
    reasons += _unbeaten(gains(candidate, trained), section["promotion_p"])
    if champion_auc is not None and candidate.auc <= champion_auc:
        reasons.append(f"AUC {candidate.auc:.3f} is not above the champion's {champion_auc:.3f}")
    return Promotion(not reasons, tuple(reasons))


def _unbeaten(found: dict[str, float], limit: float) -> list[str]:
    references = [n.removesuffix("_p").removeprefix("auc_gain_over_") for n in found if n.endswith("_p")]
    beaten = {r for r in references if found[f"auc_gain_over_{r}"] > 0 and found[f"auc_gain_over_{r}_p"] <= limit}
    if not references:
        return ["no reference model was compared with it"]
    return [f"not better than {r}: gain {found[f'auc_gain_over_{r}']:+.3f}, p {found[f'auc_gain_over_{r}_p']:.2g}" for r in references if r not in beaten]
