"""The case report as sites write it.

CSV in GB18030 with Chinese words, in UTF-8 with semicolons, or plain.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dagster_project.simulation.biology import Patient, scanned_visits
from dagster_project.simulation.identities import Identity, draw_identity
from dagster_project.simulation.plan import Plan, SitePlan

Row = dict[str, str]

HEADERS_ZH: Mapping[str, str] = {
    "patient_id": "住院号",
    "name": "姓名",
    "sex": "性别",
    "birth_date": "出生日期",
    "smoking": "吸烟史",
    "ecog": "ECOG评分",
    "stage": "临床分期",
    "histology": "病理类型",
    "egfr": "EGFR",
    "alk": "ALK",
    "pd_l1_tps": "PD-L1表达",
    "line": "治疗线数",
    "regimen": "治疗方案",
    "prior_malignancy": "既往恶性肿瘤",
    "organ_dysfunction": "脏器功能不全",
    "target_radiotherapy": "靶病灶放疗史",
    "consent": "知情同意",
    "cycle": "周期",
    "date": "日期",
    "drugs": "药物",
    "event": "事件",
    "detail": "备注",
    "new_symptoms": "新发症状",
    "clinically_stable": "临床稳定",
    "visit_date": "检查日期",
    "lesion": "病灶",
    "role": "病灶类型",
    "organ": "器官",
    "node": "淋巴结",
    "present": "是否存在",
    "too_small": "过小无法测量",
    "nontarget_state": "非靶病灶状态",
    "unequivocal": "是否明确",
    "roi": "轮廓名称",
    "ward_note": "病房手记",
}
"""Chinese headers."""

YES_OR_NO = (
    "prior_malignancy",
    "organ_dysfunction",
    "target_radiotherapy",
    "node",
    "present",
    "too_small",
    "unequivocal",
    "new_symptoms",
    "clinically_stable",
)
"""Columns that hold y or n."""

WORDS_ZH: Mapping[str, Mapping[str, str]] = {
    "sex": {"F": "女", "M": "男"},
    "smoking": {"never": "从不", "former": "既往", "current": "目前吸烟"},
    "histology": {"adenocarcinoma": "腺癌", "squamous cell carcinoma": "鳞癌"},
    "egfr": {"wild type": "野生型", "mutant": "突变"},
    "alk": {"negative": "阴性", "rearranged": "阳性"},
    "line": {"1": "一线", "2": "二线"},
    "consent": {"given": "同意"},
    "event": {
        "alive": "存活",
        "progression_clinical": "临床进展",
        "death": "死亡",
        "new_therapy": "更换治疗",
        "lost": "失访",
        "off_treatment": "停药",
    },
    "detail": {"tumour": "肿瘤", "completed": "完成治疗", "": ""},
    "role": {"target": "靶病灶", "non_target": "非靶病灶", "new": "新病灶"},
    "organ": {"lung": "肺", "lymph_node": "淋巴结"},
    "nontarget_state": {"NON_CR_NON_PD": "非CR/非PD", "": ""},
    **{column: {"y": "是", "n": "否", "": ""} for column in YES_OR_NO},
}
"""Chinese values; what is not here is written as it is."""

DRUGS_ZH: Mapping[str, str] = {
    "pembrolizumab": "帕博利珠单抗",
    "sintilimab": "信迪利单抗",
    "tislelizumab": "替雷利珠单抗",
    "camrelizumab": "卡瑞利珠单抗",
    "pemetrexed": "培美曲塞",
    "carboplatin": "卡铂",
    "paclitaxel": "紫杉醇",
}
"""Generic names in Chinese."""

CHECKPOINT_INHIBITORS = ("pembrolizumab", "sintilimab", "tislelizumab", "camrelizumab")
"""Antibodies that the simulated patients get."""

FOLLOW_UP_DAYS = 365
"""About when follow-up ends."""


@dataclass(frozen=True)
class CaseReport:
    """Rows of one site's four files, by the contract's column names."""

    patients: list[Row]
    treatments: list[Row]
    follow_up: list[Row]
    visits: list[Row]


def draw_case_report(plan: Plan, patients: Sequence[Patient]) -> CaseReport:
    """The rows of one site's patients, with the troubles planted on them."""
    report = CaseReport([], [], [], [])
    for patient in patients:
        baseline = baseline_row(plan, patient)
        report.patients.append(baseline)
        if "duplicate_patient" in patient.troubles:
            report.patients.append(baseline | _contradiction(plan, patient))
        report.treatments.extend(_treatment_rows(patient, baseline["regimen"].split("+")))
        report.follow_up.extend(_follow_up_rows(plan, patient))
        report.visits.extend(_clinical_rows(plan, patient, baseline["ecog"]))
    if any("unknown_column" in patient.troubles for patient in patients):
        for row, patient in zip(report.patients, patients, strict=False):
            row["ward_note"] = f"call {patient.identity.telephone}"
    return report


def case_number(patient: Patient) -> str:
    """The hospital number as the case report writes it: once in full-width characters."""
    number = patient.identity.hospital_number
    return (
        "".join(chr(ord(c) + 0xFEE0) for c in number)
        if "full_width_number" in patient.troubles
        else number
    )


def baseline_row(plan: Plan, patient: Patient) -> Row:
    """The row of patients.csv, in English words."""
    random, identity, site = (
        plan.random("baseline", patient.site_index, patient.ordinal),
        patient.identity,
        patient.site,
    )
    adeno = random.random() < 0.6
    antibody = CHECKPOINT_INHIBITORS[int(random.integers(0, len(CHECKPOINT_INHIBITORS)))]
    row = {
        "patient_id": case_number(patient),
        "name": identity.name.text(chinese=site.chinese),
        "sex": identity.sex,
        "birth_date": write_date(site, identity.birth_date),
        "smoking": str(random.choice(["never", "former", "current"], p=[0.3, 0.45, 0.25])),
        "ecog": str(random.choice([0, 1, 2], p=[0.35, 0.55, 0.10])),
        "stage": str(random.choice(["IIIB", "IIIC", "IVA", "IVB"], p=[0.2, 0.15, 0.4, 0.25])),
        "histology": "adenocarcinoma" if adeno else "squamous cell carcinoma",
        "egfr": "mutant" if adeno and random.random() < 0.10 else "wild type",
        "alk": "rearranged" if adeno and random.random() < 0.04 else "negative",
        "pd_l1_tps": str(_pd_l1(random.normal(), plan.signal, responder=patient.responder)),
        "line": "1" if random.random() < 0.8 else "2",
        "regimen": "+".join(
            (antibody, "pemetrexed", "carboplatin")
            if adeno
            else (antibody, "paclitaxel", "carboplatin")
        ),
        "prior_malignancy": "y" if "prior_malignancy" in patient.troubles else "n",
        "organ_dysfunction": "n",
        "target_radiotherapy": "n",
        "consent": "given",
    }
    if site.csv_separator == ";":
        row["age"] = str(_age(identity.birth_date, patient.day_zero))
        del row["birth_date"]
    return row


def _pd_l1(noise: float, signal: float, *, responder: bool) -> int:
    """PD-L1 tumour proportion score, a little higher in responders."""
    return int(min(95, max(0, round(35 + 22 * noise + 24 * signal * (1 if responder else -1)))))


def _age(born: date, on: date) -> int:
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def _contradiction(plan: Plan, patient: Patient) -> Row:
    other = duplicate_identity(plan, patient)
    row = {"name": other.name.text(chinese=patient.site.chinese)}
    return row | (
        {"age": "44"}
        if patient.site.csv_separator == ";"
        else {"birth_date": write_date(patient.site, other.birth_date)}
    )


def duplicate_identity(plan: Plan, patient: Patient) -> Identity:
    """The other person who bears the number of a `duplicate_patient`."""
    return draw_identity(plan, patient.site_index + len(plan.sites), patient.ordinal)


def _treatment_rows(patient: Patient, drugs: list[str]) -> list[Row]:
    number, site = case_number(patient), patient.site
    return [
        {
            "patient_id": number,
            "cycle": str(cycle),
            "date": write_date(site, patient.day(day)),
            "drugs": "+".join(drugs if cycle <= 4 else drugs[:2]),
        }
        for cycle, day in enumerate(patient.cycle_days, start=1)
    ]


def _follow_up_rows(plan: Plan, patient: Patient) -> list[Row]:
    random = plan.random("follow-up", patient.site_index, patient.ordinal)
    rows = [
        {
            "patient_id": case_number(patient),
            "date": write_date(patient.site, patient.day(day)),
            "event": event,
            "detail": detail,
        }
        for day, event, detail in _events(
            patient, [int(d) for d in random.integers(0, 30, 4)], draw=float(random.random())
        )
    ]
    if "bad_date" in patient.troubles:
        rows.append(
            {
                "patient_id": case_number(patient),
                "date": "2024-13-45",
                "event": "alive",
                "detail": "",
            }
        )
    return rows


def _clinical_rows(plan: Plan, patient: Patient, ecog: str) -> list[Row]:
    """The clinical state on the day of each CT of the protocol.

    One in ten has no word on stability.
    """
    random = plan.random("clinical-status", patient.site_index, patient.ordinal)
    worse = patient.course in {"early_progressor", "late_progressor"}
    return [
        {
            "patient_id": case_number(patient),
            "date": write_date(patient.site, patient.day(patient.visit_days[visit])),
            "ecog": ecog,
            "new_symptoms": "y" if worse and visit == "T2" else "n",
            "clinically_stable": "" if random.random() < 0.1 else "y",
        }
        for visit in scanned_visits(plan, patient)
        if visit != "V1"
    ]


def _events(patient: Patient, wait: list[int], *, draw: float) -> list[tuple[int, str, str]]:
    """What happens after the scans.

    1. lost where T2 is missing, alive alone where nobody rescanned, 2. by course, 3. alive about a
    year after the first cycle.
    """
    after = patient.visit_days["V1"] + 5
    if "missing_t2" in patient.troubles:
        return [(patient.visit_days["T1"] + 20 + wait[0], "lost", "")]
    if "not_rescanned" in patient.troubles:
        return [(FOLLOW_UP_DAYS + wait[1], "alive", "")]
    if patient.course in {"early_progressor", "late_progressor", "new_lesion"}:
        therapy = (patient.visit_days["T2"] + 10 + wait[0] % 8, "new_therapy", "")
        return (
            [therapy, (after + 60 + 3 * wait[1], "death", "tumour")]
            if draw < 0.7
            else [therapy, (FOLLOW_UP_DAYS + wait[1], "alive", "")]
        )
    if patient.course == "stable" and draw < 0.5:
        return [
            (after + 30 + wait[0], "progression_clinical", ""),
            (after + 120 + wait[2], "death", "tumour"),
        ]
    return [
        (patient.cycle_days[-1] + 28, "off_treatment", "completed"),
        (FOLLOW_UP_DAYS + wait[3], "alive", ""),
    ]


def write_date(site: SitePlan, day: date) -> str:
    """A date as the site writes it: with slashes in the Chinese forms, ISO elsewhere."""
    return day.strftime("%Y/%m/%d") if site.chinese_forms else day.isoformat()


def write_rows(path: Path, site: SitePlan, rows: Sequence[Row]) -> None:
    """Write a CSV in the site's words, encoding and separator.

    Its header is the first row's columns and any that later rows add.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=site.csv_separator, lineterminator="\r\n")
    writer.writerow([HEADERS_ZH[column] if site.chinese_forms else column for column in columns])
    writer.writerows(
        [translate(site, column, row.get(column, "")) for column in columns] for row in rows
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue().encode(site.csv_encoding))


def translate(site: SitePlan, column: str, value: str) -> str:
    """A value in the site's words."""
    if not site.chinese_forms:
        return value
    if column in {"regimen", "drugs"}:
        return "+".join(DRUGS_ZH[drug] for drug in value.split("+"))
    return WORDS_ZH.get(column, {}).get(value, value)
