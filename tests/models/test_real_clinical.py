"""The clinical baselines learn from a real table by the study's own code."""

from __future__ import annotations

import pytest

from benchmarks.msk_mind import read_cohort, train_clinical


@pytest.mark.real_data
def test_msk_mind_trains_the_clinical_baselines_end_to_end(shared_data):
    data = read_cohort(shared_data / "response")
    assert (data.y.size, int(data.y.sum())) == (120, 24)
    pd_l1, clinical = train_clinical(data)
    assert (pd_l1.name, clinical.name) == ("pd_l1", "clinical")
    for model in (pd_l1, clinical):
        auc = model.evaluation.auc
        assert auc.lower < auc.value < auc.upper
        assert auc.value > 0.5
        assert {v.verdict for v in model.verdicts} == {"quiet"}
