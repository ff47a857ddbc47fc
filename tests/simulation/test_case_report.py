"""The case report of a simulated patient follows the patient's course."""

from __future__ import annotations

from dagster_project.simulation.case_report import draw_case_report
from dagster_project.simulation.cohort import draw_site
from dagster_project.simulation.plan import DEMO


def test_who_was_not_rescanned_has_progressed_and_goes_on_without_a_new_therapy() -> None:
    trouble = next(t for t in DEMO.troubles if t.kind == "not_rescanned")
    assert DEMO.sites[trouble.site].courses[trouble.ordinal] == "late_progressor"
    assert (trouble.site, trouble.ordinal) not in DEMO.extra_scans
    patients = draw_site(DEMO, trouble.site)
    number = patients[trouble.ordinal].identity.hospital_number
    report = draw_case_report(DEMO, patients)
    mine = [r for r in report.follow_up if r["patient_id"] == number]
    assert [r["event"] for r in mine] == ["alive"]
    assert "new_therapy" in {r["event"] for r in report.follow_up}
