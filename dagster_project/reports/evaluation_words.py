"""The words of the evaluation page, in English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dagster_project.domain.evaluation.published_supermodel import published_supermodel
from dagster_project.lake.reasons import chinese_reason
from dagster_project.protocol import Protocol
from dagster_project.reports.wording import number

Pair = tuple[str, str]

QUESTIONS: Mapping[str, tuple[Pair, Pair]] = {
    "progression": (
        ("Progression or death after a visit", "某次随访后的进展或死亡"),
        (
            "Of patients whose disease was controlled at the visit. Size is ln(S/S0); a category "
            "or a size that does no better than the base rate predicts nothing. A progression is "
            "dated by the CT that shows it, and once more by the day after the last CT without "
            "it, or by the middle of the two; the truth lies between. One model of all visits "
            "learns from the later ones as well. In {source} that model has C {trials} after the "
            "first, second and third visit, the RECIST category {category}.",
            "人群为该次随访时疾病受控者。大小指ln(S/S0)；疗效类别或大小若不优于基础率，则无预测价值。"
            "进展日期分别取发现进展的CT之日，以及此前最后一次无进展CT的次日或两者的中点；真实日期在两者之间。"
            "各访视合一模型亦利用后续访视的数据。在{source_zh}中，该模型于第一、二、三次随访后的"
            "C指数为{trials_zh}，RECIST类别为{category_zh}。",
        ),
    ),
    "response_when_stable": (
        ("Response of patients who are stable at the first visit", "首次随访稳定者的后续缓解"),
        (
            "CR or PR at the second visit. A probability is worth showing where it does better "
            "than size alone on the same patients.",
            "第二次随访达CR或PR。仅当同一批患者中优于单独使用大小时，概率才有展示价值。",
        ),
    ),
    "response_from_baseline": (
        ("Response, from baseline", "自基线起的缓解"),
        ("Of all patients who have a second visit.", "全部有第二次随访的患者。"),
    ),
    "block_outcome": (
        ("What became of unconfirmed progressions", "未确认进展的结局"),
        (
            "Of progressions of targets that were scanned again. The class of a progression is "
            "its margin in reader errors and the visit; its share confirmed among other patients "
            "is the probability that is judged. RECIST 1.1 calls all of them progression.",
            "人群为复查过的靶病灶进展。类别由进展余量（以阅片误差计）与访视决定；"
            "以其他患者中该类的确认比例作为概率加以评估。RECIST 1.1将其全部判为进展。",
        ),
    ),
    "timing": (
        ("The time of the next CT", "下次CT的时间"),
        (
            "As it was made; as the standard advises: the planned CT, moved into the window of "
            "days {first} to {last}; and by the calendar: everybody on day {calendar}. A CT on "
            "another day would have ended the block where the sum, taken along its logarithm, "
            "passes the limit that was known at the iUPD. An extra CT is one before the planned "
            "one that ends nothing. Net benefit counts progressions found earlier, less extra CTs "
            "at {rate:g} per progression, a rate that is {signed}; its band is that rate divided "
            "and multiplied by {band:g}.",
            "三种安排：实际复查；本标准建议（将计划CT移入第{first}至{last}天的窗口）；"
            "按日历（全部于第{calendar}天）。若按对数插值的径线总和越过iUPD当时已知的界限，"
            "则视为该日CT可结束区段。额外CT指早于计划且未结束区段的CT。"
            "净获益为提前发现的进展数减去额外CT数的折算（每例进展{rate:g}次，{signed_zh}）；"
            "其范围为该权衡比除以及乘以{band:g}。",
        ),
    ),
    "rescan": (
        ("Who was scanned again, and who was not", "复查情况及未复查原因"),
        ("Of all unconfirmed progressions.", "全部未确认进展。"),
    ),
    "reclassification": (
        ("What changes against RECIST 1.1", "与RECIST 1.1相比的变化"),
        (
            "Two numbers that are never summed: who recovered and had been called progression, and "
            "by how many days the others are called later.",
            "两个数值，不可相加：曾被判为进展而后恢复者，以及其余患者延后判定的天数。",
        ),
    ),
    "survival": (
        ("Overall survival from the second visit", "自第二次随访起的总生存"),
        ("By size and category at that visit.", "按该次随访的大小与疗效类别。"),
    ),
    "second_progression": (
        ("Second progression (PFS2)", "第二次进展（PFS2）"),
        ("From the second visit.", "自第二次随访起。"),
    ),
    "sample": (
        ("What the number of patients allows", "样本量所允许的结论"),
        (
            "Patients with an unconfirmed progression, and how many of {planned} planned patients "
            "would have one; of these so many would be reset at the shares given.",
            "发生未确认进展的患者比例，以及计划入组的{planned}例中的预期例数；"
            "并按给定比例推算其中可重置者。",
        ),
    ),
    "stop": (
        (
            "Is it safe to stop treatment at an unconfirmed progression?",
            "未确认进展时停止治疗是否安全",
        ),
        (
            "The standard times the next CT and advises no treatment.",
            "本标准仅安排下次CT，不对治疗提出建议。",
        ),
    ),
    "replay": (
        ("Replay of every decision", "逐次回放"),
        (
            "Each state is derived anew from what was known on the day of the visit; a state of "
            "the table that differs would be hindsight.",
            "每次状态均仅凭该访视当日已知信息重新推导；表中状态若与之不同，即含事后信息。",
        ),
    ),
}
"""Questions in the order of the page: heading, and what to know to read the figures."""

COMPARATORS: Mapping[str, Pair] = {
    "standard": ("the standard", "本标准"),
    "recist": ("RECIST 1.1 category", "RECIST 1.1类别"),
    "irecist": ("iRECIST category", "iRECIST类别"),
    "size": ("size alone", "仅大小"),
    "size_and_nadir": ("size, nadir and days", "大小、最低点与天数"),
    "supermodel": (
        "size, nadir and days, one model of all visits",
        "大小、最低点与天数（各访视合一模型）",
    ),
    "size_and_features": (
        "the same with a score of features of the images",
        "同一模型加入影像特征评分",
    ),
    "margin": ("margin of progression", "进展余量"),
    "class": ("comparison class", "对照类别"),
    "base_rate": ("base rate", "基础率"),
    "observed": ("as observed", "实际情况"),
    "calendar": ("by the calendar", "按日历"),
    "planned": ("as planned", "按计划样本量"),
}

POPULATIONS: Mapping[str, Pair] = {
    "all": ("all", "全部"),
    "first_visit": ("first visit", "首次随访"),
    "second_visit": ("second visit", "第二次随访"),
    "third_visit": ("third visit", "第三次随访"),
    "later_visits": ("later visits", "后续随访"),
}

STATISTICS: Mapping[str, Pair] = {
    "responds": ("CR or PR at the second visit", "第二次随访达CR或PR"),
    "auc": ("AUC", "AUC"),
    "auc_gain_over_size": ("AUC gained over size alone", "较仅用大小的AUC增量"),
    "calibration_slope": ("Calibration slope", "校准斜率"),
    "brier_gain": ("Brier score gained over the base rate", "较基础率的Brier评分改善"),
    "c_index": ("C-index", "C指数"),
    "c_index_earliest": ("C-index, earliest dating", "C指数（最早日期）"),
    "c_index_midpoint": ("C-index, midpoint dating", "C指数（中点日期）"),
    "progressed_by_{n}": ("Progressed or died by day {n}", "第{n}天前进展或死亡"),
    "auc_{n}": ("AUC at day {n}", "第{n}天AUC"),
    "auc_midpoint_{n}": ("AUC at day {n}, midpoint dating", "第{n}天AUC（中点日期）"),
    "brier_gain_midpoint_{n}": (
        "Brier score gained at day {n}, midpoint dating",
        "第{n}天Brier评分改善（中点日期）",
    ),
    "brier_{n}": ("Brier score at day {n}", "第{n}天Brier评分"),
    "brier_gain_{n}": ("Brier score gained at day {n}", "第{n}天Brier评分改善"),
    "brier_gain_over_size_{n}": (
        "Brier score gained over size alone at day {n}",
        "第{n}天较仅用大小的Brier评分改善",
    ),
    "events": ("Events", "事件数"),
    "confirmed": ("Confirmed", "确认"),
    "reset": ("Reset", "重置"),
    "observed_minus_expected": ("Confirmed beyond expectation", "确认比例与预期之差"),
    "of_shipped_trials": ("Classes taken from published trials", "采用已发表试验类别的比例"),
    "rescanned": ("Scanned again", "已复查"),
    "rescanned_outside_window": ("Of these outside the window", "其中窗口外复查"),
    "not_rescanned_death": ("Not scanned again: died", "未复查：死亡"),
    "not_rescanned_new_therapy": ("Not scanned again: new therapy", "未复查：新的治疗"),
    "not_rescanned_lost": ("Not scanned again: lost", "未复查：失访"),
    "not_rescanned_off_treatment": (
        "Not scanned again: off treatment for progression",
        "未复查：因进展停止治疗",
    ),
    "not_rescanned_overdue": ("Not scanned again: overdue", "未复查：已逾期"),
    "not_rescanned_yet": ("Not scanned again yet", "尚未复查"),
    "days_open": ("Days open per true progression", "真实进展的区段天数"),
    "days_gained": ("Days gained over what was done", "较实际情况提前天数"),
    "days_gained_over_calendar": ("Days gained over the calendar", "较按日历提前天数"),
    "extra_cts": ("Extra CTs per progression", "每例进展的额外CT"),
    "net_benefit": ("Net benefit", "净获益"),
    "net_benefit_low_rate": ("Net benefit at the low end of the rate", "净获益（权衡比下限）"),
    "net_benefit_high_rate": ("Net benefit at the high end of the rate", "净获益（权衡比上限）"),
    "net_benefit_over_calendar": ("Net benefit over the calendar", "较按日历的净获益"),
    "advice_differs": ("Advice that differs from the calendar", "建议与按日历不同的比例"),
    "threshold": ("Threshold of the probability", "概率阈值"),
    "recoverers_called_progression": ("Recoverers called progression", "恢复者曾被判为进展"),
    "recoverers_given_other_advice": (
        "Recoverers given other advice than a CT",
        "恢复者曾获复查CT以外的建议",
    ),
    "progressors_called_later": ("Days by which progression is called later", "进展判定延后天数"),
    "safe_to_stop": ("Safe to stop", "停止治疗的安全性"),
    "patients_with_progression": ("Patients with a progression", "发生进展的患者"),
    "progressions": ("Patients with a progression, as planned", "计划样本量中发生进展的患者"),
    "resets_at_{n}_percent": ("Of these reset, at {n} %", "其中重置者（按{n}%）"),
    "states_as_then": ("States that are those of their day", "与当日推导一致的状态"),
    "probabilities_withheld": ("Probabilities withheld", "不予展示的概率"),
}
"""Names of statistics; {n} stands for a number in the name."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def statistic_words(name: str) -> Pair:
    """A statistic in both languages.

    >>> statistic_words("auc_90")
    ('AUC at day 90', '第90天AUC')
    """
    n = _NUMBER.search(name)
    english, chinese = STATISTICS[_NUMBER.sub("{n}", name)]
    return (english.format(n=n[0]), chinese.format(n=n[0])) if n else (english, chinese)


def question_words(question: str, protocol: Protocol) -> tuple[Pair, Pair]:
    """Heading and introduction of a question, with the numbers of the protocol."""
    heading, (english, chinese) = QUESTIONS[question]
    irecist, study, risk = protocol.irecist, protocol.study, protocol.risk
    signed, signed_zh = _signed(protocol)
    numbers = {
        **_of_trials(),
        "rate": risk.extra_cts_per_progression,
        "band": risk.rate_band,
        "signed": signed,
        "signed_zh": signed_zh,
        "first": irecist.confirmation_earliest_days - irecist.confirmation_tolerance_days,
        "last": irecist.confirmation_latest_days + irecist.confirmation_tolerance_days,
        "calendar": irecist.confirmation_earliest_days,
        "planned": study.target_responders + study.target_non_responders,
    }
    return heading, (english.format(**numbers), chinese.format(**numbers))


def _of_trials() -> Mapping[str, str]:
    """C of the supermodel and of the category in the trials that were published."""
    shipped = published_supermodel()
    own = [
        f"{number(v['c_index'], 2)} ({number(v['lower'], 2)}–{number(v['upper'], 2)})"
        for v in shipped["visit"]
    ]
    category = [number(v["c_index_of_category"], 2) for v in shipped["visit"]]
    return {
        "source": shipped["source"],
        "source_zh": chinese_reason(shipped["source"]),
        "trials": ", ".join(own),
        "trials_zh": "、".join(own).replace(" (", "（").replace(")", "）"),
        "category": ", ".join(category),
        "category_zh": "、".join(category),
    }


def _signed(protocol: Protocol) -> Pair:
    """Who has signed the exchange rate and when, or that it is a placeholder."""
    who, when = protocol.risk.rate_signed_by, protocol.risk.rate_signed_on
    if not who or not when:
        return "a placeholder that nobody has signed", "占位值，尚未签署"
    return f"signed by {who} on {when}", f"{who}于{when}签署"
