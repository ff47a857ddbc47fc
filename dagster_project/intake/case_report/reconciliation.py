"""Lists rows without images, images without rows, and rows that belong to nobody.

Near numbers are a question to the site; nothing is ever joined by them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster_project.intake.case_report.near_numbers import NearNumbers

MOST_CANDIDATES = 3
"""With more alike numbers, the site numbers its patients consecutively, and none is a hint."""

NOBODY = "*"
"""In the place of a pseudonym: a number that no patient has, or no other patient to ask about."""

ROW_ALONE, IMAGES_ALONE, STRANGER = "row_without_images", "images_without_row", "rows_of_nobody"

SEND_IMAGES = (
    "has a row in the case report and no images: send the images, or correct the number in the row"
)
ADD_ROW = "has images and no row in the case report: add the row, or correct the number in it"
CORRECT_CELL = (
    "this number is neither in patients.csv nor among the images: correct it, or add the patient"
)
SAME_PATIENT = (
    "The number of {other} and this one {how}: is it the same person? "
    "If so, correct the number where it is wrong, "
    "or `lakehouse keys merge {patient} {other} --purpose …`"
)
SAME_NUMBER = (
    "The number of {other} and this one {how}: is it the same person? "
    "If so, correct the cell, or `lakehouse keys alias {other} --site {site}`"
)
TOO_MANY = "{n} other numbers are alike to it, too many for a hint"
NOT_COMPARED = (
    "its images are no longer in the delivery folder or came by the network, "
    "so that its number was not compared"
)


@dataclass(frozen=True)
class Held:
    """Whom a site's case report and its images name.

    `rows` and `places` are the canonical number and the place of each patient of patients.csv,
    `images` the number of CT series and other objects by patient, `image_numbers` the canonical
    number that images of those without a row bear, `strangers` place and number of rows that name
    neither. Numbers are known here and nowhere else.
    """

    site: str
    rows: Mapping[str, str] = field(repr=False)
    places: Mapping[str, str]
    images: Mapping[str, int]
    image_numbers: Mapping[str, str] = field(default_factory=dict, repr=False)
    strangers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    withdrawn: Collection[str] = ()


def reconcile(held: Held) -> list[dict[str, Any]]:
    """One row per patient with only one of the two, and per number that is nobody's.

    Where other numbers are alike to it, there is one row for each of those.

    1. A patient of patients.csv without images; patients who withdrew are left out.
    2. A patient with images and no row.
    3. Rows of the other files, by file and number, whose number is neither.
    4. A number alike to it (near_numbers.py), first among those that lack what this one has; more
       than three are none.

    No number and nothing made of one leaves this function: findings name pseudonyms and places.
    """
    rows = {p: n for p, n in held.rows.items() if p not in held.withdrawn}
    alone = {p for p in rows if p not in held.images}
    unlisted = {p for p in held.images if p not in rows and p not in held.withdrawn}
    numbers = rows | {p: n for p, n in held.image_numbers.items() if p in unlisted}
    near = NearNumbers({p: n for p, n in numbers.items() if n})
    found: list[dict[str, Any]] = []
    for patient in sorted(alone):
        found += _questions(
            _Subject(
                held.site, patient, ROW_ALONE, held.places.get(patient, "patients.csv"), SEND_IMAGES
            ),
            near,
            numbers[patient],
            unlisted,
        )
    for patient in sorted(unlisted):
        number = numbers.get(patient, "")
        text = ADD_ROW if number or not rows else f"{ADD_ROW}; {NOT_COMPARED}"
        found += _questions(
            _Subject(
                held.site,
                patient,
                IMAGES_ALONE,
                f"{held.images[patient]} files of images and contours",
                text,
            ),
            near,
            number,
            alone,
        )
    for item, number in _by_file(held.strangers):
        found += _questions(
            _Subject(held.site, NOBODY, STRANGER, item, CORRECT_CELL), near, number, set()
        )
    return found


@dataclass(frozen=True)
class _Subject:
    site: str
    patient: str
    finding: str
    item: str
    text: str


def _questions(
    subject: _Subject, near: NearNumbers, number: str, likely: Collection[str]
) -> Iterable[dict[str, Any]]:
    alike = (
        {p: how for p, how in near.like(number).items() if p != subject.patient} if number else {}
    )
    chosen = {p: how for p, how in alike.items() if p in likely} or alike
    row = {
        "site": subject.site,
        "patient": subject.patient,
        "finding": subject.finding,
        "item": subject.item,
    }
    if not chosen or len(chosen) > MOST_CANDIDATES:
        hint = f"; {TOO_MANY.format(n=len(chosen))}" if chosen else ""
        return [{**row, "other_patient": NOBODY, "question": subject.text + hint}]
    template = SAME_NUMBER if subject.finding == STRANGER else SAME_PATIENT
    asked = {
        p: template.format(other=p, how=how, patient=subject.patient, site=subject.site)
        for p, how in chosen.items()
    }
    return [
        {**row, "other_patient": p, "question": f"{subject.text}. {question}"}
        for p, question in asked.items()
    ]


def _by_file(strangers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Place and number of each number in each file: the first row, and how many more."""
    places: dict[tuple[str, str], list[str]] = {}
    for place, number in strangers:
        places.setdefault((place.partition(" row ")[0], number), []).append(place)
    return [
        (own[0] + (f" and {len(own) - 1} more" if len(own) > 1 else ""), number)
        for (_, number), own in places.items()
    ]
