"""The analysts' views: what each holds, its columns, and its query.

What depends on the whole cohort is computed here: as a column of a site's table, every new scan
would rewrite all its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dagster_project.lake.columns import (
    DAY,
    FEATURE,
    FROM_VISIT,
    LESION,
    PATIENT,
    REASON,
    REGION,
    SIMULATED,
    SITE,
    TO_VISIT,
    VISIT,
    Column,
    boolean,
    integer,
    number,
    string,
    texts,
)
from dagster_project.lake.tables import (
    ARBITRATIONS,
    DELTA_FEATURES,
    DHI,
    FEATURE_STABILITY,
    OUTCOMES,
    PATIENTS,
    PREDICTIONS,
    RADIOMIC_FEATURES,
    RESPONSES,
    Table,
)


@dataclass(frozen=True)
class View:
    """One view: its columns are those that the query gives, in order."""

    name: str
    en: str
    zh: str
    columns: tuple[Column, ...]
    query: str

    @property
    def comment(self) -> str:
        """What the view holds, in English and Chinese."""
        return f"{self.en} | {self.zh}"


def _columns(table: Table, *names: str) -> tuple[Column, ...]:
    """Columns of a table as a view has them, which may find no row there."""
    return tuple(replace(table.column(name), nullable=True) for name in names)


_ELIGIBLE = boolean(
    "eligible", "True where every criterion is met", "是否符合全部入排标准", nullable=True
)
_NOT_MET = texts("not_met", "Criteria that are not met; [] for none", "不符合的标准；无则为[]")
_UNKNOWN = texts(
    "unknown",
    "Criteria for which data are missing; [] for none",
    "因资料缺失无法判断的标准；无则为[]",
)

# Sums in the order of labels: otherwise their last digit depends on which thread comes first.
_PATIENT_DELTAS = (
    "\nWITH changes AS (\n"
    "    SELECT d.*, d.delta_symmetric AS change, a.volume_mm3 AS volume,\n"
    "        (b.volume_mm3 - a.volume_mm3) / nullif(a.volume_mm3 + b.volume_mm3, 0) AS growth\n"
    "    FROM delta_features d\n"
    "    LEFT JOIN lesions a ON a.site = d.site AND a.patient = d.patient "
    "AND a.lesion = d.lesion AND a.visit = d.from_visit\n"
    "    LEFT JOIN lesions b ON b.site = d.site AND b.patient = d.patient "
    "AND b.lesion = d.lesion AND b.visit = d.to_visit\n"
    "    WHERE d.region = 'tumor'),\n"
    "summed AS (\n"
    "    SELECT site, patient, feature, from_visit, to_visit, any_value(days) AS days, "
    "count(*) AS n_lesions, count(change) AS n_with_value,\n"
    "        arg_min_null(change, {'v': -volume, 'l': lesion}) "
    "FILTER (volume IS NOT NULL) AS largest,\n"
    "        sum(change * volume ORDER BY lesion) / nullif("
    "sum(volume ORDER BY lesion) FILTER (change IS NOT NULL), 0) AS weighted_mean,\n"
    "        arg_min_null(change, {'g': -growth, 'l': lesion}) "
    "FILTER (growth IS NOT NULL) AS worst, "
    "stddev_samp(change ORDER BY lesion) AS between_sd,\n"
    "        min(reason) FILTER (change IS NULL) AS missing, bool_or(simulated) AS simulated\n"
    "    FROM changes GROUP BY site, patient, feature, from_visit, to_visit)\n"
    "SELECT * EXCLUDE (missing, simulated), CASE\n"
    "    WHEN n_with_value = 0 THEN 'no lesion has a value: ' || missing\n"
    "    WHEN largest IS NULL THEN 'the largest lesion has no value: ' || missing\n"
    "    WHEN weighted_mean IS NULL "
    "THEN 'no lesion with a value has a volume at the earlier visit'\n"
    "    WHEN worst IS NULL "
    "THEN 'the lesion that grew most has no value, or no growth is known'\n"
    "    WHEN between_sd IS NULL "
    "THEN 'one lesion has a value: no spread between lesions' END AS reason, simulated\n"
    "FROM summed"
)

_PATIENT_SUMMARY = """
WITH judged AS (
    SELECT site, patient, bool_and(verdict = 'met') AS eligible,
        coalesce(list(criterion ORDER BY criterion) FILTER (WHERE verdict = 'not_met'), [])
            AS not_met,
        coalesce(list(criterion ORDER BY criterion) FILTER (WHERE verdict = 'unknown'), [])
            AS unknown
    FROM eligibility GROUP BY site, patient),
cycles AS (
    SELECT site, patient, count(*) AS n_cycles FROM treatments GROUP BY site, patient),
baseline AS (
    SELECT site, patient, any_value(baseline_sum_mm) AS sum_mm FROM responses
    WHERE evaluator = 'accepted' GROUP BY site, patient),
survival AS (
    SELECT site, patient, days, event FROM time_to_event
    WHERE endpoint = 'os' AND version = 'main' AND origin = 'first_cycle'),
changes AS (
    SELECT site, patient, any_value(dhi) FILTER (WHERE to_visit = 'T1') AS dhi_t1,
        any_value(dhi) FILTER (WHERE to_visit = 'T2') AS dhi_t2
    FROM dhi WHERE scope = 'patient' AND from_visit = 'T0' GROUP BY site, patient),
chosen AS (
    SELECT site, patient, task, probability, CASE WHEN gate = 'closed' THEN 'gate_closed'
        WHEN abstained THEN 'abstained' ELSE alias END AS state
    FROM predictions WHERE alias IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY site, patient, task
        ORDER BY alias = 'champion' DESC, model, model_version) = 1),
predicted AS (
    SELECT site, patient,
        any_value(probability) FILTER (WHERE task = 'T0') AS probability_t0,
        any_value(state) FILTER (WHERE task = 'T0') AS state_t0,
        any_value(probability) FILTER (WHERE task = 'T1') AS probability_t1,
        any_value(state) FILTER (WHERE task = 'T1') AS state_t1,
        any_value(probability) FILTER (WHERE task = 'T2') AS probability_t2,
        any_value(state) FILTER (WHERE task = 'T2') AS state_t2
    FROM chosen GROUP BY site, patient)
SELECT p.site, p.patient, p.sex, p.age_years, p.smoking, p.ecog, p.stage, p.histology, p.egfr,
    p.alk, p.pd_l1_tps, p.line, p.regimen, j.eligible, coalesce(j.not_met, []) AS not_met,
    coalesce(j.unknown, []) AS unknown, coalesce(c.n_cycles, 0) AS n_cycles,
    a.status AS arbitration, b.sum_mm AS baseline_sum_mm, o.bor, o.bor_confirmed, o.ibor,
    o.responder, o.best_change_percent, o.pfs_days, o.pfs_event, o.pfs_reason, s.days AS os_days,
    s.event AS os_event, h.dhi_t1, h.dhi_t2, m.probability_t0, m.state_t0, m.probability_t1,
    m.state_t1, m.probability_t2, m.state_t2, o.reason, p.simulated
FROM patients p LEFT JOIN judged j USING (site, patient)
LEFT JOIN cycles c USING (site, patient) LEFT JOIN arbitrations a USING (site, patient)
LEFT JOIN baseline b USING (site, patient) LEFT JOIN outcomes o USING (site, patient)
LEFT JOIN survival s USING (site, patient) LEFT JOIN changes h USING (site, patient)
LEFT JOIN predicted m USING (site, patient)
"""

_PATIENT_TIMELINE = """
WITH accepted AS (SELECT * FROM responses WHERE evaluator = 'accepted')
SELECT site, patient, day, NULL AS visit, 'treatment' AS category, 'cycle' AS term, drugs AS text,
    cycle::DOUBLE AS value, NULL AS unit, simulated FROM treatments
UNION ALL
SELECT site, patient, day, visit, 'scan', 'ct', scan, NULL, NULL, simulated FROM timepoints
UNION ALL
SELECT site, patient, day, visit, 'response', 'overall_response', overall_response, NULL, NULL,
    simulated FROM accepted
UNION ALL
SELECT site, patient, day, visit, 'response', 'irecist_response', irecist_response, NULL, NULL,
    simulated FROM accepted
UNION ALL
SELECT site, patient, day, visit, 'response', 'sum_mm', NULL, sum_mm, 'mm', simulated
FROM accepted WHERE sum_mm IS NOT NULL
UNION ALL
SELECT d.site, d.patient, t.day, d.to_visit, 'heterogeneity', 'dhi', d.reason, d.dhi, NULL,
    d.simulated
FROM dhi d LEFT JOIN timepoints t
    ON t.site = d.site AND t.patient = d.patient AND t.visit = d.to_visit
WHERE d.scope = 'patient' AND d.from_visit = 'T0'
UNION ALL
SELECT site, patient, day, NULL, 'clinical_status', 'ecog', NULL, ecog::DOUBLE, NULL, simulated
FROM clinical_status WHERE ecog IS NOT NULL
UNION ALL
SELECT site, patient, day, NULL, 'clinical_status', 'new_symptoms', new_symptoms::VARCHAR, NULL,
    NULL, simulated FROM clinical_status WHERE new_symptoms IS NOT NULL
UNION ALL
SELECT site, patient, day, NULL, 'clinical_status', 'clinically_stable',
    clinically_stable::VARCHAR, NULL, NULL, simulated
FROM clinical_status WHERE clinically_stable IS NOT NULL
UNION ALL
SELECT site, patient, day, NULL, 'follow_up', event, detail, NULL, NULL, simulated FROM follow_up
"""


def _probability(task: str) -> tuple[Column, Column]:
    name = f"probability_{task.lower()}"
    probability = replace(
        PREDICTIONS.column("probability"),
        name=name,
        en=f"Probability of response of task {task}, by the champion, else the candidate",
        zh=f"{task}任务的应答概率（现行模型，无则取待定模型）",
        nullable=True,
    )
    state = string(
        f"state_{task.lower()}",
        f"State of {name}: alias of the model, abstained or gate_closed; NULL if not predicted",
        f"{name}的状态：模型别名、弃权或未予放行；无预测则为空",
        nullable=True,
        allowed=("champion", "candidate", "abstained", "gate_closed"),
    )
    return probability, state


def _dhi(visit: str) -> Column:
    return number(
        f"dhi_{visit.lower()}",
        f"DHI of the patient from T0 to {visit}; the table dhi has the reason where it is NULL",
        f"患者自T0至{visit}的DHI；为空的原因见dhi表",
        nullable=True,
        minimum=0,
    )


_SUMMARY_COLUMNS = (
    SITE,
    PATIENT,
    *_columns(
        PATIENTS,
        "sex",
        "age_years",
        "smoking",
        "ecog",
        "stage",
        "histology",
        "egfr",
        "alk",
        "pd_l1_tps",
        "line",
        "regimen",
    ),
    _ELIGIBLE,
    _NOT_MET,
    _UNKNOWN,
    Column("n_cycles", "int64", "Administered cycles", "已给药周期数", minimum=0),
    replace(
        ARBITRATIONS.column("status"),
        name="arbitration",
        en="State of the patient's arbitration; while it is open, responses are provisional",
        zh="该患者的仲裁状态；open时疗效为暂定",
        nullable=True,
    ),
    replace(RESPONSES.column("baseline_sum_mm"), nullable=True),
    *_columns(
        OUTCOMES,
        "bor",
        "bor_confirmed",
        "ibor",
        "responder",
        "best_change_percent",
        "pfs_days",
        "pfs_event",
        "pfs_reason",
    ),
    integer(
        "os_days",
        "From the first cycle to death or last contact",
        "总生存时间（自首周期至死亡或末次随访）",
        unit="d",
        nullable=True,
        minimum=0,
    ),
    boolean("os_event", "True for death", "是否死亡", nullable=True),
    _dhi("T1"),
    _dhi("T2"),
    *_probability("T0"),
    *_probability("T1"),
    *_probability("T2"),
    replace(OUTCOMES.column("reason"), en="Why outcomes are missing", zh="结局缺失的原因"),
    SIMULATED,
)

_TIMELINE_COLUMNS = (
    SITE,
    PATIENT,
    DAY,
    replace(VISIT, nullable=True),
    string(
        "category",
        "What kind of record it is",
        "记录类别",
        allowed=("treatment", "scan", "response", "heterogeneity", "clinical_status", "follow_up"),
    ),
    string(
        "term",
        "What was recorded: cycle, ct, a column of responses, dhi, a column of clinical_status, "
        "or an event of follow_up",
        "记录内容：给药、CT、疗效、DHI、临床状态或随访事件",
    ),
    string(
        "text",
        "The record as text: drugs, scan, response, true or false, detail, or why DHI is missing",
        "文本内容：药物、扫描、疗效、是否、详情，或DHI缺失原因",
        nullable=True,
    ),
    number(
        "value", "The record as a number, in the column unit", "数值，单位见unit列", nullable=True
    ),
    string(
        "unit", "Unit of value; NULL where it has none", "value的单位；无单位则为空", nullable=True
    ),
    SIMULATED,
)

_RESPONSE_COLUMNS = (
    SITE,
    PATIENT,
    VISIT,
    DAY,
    *_columns(RESPONSES, "sum_mm", "change_from_baseline_percent"),
    RESPONSES.column("overall_response"),
    RESPONSES.column("irecist_response"),
    DHI.column("dhi"),
    SIMULATED,
)

_REPEATABLE_COLUMNS = (
    SITE,
    PATIENT,
    LESION,
    REGION,
    FEATURE,
    FROM_VISIT,
    TO_VISIT,
    DELTA_FEATURES.column("delta"),
    *_columns(FEATURE_STABILITY, "within_sd", "stable"),
    number(
        "repeatability_units",
        "delta over the standard deviation of a difference between two outlines",
        "delta与两次勾画差值标准差之比",
        nullable=True,
    ),
    REASON,
    SIMULATED,
)

_DELTA_COLUMNS = (
    SITE,
    PATIENT,
    FEATURE,
    FROM_VISIT,
    TO_VISIT,
    DELTA_FEATURES.column("days"),
    Column("n_lesions", "int64", "Lesions of the pair of visits", "病灶数", minimum=0),
    Column("n_with_value", "int64", "Lesions with a value", "有数值的病灶数", minimum=0),
    number(
        "largest",
        "Symmetric change of the lesion that was largest at the earlier visit",
        "较早访视体积最大病灶的对称变化",
        nullable=True,
    ),
    number(
        "weighted_mean",
        "Mean symmetric change, weighted by volume at the earlier visit",
        "按较早访视体积加权的平均对称变化",
        nullable=True,
    ),
    number(
        "worst",
        "Symmetric change of the lesion that grew most",
        "增长最多病灶的对称变化",
        nullable=True,
    ),
    number(
        "between_sd",
        "Standard deviation of the symmetric change between lesions",
        "病灶间对称变化的标准差",
        nullable=True,
    ),
    REASON,
    SIMULATED,
)

_DECLARED = (
    View(
        "patient_summary",
        "One row per patient: baseline, eligibility, response, survival, DHI, "
        "and predictions with their state",
        "每名患者一行：基线、入排、疗效、生存、DHI及预测与其状态",
        _SUMMARY_COLUMNS,
        _PATIENT_SUMMARY,
    ),
    View(
        "patient_timeline",
        "Everything dated of a patient in long form: a row per record, "
        "days from the first treatment cycle",
        "患者时间线（长表）：每条有日期的记录一行，天数自首个治疗周期起",
        _TIMELINE_COLUMNS,
        _PATIENT_TIMELINE,
    ),
    View(
        "patient_eligibility",
        "One row per patient: eligible only if every criterion is met; first reason otherwise",
        "每名患者是否入组及首要原因",
        (SITE, PATIENT, _ELIGIBLE, _NOT_MET, _UNKNOWN, SIMULATED),
        "SELECT site, patient, bool_and(verdict = 'met') AS eligible, "
        "coalesce(list(criterion ORDER BY criterion) FILTER (WHERE verdict = 'not_met'), []) "
        "AS not_met, "
        "coalesce(list(criterion ORDER BY criterion) FILTER (WHERE verdict = 'unknown'), []) "
        "AS unknown, any_value(simulated) AS simulated "
        "FROM eligibility GROUP BY site, patient",
    ),
    View(
        "accepted_features",
        "Radiomic features of the accepted read alone",
        "被采纳阅片的影像组学特征",
        RADIOMIC_FEATURES.columns,
        "SELECT f.* FROM radiomic_features f JOIN lesions l USING (site, patient, visit, lesion) "
        "WHERE f.reader = l.reader",
    ),
    View(
        "response_over_time",
        "Accepted responses in order of time, with DHI since T0",
        "被采纳的疗效随时间变化（含DHI）",
        _RESPONSE_COLUMNS,
        "SELECT r.site, r.patient, r.visit, r.day, r.sum_mm, r.change_from_baseline_percent, "
        "r.overall_response, r.irecist_response, d.dhi, r.simulated "
        "FROM responses r LEFT JOIN dhi d ON d.site = r.site AND d.patient = r.patient "
        "AND d.scope = 'patient' AND d.from_visit = 'T0' "
        "AND d.to_visit = r.visit WHERE r.evaluator = 'accepted' ORDER BY r.site, r.patient, r.day",
    ),
    View(
        "repeatable_change",
        "Change of a feature in units of what two outlines of one scan differ by: "
        "beyond 1.96 it is seldom due to the outlines alone",
        "以两次勾画间差异为单位的特征变化（超过1.96时很少仅由勾画造成）",
        _REPEATABLE_COLUMNS,
        "SELECT d.site, d.patient, d.lesion, d.region, d.feature, d.from_visit, d.to_visit, "
        "d.delta, s.within_sd, s.stable, "
        "CASE WHEN s.within_sd > 0 THEN d.delta / (sqrt(2) * s.within_sd) END "
        "AS repeatability_units, "
        "CASE WHEN d.delta IS NULL THEN d.reason WHEN s.within_sd > 0 THEN NULL "
        "WHEN s.within_sd = 0 THEN 'the readers never differ' "
        "ELSE coalesce(s.reason, 'no lesion was outlined by both readers') END AS reason, "
        "d.simulated "
        "FROM delta_features d LEFT JOIN feature_stability s USING (region, feature)",
    ),
    View(
        "patient_delta_features",
        "Symmetric change of a tumour feature by patient: of the largest lesion at the earlier "
        "visit, the mean weighted by volume there, of the lesion that grew most (worst), "
        "and the SD between lesions; of two equal lesions the first by name",
        "患者层面肿瘤特征的对称变化：较早访视体积最大的病灶、按体积加权均值、"
        "增长最多的病灶（worst）、病灶间标准差；两者相等时取编号在前者",
        _DELTA_COLUMNS,
        _PATIENT_DELTAS,
    ),
)

VIEWS: dict[str, View] = {view.name: view for view in _DECLARED}
"""The views, by name."""
