"""What a column is, and the columns that mean the same in every table.

Each column exists here or in tables.py, nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dagster_project.protocol import SITE_PATTERN

Type = Literal["string", "int32", "int64", "double", "bool", "date", "timestamp", "list<string>"]

VISIT_PATTERN = r"^(?:T[012]|V\d+)$"
"""T0, T1 and T2 are the protocol's visits; every other CT is V1, V2, … in order of date."""

PAGE_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Letters of a board page's code: no vowel makes a word of it, no digit a date or a number."""

PAGE_CODE_PATTERN = rf"^BP(?:-[{PAGE_CODE_LETTERS}]{{4}}){{3}}$"
"""Code of a board page: a digest in letters, as people copy it from paper."""

REGION_PATTERN = r"^(?:tumor|ring_\d+_\d+)$"
"""The tumour, or a ring by its bounds in mm from the tumour's surface, as in study.toml."""

RECIST_RESPONSES = ("CR", "PR", "SD", "NON_CR_NON_PD", "PD", "NE", "NED")
"""Overall responses of RECIST 1.1; NED where there was no disease at baseline."""

TARGET_RESPONSES = ("CR", "PR", "SD", "PD", "NE", "NONE")
"""Target responses of RECIST 1.1; NONE where the patient has no target lesion."""

NONTARGET_RESPONSES = ("CR", "NON_CR_NON_PD", "PD", "NE", "NONE")
"""Non-target responses of RECIST 1.1; NONE where the patient has no non-target lesion."""

IRECIST_RESPONSES = ("iCR", "iPR", "iSD", "iNON_CR_NON_PD", "iUPD", "iCPD", "iNE", "iNED")
"""Overall responses of iRECIST (Seymour 2017)."""


@dataclass(frozen=True)
class Column:
    """One column, declared once; every other description of it is projected from here.

    `minimum` and `maximum` are inclusive and in `unit`. `allowed` lists every value a text column
    may take; `pattern` is a regular expression that the whole text matches. A column that is not
    nullable is never NULL. What is not `published` stays in the lake: analysts' files are without
    it.
    """

    name: str
    type: Type
    en: str
    zh: str
    unit: str | None = None
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None
    pattern: str | None = None
    published: bool = True


def string(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a text column."""
    return Column(name, "string", en, zh, **facts)  # type: ignore[arg-type]


def integer(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a 32-bit integer column."""
    return Column(name, "int32", en, zh, **facts)  # type: ignore[arg-type]


def number(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a double-precision column."""
    return Column(name, "double", en, zh, **facts)  # type: ignore[arg-type]


def boolean(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a truth-valued column."""
    return Column(name, "bool", en, zh, **facts)  # type: ignore[arg-type]


def date(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a calendar date, shifted by the patient's secret number of days."""
    return Column(name, "date", en, zh, **facts)  # type: ignore[arg-type]


def timestamp(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a point in time in UTC, which is not published.

    It is true, and beside shifted dates it would reveal the shift.
    """
    return Column(name, "timestamp", en, zh, **({"published": False} | facts))  # type: ignore[arg-type]


def texts(name: str, en: str, zh: str, **facts: object) -> Column:
    """Declare a list of texts."""
    return Column(name, "list<string>", en, zh, **facts)  # type: ignore[arg-type]


SITE = string("site", "Hospital that delivered the data", "提供数据的医院", pattern=SITE_PATTERN)
PATIENT = string(
    "patient",
    "Pseudonym of the patient: site, random characters, check character",
    "患者研究编号：医院、随机字符与校验字符",
)
SCAN = string(
    "scan",
    "CT series, named by a key that only the study's key holder has",
    "CT序列（以研究密钥命名）",
)
VISIT = string(
    "visit",
    "T0 before treatment, T1 after 3 cycles, T2 after 5 cycles; any other CT is V1, V2, …",
    "访视：T0治疗前，T1三周期后，T2五周期后；其余CT为V1、V2…",
    pattern=VISIT_PATTERN,
)
FROM_VISIT = string("from_visit", "Earlier visit of the pair", "较早的访视", pattern=VISIT_PATTERN)
TO_VISIT = string("to_visit", "Later visit of the pair", "较晚的访视", pattern=VISIT_PATTERN)
LESION = string("lesion", "Lesion label, the same at every visit", "病灶标签，各访视一致")
READER = string("reader", "Reader who judged and outlined the lesion", "勾画并评估病灶的阅片者")
REGION = string(
    "region",
    "Tumour, or peritumoral ring in millimetres from its surface, within lung",
    "肿瘤，或距肿瘤表面若干毫米的瘤周环（限肺内）",
    pattern=REGION_PATTERN,
)
FEATURE = string(
    "feature",
    "Radiomic feature as PyRadiomics names it: image_class_name",
    "影像组学特征（PyRadiomics命名：图像_类别_名称）",
)
DAY = integer(
    "day",
    "Days from the first treatment cycle (day 0)",
    "距首个治疗周期的天数（第0天）",
    unit="d",
    nullable=True,
)
SIMULATED = boolean(
    "simulated", "True where the row is based on simulated data", "该行是否基于模拟数据"
)
FINGERPRINT = string(
    "input_fingerprint",
    "Digest of everything the row was computed from: pixels, mask, settings, code version",
    "计算输入的摘要：像素、掩膜、设置、代码版本",
)
REASON = string("reason", "Why a value is missing or refused", "缺失或被退回的原因", nullable=True)
TASK = string(
    "task",
    "Prediction task, named after the last visit it may see",
    "预测任务，以可用的最后访视命名",
    allowed=("T0", "T1", "T2"),
)
MODEL = string("model", "Model's name", "模型名称")
MODEL_VERSION = string("model_version", "Version in the model registry", "模型注册表中的版本")
SNAPSHOT = Column(
    "snapshot",
    "int64",
    "Snapshot of the lake that was looked at",
    "所用数据湖快照",
    minimum=0,
    published=False,
)
"""Numbers of snapshots are in order of time: they reveal the order in which patients came."""
GATE = string(
    "gate",
    "The gate by its newest verdict; "
    "closed marks a row that an earlier night left, or that nothing was judged for",
    "质控放行的最新结论；closed表示该行为以往运行所留，或未经质控放行评估",
    allowed=("open", "closed"),
)
AMENDMENTS = string(
    "amendments",
    "Recorded decisions by which the protocol was looser than the registration, a line each; "
    "NULL where it was not",
    "使研究方案宽于注册方案的已登记决定，每行一条；无则为空",
    nullable=True,
)
PROTOCOL_DIGEST = string("protocol_digest", "Digest of study.toml", "研究方案摘要")
STANDARD_VERSION = string(
    "standard_version", "Version of the dynamic iRECIST standard", "动态iRECIST标准版本"
)
STANDARD_DIGEST = string(
    "standard_digest",
    "Digest of the standard: rules, thresholds and reference tables",
    "标准摘要：规则、阈值与参照表",
)
