"""The settings of study.toml, typed: one class per section, one line per setting.

Units are in the names: `_mm`, `_mm3`, `_hu`, `_deg`, `_days`, `_years`. A number that the study is
registered with has its floor in registration.toml; here is only what has a meaning at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

Sections: TypeAlias = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Wording:
    """What a setting may be, in English and in Chinese, where its type alone does not say it."""

    en: str
    zh: str


SITE_PATTERN = r"^(?:[A-Z]{2,8}|[A-Z]{1,7}[0-9]|[A-Z]{1,6}[0-9]{2})$"
"""A site's code, as its folder in the landing is called: letters, then at most two digits.

No hospital number has this form.
"""

SITE_FORM = "2 to 8 characters, capital letters first, then at most two digits"
"""The same in words."""


# -- kinds of values -------------------------------------------------------------------------------


def _increasing(values: list[Any]) -> list[Any]:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError
    return values


def _pair_or_nothing(values: list[Any]) -> list[Any]:
    if len(values) not in {0, 2}:
        raise ValueError
    return _increasing(values)


def _decreasing(values: list[Any]) -> list[Any]:
    _increasing(values[::-1])
    return values


ROLES = (
    "PI",
    "ethics_committee",
    "steering_committee",
    "data_monitoring_committee",
    "sponsor",
    "statistician",
)
"""Who decides on an amendment or on a site, beside codes such as R1 or AB12.

Never a person's name, since it goes to pages and rows.
"""


def is_code_or_role(text: object) -> bool:
    """Whether a text names who decided without naming a person."""
    return isinstance(text, str) and (
        text in ROLES or re.fullmatch(r"[A-Z]{1,3}[0-9]{1,2}", text) is not None
    )


def _code_or_role(text: str) -> str:
    if not is_code_or_role(text):
        raise ValueError
    return text


def _code_or_role_or_nothing(text: str) -> str:
    return text and _code_or_role(text)


def _different(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error:
        raise ValueError from None
    return text


def _day_or_nothing(text: str) -> str:
    if text and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is None:
        raise ValueError
    return text and dt.date.fromisoformat(text).isoformat()


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _sites(listed: object) -> object:
    """A list of codes, or a table of full names by code."""
    if not isinstance(listed, (list, tuple, Mapping)):
        raise ValueError  # noqa: TRY004 - pydantic reports a ValueError at its place
    names = listed.values() if isinstance(listed, Mapping) else ()
    sound = all(isinstance(code, str) and re.fullmatch(SITE_PATTERN, code) for code in listed)
    if not sound or not all(isinstance(name, str) for name in names):
        raise ValueError
    return listed


def _matches(pattern: str) -> AfterValidator:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError
        return text

    return AfterValidator(check)


Share = Annotated[float, Ge(0), Le(1)]
AboveZero = Annotated[float, Gt(0)]
ZeroOrMore = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
CountOrNone = Annotated[int, Ge(0)]
Folds = Annotated[int, Ge(2), Le(50)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Hu = Annotated[float, Ge(-4000), Le(40_000)]
Millimetres = Annotated[float, Gt(0), Le(1000)]
Correlation = Annotated[float, Ge(-1), Le(1)]
Words = Annotated[str, AfterValidator(_words), Wording("a text", "文本")]
WHO = f"a code such as R1 or one of {', '.join(ROLES)}", f"代码（如 R1）或 {'、'.join(ROLES)}"
CodeOrRole = Annotated[str, AfterValidator(_code_or_role), Wording(*WHO)]
SignedBy = Annotated[
    str, AfterValidator(_code_or_role_or_nothing), Wording(f"empty, or {WHO[0]}", f"空，或{WHO[1]}")
]
Texts = Annotated[list[Words], Wording("a list of texts", "文本列表")]
SomeTexts = Annotated[
    list[Words],
    Len(1),
    AfterValidator(_different),
    Wording("a list of one text or more, each once", "至少一项、互不重复的文本列表"),
]
Pattern = Annotated[
    str,
    AfterValidator(_words),
    AfterValidator(_pattern),
    Wording("a regular expression", "正则表达式"),
]
Day = Annotated[
    str,
    AfterValidator(_day_or_nothing),
    Wording("a date as YYYY-MM-DD, or nothing", "日期（YYYY-MM-DD）或留空"),
]
HuRange = Annotated[
    list[Hu],
    Len(2, 2),
    AfterValidator(_increasing),
    Wording("[lower, upper] in HU, the lower one first", "[下限, 上限]（HU），下限在前"),
]
HuRangeOrNone = Annotated[
    list[Hu],
    AfterValidator(_pair_or_nothing),
    Wording(
        "[lower, upper] in HU, the lower one first, or [] for none",
        "[下限, 上限]（HU），下限在前；[] 表示不限",
    ),
]
Limits = Annotated[
    list[AboveZero],
    Len(2, 2),
    AfterValidator(_increasing),
    Wording(
        "[lower, upper], numbers above 0, the lower one first", "[下限, 上限]，均大于 0，下限在前"
    ),
]
Edges = Annotated[
    list[float],
    Len(2),
    AfterValidator(_increasing),
    Wording("a list of at least two increasing numbers", "至少两个递增数字的列表"),
]
Strengths = Annotated[
    list[AboveZero],
    Len(1),
    AfterValidator(_decreasing),
    Wording("a list of numbers above 0, the largest first", "大于 0 的数字列表，从大到小"),
]
Alias = Annotated[
    str,
    _matches(r"[a-z][a-z0-9_-]*"),
    Wording("a name of small letters, digits, - and _", "小写字母、数字、- 和 _ 组成的名称"),
]
Sites = Annotated[
    Any,
    AfterValidator(_sites),
    Wording(
        f'codes ({SITE_FORM}), or codes with full names: {{ BJCH = "full name" }}',
        '中心代码（2–8 位，大写字母在前，末尾至多两位数字），或代码与全称：{ BJCH = "全称" }',
    ),
]
Device = Annotated[
    str,
    _matches(r"auto|cpu|cuda(:\d+)?"),
    Wording(
        "auto, cpu, cuda, or one of several as cuda:0", "auto、cpu、cuda，或以 cuda:0 指定其一"
    ),
]
Wavelet = Literal["", "haar", "db2", "db3", "db4", "sym2", "sym3", "sym4", "coif1"]
"""Wavelets whose filters fit the margin that `radiomics.derived_images` leaves around a region.

The empty text is for none.
"""

Visit = Literal["T0", "T1", "T2"]
Coverage = Literal["none", "baselines", "all"]
FeatureClass = Literal["firstorder", "shape", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]


class Section(BaseModel):
    """A section: no unknown key and no value of another kind.

    A whole number may stand for a number; a text or true may not.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# -- sections --------------------------------------------------------------------------------------


class StudySection(Section):
    """Section [study]."""

    registration: Words
    sites: Sites = ()
    data_cutoff: Day = ""
    target_responders: Count
    target_non_responders: Count


class RegistrationSection(Section):
    """[registration]: `registration.find_problems` reads the entries."""

    amendments: Annotated[list[Any], Wording("a list of decisions", "决定列表")] = []


class PublishSection(Section):
    """[publish]: `lake.minimisation` reads the columns' names."""

    age_band_years: Annotated[int, Ge(1), Le(30)] = 1  # a wider band holds nearly every adult
    suppressed_columns: Annotated[
        list[str],
        Wording(
            'a list of columns, such as ["patients.regimen", "*.scan_date"]',
            '列名列表，例如 ["patients.regimen", "*.scan_date"]',
        ),
    ] = []


class TimepointsSection(Section):
    """[timepoints]: days count from the first cycle."""

    t0_earliest_day: Annotated[int, Ge(-365), Le(0)]
    t0_latest_day: Annotated[int, Ge(-365), Le(365)]
    t1_after_cycle: Annotated[int, Ge(1), Le(50)]
    t2_after_cycle: Annotated[int, Ge(1), Le(50)]
    days_after_next_cycle: Annotated[int, Ge(0), Le(365)]
    days_without_next_cycle: Annotated[int, Ge(0), Le(365)]
    soft_tissue_kernels: Pattern


class ScansSection(Section):
    """Section [scans]."""

    slice_thickness_mm: Annotated[float, Ge(0.1), Le(20)]
    slice_tolerance_mm: Annotated[float, Ge(0), Le(1)]
    metal_hu: Annotated[int, Ge(0), Le(40_000)]
    metal_volume_mm3: ZeroOrMore
    streak_hu: ZeroOrMore
    motion_mm: ZeroOrMore
    noise_hu: AboveZero
    air_hu_range: HuRange
    truncated_share: Share
    lung_fraction_minimum: Share


class ReadsSection(Section):
    """Section [reads]."""

    target_roi: Pattern
    site_reader: Literal["SITE"]
    primary_reader: Count
    blinded_readers: Annotated[int, Ge(1), Le(20)]
    in_pieces: Texts
    air_mean_hu: Annotated[float, Ge(-1024), Le(0)]
    unlike_density_hu: AboveZero
    implausible_volume_mm3: AboveZero
    implausible_diameter_mm: Millimetres
    implausible_image_share: Annotated[float, Gt(0), Le(1)]
    far_from_place_mm: Millimetres
    reopened: Texts


class EligibilitySection(Section):
    """Section [eligibility]."""

    histologies: SomeTexts
    stages: SomeTexts
    minimum_age_years: Annotated[int, Ge(0), Le(120)]


class RecistSection(Section):
    """Section [recist]."""

    response_ratio: Annotated[float, Gt(0), Lt(1)]
    progression_ratio: Annotated[float, Gt(1), Le(10)]
    progression_mm: Annotated[float, Ge(0), Le(100)]
    node_normal_mm: Annotated[float, Gt(0), Le(100)]
    node_target_mm: Annotated[float, Gt(0), Le(100)]
    lesion_target_mm: Annotated[float, Gt(0), Le(100)]
    too_small_mm: Annotated[float, Ge(0), Le(100)]
    maximum_targets: Annotated[int, Ge(1), Le(50)]
    maximum_targets_per_organ: Annotated[int, Ge(1), Le(50)]
    stable_disease_days: Annotated[int, Ge(0), Le(365)]
    confirmation_days: Annotated[int, Ge(0), Le(365)]
    confirmation_not_evaluable: Annotated[int, Ge(0), Le(20)]
    confirmation_over_stable: bool
    tolerance: Annotated[float, Ge(0), Le(0.1)]


class IrecistSection(Section):
    """Section [irecist]."""

    confirmation_earliest_days: Annotated[int, Ge(1), Le(365)]
    confirmation_latest_days: Annotated[int, Ge(1), Le(365)]
    confirmation_tolerance_days: Annotated[int, Ge(0), Le(60)]
    symptom_days: Annotated[int, Ge(0), Le(90)]
    new_lesion_growth_mm: Annotated[float, Ge(0), Le(100)]


class DynamicSection(Section):
    """Section [dynamic]."""

    reader_error: Annotated[float, Gt(0), Lt(1)]
    reader_pairs_minimum: Annotated[int, Ge(2), Le(100_000)]
    class_edges: Annotated[
        list[Annotated[float, Ge(-1000), Le(1000)]],
        Len(1, 10),
        AfterValidator(_increasing),
        Wording("numbers, each above the one before", "逐项递增的数值列表"),
    ]
    class_blocks_minimum: Annotated[int, Ge(1), Le(100_000)]
    due_soon_days: Annotated[int, Ge(0), Le(90)]
    ood_score_maximum: Annotated[float, Gt(0), Le(100)]
    interval_maximum: Annotated[float, Gt(0), Le(1)]


class RiskSection(Section):
    """Section [risk]."""

    response_events_minimum: Annotated[int, Ge(2), Le(10_000)]
    landmark_events_minimum: Annotated[int, Ge(2), Le(10_000)]
    extra_cts_per_progression: Annotated[float, Gt(0), Le(1000)]
    rate_band: Annotated[float, Gt(1), Le(100)]
    rate_signed_by: SignedBy
    rate_signed_on: Day


class EvaluationSection(Section):
    """Section [evaluation]."""

    events_minimum: Annotated[int, Ge(2), Le(1000)]
    horizons_days: Annotated[
        list[Annotated[int, Ge(1), Le(3650)]],
        Len(1, 5),
        AfterValidator(_increasing),
        Wording("numbers, each above the one before", "逐项递增的数值列表"),
    ]
    folds: Annotated[int, Ge(2), Le(50)]
    draws: Annotated[int, Ge(100), Le(10_000)]
    reset_shares: Annotated[
        list[Annotated[float, Gt(0), Lt(1)]],
        Len(1, 10),
        AfterValidator(_increasing),
        Wording("numbers, each above the one before", "逐项递增的数值列表"),
    ]


class EndpointsSection(Section):
    """Section [endpoints]."""

    visit_interval_days: Annotated[int, Ge(1), Le(730)]
    visit_window_days: Annotated[int, Ge(0), Le(180)]
    missed_visits: Annotated[int, Ge(1), Le(20)]
    new_therapy: Literal["censored", "event"]
    clinical_progression: Literal["ignored", "event"]
    target_prevalence: Annotated[float, Gt(0), Lt(1)]


class AgreementSection(Section):
    """Section [agreement]."""

    icc_minimum: Share
    icc_lower_minimum: Share
    icc_raw_minimum: Share
    feature_icc_lower_minimum: Share
    pairs_minimum: Annotated[int, Ge(3), Le(100_000)]
    arbitrated_share_maximum: Share
    dice_pass: Share
    dice_arbitrate: Share
    surface_tolerance_mm: Annotated[float, Gt(0), Le(50)]
    bootstrap_draws: Annotated[int, Ge(100), Le(1_000_000)]
    seed: Seed
    sum_difference_mm: Annotated[float, Ge(0), Le(100)]
    sum_difference_ratio: Share


class RadiomicsSection(Section):
    """Section [radiomics]."""

    engine: Literal["fused", "pyradiomics"]
    spacing_mm: Annotated[float, Ge(0), Le(10)]
    planar: bool
    interpolator: Literal["bspline", "linear"]
    half_covered: Literal["nearest", "inside"]
    round_hu: bool
    resegmentation_hu: HuRangeOrNone
    outlier_sd: Annotated[float, Ge(0), Le(100)]
    bin_width_hu: Annotated[float, Gt(0), Le(1000)]
    bin_count: Annotated[int, Ge(0), Le(100_000)]
    log_sigma_mm: Annotated[
        list[Annotated[float, Gt(0), Le(50)]],
        AfterValidator(_different),
        Wording(
            "a list of different numbers above 0 up to 50", "互不相同的数字列表，大于 0、不超过 50"
        ),
    ]
    wavelet: Wavelet
    classes: Annotated[list[FeatureClass], Len(1), AfterValidator(_different)]
    ibsi_families: list[
        Literal["morph", "loc", "stat", "ih", "ivh", "cm", "rlm", "szm", "dzm", "ngt", "ngl"]
    ]
    ibsi_aggregations: list[
        Literal[
            "2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb", "2D", "2_5D", "3D"
        ]
    ]
    ivh_bin_width_hu: Annotated[float, Ge(0), Le(1000)]
    ivh_bin_count: Annotated[int, Ge(0), Le(100_000)]
    padding_mm: Annotated[float, Ge(0), Le(200)]
    maximum_crop_voxels: Annotated[int, Ge(1000)]
    ring_edges_mm: Annotated[
        list[Annotated[int, Ge(0), Le(100)]],
        Len(2),
        AfterValidator(_increasing),
        Wording(
            "a list of at least two increasing whole numbers up to 100",
            "至少两个递增整数的列表，不超过 100",
        ),
    ]
    ring_minimum_lung_share: Share
    lung_hu: HuRange
    minimum_voxels: Count


class ControlsSection(Section):
    """Section [controls]."""

    patients_per_site: CountOrNone
    minimum_per_class: Count
    folds: Folds
    seed: Seed


class PerturbationSection(Section):
    """Section [perturbation]."""

    copies: Annotated[int, Ge(1), Le(1000)]
    shift_mm: Annotated[float, Ge(0), Le(20)]
    rotation_deg: Annotated[float, Ge(0), Le(90)]
    contour_mm: Annotated[float, Ge(0), Le(20)]
    growth_share: Share
    padding_mm: Annotated[float, Ge(0), Le(200)]


class MuscleSection(Section):
    """Section [muscle]."""

    hu: HuRange
    sd_hu: AboveZero
    share: Annotated[float, Gt(0), Le(1)]
    search_mm: Annotated[float, Ge(0), Le(1000)]
    distance_mm: Annotated[float, Ge(0), Le(500)]


class DhiSection(Section):
    """Section [dhi]."""

    minimum_voxels: Count
    minimum_volume_mm3: ZeroOrMore
    slice_maximum_mm: Annotated[float, Gt(0), Le(20)]
    clip_hu: AboveZero
    bin_width_hu: Annotated[float, Gt(0), Le(1000)]
    habitat_cuts_hu: Annotated[
        list[Hu],
        Len(1),
        AfterValidator(_increasing),
        Wording("a list of increasing HU", "递增的 HU 列表"),
    ]
    peel_depth_mm: Annotated[float, Ge(0), Le(50)]
    peel_hu: ZeroOrMore
    smoothing_mm: Annotated[float, Ge(0), Le(20)]
    copies: Annotated[int, Ge(1), Le(1000)]
    shift_mm: Annotated[float, Ge(0), Le(20)]
    rotation_deg: Annotated[float, Ge(0), Le(90)]
    contour_mm: Annotated[float, Ge(0), Le(20)]
    quantile: Annotated[float, Gt(0.5), Lt(1)]
    calibration_lesions_minimum: Count
    seed: Seed


class HabitatsSection(Section):
    """Section [habitats]."""

    version: Count
    count: Annotated[int, Ge(2), Le(50)]
    spread_mm: Annotated[float, Gt(0), Le(50)]
    clip_hu: AboveZero
    voxels_per_lesion: Count
    minimum_voxels: Count
    lesions_minimum: Count
    seed: Seed


class HabitatHistogramSection(Section):
    """Section [habitat_histogram]."""

    density_hu: Edges
    spread_hu: Edges


class ExcludedSite(Section):
    """A recorded decision that a site is left out of training."""

    site: Words
    decided_by: CodeOrRole
    decided_on: Annotated[Day, AfterValidator(_words)]
    reason: Words


class GateSection(Section):
    """Section [gate]."""

    excluded_sites: Annotated[
        list[ExcludedSite],
        Wording(
            'decisions, each { site = "…", decided_by = "…", decided_on = "YYYY-MM-DD", '
            f'reason = "…" }}, decided_by {WHO[0]}',
            '决定列表，每项为 { site = "…", decided_by = "…", decided_on = "YYYY-MM-DD", '
            f'reason = "…" }}，其中 decided_by 为{WHO[1]}',
        ),
    ]
    minimum_patients: Annotated[int, Ge(2), Le(100_000)]
    minimum_per_class: Annotated[int, Ge(1), Le(100_000)]


class ModelSection(Section):
    """Section [model]."""

    tasks: Annotated[list[Visit], Len(1), AfterValidator(_different)]
    primary_task: Visit
    early_outcome_policy: Literal["exclude", "exclude_progressed", "keep"]
    folds: Folds
    seed: Seed
    leakage_auc: Annotated[float, Gt(0.5), Le(1)]
    leave_site_out_for: Coverage
    held_out_intervals: Coverage
    reader_pairs_minimum: Count
    harmonise: Literal["none", "combat", "combat_mean_only"]
    harmonise_reference: str
    inner_folds: Folds
    univariate_keep: Count
    redundant_correlation: Annotated[float, Gt(0), Le(1)]
    l1_share: Annotated[float, Gt(0), Le(1)]
    ridge_strengths: Strengths
    elastic_net_strengths: Strengths
    alias: Alias
    champion_alias: Alias
    promotion_p: Annotated[float, Gt(0), Lt(0.5)]
    promotion_looks: Annotated[
        list[Count],
        Len(1),
        AfterValidator(_increasing),
        Wording("a list of increasing whole numbers of at least 1", "递增的正整数列表"),
    ]
    promotion_slope: Limits
    network_patients_minimum: Count
    network_features: SomeTexts
    network_seeds: Annotated[int, Ge(1), Le(1000)]
    network_epochs: Annotated[int, Ge(1), Le(100_000)]
    network_batch: Count
    learning_rate: Annotated[float, Gt(0), Le(10)]
    network_decay: ZeroOrMore
    network_width: Annotated[int, Ge(1), Le(10_000)]
    network_dropout: Annotated[float, Ge(0), Lt(1)]
    habitat_networks: list[Literal["st_gcn", "decomposition_transformer"]]
    device: Device
    abstain_sd: Annotated[float, Gt(0), Le(1)]
    six_months_days: Annotated[int, Ge(1), Le(1000)]


class Protocol(BaseModel):
    """study.toml as a whole: one attribute per section, as `Study.protocol` gives it."""

    model_config = Section.model_config

    study: StudySection
    registration: RegistrationSection = RegistrationSection()
    publish: PublishSection = PublishSection()
    timepoints: TimepointsSection
    scans: ScansSection
    reads: ReadsSection
    eligibility: EligibilitySection
    recist: RecistSection
    irecist: IrecistSection
    dynamic: DynamicSection
    risk: RiskSection
    evaluation: EvaluationSection
    endpoints: EndpointsSection
    agreement: AgreementSection
    radiomics: RadiomicsSection
    controls: ControlsSection
    perturbation: PerturbationSection
    muscle: MuscleSection
    dhi: DhiSection
    habitats: HabitatsSection
    habitat_histogram: HabitatHistogramSection
    gate: GateSection
    model: ModelSection


# -- what settings must be to each other -----------------------------------------------------------


@dataclass(frozen=True)
class Relation:
    """Two settings of a section, and whether their values can be meant together."""

    section: str
    first: str
    second: str
    words: Wording

    def holds(self, protocol: Protocol) -> bool:
        """Whether it does."""
        values = getattr(protocol, self.section)
        return _HOLDS[self.words.en](getattr(values, self.first), getattr(values, self.second))


AT_MOST = Wording("at most", "不大于")
BELOW = Wording("below", "小于")
AMONG = Wording("one of", "属于")
UNLIKE = Wording("different from", "不同于")

_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    AT_MOST.en: lambda a, b: a <= b,
    BELOW.en: lambda a, b: a < b,
    AMONG.en: lambda a, b: a in b,
    UNLIKE.en: lambda a, b: a != b,
}

RELATIONS = (
    Relation("timepoints", "t0_earliest_day", "t0_latest_day", AT_MOST),
    Relation("timepoints", "t1_after_cycle", "t2_after_cycle", BELOW),
    Relation("reads", "primary_reader", "blinded_readers", AT_MOST),
    Relation("recist", "node_normal_mm", "node_target_mm", AT_MOST),
    Relation("irecist", "confirmation_earliest_days", "confirmation_latest_days", AT_MOST),
    Relation("agreement", "dice_arbitrate", "dice_pass", AT_MOST),
    Relation("model", "primary_task", "tasks", AMONG),
    Relation("model", "alias", "champion_alias", UNLIKE),
)
"""Settings that are wrong only together."""


# -- former names ----------------------------------------------------------------------------------

RENAMED: Mapping[str, str] = {
    "dynamic.novelty_maximum": "dynamic.ood_score_maximum",
    "endpoints.response_share_in_practice": "endpoints.target_prevalence",
    "gate.sites_left_out": "gate.excluded_sites",
    "habitat_words": "habitat_histogram",
    "model.abstain_spread": "model.abstain_sd",
    "model.decided": "model.early_outcome_policy",
    "model.filter_keeps": "model.univariate_keep",
    "model.held_out_sites": "model.leave_site_out_for",
    "model.network_rate": "model.learning_rate",
}
"""Sections and settings by the name that they had in an earlier version of the program."""


def with_present_names(sections: Sections) -> Sections:
    """A protocol of an earlier version, its sections and settings under their present names."""
    return {
        RENAMED.get(section, section): {
            RENAMED.get(f"{section}.{name}", f"{section}.{name}").partition(".")[2]: value
            for name, value in settings.items()
        }
        for section, settings in sections.items()
    }


# -- finding faults --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One setting that cannot be used.

    `key` is a section, or section and setting with a dot between; `inside` are the places within
    its value, counted from 1.
    """

    key: str
    kind: Literal["renamed", "unknown", "missing", "value"]
    inside: tuple[int | str, ...] = ()


def find_faults(sections: Sections) -> list[Fault]:
    """Renamed, unknown, missing and unusable settings, in the order of the types.

    One fault per setting: of a setting under its former name alone, the name.
    """
    try:
        Protocol.model_validate(sections)
    except ValidationError as error:
        found = [
            _fault(one["loc"], one["type"])
            for one in error.errors(include_url=False, include_input=False)
        ]
        renamed = {RENAMED[fault.key] for fault in found if fault.kind == "renamed"}
        own = [f for f in reversed(found) if not (f.kind == "missing" and f.key in renamed)]
        return list({fault.key: fault for fault in own}.values())[::-1]
    return []


def find_broken_relations(sections: Sections) -> list[Relation]:
    """The relations that do not hold in a protocol without faults."""
    protocol = Protocol.model_validate(sections)
    return [relation for relation in RELATIONS if not relation.holds(protocol)]


def is_usable(key: str, value: Any) -> bool:
    """Whether a value has a meaning for a setting, such as `agreement.icc_minimum`."""
    try:
        _adapter(key).validate_python(value)
    except ValidationError:
        return False
    return True


def _fault(place: Sequence[int | str], kind: str) -> Fault:
    key, inside = ".".join(str(part) for part in place[:2]), tuple(place[2:])
    if inside or kind not in _KINDS_OF_FAULT:
        counted = tuple(part + 1 if isinstance(part, int) else part for part in inside)
        return Fault(key, "value", counted)
    if kind == "extra_forbidden" and key in RENAMED:
        return Fault(key, "renamed")
    return Fault(key, _KINDS_OF_FAULT[kind])


_KINDS_OF_FAULT: Mapping[str, Literal["unknown", "missing"]] = {
    "extra_forbidden": "unknown",
    "missing": "missing",
}


# -- what stands where -----------------------------------------------------------------------------


def section_types() -> dict[str, type[Section]]:
    """The class of each section, in the order of study.toml."""
    hints = get_type_hints(Protocol)
    return {name: hints[name] for name in Protocol.model_fields}


def setting_keys() -> tuple[str, ...]:
    """Every setting as `section.setting`."""
    return tuple(
        f"{name}.{key}" for name, kind in section_types().items() for key in kind.model_fields
    )


@cache
def wording_of(key: str) -> Wording:
    """What a setting may be.

    >>> wording_of("model.early_outcome_policy").en
    'one of exclude, exclude_progressed, keep'
    >>> wording_of("recist.response_ratio").en
    'a number above 0 and below 1'
    """
    return wording_of_type(_annotation(key))


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    return TypeAdapter(_annotation(key), config=ConfigDict(strict=True, allow_inf_nan=False))


def _annotation(key: str) -> Any:
    """The declared type with all that is annotated; pydantic keeps the two apart."""
    section, _, name = key.partition(".")
    return get_type_hints(section_types()[section], include_extras=True)[name]


_KINDS = {
    int: Wording("a whole number", "整数"),
    float: Wording("a number", "数字"),
    bool: Wording("true or false", "true 或 false"),
    str: Wording("a text", "文本"),
}


def wording_of_type(kind: Any) -> Wording:
    """A setting's type in words: its own `Wording`, its words, bounds, or what its items are."""
    bare, *metadata = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    own = [m for m in metadata if isinstance(m, Wording)]
    if own:
        return own[-1]
    if get_origin(bare) is Literal:
        words = [str(word) or '""' for word in get_args(bare)]
        return Wording(f"one of {', '.join(words)}", f"以下之一：{'、'.join(words)}")
    if get_origin(bare) is list:
        return _word_of_list(
            get_args(bare)[0], at_least_one=any(isinstance(m, Len) for m in metadata)
        )
    return _word_of_number(_KINDS[bare], [_bound(m) for m in metadata])


def _word_of_list(item: Any, *, at_least_one: bool) -> Wording:
    names = ", ".join(map(str, get_args(item)))
    chinese = names.replace(", ", "、")
    if at_least_one:
        return Wording(f"a list of one or more of {names}", f"列表，取以下一项或多项：{chinese}")
    return Wording(f"a list, empty or of some of {names}", f"列表，可为空或取以下若干项：{chinese}")


def _word_of_number(name: Wording, bounds: Sequence[_Bound | None]) -> Wording:
    low, high = (next((b for b in bounds if b and b.lower is side), None) for side in (True, False))
    if low and high and low.inclusive and high.inclusive:
        return Wording(
            f"{name.en} from {low.number} to {high.number}",
            f"{low.number} 至 {high.number} 的{name.zh}",
        )
    stated = [b for b in (low, high) if b]
    if not stated:
        return name
    english, chinese = (
        " and ".join(b.words.en for b in stated),
        "、".join(b.words.zh for b in stated),
    )
    return Wording(f"{name.en} {english}", f"{chinese} 的{name.zh}")


@dataclass(frozen=True)
class _Bound:
    """One end of a range."""

    number: str
    lower: bool
    inclusive: bool

    @property
    def words(self) -> Wording:
        """The end alone."""
        english, chinese = _ENDS[self.lower, self.inclusive]
        return Wording(f"{english} {self.number}", f"{chinese} {self.number}")


_ENDS = {
    (True, True): ("of at least", "不小于"),
    (True, False): ("above", "大于"),
    (False, True): ("of at most", "不大于"),
    (False, False): ("below", "小于"),
}
_LIMITS = {
    Ge: ("ge", True, True),
    Gt: ("gt", True, False),
    Le: ("le", False, True),
    Lt: ("lt", False, False),
}


def _bound(limit: Any) -> _Bound | None:
    if type(limit) not in _LIMITS:
        return None
    attribute, lower, inclusive = _LIMITS[type(limit)]
    return _Bound(f"{getattr(limit, attribute):,}".replace(",", " "), lower, inclusive)
