"""A setting of study.toml that cannot be meant is refused by section and key, before any work."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
from annotated_types import Ge, Le
from click.testing import CliRunner, Result

from dagster_project.cli import main
from dagster_project.protocol import (
    RELATIONS,
    RENAMED,
    FeatureClass,
    Protocol,
    Wavelet,
    is_usable,
    section_types,
    setting_keys,
    wording_of,
)
from dagster_project.registration import find_problems, floors
from dagster_project.study import PROTOCOL, StudyError, load_study, read_sections
from tests.trial import write_protocol

SHIPPED = read_sections(PROTOCOL)
KEYS = setting_keys()
NUMBERS = [key for key in KEYS if wording_of(key).en.startswith(("a number", "a whole number"))]


def has_default(key: str) -> bool:
    """Whether a section or a setting may be left out."""
    section, _, name = key.partition(".")
    fields = section_types()[section].model_fields if name else Protocol.model_fields
    return not fields[name or section].is_required()


def lowest_and_highest(key: str) -> tuple[float, float]:
    """The inclusive bounds of a number; infinite where there is none."""
    section, _, name = key.partition(".")
    found = section_types()[section].model_fields[name].metadata
    low = next((m.ge for m in found if isinstance(m, Ge)), -math.inf)
    high = next((m.le for m in found if isinstance(m, Le)), math.inf)
    return float(low), float(high)


def changed(key: str, value: Any) -> dict[str, dict[str, Any]]:
    """The shipped protocol with one other value."""
    section, _, name = key.partition(".")
    return {**SHIPPED, section: {**SHIPPED.get(section, {}), name: value}}


def refusals(key: str, value: Any) -> list[str]:
    return [problem.en for problem in find_problems(changed(key, value), SHIPPED)]


def shipped(key: str) -> Any:
    section, _, name = key.partition(".")
    return SHIPPED[section].get(name)


def of_another_kind(value: Any) -> list[Any]:
    """Values of every kind of TOML that a setting with this value is not."""
    kinds: dict[type, list[Any]] = {
        bool: [True],
        int: [3],
        float: [3.5],
        str: ["no such word"],
        list: [[[1]], [{}]],
        dict: [{"a": [1]}],
    }
    same = {int: (int,), float: (int, float)}.get(type(value), (type(value),))
    return [one for kind, values in kinds.items() if kind not in same for one in values] + [
        dt.date(2026, 5, 1)
    ]


def test_the_shipped_protocol_has_every_setting_and_no_other() -> None:
    written = {f"{section}.{name}" for section, names in SHIPPED.items() for name in names}
    assert written == set(KEYS) - {"study.sites"}
    assert list(SHIPPED) == list(section_types())


@pytest.mark.parametrize("key", [key for key in KEYS if key != "study.sites"])
def test_a_value_of_another_kind_is_refused_by_section_and_key(key: str) -> None:
    section, _, name = key.partition(".")
    for value in of_another_kind(shipped(key)):
        (problem,) = find_problems(changed(key, value), SHIPPED)
        assert f"study.toml [{section}] {name}" in problem.en
        assert wording_of(key).en in problem.en
        assert wording_of(key).zh in problem.zh


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_beyond_its_range_is_refused(key: str) -> None:
    low, high = lowest_and_highest(key)
    step = 1 if isinstance(shipped(key), int) else 0.001
    beyond = [bound + sign * step for bound, sign in ((low, -1), (high, 1)) if math.isfinite(bound)]
    for value in (*beyond, math.nan, math.inf, -math.inf):
        assert not is_usable(key, type(shipped(key))(value) if math.isfinite(value) else value)
        assert refusals(key, value)[0].startswith("study.toml [")


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_a_lower_end(key: str) -> None:
    assert not is_usable(key, type(shipped(key))(-(10**6)))


@pytest.mark.parametrize("key", [key for key in KEYS if "one of" in wording_of(key).en])
def test_a_misspelled_word_is_refused_and_the_words_are_named(key: str) -> None:
    value = shipped(key)
    wrong = [*value, "Event"] if isinstance(value, list) else f"{value}x"
    (problem,) = refusals(key, wrong)
    assert wording_of(key).en in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoints.new_therapy", "Event"),
        ("model.leave_site_out_for", "baseline"),
        ("model.early_outcome_policy", "excluded"),
        ("model.harmonise", "ComBat"),
        ("reads.site_reader", "R9"),
        ("radiomics.engine", "Fused"),
        ("model.device", "gpu"),
        ("radiomics.wavelet", "coif5"),
        ("reads.target_roi", "(GTV"),
        ("timepoints.soft_tissue_kernels", ""),
        ("model.ridge_strengths", [0.1, 1.0]),
        ("dhi.habitat_cuts_hu", [20, -20]),
        ("scans.air_hu_range", [-750, -1150]),
        ("model.tasks", []),
        ("model.tasks", ["T1", "T1"]),
        ("study.data_cutoff", "2026-02-30"),
        ("study.data_cutoff", "1.5.2026"),
        ("study.sites", ["00412877"]),
        ("model.alias", "Champion of all"),
        ("gate.excluded_sites", [{"site": "BJCH"}]),
    ],
)
def test_what_used_to_change_results_in_silence_is_refused(key: str, value: Any) -> None:
    (problem,) = refusals(key, value)
    assert key.partition(".")[2] in problem


DECISION = {
    "site": "BJCH",
    "decided_by": "PI",
    "decided_on": "2026-05-01",
    "reason": "second reader to be trained anew",
}


@pytest.mark.parametrize("missing", DECISION)
def test_a_site_is_left_out_only_by_a_whole_decision(missing: str) -> None:
    assert refusals("gate.excluded_sites", [DECISION]) == []
    short = {name: value for name, value in DECISION.items() if name != missing}
    (problem,) = refusals("gate.excluded_sites", [DECISION, short])
    assert f"entry 2, {missing}" in problem


@pytest.mark.parametrize("who", ["Dr Murong", "王主任", "pi", "R123", ""])
def test_who_left_a_site_out_is_a_code_or_a_role_and_no_name(who: str) -> None:
    assert refusals("gate.excluded_sites", [{**DECISION, "decided_by": "R1"}]) == []
    (problem,) = refusals("gate.excluded_sites", [{**DECISION, "decided_by": who}])
    assert "entry 1, decided_by" in problem
    assert not who or who not in problem.replace("PI", "")


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: f"{r.section}.{r.first}")
def test_values_that_contradict_each_other_are_refused_together(relation: Any) -> None:
    keys = f"{relation.section}.{relation.first}", f"{relation.section}.{relation.second}"
    first, second = map(shipped, keys)
    contradictions = {
        "at most": lambda: [(second + 0.1, second), (second + 1, second), (first, first - 1)],
        "below": lambda: [(second, second)],
        "one of": lambda: [("T2", ["T0", "T1"])],
        "different from": lambda: [(second, second)],
    }[relation.words.en]()
    values = next(pair for pair in contradictions if all(map(is_usable, keys, pair)))
    section = {**SHIPPED[relation.section], relation.first: values[0], relation.second: values[1]}
    found = [p.en for p in find_problems({**SHIPPED, relation.section: section}, SHIPPED)]
    assert any(relation.first in text and relation.second in text for text in found)


def test_what_is_missing_is_named_with_the_line_to_add() -> None:
    sections = {
        **SHIPPED,
        "recist": {k: v for k, v in SHIPPED["recist"].items() if k != "too_small_mm"},
    }
    (problem,) = find_problems(sections, SHIPPED)
    assert "too_small_mm = 5.0" in problem.en
    assert "too_small_mm = 5.0" in problem.zh


def under_former_name(former: str) -> dict[str, Any]:
    """The shipped protocol with one section or setting under the name that it had."""
    section, _, name = RENAMED[former].partition(".")
    if not name:
        return {former if s == section else s: keys for s, keys in SHIPPED.items()}
    old = former.partition(".")[2]
    return {**SHIPPED, section: {old if k == name else k: v for k, v in SHIPPED[section].items()}}


@pytest.mark.parametrize("former", RENAMED)
def test_a_setting_under_its_former_name_is_refused_with_the_present_one(former: str) -> None:
    (problem,) = find_problems(under_former_name(former), SHIPPED)
    for key in (former, RENAMED[former]):
        section, _, name = key.partition(".")
        for text in (problem.en, problem.zh):
            assert f"study.toml [{section}] {name}".rstrip() in text
    assert "has another name" in problem.en
    assert "已更名" in problem.zh


def test_former_names_are_no_settings_and_present_ones_are() -> None:
    assert not {*RENAMED} & {*KEYS, *section_types()}
    assert {*RENAMED.values()} <= {*KEYS, *section_types()}


def test_how_a_number_is_written_changes_nothing(tmp_path: Path) -> None:
    other = load_study(write_protocol(tmp_path / "study.toml", {"recist": {"progression_mm": 5}}))
    assert other.digest == load_study(PROTOCOL).digest


def test_the_typed_protocol_holds_what_the_sections_hold() -> None:
    study = load_study(PROTOCOL)
    for key in KEYS:
        section, _, name = key.partition(".")
        if name in study.section(section):
            assert getattr(getattr(study.protocol, section), name) == study.section(section)[name]


def test_the_words_are_those_that_the_program_knows() -> None:
    from dagster_project.radiomics.derived_images import WAVELET_MARGIN
    from dagster_project.radiomics.extraction import ENGINES
    from dagster_project.radiomics.ibsi_families import family_features
    from dagster_project.radiomics.pyradiomics_engine import TEXTURE_CLASSES
    from dagster_project.radiomics.resampling import _WEIGHTS
    from models.learners.harmonised import KINDS

    def words(key: str) -> set[str]:
        return {
            word
            for word in wording_of(key).en.replace(",", " ").split()
            if is_usable(key, word) or is_usable(key, [word])
        }

    assert words("radiomics.engine") == set(ENGINES)
    assert words("radiomics.interpolator") == set(_WEIGHTS)
    assert words("model.harmonise") == {"none", *KINDS}
    assert {*TEXTURE_CLASSES, "firstorder", "shape"} == set(get_args(FeatureClass))
    families, aggregations = words("radiomics.ibsi_families"), words("radiomics.ibsi_aggregations")
    assert family_features(
        {"ibsi_families": sorted(families), "ibsi_aggregations": sorted(aggregations)}
    )
    assert words("endpoints.new_therapy") == {"censored", "event"}
    import pywt

    assert all(pywt.Wavelet(name).dec_len <= WAVELET_MARGIN for name in get_args(Wavelet) if name)


# -- by the command line ---------------------------------------------------------------------------


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["protocol", *arguments])


def test_check_names_every_wrong_setting_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"recist": {"response_ratio": 70}, "endpoints": {"new_therapy": "Event"}}
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(write_protocol(tmp_path / "study.toml", wrong)))
    result = call("check")
    assert result.exit_code == 1
    assert (
        "[recist] response_ratio = 70 has no value that can be used: "
        "write a number above 0 and below 1" in result.output
    )
    assert (
        '[endpoints] new_therapy = "Event" 取值无效：请填写以下之一：censored、event'
        in result.output
    )


def test_check_says_what_is_looser_by_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(write_protocol(tmp_path / "study.toml")))
    result = call("check")
    assert result.exit_code == 0
    assert "looser than registered by decision: agreement.pairs_minimum = 12" in result.output


def test_show_has_every_setting_with_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEHOUSE_STUDY", raising=False)
    rows = [json.loads(line) for line in call("show", "--json").output.splitlines()]
    assert [row["setting"] for row in rows] == list(KEYS)
    assert {row["setting"] for row in rows if row["registered"]} == set(floors())
    assert "response_ratio" in call("show", "recist").output
    assert "icc_minimum" not in call("show", "recist").output
    assert "no section recists" in call("show", "recists").output


def test_diff_with_a_protocol_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAKEHOUSE_STUDY", raising=False)
    assert "none" in call("diff").output
    text = PROTOCOL.read_text(encoding="utf-8").replace("too_small_mm = 5.0", "too_small = 4.0")
    (tmp_path / "earlier.toml").write_text(text, encoding="utf-8")
    renamed = text.replace("early_outcome_policy", "decided")
    (tmp_path / "renamed.toml").write_text(renamed, encoding="utf-8")
    output = call("diff", str(tmp_path / "earlier.toml")).output
    assert output.count("not there") == 2
    assert call("diff", str(tmp_path / "renamed.toml")).output == output.replace(
        "earlier", "renamed"
    )
    with pytest.raises(StudyError, match="too_small_mm"):
        load_study(tmp_path / "earlier.toml")


def test_only_what_is_harmless_to_leave_out_has_a_default() -> None:
    assert {key for key in KEYS if has_default(key)} == {
        "study.sites",
        "study.data_cutoff",
        "registration.amendments",
        "publish.age_band_years",
        "publish.suppressed_columns",
    }
