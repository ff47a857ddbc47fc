"""A few of the hostile inputs of the benchmark, and that it would see an input that does harm."""

import pytest

from benchmarks.hostile.kinds import HOSTILE, USABLE, Hostile
from benchmarks.hostile.setting import Setting
from benchmarks.hostile_inputs import table, tried

FEW = (
    "pipe",
    "name with a newline",
    "ten thousand nested sequences",
    "gz that claims 32,767 cubed",
    "line of 4 GiB",
    "billion laughs in UTF-16",
    "age of 400 nines",
)
BY_NAME = {hostile.name: hostile for hostile in HOSTILE}


@pytest.mark.parametrize("name", FEW)
def test_a_hostile_input_is_refused_or_used_and_the_good_patient_taken_in(name):
    result = tried(BY_NAME[name])
    assert result.verdict == ("used" if BY_NAME[name].usable else "refused"), result
    assert "Murong" not in str(result.reasons)


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own():
    assert len(HOSTILE) == len(BY_NAME) >= 100
    assert USABLE - BY_NAME.keys() == set()


def _harmful(setting: Setting) -> None:
    (setting.landing / "clinical" / "patients.csv").unlink()
    for path in (setting.landing / "dicom" / "good").iterdir():
        path.unlink()
    setting.put("clinical/patients.csv", "patient_id\n")


def test_an_input_that_costs_the_good_patient_is_seen():
    result = tried(Hostile("patients", "harmful", _harmful))
    assert result.verdict == "the good patient is lost"
    assert "| patients | 1 | 0 | 0 | 0 | 0 | 1 |" in table([result])


def test_an_input_that_nobody_names_is_seen():
    result = tried(Hostile("names", "nothing at all", lambda _: None))
    assert result.verdict == "wrong in silence"
