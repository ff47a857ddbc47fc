"""Reasons and places in Chinese, as far as the catalogue has them.

No value is lost on the way.
"""

from __future__ import annotations

import re
import tomllib

import pytest

from dagster_project.lake.reasons import CATALOGUE, chinese_item, chinese_label, chinese_reason

ENTRIES = [
    (section, en, zh)
    for section, entries in tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).items()
    for en, zh in entries.items()
]


@pytest.mark.parametrize(
    ("section", "english", "chinese"), ENTRIES, ids=[en[:40] for _, en, _ in ENTRIES]
)
def test_every_entry_is_found_and_keeps_what_its_placeholders_hold(
    section: str, english: str, chinese: str
) -> None:
    names = re.findall(r"\{(\w+)\}", english)
    assert sorted(names) == sorted(re.findall(r"\{(\w+)\}", chinese))
    values = {name: f"7{n}" for n, name in enumerate(names)}
    look_up = {"items": chinese_item, "reasons": chinese_reason, "figures": chinese_label}
    found = look_up[section](english.format(**values))
    assert all(value in found for value in values.values())
    assert re.search(r"[\u4e00-\u9fff\uff00-\uffef]", found) or section == "figures"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("is not within 0 to 500; the cell is left out", "不在 0–500 范围内；该单元格未采用"),
        (
            "mask does not lie on the grid of the CT series; "
            "export the mask on the original series without resampling",
            "掩膜不在 CT 序列的网格上；请在原始序列上导出掩膜，不要重采样",
        ),
        (
            "nobody has written this one yet; the row is left out",
            "nobody has written this one yet；该行未采用",
        ),
        ("a {brace} and 100 % of it", "a {brace} and 100 % of it"),
        ("", ""),
    ],
)
def test_a_reason_is_looked_up_whole_then_in_pieces_and_else_stays_english(
    english: str, chinese: str
) -> None:
    assert chinese_reason(english) == chinese


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("clinical/follow_up.csv row 12 column date", "clinical/follow_up.csv 第 12 行 date 列"),
        ("clinical/patients.csv header 18", "clinical/patients.csv 表头第 18 列"),
        ("dicom/ file sha256:0123456789ab", "dicom/ 文件 sha256:0123456789ab"),
        ("something else", "something else"),
    ],
)
def test_places_name_file_row_and_column(english: str, chinese: str) -> None:
    assert chinese_item(english) == chinese
