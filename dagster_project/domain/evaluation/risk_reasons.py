"""Why a risk is withheld, in words."""

from __future__ import annotations

import re

NO_MODEL = "withheld: no model for the task of {visit}"
FEW_RESPONDERS = "withheld: {events} responders behind it, at least {minimum} are needed"
FEW_PROGRESSIONS = "withheld: {events} events over all landmarks, at least {minimum} are needed"
BAD_SLOPE = "withheld: the calibration slope is {slope:.2f}, not within {low:g} to {high:g}"
NO_SLOPE = "withheld: no calibration slope can be estimated"
HELD_BACK = "withheld: the rule of promotion held the model back"
NO_BETTER = "withheld: the model does no better than the size of the tumour"
NO_POPULATION = {
    "open": "withheld: a block is open, and no model was trained on such patients",
    "reset": "withheld: progression was reset, and no model applies to such patients",
    "confirmed": "withheld: progression is confirmed, and no model applies to such patients",
    "closed": "withheld: the patient has progressed and is not of the model's population",
    "not_gradable": "withheld: the visit cannot be graded",
}
"""Why a state has no probability of response or progression."""

HAS_RESPONDED = "withheld: the patient has responded and is not of the model's population"
NO_PREDICTION = "withheld: the model has no prediction of the patient"
ABSTAINS = "withheld: the model abstains, its members disagree by {spread:.2f}"
TOO_NEW = "withheld: the patient is unlike those of the training, novelty {novelty:.1f}"
TOO_WIDE = "withheld: the interval is {width:.2f} wide"
WAITS = "withheld: the case waits for its arbiter"
NOT_ELIGIBLE = "withheld: the patient is not eligible"
NOT_STABLE = "withheld: the disease is not stable at this visit"
NO_SUMS = "withheld: a sum of diameters is missing at this visit, at baseline, or before"
NO_OPEN_BLOCK = "withheld: no block of unconfirmed progression is open"
NO_CLASS = "withheld: progression did not begin in target lesions: it has no class"
NOT_COUNTED = "withheld: the block is not in the table of progressions"
OTHER_EDGES = "withheld: the shipped comparison classes are of other margins"
EMPTY_CLASS = "withheld: no progression of this class was scanned again"
SCANNED_BEFORE = (
    "withheld: a CT since the iUPD has neither confirmed nor reset, "
    "and the class is of the first CT alone"
)
NO_BOUNDS = "withheld: no interval could be given"

OF_THE_ANSWER = (
    NO_MODEL,
    FEW_RESPONDERS,
    FEW_PROGRESSIONS,
    BAD_SLOPE,
    NO_SLOPE,
    HELD_BACK,
    NO_BETTER,
)
"""Reasons that are the same for every patient."""


def is_of_the_answer(reason: str) -> bool:
    """Whether a reason says something of the model, and nothing of the patient.

    >>> is_of_the_answer("withheld: 3 responders behind it, at least 50 are needed")
    True
    >>> is_of_the_answer("withheld: the visit cannot be graded")
    False
    """
    return any(re.fullmatch(_PLACE.sub(".+", re.escape(t)), reason) for t in OF_THE_ANSWER)


_PLACE = re.compile(r"\\\{[^}]*\\\}")
