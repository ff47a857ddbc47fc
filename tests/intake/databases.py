"""What a study database delivers, and what must come of it: the form of a case, and its check."""

from __future__ import annotations

from typing import NamedTuple

from tests.intake.case_report.test_case_report import Site

BASELINE = {"sex": "F", "stage": "IIIB"}


class Case(NamedTuple):
    """What is delivered in clinical/, and what must come of it: rows, and reasons by place."""

    files: dict[str, str | bytes]
    patients: dict[str, dict[str, object]]
    cycles: tuple[tuple[str, int, str | None], ...] = ()
    events: tuple[tuple[str, str, str | None], ...] = ()
    refused: dict[str, str] = {}  # noqa: RUF012 - read alone


def check(site: Site, case: Case) -> None:
    for name, content in case.files.items():
        path = site.folder / "clinical" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    frames = site.build()
    found = {row["patient"]: row for row in frames["patients"].to_dicts()}
    assert found.keys() == {site.patient(number) for number in case.patients}
    for number, values in case.patients.items():
        assert {column: found[site.patient(number)][column] for column in values} == values
    shifted = {
        (site.patient(n), what, site.shift(date, n) if date else None)
        for n, what, date in (*case.cycles, *case.events)
    }
    cycles = [
        (r["patient"], r["cycle"], r["treatment_date"]) for r in frames["treatments"].to_dicts()
    ]
    events = [(r["patient"], r["event"], r["event_date"]) for r in frames["follow_up"].to_dicts()]
    assert {*cycles, *events} == shifted
    assert len(cycles) + len(events) == len(case.cycles) + len(case.events)
    assert {
        item: reason
        for item, reason in site.refusals.items()
        if case.refused.get(item, "no such place") not in reason
    } == {}
    assert site.refusals.keys() == case.refused.keys()
