"""A protocol may be stricter than the study is registered.

It is never looser without a recorded decision on that very value.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dagster_project.cli import COMMANDS, main
from dagster_project.protocol import setting_keys
from dagster_project.registration import ROLES, amendments_in_force, find_problems, floors
from dagster_project.resources import Lakehouse
from dagster_project.study import PROTOCOL, StudyError, load_study, read_sections
from tests.test_protocol import has_default, lowest_and_highest
from tests.trial import SETTINGS, write_protocol

SHIPPED = read_sections(PROTOCOL)
DECISION = {
    "key": "agreement.icc_minimum",
    "value": 0.8,
    "decided_by": "PI",
    "decided_on": "2026-05-01",
    "reason": "amendment 2",
}
KEYS = sorted(floors())
LOOSER = {"at_least": -0.01, "at_most": 0.01}


def protocol(changes: dict[str, Any], *amendments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The shipped protocol with other values, and decisions."""
    sections = {name: dict(keys) for name, keys in SHIPPED.items()}
    for place, value in changes.items():
        section, _, key = place.partition(".")
        sections[section][key] = value
    sections["registration"] = {"amendments": list(amendments)}
    return sections


def problems(changes: dict[str, Any], *amendments: dict[str, Any]) -> list[str]:
    return [p.en for p in find_problems(protocol(changes, *amendments), SHIPPED)]


def beyond(key: str, *, looser: bool) -> Any:
    """A value that has a meaning, on one side of the floor."""
    floor = floors()[key]
    if floor.among is not None:
        return [*floor.among, "II"] if looser else list(floor.among[:1])
    step = 1 if isinstance(floor.bound, int) else 0.005
    down = (floor.at_least is not None) == looser
    value = floor.bound - step if down else floor.bound + step
    lowest, highest = lowest_and_highest(key)
    return type(value)(min(max(value, lowest), highest))


def test_the_shipped_protocol_is_exactly_as_registered_or_stricter() -> None:
    assert problems({}) == []
    assert load_study(PROTOCOL).amended is None


@pytest.mark.parametrize("key", KEYS)
def test_a_stricter_value_is_used_and_a_looser_one_is_refused_by_its_name(key: str) -> None:
    assert problems({key: beyond(key, looser=False)}) == []
    (problem,) = problems({key: beyond(key, looser=True)})
    section, _, name = key.partition(".")
    assert f"[{section}] {name}" in problem
    assert floors()[key].words()[0] in problem
    assert "[registration] amendments" in problem


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value", [float("nan"), -1e9, "0.85", True, None, [], dt.date(2026, 5, 1)], ids=str
)
def test_what_is_no_number_of_its_range_is_refused(key: str, value: Any) -> None:
    (problem,) = problems({key: value})
    assert "can be used" in problem or "missing" in problem


@pytest.mark.parametrize(
    "key", ["reads.blinded_readers", "agreement.pairs_minimum", "gate.minimum_patients"]
)
def test_a_number_of_people_is_whole(key: str) -> None:
    assert len(problems({key: 40.5})) == 1


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("agreement.icc_minimun", "icc_minimum"),
        ("gate.Minimum_patients", "minimum_patients"),
        ("scans.slice_thicknes_mm", "slice_thickness_mm"),
        ("gate.icc_minimum", None),
        ("reads.enabled", None),
    ],
)
def test_a_key_that_nobody_knows_is_refused_and_the_near_one_named(
    place: str, meant: str | None
) -> None:
    """It would leave the rule that is meant as it was, or as it is by default."""
    (problem,) = problems({place: 0.9})
    assert meant is None or f"{meant} meant?" in problem


def test_a_section_that_nobody_knows_is_refused() -> None:
    sections = {**protocol({}), "gates": {"minimum_patients": 1}}
    (problem,) = find_problems(sections, SHIPPED)
    assert "[gates]" in problem.en
    assert "[gate]" in problem.en


@pytest.mark.parametrize("key", KEYS)
def test_a_floor_that_is_left_out_is_no_way_around_it(key: str) -> None:
    sections = protocol({})
    section, _, name = key.partition(".")
    del sections[section][name]
    (problem,) = find_problems(sections, SHIPPED)
    assert "missing" in problem.en


DEFAULTED = ("registration", "publish", "study.data_cutoff")
WITHOUT_FLOOR = sorted(
    key
    for key in setting_keys()
    if key not in KEYS and not has_default(key) and not has_default(key.partition(".")[0])
)


@pytest.mark.parametrize("key", WITHOUT_FLOOR)
def test_a_protocol_of_an_earlier_version_is_refused_by_the_key_that_it_lacks(key: str) -> None:
    """It would end the run with a KeyError where the key is read: at the gate, after hours."""
    sections = protocol({})
    section, _, name = key.partition(".")
    del sections[section][name]
    (problem,) = find_problems(sections, SHIPPED)
    assert f"[{section}] {name} is missing" in problem.en


@pytest.mark.parametrize("left_out", DEFAULTED)
def test_what_has_a_default_may_be_left_out(left_out: str) -> None:
    section, _, name = left_out.partition(".")
    sections = protocol({})
    del (sections[section] if name else sections)[name or section]
    assert find_problems(sections, SHIPPED) == []


def test_a_recorded_decision_on_that_very_value_allows_it() -> None:
    assert problems({"agreement.icc_minimum": 0.8}, DECISION) == []
    assert "icc_minimum" in problems({"agreement.icc_minimum": 0.79}, DECISION)[0]
    assert (
        "icc_minimum"
        in problems(
            {"agreement.icc_minimum": 0.8}, {**DECISION, "key": "agreement.icc_lower_minimum"}
        )[0]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"decided_by": ""},
        {"decided_by": "Zhang San"},
        {"decided_by": "张三"},
        {"decided_by": "00123456"},
        {"decided_on": ""},
        {"decided_on": "2026-13-01"},
        {"decided_on": "1.5.2026"},
        {"decided_on": "2999-01-01"},
        {"reason": " "},
        {"reason": 3},
        {"key": "agreement.icc"},
        {"key": ["agreement.icc_minimum"]},
        {"value": "0.8"},
        {"value": float("nan")},
        {"value": -1},
        {"approved": True},
    ],
    ids=str,
)
def test_a_decision_says_what_who_when_and_why(wrong: dict[str, Any]) -> None:
    (problem,) = problems({"agreement.icc_minimum": 0.8}, {**DECISION, **wrong})
    assert "entry 1" in problem
    assert next(iter(wrong)) in problem


@pytest.mark.parametrize("left_out", DECISION)
def test_no_part_of_a_decision_may_be_missing(left_out: str) -> None:
    (problem,) = problems(
        {"agreement.icc_minimum": 0.8}, {k: v for k, v in DECISION.items() if k != left_out}
    )
    assert left_out in problem


@pytest.mark.parametrize("who", [*ROLES, "R1", "AB12"])
def test_who_decides_is_a_role_or_a_code(who: str) -> None:
    assert problems({"agreement.icc_minimum": 0.8}, {**DECISION, "decided_by": who}) == []


def test_a_decision_that_is_not_needed_is_in_force_nowhere() -> None:
    """A protocol that went back to what is registered is not called amended."""
    assert problems({}, DECISION) == []
    assert amendments_in_force(protocol({}, DECISION)) == ()
    assert [
        a.key for a in amendments_in_force(protocol({"agreement.icc_minimum": 0.8}, DECISION))
    ] == [DECISION["key"]]


def test_the_decision_is_written_on_what_it_touches(tmp_path: Path) -> None:
    study = load_study(write_protocol(tmp_path / "study.toml"))
    assert [a.key for a in study.amendments] == [
        "agreement.pairs_minimum",
        "agreement.icc_raw_minimum",
        "agreement.icc_lower_minimum",
        "gate.minimum_patients",
        "gate.minimum_per_class",
    ]
    assert "pairs_minimum = 12 (registered: at least 30), PI, 2026-01-05: a simulated" in str(
        study.amended
    )
    assert study.digest != load_study(PROTOCOL).digest


def test_every_floor_is_of_a_key_of_the_protocol() -> None:
    assert all(key.partition(".")[2] in SHIPPED[key.partition(".")[0]] for key in KEYS)


# -- every way to a looser gate --------------------------------------------------------------------


def _loose(folder: Path) -> Path:
    return write_protocol(folder / "study.toml", {"agreement": {"icc_minimum": 0.5}})


def _call(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_refuses_first_in_both_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(_loose(tmp_path)))
    result = _call(tmp_path / "home", command)
    assert result.exit_code == 1
    assert "[agreement] icc_minimum is looser than registered, at least 0.85" in result.output
    assert "比注册方案宽松（注册：不低于0.85）" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "home").exists()


def test_help_is_given_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(_loose(tmp_path)))
    assert _call(tmp_path, "--help").exit_code == 0


def test_a_file_that_is_no_toml_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("[gate\n", encoding="utf-8")
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(tmp_path / "study.toml"))
    result = _call(tmp_path, "status")
    assert "no TOML" in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(tmp_path / "other.toml"))
    assert "other.toml, cannot be read" in _call(tmp_path, "status").output


def test_dagsters_own_runs_refuse_it_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Started from the UI or by a sensor, no command line is passed."""
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(_loose(tmp_path)))
    with pytest.raises(StudyError, match="icc_minimum"):
        _ = Lakehouse(root=str(tmp_path)).study


@pytest.mark.parametrize(
    "name",
    [
        "LAKEHOUSE_ICC_MINIMUM",
        "LAKEHOUSE_GATE",
        "LAKEHOUSE_AGREEMENT__ICC_MINIMUM",
        "LAKEHOUSE_REGISTRATION",
        "LAKEHOUSE_FLOORS",
    ],
)
def test_no_variable_of_the_environment_moves_a_floor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "registration.toml").write_text(
        "[agreement.icc_minimum]\nat_least = 0.1\n", encoding="utf-8"
    )
    monkeypatch.setenv(name, str(tmp_path / "registration.toml"))
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(_loose(tmp_path)))
    with pytest.raises(StudyError):
        load_study()


def test_a_copy_in_the_home_or_the_working_folder_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LAKEHOUSE_STUDY", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    for folder in (home, tmp_path):
        _loose(folder)
        (folder / "registration.toml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home))
    assert load_study().digest == load_study(PROTOCOL).digest


def test_no_run_config_reaches_the_gate() -> None:
    """The one setting of a run is the home folder; what is written for a step is read by none."""
    from dagster_project.definitions import defs

    assert set(Lakehouse.model_fields) == {"root"}
    config = {
        "resources": {"lakehouse": {"config": {"study": {"agreement": {"icc_minimum": 0.1}}}}}
    }
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(defs.resolve_job_def("cohort"), config)


def test_the_tests_own_protocol_is_looser_by_decision_alone(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        load_study(
            write_protocol(
                tmp_path / "study.toml", {k: v for k, v in SETTINGS.items() if k != "registration"}
            )
        )
