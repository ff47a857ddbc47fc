"""Numbers of patients as spreadsheets, archives and people mangle them."""

from __future__ import annotations

from random import Random

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import Delivery, Row


def _rows(one: Delivery) -> list[Row]:
    return [one.person, *one.cycles, *one.events, *(r for rows in one.reads.values() for r in rows)]


def _write(one: Delivery, text: str) -> None:
    for row in _rows(one):
        row["patient_id"] = text


def _write_images(one: Delivery, number: str, visits: list[str] | None = None) -> None:
    for visit in one.visits:
        if visits is None or visit.name in visits:
            for s in visit.slices:
                s.PatientID = number
            for drawn in visit.structures:
                drawn.content.PatientID = number


def _typo(number: str, rng: Random) -> str:
    """Another digit at one place."""
    place = rng.randrange(len(number) - 4, len(number))
    return f"{number[:place]}{(int(number[place]) + rng.randint(1, 9)) % 10}{number[place + 1 :]}"


def _swapped(number: str, rng: Random) -> str:
    """Two neighbouring digits that differ, in the other order."""
    places = [k for k in range(1, len(number) - 1) if number[k] != number[k + 1]]
    place = rng.choice(places)
    return f"{number[:place]}{number[place + 1]}{number[place]}{number[place + 2 :]}"


@distortion("identity", "right", alone=True, numeric=True)
def leading_zeros_lost(one: Delivery, rng: Random) -> None:
    """The images have leading zeros, the sheets have lost them."""
    _write_images(one, f"000{one.number}")


@distortion("identity", "right", alone=True, numeric=True)
def point_zero(one: Delivery, rng: Random) -> None:
    """Sheets made a floating-point number of it: 12345678.0."""
    _write(one, f"{one.number}.0")


@distortion("identity", "right", alone=True, numeric=True)
def text_apostrophe(one: Delivery, rng: Random) -> None:
    """An apostrophe that marks text came along."""
    _write(one, f"'{one.number}")


@distortion("identity", "right", alone=True, numeric=True)
def formula_of_text(one: Delivery, rng: Random) -> None:
    """The number is written as a formula: ="12345678"."""
    _write(one, f'="{one.number}"')


@distortion("identity", "refused", alone=True, numeric=True)
def scientific_notation(one: Delivery, rng: Random) -> None:
    """A spreadsheet wrote 3.30E+07."""
    _write(one, f"{float(one.number):.2E}")


@distortion("identity", "either", alone=True, numeric=True)
def thousands_separators(one: Delivery, rng: Random) -> None:
    """A spreadsheet wrote 12,345,678."""
    _write(one, f"{int(one.number):,}")


@distortion("identity", "right", alone=True, numeric=True)
def full_width_digits(one: Delivery, rng: Random) -> None:
    """Digits are full-width in the sheets."""
    _write(one, one.number.translate(str.maketrans("0123456789", "０１２３４５６７８９")))


@distortion("identity", "right", alone=True)
def blanks_in_it(one: Delivery, rng: Random) -> None:
    """Blanks stand around and within the number."""
    _write(one, f" {one.number[:4]} {one.number[4:]}\u3000")


@distortion("identity", "right", alone=True)
def lower_case(one: Delivery, rng: Random) -> None:
    """Letters are lower case in the sheets."""
    _write(one, one.number.lower())


@distortion("identity", "either", alone=True)
def characters_without_width(one: Delivery, rng: Random) -> None:
    """Invisible characters stand in the number."""
    hidden = rng.choice(["\u200b", "\ufeff", "\u00ad", "\u202a"])
    _write(one, f"{one.number[:3]}{hidden}{one.number[3:]}")


@distortion("identity", "either", alone=True)
def letters_that_look_alike(one: Delivery, rng: Random) -> None:
    """A Cyrillic letter stands for a Latin one."""
    _write(one, one.number.replace("Y", "У"))


@distortion("identity", "either", alone=True)
def hyphen_in_it(one: Delivery, rng: Random) -> None:
    """The sheets separate the department from the number by a hyphen."""
    _write(one, f"{one.number[:2]}-{one.number[2:]}")


@distortion("identity", "either", alone=True)
def suffix_of_the_visit(one: Delivery, rng: Random) -> None:
    """The sheets add the number of the stay: _01."""
    _write(one, f"{one.number}_01")


@distortion("identity", "refused", alone=True, numeric=True)
def typo_in_treatments(one: Delivery, rng: Random) -> None:
    """One digit is wrong in every row of treatments."""
    wrong = _typo(one.number, rng)
    for row in one.cycles:
        row["patient_id"] = wrong


@distortion("identity", "refused", alone=True, numeric=True)
def typo_in_one_treatment(one: Delivery, rng: Random) -> None:
    """One digit is wrong in the row of one cycle."""
    rng.choice(one.cycles)["patient_id"] = _typo(one.number, rng)


@distortion("identity", "refused", alone=True, numeric=True)
def typo_in_patients(one: Delivery, rng: Random) -> None:
    """One digit is wrong in patients.csv."""
    one.person["patient_id"] = _typo(one.number, rng)


@distortion("identity", "refused", alone=True, numeric=True)
def typo_in_follow_up(one: Delivery, rng: Random) -> None:
    """One digit is wrong in follow_up.csv."""
    for row in one.events:
        row["patient_id"] = _typo(one.number, rng)


@distortion("identity", "refused", alone=True, numeric=True)
def transposition_in_treatments(one: Delivery, rng: Random) -> None:
    """Two digits have changed places in every row of treatments."""
    wrong = _swapped(one.number, rng)
    for row in one.cycles:
        row["patient_id"] = wrong


@distortion("identity", "refused", alone=True, numeric=True)
def transposition_everywhere_in_the_sheets(one: Delivery, rng: Random) -> None:
    """Two digits have changed places in all sheets."""
    _write(one, _swapped(one.number, rng))


@distortion("identity", "refused", alone=True, numeric=True)
def typo_in_the_images_of_a_visit(one: Delivery, rng: Random) -> None:
    """One digit is wrong in the images of one visit."""
    _write_images(one, _typo(one.number, rng), [rng.choice(one.visits).name])


@distortion("identity", "refused", alone=True)
def images_without_a_number(one: Delivery, rng: Random) -> None:
    """The images of one visit have no PatientID."""
    visit = rng.choice(one.visits)
    _write_images(one, "", [visit.name])


def _name(one: Delivery, visits: list[str], **who: str) -> None:
    """Write into the images and structure sets of visits whom they are of."""
    for visit in one.visits:
        if visit.name in visits:
            for image in [*visit.slices, *(drawn.content for drawn in visit.structures)]:
                for keyword, value in who.items():
                    setattr(image, keyword, value)


@distortion("identity", "refused", alone=True)
def another_person_at_a_visit(one: Delivery, rng: Random) -> None:
    """The images of one visit are of somebody else, under this patient's number."""
    _name(
        one,
        [rng.choice(one.visits).name],
        PatientName="Beispiel^Berta",
        PatientBirthDate="19480723",
        PatientSex="M",
    )


@distortion("identity", "refused", alone=True)
def another_birth_date_at_a_visit(one: Delivery, rng: Random) -> None:
    """The images of one visit differ in nothing but the birth date."""
    _name(one, [rng.choice(one.visits).name], PatientBirthDate="19570611")


@distortion("identity", "right", alone=True)
def names_in_two_orders(one: Delivery, rng: Random) -> None:
    """Two scanners write the name in different orders, one of them without a birth date."""
    names = [visit.name for visit in one.visits]
    _name(one, names[:1], PatientName="Zhang^San", PatientBirthDate="19570611")
    _name(one, names[1:], PatientName="San Zhang", PatientBirthDate="")


@distortion("identity", "either", alone=True)
def issuer_at_one_visit(one: Delivery, rng: Random) -> None:
    """The images of one visit name another issuer of the number."""
    for s in rng.choice(one.visits[1:]).slices:
        s.IssuerOfPatientID = "OTHERHOSP"


@distortion("identity", "right", alone=True)
def issuer_everywhere(one: Delivery, rng: Random) -> None:
    """All images name the issuer of the number."""
    for visit in one.visits:
        for s in visit.slices:
            s.IssuerOfPatientID = "HOSP"


@distortion("identity", "refused", alone=True)
def slices_of_another_patient(one: Delivery, rng: Random) -> None:
    """Three slices within the lesion bear another patient's number."""
    for s in rng.choice(one.visits).slices[5:8]:
        s.PatientID = f"{one.number}55"


@distortion("identity", "either", of="people")
def one_series_for_two_patients(people: list[Delivery], rng: Random) -> None:
    """An anonymiser gave two patients' CTs one SeriesInstanceUID."""
    first, second = people[:2]
    for s in second.visits[1].slices:
        s.SeriesInstanceUID = first.visits[1].series_uid


@distortion("identity", "either", of="people")
def same_slice_identities_in_two_patients(people: list[Delivery], rng: Random) -> None:
    """An anonymiser gave two patients' slices the same SOPInstanceUIDs."""
    first, second = people[:2]
    for a, b in zip(first.visits[1].slices, second.visits[1].slices, strict=True):
        b.SOPInstanceUID = b.file_meta.MediaStorageSOPInstanceUID = a.SOPInstanceUID


@distortion("identity", "refused", of="people")
def two_patients_in_scientific_notation(people: list[Delivery], rng: Random) -> None:
    """Two patients' numbers become one text."""
    for one in people[:2]:
        _write(one, "3.30E+08")


@distortion("identity", "refused", alone=True)
def patient_twice_and_different(one: Delivery, rng: Random) -> None:
    """Two rows of the patient say different stages; the first is wrong."""
    one.twin, one.person = one.person, {**one.person, "stage": "IIIA"}


@distortion("identity", "right", alone=True)
def patient_twice_and_equal(one: Delivery, rng: Random) -> None:
    """The row of the patient stands twice."""
    one.twin = dict(one.person)
