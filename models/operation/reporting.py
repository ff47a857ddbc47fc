"""What reporting guidelines require of a model, answered from what its run knows.

What is not done, or is for the paper, is marked as such.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKLISTS = Path(__file__).with_name("checklists.csv")
"""Items of three reporting guidelines, with titles and answers.

The guidelines are TRIPOD+AI (BMJ 2024;385:e078378), CLEAR (Insights Imaging 2023;14:75) and METRICS
(Insights Imaging 2024;15:8). Each item has its published title (tests/models/golden/README.md says
by which copy) and an answer that names facts in braces. The sub-items of TRIPOD+AI are answered
under their item, which is `partly` where one is open.
"""

STATUSES = ("answered", "partly", "paper", "not done", "not applicable")
"""Of an item; `paper` is for its authors."""

WITHOUT_ANSWER = {"paper": "for the authors of the paper", "not done": "not done"}
"""Said where an item has no answer of its own."""


@dataclass(frozen=True)
class Item:
    """An item of a guideline with its status and answer."""

    guideline: str
    item: str
    title: str
    status: str
    answer: str


def answer_items(facts: Mapping[str, str]) -> list[Item]:
    """Every item with the facts filled in.

    Raises
    ------
    KeyError
        An answer names a fact that is not given.
    """
    with CHECKLISTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Item(
            r["guideline"],
            r["item"],
            r["title"],
            r["status"],
            (r["answer"] or WITHOUT_ANSWER[r["status"]]).format(**facts),
        )
        for r in rows
    ]


def write_items(path: Path, items: list[Item]) -> None:
    """One row an item."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Item.__dataclass_fields__)
        writer.writerows(vars(item).values() for item in items)


def model_card(facts: Mapping[str, str], items: list[Item]) -> str:
    """The model card in Markdown.

    It has what the model is, how well it does, what the guidelines require, and how much of that is
    open.
    """
    counts = Counter((i.guideline, i.status) for i in items)
    summary = "\n".join(
        f"| {g} | " + " | ".join(str(counts[g, s]) for s in STATUSES) + " |"
        for g in dict.fromkeys(i.guideline for i in items)
    )
    table = "\n".join(
        f"| {i.guideline} {i.item} | {i.title} | {i.status} | {_cell(i.answer)} |" for i in items
    )
    warning = (
        "Trained on simulated data: it says nothing of patients.\n\n"
        if facts["simulated"] == "true"
        else ""
    )
    warning += _amended(facts["amendments"])
    return (
        f"# {facts['name']}, task {facts['task']}\n\n{warning}For research; no medical device.\n\n"
        f"Predicts: {facts['label']}. {facts['n_patients']} patients of "
        f"{facts['n_sites']} hospitals, {facts['n_positive']} responders.\n\n"
        f"Out of fold: AUC {facts['auc']}, Brier {facts['brier']}, "
        f"calibration slope {facts['calibration_slope']}; {facts['comparison']}.\n\n"
        f"Predictive values: {facts['predictive_values']}.\n\n"
        f"## Guidelines\n\n| guideline | {' | '.join(STATUSES)} |\n"
        f"|---|{'---|' * len(STATUSES)}\n{summary}\n\n"
        f"| item | what | status | answer |\n|---|---|---|---|\n{table}\n"
    )


def _amended(amendments: str) -> str:
    """The decisions by which the protocol was looser than the registration, if it was."""
    lines = "".join(f"- {line}\n" for line in amendments.splitlines())
    return (
        f"Trained by a protocol looser than the registration, by recorded decision:\n\n{lines}\n"
        if lines
        else ""
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
