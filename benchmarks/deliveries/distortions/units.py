"""Figures in other units than the header says, and cells that programs reformatted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import Delivery, Measured


def _by_hand(
    one: Delivery,
    write: Callable[[float], str] = lambda mm: f"{mm:.1f}",
    longest: str = "ld_mm",
    short: str = "sa_mm",
) -> None:
    """Both readers measured by hand and outlined nothing."""
    for visit in one.visits:
        visit.structures.clear()
        visit.truth = {
            label: Measured(0.0, round(t.longest_mm or 0, 1), round(t.short_mm or 0, 1), None)
            for label, t in visit.truth.items()
        }
    for rows in one.reads.values():
        for row in rows:
            visit = next(v for v in one.visits if f"{v.date:%Y-%m-%d}" == row["visit_date"])
            true = next(t for label, t in visit.truth.items() if row["lesion"].startswith(label))
            row[longest], row[short] = write(true.longest_mm or 0), write(true.short_mm or 0)


@distortion("units", "right", readers=True)
def measured_by_hand(one: Delivery, rng: Random) -> None:
    """Readers measured by hand, in millimetres."""
    _by_hand(one)


@distortion("units", "right", readers=True, alone=True)
def header_in_cm(one: Delivery, rng: Random) -> None:
    """The headers say cm and so do the figures."""
    _by_hand(one, lambda mm: f"{mm / 10:.2f}", "最长径(cm)", "短径(cm)")


@distortion("units", "right", readers=True, alone=True)
def header_ld_cm(one: Delivery, rng: Random) -> None:
    """The headers are ld_cm and sa_cm."""
    _by_hand(one, lambda mm: f"{mm / 10:.2f}", "ld_cm", "sa_cm")


@distortion("units", "refused", readers=True, alone=True)
def header_in_inches(one: Delivery, rng: Random) -> None:
    """The headers say inch."""
    _by_hand(one, lambda mm: f"{mm / 25.4:.3f}", "LD (inch)", "SA (inch)")


@distortion("units", "either", readers=True)
def cells_in_cm(one: Delivery, rng: Random) -> None:
    """One reader wrote `2.4 cm` into cells of millimetres."""
    _by_hand(one)
    for row in one.reads["R1"]:
        row["ld_mm"] = f"{float(row['ld_mm']) / 10:.2f} cm"


@distortion("units", "right", readers=True)
def cells_with_mm(one: Delivery, rng: Random) -> None:
    """Readers wrote the unit behind each figure."""
    _by_hand(one, lambda mm: f"{mm:.1f} mm")


@distortion("units", "right", readers=True)
def decimal_commas(one: Delivery, rng: Random) -> None:
    """Figures have decimal commas."""
    _by_hand(one, lambda mm: f"{mm:.1f}".replace(".", ","))


@distortion("units", "refused", readers=True)
def figures_with_a_bound(one: Delivery, rng: Random) -> None:
    """A reader wrote that a diameter is below a figure."""
    _by_hand(one)
    for row in one.reads["R1"]:
        row["ld_mm"] = f"<{row['ld_mm']}"


@distortion("units", "refused", readers=True)
def two_figures_in_a_cell(one: Delivery, rng: Random) -> None:
    """A reader wrote both diameters into one cell."""
    _by_hand(one)
    for row in one.reads["R1"]:
        row["ld_mm"], row["sa_mm"] = f"{row['ld_mm']}x{row['sa_mm']}", ""


@distortion("units", "either", readers=True)
def longest_and_short_swapped(one: Delivery, rng: Random) -> None:
    """A reader swapped the columns of the longest diameter and the short axis."""
    _by_hand(one)
    for row in one.reads["R1"]:
        row["ld_mm"], row["sa_mm"] = row["sa_mm"], row["ld_mm"]


@distortion("units", "refused", readers=True)
def negative_diameter(one: Delivery, rng: Random) -> None:
    """A diameter is negative: -1 means that it was not done."""
    _by_hand(one)
    for row in one.reads["R1"]:
        row["ld_mm"] = "-1"


@distortion("units", "either", alone=True)
def age_in_months_by_header(one: Delivery, rng: Random) -> None:
    """The header of the age says months."""
    one.person["年龄(月)"] = str(12 * int(one.person.pop("age")) + rng.randrange(12))


@distortion("units", "either")
def age_in_months_by_cell(one: Delivery, rng: Random) -> None:
    """The age is given in months, and the cell says so."""
    one.person["age"] = f"{12 * int(one.person['age'])} months"


@distortion("units", "refused")
def age_in_months_unsaid(one: Delivery, rng: Random) -> None:
    """The age is given in months, and nothing says so."""
    one.person["age"] = str(12 * int(one.person["age"]))


@distortion("units", "refused")
def thousands_in_an_age(one: Delivery, rng: Random) -> None:
    """An age of 1,063: full-width, with a separator."""
    one.person["age"] = rng.choice(["１，０６３", "1,063", "1 063"])


@distortion("units", "either")
def percent_cell(one: Delivery, rng: Random) -> None:
    """PD-L1 comes from a percent cell: 0.8 for 80 %."""
    one.person["pd_l1_tps"] = "0.8"
    one.person_truth["pd_l1_tps"] = 80.0


@distortion("units", "right")
def percent_sign(one: Delivery, rng: Random) -> None:
    """PD-L1 has its sign."""
    one.person["pd_l1_tps"] += rng.choice(["%", " %", "％"])


@distortion("units", "refused")
def percent_as_a_range(one: Delivery, rng: Random) -> None:
    """PD-L1 is given as a range."""
    one.person["pd_l1_tps"] = rng.choice(["1-49%", "50~60", "1%–49%"])
    one.person_truth["pd_l1_tps"] = 30.0


@distortion("units", "refused")
def percent_over_100(one: Delivery, rng: Random) -> None:
    """PD-L1 is a combined positive score over 100."""
    one.person["pd_l1_tps"] = "120"


@distortion("units", "either")
def ecog_with_a_decimal(one: Delivery, rng: Random) -> None:
    """A program made numbers of the performance status: 1.0."""
    one.person["ecog"] += ".0"


@distortion("units", "either")
def age_with_a_decimal(one: Delivery, rng: Random) -> None:
    """A program made numbers of the age: 63.0."""
    one.person["age"] += ".0"


@distortion("units", "either")
def cycle_with_a_decimal(one: Delivery, rng: Random) -> None:
    """A program made numbers of the cycles: 1.0."""
    for row in one.cycles:
        row["cycle"] += ".0"


@distortion("units", "right")
def full_width_figures(one: Delivery, rng: Random) -> None:
    """Figures are in full-width digits."""
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    for key in ("age", "ecog", "pd_l1_tps", "line"):
        one.person[key] = one.person[key].translate(wide)


@distortion("units", "either")
def sex_coded(one: Delivery, rng: Random) -> None:
    """Sex is coded 1 and 2, and no list says which is which."""
    one.person["sex"] = {"M": "1", "F": "2"}[one.person["sex"]]


@distortion("units", "right")
def missing_codes(one: Delivery, rng: Random) -> None:
    """What is not known is coded -9, 999 or NA."""
    for key, code in (("pd_l1_tps", "999"), ("ecog", "-9"), ("age", "NA")):
        one.person[key] = code
    one.person_truth |= {"pd_l1_tps": None, "ecog": None, "age_years": None}


def _at_visit(one: Delivery, visit: int, change: Callable[[dict[str, str]], None]) -> None:
    """Change both readers' rows of one visit."""
    for rows in one.reads.values():
        for row in rows:
            if row["visit_date"] == f"{one.visits[visit].date:%Y-%m-%d}":
                change(row)


@distortion("units", "refused", readers=True)
def decimal_point_lost(one: Delivery, rng: Random) -> None:
    """A longest diameter has lost its decimal point at one visit."""
    _by_hand(one)
    _at_visit(one, 1, lambda row: row.update(ld_mm=row["ld_mm"].replace(".", "")))


@distortion("units", "refused", readers=True)
def one_visit_in_cm(one: Delivery, rng: Random) -> None:
    """Diameters of one visit are in centimetres, and nothing says so."""
    _by_hand(one)
    _at_visit(
        one, 1, lambda row: row.update({k: f"{float(row[k]) / 10:.1f}" for k in ("ld_mm", "sa_mm")})
    )
