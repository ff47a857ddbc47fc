"""The table of k-anonymity is made with the cohort, and stands on the study report."""

from __future__ import annotations

from tests.trial import Stage


def test_every_patient_is_counted_in_both_forms(opened: Stage) -> None:
    rows = opened.table("disclosure")
    n = opened.table("patients").height
    assert set(rows["n_patients"]) == {n}
    assert set(rows["form"]) == {"lake", "published"}
    whole = rows.filter(form="lake", variables="site+sex+age_years+stage+histology").row(
        0, named=True
    )
    assert whole["k"] == 1
    assert whole["n_unique"] <= n
    assert "Disclosure risk" in (opened.trial.home.reports / "study_report.html").read_text(
        encoding="utf-8"
    )
