"""The words of the board page in both languages, so that either is whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from dagster_project.lake.minimisation import AGE, Minimisation
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.vocabulary import chinese_word
from dagster_project.reports.summaries.tables import Row
from dagster_project.reports.wording import ABSENT, number, plain, signed

Both = tuple[str, str]
"""A text in English and in Chinese."""

SEX: Mapping[str, Both] = {"F": ("female", "女"), "M": ("male", "男")}

ROLES: Mapping[str, Both] = {
    "target": ("target", "靶病灶"),
    "non_target": ("non-target", "非靶病灶"),
    "new": ("new lesion", "新病灶"),
}

NONTARGET: Mapping[str, Both] = {
    "NONE": ("no non-target at baseline", "基线无非靶病灶"),
    "CR": ("non-targets gone", "非靶病灶消失"),
    "NON_CR_NON_PD": ("non-targets neither gone nor progressed", "非靶病灶未消失亦未进展"),
    "PD": ("non-targets progressed unequivocally", "非靶病灶明确进展"),
    "NE": ("non-targets not evaluated", "非靶病灶未评价"),
}

CHANGED: Mapping[str, Both] = {
    "scanner": ("scanner", "设备"),
    "kernel": ("kernel", "卷积核"),
    "contrast": ("contrast", "对比剂"),
    "kvp": ("tube voltage", "管电压"),
    "none": ("none", "无"),
}

DIRECTIONS: Mapping[str, Both] = {
    "worse": ("worse", "恶化"),
    "better": ("better", "好转"),
    "within_error": ("within error", "误差内"),
}

SOURCES: Mapping[str, Both] = {
    "study": ("of this study’s readers", "本研究阅片者"),
    "protocol": ("of the protocol", "研究方案"),
}

ADVICE: Mapping[str, Both] = {
    "ct_from_day_to_day": ("CT within the window confirms or resets", "窗口内CT用于确认或重置"),
    "bring_to_board": ("Discuss at the board: progression is confirmed", "进展已确认，提交讨论"),
    "as_scheduled": ("Next CT as scheduled", "按计划复查CT"),
    "none": ("Nothing is due", "无到期事项"),
}


def same(text: str) -> Both:
    """A code or number that is the same in both languages."""
    return text, text


def words(table: Mapping[str, Any], code: str | None) -> Both:
    """A code in both languages; as it is where the table has none."""
    if code is None:
        return same(ABSENT)
    found = table.get(code)
    return (found[0], found[1]) if found else same(plain(code))


def translated(text: str | None) -> Both:
    """A reason of the tables in both languages."""
    return (text, chinese_reason(text)) if text else same(ABSENT)


def joined(parts: Iterable[Both]) -> Both:
    """Several words as a list."""
    found = list(parts)
    return ", ".join(p[0] for p in found), "、".join(p[1] for p in found)


def value_of(field: str, code: str | None) -> Both:
    """A value of the case report; a word that the vocabulary lacks stays as it is."""
    if code is None:
        return "not recorded", "未记录"
    return plain(code), chinese_word(field, code) or plain(code)


def regimen_words(regimen: str | None) -> Both:
    """The drugs of a regimen."""
    if not regimen:
        return "regimen not recorded", "治疗方案未记录"
    drugs = regimen.split("+")
    english = " + ".join(plain(d).strip() for d in drugs)
    return english, " + ".join(chinese_word("drugs", d) or plain(d) for d in drugs)


def facts_of(row: Mapping[str, Any], published: Minimisation) -> list[tuple[Both, Both]]:
    """Who the patient is: what a board asks first, as far as it is recorded."""
    age = published.band(row.get(AGE))
    years = same(ABSENT) if age is None else (f"{age} y", f"{age}岁")
    sex = words(SEX, row.get("sex"))
    pd_l1 = row.get("pd_l1_tps")
    return [
        (("Patient", "患者"), (f"{sex[0]}, {years[0]}", f"{sex[1]}，{years[1]}")),
        (("Histology", "病理"), value_of("histology", row.get("histology"))),
        (("Stage", "分期"), value_of("stage", row.get("stage"))),
        (("PD-L1 TPS", "PD-L1 TPS"), same(ABSENT if pd_l1 is None else f"{number(pd_l1)} %")),
        (("EGFR", "EGFR"), value_of("egfr", row.get("egfr"))),
        (("ALK", "ALK"), value_of("alk", row.get("alk"))),
        (("Line", "线数"), _line(row.get("line"))),
    ]


def _line(line: int | None) -> Both:
    return same(ABSENT) if line is None else (str(line), chinese_word("line", str(line)) or "")


def status_words(row: Mapping[str, Any] | None) -> list[Both]:
    """The clinical state as recorded; what is not recorded is said to be so."""
    if row is None:
        return [("not recorded", "未记录")]
    stable, symptoms, ecog = (row[n] for n in ("clinically_stable", "new_symptoms", "ecog"))
    day = row["day"]
    found = [
        _yes_no(
            stable,
            ("stable", "稳定"),
            ("not stable", "不稳定"),
            ("stability unknown", "稳定性不详"),
        ),
        _yes_no(
            symptoms,
            ("new symptoms", "有新发症状"),
            ("no new symptoms", "无新发症状"),
            ("symptoms unknown", "症状不详"),
        ),
        same(f"ECOG {ecog}") if ecog is not None else ("ECOG not recorded", "ECOG未记录"),
    ]
    return found if day is None else [*found, (f"on day {number(day, 0)}", f"第{number(day, 0)}天")]


def _yes_no(value: bool | None, yes: Both, no: Both, unknown: Both) -> Both:
    if value is None:
        return unknown
    return yes if value else no


# -- evidence --------------------------------------------------------------------------------------


def evidence_rows(items: Mapping[str, Row], letters: Mapping[str, str]) -> list[dict[str, Any]]:
    """The lines of evidence, in the order in which a board looks at them.

    Each has a name, a value, and whether it exceeds reader error; or the reason why there is none.
    """
    return [
        _line_of(name, items[key], show(items, letters))
        for key, name, show in _LINES
        if key in items
    ]


def _line_of(name: Both, item: Row, value: Both) -> dict[str, Any]:
    missing = item["value"] is None
    return {
        "name": name,
        "value": translated(item["reason"]) if missing else value,
        "direction": words(DIRECTIONS, item["direction"]) if item["direction"] else None,
        "tone": {"worse": "no", "better": "yes"}.get(item["direction"] or "", "other"),
        "missing": missing,
    }


def _change(reference: str) -> Any:
    def show(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
        mm, share = (
            items[f"change_from_{reference}_{unit}"]["value"] for unit in ("mm", "percent")
        )
        percent = "" if share is None else f" ({signed(share)} %)"
        return same(f"{signed(mm, 1)} mm{percent}")

    return show


def _plain_number(key: str, digits: int, unit: Both) -> Any:
    def show(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
        text = number(items[key]["value"], digits)
        return f"{text} {unit[0]}".strip(), f"{text} {unit[1]}".strip()

    return show


def _ratio(key: str) -> Any:
    """A logarithm of a ratio as per cent."""

    def show(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
        value = items[key]["value"]
        return same("" if value is None else f"{signed(100 * math.expm1(value))} %")

    return show


def _margin(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
    text = signed(items["margin_of_progression"]["value"], 1)
    return f"{text} reader errors", f"{text} 个阅片误差"


def _apart(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
    grown, shrunk, both = (
        items[n]["value"] for n in ("lesions_growing", "lesions_shrinking", "dissociated")
    )
    english = f"{number(grown, 0)} growing, {number(shrunk, 0)} shrinking"
    chinese = f"增大{number(grown, 0)}个，缩小{number(shrunk, 0)}个"
    return (f"{english}: dissociated", f"{chinese}：分离性反应") if both else (english, chinese)


def _readers(items: Mapping[str, Row], letters: Mapping[str, str]) -> Both:
    pairs = [part.rsplit(" ", 1) for part in (items["readers_agree"]["text"] or "").split("; ")]
    found = sorted(
        (letters.get(who, "–"), state) for who, state in (p for p in pairs if len(p) == 2)
    )
    return same(" · ".join(f"{letter} {plain(state)}" for letter, state in found))


def _dhi(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
    text, note = number(items["dhi"]["value"], 2), items["dhi"]["text"]
    return (f"{text}; {note}", f"{text}；{chinese_reason(note)}") if note else same(text)


def _scan(items: Mapping[str, Row], _: Mapping[str, str]) -> Both:
    changed = (items["changes_of_the_scan"]["text"] or "none").split(", ")
    return joined(words(CHANGED, code) for code in changed)


_LINES: tuple[tuple[str, Both, Any], ...] = (
    ("margin_of_progression", ("Margin above progression", "超出进展界值"), _margin),
    ("change_from_nadir_mm", ("Sum since nadir", "总和较最低值"), _change("nadir")),
    ("change_from_last_mm", ("Sum since last CT", "总和较上次"), _change("last")),
    ("change_from_baseline_mm", ("Sum since T0", "总和较基线"), _change("baseline")),
    ("growth_per_30_days", ("Sum per 30 days", "总和每30天变化"), _ratio("growth_per_30_days")),
    (
        "change_of_log_volume",
        ("Volume since last CT", "体积较上次"),
        _ratio("change_of_log_volume"),
    ),
    ("lesions_growing", ("Targets beyond error", "超出误差的靶病灶"), _apart),
    (
        "new_lesion_sum",
        ("Sum of new lesions", "新病灶总和"),
        _plain_number("new_lesion_sum", 1, ("mm", "mm")),
    ),
    ("readers_agree", ("Each reader", "各阅片者"), _readers),
    ("dhi", ("DHI since T0", "DHI较基线"), _dhi),
    ("changes_of_the_scan", ("Scan changed since T0", "扫描条件较基线变化"), _scan),
)
"""Items of dynamic_evidence that the page lists, with their names."""


def reader_error_words(items: Mapping[str, Row]) -> Both | None:
    """Size and source of the reader error, as the table has it."""
    return translated(items["margin_of_progression"]["text"]) if items else None
