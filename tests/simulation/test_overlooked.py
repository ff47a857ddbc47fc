"""A reader who overlooks the new lesion: one block, and none by that reader."""

from __future__ import annotations

from dagster_project.simulation.cohort import _lesion_rows, draw_site
from dagster_project.simulation.plan import DEMO, EXPECTED
from dagster_project.simulation.truth import write_decisions


def test_the_demo_has_a_patient_of_whom_one_reader_lists_the_new_lesion(tmp_path) -> None:
    trouble = next(t for t in DEMO.troubles if t.kind == "missed_new_lesion")
    patient = draw_site(DEMO, trouble.site)[trouble.ordinal]
    assert EXPECTED[patient.course]["T2"] == "PD"
    by_reader = {
        reader: {row["lesion"] for row in _lesion_rows(DEMO, patient, reader)}
        for reader in ("R1", "R2")
    }
    assert by_reader["R1"] - by_reader["R2"] == {"L5"}
    assert by_reader["R2"] < by_reader["R1"]
    write_decisions(tmp_path, DEMO, [patient])
    (decisions,) = tmp_path.rglob("decisions.csv")
    assert ",R1," in decisions.read_text(encoding="utf-8")
