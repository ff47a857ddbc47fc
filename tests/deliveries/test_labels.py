"""Labels of lesions: what two readers call one lesion, and two labels that look alike."""

from __future__ import annotations

import pytest

from tests.deliveries.conftest import Deliveries

pytestmark = pytest.mark.real_data


def test_l1_1_and_l11_are_two_lesions(landed: Deliveries) -> None:
    sizes = {r["lesion"]: r["volume_mm3"] for r in landed.reads("B12")}
    assert sizes.keys() == {"L1-1", "L11"}
    assert sizes["L1-1"] == pytest.approx(3028.5, rel=0.02)
    assert sizes["L11"] == pytest.approx(4 / 3 * 3.1416 * 5**3, rel=0.06)


@pytest.mark.parametrize("number", ["916001", "916002"])
def test_readers_who_number_two_lesions_the_other_way_round_agree(
    landed: Deliveries, number: str
) -> None:
    reads = landed.reads("B16", number)
    sizes = {(r["reader"], r["lesion"]): r["longest_diameter_mm"] for r in reads}
    assert sizes["R1", "L1"] == sizes["R2", "L1"] > sizes["R1", "L2"] == sizes["R2", "L2"]
    swapped = {r["reader_label"] for r in reads if r["reader_label"] != r["lesion"]}
    assert swapped == ({"L1", "L2"} if number == "916002" else set())


def test_identical_outlines_give_no_limits_of_agreement_of_16_mm(landed: Deliveries) -> None:
    """The ICC of so small a site is a pool's; the limits and each lesion's Dice are its own."""
    (row,) = landed.ask("""
        SELECT loa_lower, loa_upper FROM reader_agreement
        WHERE scope = 'site' AND site = 'B16' AND measurement = 'longest_diameter_mm'""")
    assert (row["loa_lower"], row["loa_upper"]) == (0.0, 0.0)
    lesions = landed.ask(
        "SELECT dice_minimum FROM reader_agreement WHERE scope = 'lesion' AND site = 'B16'"
    )
    assert [r["dice_minimum"] for r in lesions] == [1.0] * 4


def test_the_renaming_is_reported(landed: Deliveries) -> None:
    assert sum("renamed by the overlap" in line for line in landed.refused("B16", "reads")) == 2
