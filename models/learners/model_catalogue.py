"""Which models a training trains.

Those that the task's visits and the number of patients allow, with a reason for each left out.
"""

from __future__ import annotations

from models.data.datasets import SERIES, Dataset
from models.learners.baselines import BASELINES, FURTHER
from models.learners.boosting import Boosting
from models.learners.fusion import Remembered, Stack
from models.learners.harmonised import harmonised_learners, refusal
from models.learners.learners import Learner, Section
from models.learners.networks import ARCHITECTURES, Network

STACKED = ("clinical", "size_change", "delta_radiomics_dhi", "boosting", *ARCHITECTURES)
"""Members of the stack."""


def choose_learners(dataset: Dataset, section: Section) -> tuple[list[Learner], dict[str, str]]:
    """The learners in the order in which each must be beaten, and why others are not among them.

    1. A baseline needs columns in its blocks: a task at T0 has no change to look at.
    2. Radiomics and their changes behind ComBat only where `harmonise` asks for it, and each batch
       is large enough in each training fold.
    3. Networks, boosting and the stack need `network_patients_minimum` patients and a measured
       lesion.
    """
    offered = {
        *dataset.feature_blocks,
        *([SERIES] if dataset.series and dataset.series.features else []),
    }
    candidates: list[Learner] = [*FURTHER, *BASELINES]
    harmonised = harmonised_learners(section)
    refused = refusal(dataset, section) if harmonised else None
    if not refused:
        candidates += harmonised
    few = dataset.y.size < section["network_patients_minimum"]
    large: list[Learner] = [
        Boosting(blocks=tuple(b for b in Boosting.blocks if b in offered)),
        *(Network(name) for name in ARCHITECTURES),
    ]
    left_out = {
        m.name: f"no column in block {', '.join(sorted(set(m.blocks) - offered))}"
        for m in candidates
        if not set(m.blocks) <= offered
    }
    left_out |= {m.name: refused for m in harmonised if refused}
    chosen = [Remembered(m) for m in candidates if m.name not in left_out]
    reason = None if SERIES in offered else "no lesion has a measured feature"
    if few:
        reason = (
            f"{dataset.y.size} patients, "
            f"[model].network_patients_minimum is {section['network_patients_minimum']}"
        )
    if reason:
        return [*chosen], left_out | dict.fromkeys((*(m.name for m in large), "fusion"), reason)
    every = chosen + [Remembered(m) for m in large]
    members = [m for m in every if m.name in STACKED]
    controls = [m for m in every if m.negative_control]
    return [
        *(m for m in every if not m.negative_control),
        Stack(members),
        *controls,
        Network("st_gcn_control", negative_control=True),
    ], left_out
