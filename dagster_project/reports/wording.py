"""The words of the pages, in English and Chinese.

What a code of the tables is called, and how a number is written.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from markupsafe import Markup

from dagster_project.lake.reasons import chinese_label
from dagster_project.lake.vocabulary import chinese_word
from dagster_project.study import Study

ABSENT = "–"
"""Stands where a value is NULL; never 0."""

DAYS_A_MONTH = 30.4375
"""Mean length of a month, for medians given in months beside days."""

CRITERIA: dict[str, tuple[str, str]] = {
    "I1": ("NSCLC proven by histology or cytology", "病理证实的非小细胞肺癌"),
    "I2": ("Stage {stages}, not resectable", "{stages_zh}期，不可切除"),
    "I3": ("PD-1/PD-L1 antibody with chemotherapy", "PD-1/PD-L1抗体联合化疗"),
    "I4": ("CT at T0, T1 and T2", "T0、T1、T2均有CT"),
    "I5": ("Slices ≤ {slices_mm:g} mm at all three", "三次层厚均≤{slices_mm:g} mm"),
    "I6": ("A measurable target lesion at T0", "T0有可测量靶病灶"),
    "I7": ("Complete baseline data", "基线资料完整"),
    "I8": ("EGFR, ALK and PD-L1 known", "EGFR、ALK、PD-L1已知"),
    "I9": ("Age {age} or above", "年龄≥{age}岁"),
    "E1": ("No severe artifact at T0, T1 or T2", "三次均无严重伪影"),
    "E2": ("No other malignancy", "无其他恶性肿瘤"),
    "E3": ("No severe organ insufficiency", "无严重脏器功能不全"),
    "E4": ("No radiotherapy to the target before T0", "T0前靶病灶未放疗"),
    "E5": ("Consent not withdrawn", "未撤回知情同意"),
}
"""Each eligibility criterion as the condition a patient meets.

`criterion_words` inserts the protocol's numbers.
"""


def criterion_words(study: Study) -> dict[str, tuple[str, str]]:
    """Each criterion in English and Chinese, with the numbers of this protocol."""
    stages = study.section("eligibility")["stages"]
    figures = {
        "slices_mm": study.section("scans")["slice_thickness_mm"],
        "age": study.section("eligibility")["minimum_age_years"],
        "stages": " or ".join(stages),
        "stages_zh": "、".join(stages),
    }
    return {
        code: (en.format(**figures), zh.format(**figures)) for code, (en, zh) in CRITERIA.items()
    }


STAGES: dict[str, tuple[str, str]] = {
    "intake": ("Intake of images", "影像接收"),
    "case_report": ("Case-report data", "病例报告"),
    "scans": ("Scans", "扫描"),
    "timepoints": ("Visits", "访视"),
    "reads": ("Reads", "阅片"),
    "radiomic_features": ("Radiomic features", "影像组学特征"),
    "lesion_locations": ("Places of lesions", "病灶建议位置"),
    "control_features": ("Repeats and negative controls", "重复测量与阴性对照"),
    "arbitrations": ("Arbitration", "仲裁"),
    "dhi": ("DHI", "动态异质性指数"),
    "habitats": ("Habitats", "生境"),
    "board_decisions": ("Decisions of the board", "讨论决定"),
}
"""Where something can be refused, in the order of the flow."""

MEASUREMENTS: dict[str, tuple[str, str]] = {
    "longest_diameter_mm": ("Longest diameter", "最长径"),
    "short_axis_mm": ("Short axis", "短径"),
    "volume_mm3": ("Volume", "体积"),
    "mask": ("Outline (Dice)", "轮廓"),
}
"""What two readers' reads are compared by."""

UNITS = {"longest_diameter_mm": "mm", "short_axis_mm": "mm", "volume_mm3": "mm³"}
"""Units of bias and limits of agreement."""

TRIGGERS: dict[str, tuple[str, str]] = {
    "response": ("Overall response differs", "总体疗效不一致"),
    "progression_date": ("Date of progression differs", "进展日期不一致"),
    "best_response": ("Best response differs", "最佳疗效不一致"),
    "new_lesion": ("New lesion seen by one reader", "仅一名阅片者见新病灶"),
    "target_sum": ("Sums of diameters differ", "靶病灶径线总和差异过大"),
    "dice": ("Outlines hardly overlap", "勾画重合度低"),
}
"""Why a case goes to an arbiter."""

IDENTITY: dict[str, tuple[str, str]] = {
    "label_swapped": ("Lies where another label was", "位置与另一标签对应"),
    "split": ("One lesion has become several", "一个病灶分裂为多个"),
    "merged": ("Several lesions have become one", "多个病灶融合为一"),
    "new": ("New, where nothing was", "新出现"),
    "vanished": ("Vanished", "消失"),
}
"""What two scans laid over each other suggest about a lesion's label."""

STATES: dict[str, tuple[str, str, str]] = {
    "controlled": ("Controlled", "疾病受控", "yes"),
    "open": ("Progression unconfirmed", "进展待确认", "no"),
    "reset": (
        "Reset: progression was not confirmed (pseudoprogression by iRECIST)",
        "已重置：进展未获确认（iRECIST假性进展）",
        "yes",
    ),
    "confirmed": ("Progression confirmed", "进展已确认", "no"),
    "closed": ("Ended unconfirmed", "未经确认而结束", "other"),
    "not_gradable": ("Cannot be graded", "无法评价", "none"),
}
"""Where a patient stands after a visit, with the tone it is shown in."""

BLOCK_STATUS: dict[str, tuple[str, str]] = {
    "waiting": ("waiting for the window", "等待确认窗口"),
    "standing": ("neither confirmed nor reset", "未确认亦未重置"),
    "unreadable": ("this CT could not be evaluated", "本次CT不可评价"),
    "reset": ("reset", "已重置"),
    "confirmed": ("confirmed", "已确认"),
    "closed": ("ended", "已结束"),
}
"""Status of a block at a visit."""

ADVICE: dict[str, tuple[str, str]] = {
    "ct_from_day_to_day": ("The next CT confirms or resets", "下次CT用于确认或重置"),
    "bring_to_board": ("Bring to the board", "提交多学科讨论"),
    "as_scheduled": ("Next CT as scheduled", "按计划复查"),
    "none": ("Nothing is due", "无到期事项"),
}
"""What is due; never a response, never a treatment."""

GATE: dict[str, tuple[str, str]] = {
    "open": ("open", "已放行"),
    "closed": ("closed", "未放行"),
    "not_evaluated": ("not evaluated", "尚未评估"),
    "other_protocol": ("closed: judged by another protocol", "方案已更改，视为未放行"),
}
"""State of the gate to training."""

CASES: dict[str, tuple[str, str]] = {
    "open": ("open", "待仲裁"),
    "settled": ("settled", "已仲裁"),
    "none": ("no case", "无需仲裁"),
}
"""State of a patient's arbitration."""

CODES: dict[str, str] = {
    "included": "纳入",
    "pass": "通过",
    "fail": "未通过",
    "warn": "提示",
    "cannot_evaluate": "无法评估",
    "met": "符合",
    "not_met": "不符合",
    "unknown": "不详",
    "not known": "不详",
    "cohort": "全队列",
    "target": "靶病灶",
    "non_target": "非靶病灶",
    "new": "新病灶",
    "NONE": "无",
    "agreement": "一致",
    "arbitration": "仲裁",
    "single_reader": "单人阅片",
    "provisional": "暂定",
    "accepted": "采纳的阅片",
    "champion": "现行",
    "candidate": "待定",
    "first_cycle": "首周期",
    "response": "首次应答",
    "main": "主要分析",
    "new_therapy": "新治疗",
    "clinical_progression": "临床进展",
    "missed_visits": "漏访",
    "irecist": "iRECIST",
    "pfs": "PFS",
    "os": "OS",
    "dor": "DOR",
    "death": "死亡",
    "alive": "存活",
    "progression": "进展",
    "lost": "失访",
    "withdrawal": "退出",
    "site": "中心",
    "sex": "性别",
    "age_years": "年龄",
    "stage": "分期",
    "histology": "病理",
    "line": "治疗线数",
    "responders": "应答者",
    "non-responders": "无应答者",
    "CR or PR as of T2": "截至T2为CR或PR",
    "Neither, as of T2": "截至T2非CR亦非PR",
    "Responders": "应答者",
    "Non-responders": "无应答者",
    "Not determined": "未确定",
    "Overall": "总体",
    "Missing": "缺失",
    "SMD": "SMD",
    "All": "全部",
    "all": "全部",
    "Age, years": "年龄（岁）",
    "PD-L1 TPS, %": "PD-L1 TPS（%）",
    "Sex": "性别",
    "Smoking": "吸烟史",
    "Stage": "分期",
    "Histology": "病理",
    "Line of treatment": "治疗线数",
    "n": "n",
    "lung": "肺",
    "liver": "肝",
    "lymph_node": "淋巴结",
    "adrenal": "肾上腺",
    "bone": "骨",
    "brain": "脑",
}
"""Chinese of codes that no other table of words has."""

FIELDS = ("sex", "smoking", "histology", "egfr", "alk", "drugs", "organ", "event", "line")
"""Fields of the vocabulary in which a code is looked up."""

FACTS: tuple[tuple[str, str, str], ...] = (
    ("sex", "Sex", "性别"),
    ("age_years", "Age", "年龄"),
    ("smoking", "Smoking", "吸烟史"),
    ("ecog", "ECOG", "ECOG评分"),
    ("stage", "Stage", "分期"),
    ("histology", "Histology", "病理"),
    ("egfr", "EGFR", "EGFR"),
    ("alk", "ALK", "ALK"),
    ("pd_l1_tps", "PD-L1 TPS", "PD-L1"),
    ("line", "Line", "治疗线数"),
    ("regimen", "Regimen", "治疗方案"),
)
"""Columns of `patients` that a patient's page shows."""

TONES = {
    "CR": "yes",
    "PR": "yes",
    "SD": "other",
    "NON_CR_NON_PD": "other",
    "PD": "no",
    "NE": "none",
    "NED": "none",
}
"""Tone of a response; an i before it changes nothing, iUPD and iCPD are progressions."""


def tone(response: str | None) -> str:
    """Tone in which a response by RECIST or iRECIST is shown.

    >>> tone("iUPD"), tone("iPR"), tone(None)
    ('no', 'yes', 'none')
    """
    if response in {"iUPD", "iCPD"}:
        return "no"
    return TONES.get((response or "").removeprefix("i"), "none")


def plain(code: object) -> str:
    """A code as words: `adenocarcinoma`, `non small cell`; absent where NULL."""
    return ABSENT if code is None else str(code).replace("_", " ").replace("+", " + ")


def number(value: float | None, digits: int | None = None) -> str:
    """A number with that many decimals, or as few as three significant digits need.

    Absent where NULL.

    >>> number(0.85), number(12.0), number(None), number(-3.14159, 1)
    ('0.85', '12', '–', '−3.1')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    form = ".3g"
    if digits is not None:
        form = f",.{digits}f"
    elif abs(value) >= 100 or float(value).is_integer():
        form = ",.0f"
    text = f"{value:{form}}"
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 0) -> str:
    """A number with its sign, or absent."""
    return ABSENT if value is None else f"{value:+.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 0) -> str:
    """A share from 0 to 1 in percent, or absent."""
    return ABSENT if share is None else f"{100 * share:.{digits}f} %"


def interval(low: float | None, high: float | None, digits: int = 2, scale: float = 1.0) -> str:
    """Two bounds in parentheses.

    A bound that was not reached is NR, and the text is empty where both are NULL.
    """
    if low is None and high is None:
        return ""
    return f"({' to '.join('NR' if b is None else number(scale * b, digits) for b in (low, high))})"


def moment(at: datetime | None) -> str:
    """Date and minute in UTC, or absent."""
    return ABSENT if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def english(words: dict[str, tuple[Any, ...]], code: str | None) -> str:
    """The English name of a code, else the code in plain words."""
    return words[code][0] if code in words else plain(code)


def chinese(words: dict[str, tuple[Any, ...]], code: str | None) -> str:
    """The Chinese name of a code, else nothing."""
    return words[code][1] if code in words else ""


def chinese_code(code: object) -> str | None:
    """The Chinese of a code: of this file, else of the vocabulary; None where neither has one.

    >>> chinese_code("cannot_evaluate"), chinese_code("adenocarcinoma"), chinese_code("icc_raw")
    ('无法评估', '腺癌', None)
    """
    text = str(code)
    for table in (CODES, TRIGGERS):
        if text in table:
            word = table[text]
            return word if isinstance(word, str) else word[1]
    if text.isdigit():  # the vocabulary has figures of one field alone, such as the line
        return None
    written = text.replace(" ", "_")
    return next(filter(None, (chinese_word(field, written) for field in FIELDS)), None)


def pair(code: object) -> tuple[str | Markup, str | Markup]:
    """A code in both languages; one without Chinese is shown there as the code that it is."""
    if code is None:
        return ABSENT, ABSENT
    text = str(code)
    as_it_is = text == text.upper() or not text.isascii()
    name = text if as_it_is else Markup("<code>{}</code>").format(text)
    return plain(code), chinese_code(code) or name


def fact(column: str, value: object) -> tuple[str, str]:
    """A value of the case report in both languages; a regimen drug by drug.

    >>> fact("histology", "adenocarcinoma"), fact("regimen", "pembrolizumab+carboplatin")[1]
    (('adenocarcinoma', '腺癌'), '帕博利珠单抗 + 卡铂')
    """
    field = "drugs" if column == "regimen" else column
    parts = str(value).split("+")
    chinese_parts = (chinese_word(field, part) or plain(part) for part in parts)
    return plain(value), ABSENT if value is None else " + ".join(chinese_parts)


def coded(code: object) -> Markup:
    """A code for a page in two languages."""
    return both("{code}", "{code}", code=pair(code))


def excluded(code: str) -> Markup:
    """Why a patient is not in a training cohort, as the figure of the cohort has it."""
    words = plain(code)
    return both("{words}", "{words}", words=(words, chinese_label(words)))


def triggered(trigger: str) -> Markup:
    """Why a case goes to an arbiter: the trigger, with the visit and lesion behind it."""
    code, _, where = trigger.partition(" ")
    return both("{code} {where}", "{code} {where}", code=pair(code), where=where)


RATES: dict[str, tuple[str, str]] = {
    "orr": ("ORR", "ORR"),
    "orr_confirmed": ("ORR, confirmed", "ORR（经确认）"),
    "dcr": ("DCR", "DCR"),
    "iorr": ("iORR, by iRECIST", "iORR（iRECIST）"),
}
"""What pages call each rate."""


def rate(code: str) -> Markup:
    """The name of a response rate."""
    return both(*RATES[code])


def measure(label: str) -> Markup:
    """A row of Table 1: what was measured, and how it is summarised.

    >>> str(measure("Sex, n (%)"))
    '<span lang="en">Sex, n (%)</span><span lang="zh">性别，例数（%）</span>'
    """
    name, _, how = label.rpartition(", ")
    summary = {"n (%)": "例数（%）", "median [Q1,Q3]": "中位数[Q1,Q3]"}.get(how)
    if summary is None:
        return coded(label)
    return both("{en}", "{zh}，{how}", en=label, zh=pair(name)[1], how=summary)


def both(en: str, zh: str, /, **values: object) -> Markup:
    """A text of a template in both languages, of which the page's switch shows one.

    Parameters
    ----------
    en, zh
        The text, which may hold tags; `{name}` stands for a value.
    values
        What is put in, escaped; a pair has the English and the Chinese.

    >>> str(both("day {n}", "第{n}天", n="<3>"))
    '<span lang="en">day &lt;3&gt;</span><span lang="zh">第&lt;3&gt;天</span>'
    """
    pairs = {name: v if isinstance(v, tuple) else (v, v) for name, v in values.items()}
    english = {name: pair[0] for name, pair in pairs.items()}
    chinese = {name: pair[1] for name, pair in pairs.items()}
    return Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(
        Markup(en).format(**english),  # noqa: S704 - a template's own words
        Markup(zh).format(**chinese),  # noqa: S704
    )
