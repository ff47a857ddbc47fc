"""The board page of a case that awaits its arbiter: what is awaited, and no number of any read."""

from __future__ import annotations

from datetime import datetime

from dagster_project.lake.minimisation import Minimisation
from dagster_project.reports import board_words as w
from dagster_project.reports.board import Sheet
from dagster_project.reports.pages import render
from dagster_project.reports.summaries.tables import Tables, find_waiting, is_simulated
from dagster_project.reports.wording import TRIGGERS
from dagster_project.study import Study


def list_waiting_sheets(tables: Tables) -> list[tuple[str, str]]:
    """Patient and visit of every dated visit of a patient whose case awaits its arbiter."""
    waiting = find_waiting(tables)
    dated = tables["timepoints"].drop_nulls("scan_date")
    own = dated.join(waiting, on=["site", "patient"], how="semi")
    return list(own.sort("site", "patient", "scan_date").select("patient", "visit").iter_rows())


def render_waiting_board(
    sheet: Sheet,
    study: Study,
    triggers: list[str],
    *,
    digest: str,
    snapshot: int,
    generated_at: datetime,
) -> str:
    """The page of a patient and visit: who it is, and the sentence what is awaited.

    Parameters
    ----------
    triggers
        Why the case is open, as `arbitrations` has it; the figures in it are left out.
    """
    own = sheet.own
    patient = next(iter(own["patients"].to_dicts()), {})
    states = own["clinical_status"].sort("status_date").to_dicts()
    names = dict.fromkeys(trigger.split(" ")[0] for trigger in triggers)
    return render(
        "board_waiting.html",
        sheet=sheet,
        study=study,
        digest=digest,
        snapshot=snapshot,
        generated_at=generated_at,
        simulated=is_simulated(dict(own)),
        facts=w.facts_of(patient, Minimisation.of(study)),
        regimen=w.regimen_words(patient.get("regimen")),
        given=own["treatments"].height,
        status=w.status_words(states[-1] if states else None),
        triggers=[w.words(TRIGGERS, name) for name in names],
    )
