"""Study plans: what a federated run asks, as a TOML file that each hospital reads before it allows.

A plan has a section [plan], one section that names what is asked, and a section [rows] where each
hospital takes its rows from its own lake.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, StringConstraints, ValidationError

from dagster_project.federated.accounting import compose, epsilon_of, mu_of, noise_for
from dagster_project.federated.key_agreement import LEAST_HOSPITALS
from dagster_project.federated.limits import ComponentRatios
from dagster_project.federated.logistic import LogisticPlan
from dagster_project.federated.refusals import PlanUnusable
from dagster_project.protocol import (
    SITE_FORM,
    SITE_PATTERN,
    AboveZero,
    Count,
    Section,
    SomeTexts,
    Visit,
    Wording,
    Words,
    ZeroOrMore,
    wording_of_type,
)

LARGEST_PLAN = 2**20
"""Bytes; a plan is read by a person."""


def _hospitals(codes: list[str]) -> list[str]:
    sound = all(re.fullmatch(SITE_PATTERN, code) for code in codes)
    if not sound or len(set(codes)) < len(codes):
        raise ValueError
    return sorted(codes)


def _title(text: str) -> str:
    """A title is shown beside what the program says itself: a second line could pass for that."""
    if not text.strip() or len(text) > LONGEST_TITLE or not text.isprintable():
        raise ValueError
    return text


LONGEST_TITLE = 100
"""Characters."""

Title = Annotated[
    str,
    AfterValidator(_title),
    Wording(
        f"one line of at most {LONGEST_TITLE} printable characters",
        f"一行文字，至多 {LONGEST_TITLE} 个可打印字符",
    ),
]
Hospitals = Annotated[
    list[str],
    Len(LEAST_HOSPITALS),
    AfterValidator(_hospitals),
    Wording(
        f"a list of {LEAST_HOSPITALS} or more hospitals' codes ({SITE_FORM}), each once",
        f"至少 {LEAST_HOSPITALS} 家医院代码的列表，不重复"
        "（2–8 位，大写字母在前，末尾至多两位数字）",
    ),
]
Numbers = Annotated[list[float], Wording("a list of numbers, one a column", "数字列表，每列一个")]
Units = Annotated[
    list[AboveZero],
    Wording("a list of numbers above 0, one a column", "大于 0 的数字列表，每列一个"),
]
Delta = Annotated[float, Gt(0), Lt(0.01)]


class PlanSection(Section):
    """[plan]: what it is called, who takes part, and whose rows: the patients of a task."""

    name: Title
    hospitals: Hospitals
    task: Visit


class RowsSection(Section):
    """[rows]: each hospital computes its rows from its own lake, behind its own gate.

    `outcome` is what is known of a patient after the task's visit, `population` whose rows count,
    `group` the column of `patients` that arms and groups are. All hospitals have the protocol and
    the version of the lake's tables that are named here. `simulated` allows simulated patients and
    trial keys, and then nothing else.
    """

    TUNING: ClassVar[frozenset[str]] = frozenset({"protocol", "schema_version"})
    outcome: Literal["response", "progression_free", "pfs", "os", "none"]
    population: Literal["training", "eligible"]
    group: Literal["none", "sex", "smoking", "stage", "histology", "egfr", "alk", "regimen"]
    protocol: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9a-f]{16}$"),
        Wording("the digest of a protocol, 16 hexadecimal digits", "方案摘要（16 位十六进制）"),
    ]
    schema_version: Count
    simulated: bool

    def find_problem(self, plan: PlanSection, asked: Asked) -> Wording | None:
        """What does not go together with what is asked of whom."""
        wanted = asked.outcome_of(plan.task)
        if self.outcome != wanted:
            return Wording(
                f"outcome has to be {wanted} for this task and query",
                f"outcome 对该任务与查询须为 {wanted}",
            )
        if wanted in LABELS.values() and self.population != "training":
            return Wording(
                "population has to be training, whose patients have a label",
                "population 须为 training（有标签的患者）",
            )
        return None


LABELS: Mapping[str, str] = {"T0": "response", "T1": "response", "T2": "progression_free"}
"""What a task's label is."""


class Asked(Section):
    """A section that says what is asked.

    `TUNING` are the settings that do not make it another query: two plans that differ in these
    alone ask the same of the same patients.
    """

    TUNING: ClassVar[frozenset[str]] = frozenset()

    @property
    def rounds(self) -> int:
        """How many sums."""
        return 1

    @property
    def length(self) -> int:
        """Values of the longest vector."""
        raise NotImplementedError

    @property
    def mu(self) -> float | None:
        """What a round costs; None where nothing is added to the sum."""
        return None

    @property
    def noise_sd(self) -> float:
        """Standard deviation of the noise that is left for each hospital, 0 for none."""
        return 0.0

    @property
    def row_norm(self) -> float | None:
        """What a patient's row is cut to before it is summed; None where sums are handed over."""
        return None

    def outcome_of(self, task: str) -> str:  # noqa: ARG002 - some sections have one
        """The outcome that rows of a lake must have, by the task of the plan."""
        return "none"

    def find_problem(self, plan: PlanSection) -> Wording | None:  # noqa: ARG002 - sections have one
        """What is wrong with settings that are sound by themselves."""
        return None


def _one_a_column(columns: list[str], *others: list[float]) -> Wording | None:
    if all(len(other) == len(columns) for other in others):
        return None
    return Wording(
        "has not one centre and one unit a column; write as many of each as there are columns",
        "的中心值和单位数量与列数不符；请逐列填写",
    )


class CountedSection(Asked):
    """Counts of patients, each in one slot: `epsilon` of 0 is for exact ones."""

    TUNING: ClassVar[frozenset[str]] = frozenset({"epsilon", "delta"})
    epsilon: Annotated[float, Ge(0), Le(20)]
    delta: Delta

    @property
    def mu(self) -> float | None:
        """Of the one round."""
        return mu_of(self.epsilon, self.delta) if self.epsilon else None

    @property
    def noise_sd(self) -> float:
        """A patient moves one count by 1."""
        return 1 / self.mu if self.mu else 0.0

    @property
    def row_norm(self) -> float | None:
        """Rows are handed over where noise is added, so that none counts for more than 1."""
        return 1.0 if self.epsilon else None


class CountsSection(CountedSection):
    """[counts]: patients by arm, and of each hospital apart where `hospitals` lists them."""

    TUNING: ClassVar[frozenset[str]] = CountedSection.TUNING | {"hospitals"}
    arms: SomeTexts
    hospitals: Annotated[list[str], Wording("hospitals' codes, or []", "医院代码列表，或 []")]

    @property
    def length(self) -> int:
        """Values of a vector."""
        return len(self.arms) * max(1, len(self.hospitals))

    def find_problem(self, plan: PlanSection) -> Wording | None:
        """Either all hospitals of the plan have counts of their own, or none has."""
        if not self.hospitals or sorted(self.hospitals) == plan.hospitals:
            return None
        return Wording(
            "hospitals are neither [] nor those of [plan]; write one of the two",
            "hospitals 既非 [] 也非 [plan] 所列医院；请改为其一",
        )


class SurvivalSection(CountedSection):
    """[survival]: Kaplan-Meier curves and log-rank test."""

    TUNING: ClassVar[frozenset[str]] = CountedSection.TUNING | {"last_day", "width_days"}
    endpoint: Literal["pfs", "os"]
    groups: SomeTexts
    last_day: Annotated[int, Ge(1), Le(7300)]
    width_days: Annotated[int, Ge(1), Le(365)]

    def outcome_of(self, task: str) -> str:  # noqa: ARG002
        """The end point."""
        return self.endpoint

    @property
    def length(self) -> int:
        """Values of a vector."""
        return len(self.groups) * 2 * (-(-self.last_day // self.width_days) + 1)


class AucSection(CountedSection):
    """[auc]: the AUC of a model of the registry that had seen none of the patients."""

    TUNING: ClassVar[frozenset[str]] = CountedSection.TUNING | {"bins"}
    model: Words
    bins: Annotated[int, Ge(5), Le(4000)]

    def outcome_of(self, task: str) -> str:
        """The label of the task."""
        return LABELS[task]

    @property
    def length(self) -> int:
        """Values of a vector."""
        return 2 * self.bins


class ReadersSection(Asked):
    """[readers]: ICC(A,1) of the sum of diameters."""

    TUNING: ClassVar[frozenset[str]] = frozenset({"centre_mm", "unit_mm"})
    readers: Annotated[int, Ge(2), Le(20)]
    centre_mm: Annotated[float, Gt(0), Le(1000)]
    unit_mm: Annotated[float, Gt(0), Le(1000)]
    one_pair_a_patient: bool

    @property
    def length(self) -> int:
        """Values of a vector."""
        return self.readers + 3


class MomentsSection(Asked):
    """[moments]: means and standard deviations of columns."""

    TUNING: ClassVar[frozenset[str]] = frozenset({"centres", "units"})
    columns: SomeTexts
    centres: Numbers
    units: Units

    @property
    def length(self) -> int:
        """Values of a vector."""
        return 3 * len(self.columns)

    def find_problem(self, plan: PlanSection) -> Wording | None:  # noqa: ARG002
        """A centre and a unit a column."""
        return _one_a_column(self.columns, self.centres, self.units)


class CombatSection(Asked):
    """[combat]: level and spread of features over all hospitals' batches (`SITE/kernel`)."""

    TUNING: ClassVar[frozenset[str]] = frozenset({"centres", "units"})
    columns: SomeTexts
    centres: Numbers
    units: Units
    batches: SomeTexts
    covariates: Annotated[list[Words], Wording("a list of columns, or []", "列名列表，或 []")]

    @property
    def rounds(self) -> int:
        """Least squares, then residuals."""
        return 2

    @property
    def length(self) -> int:
        """Values of the first vector."""
        terms = len(self.batches) + len(self.covariates)
        return terms * (terms + len(self.columns))

    def find_problem(self, plan: PlanSection) -> Wording | None:  # noqa: ARG002
        """A centre and a unit a column."""
        return _one_a_column(self.columns, self.centres, self.units)


class DhiLimitsSection(Asked):
    """[dhi_limits]: DHI's limits at the quantile of the protocol; it has no settings."""

    @property
    def rounds(self) -> int:
        """The components, then their combination."""
        return 2

    @property
    def length(self) -> int:
        """Values of the first vector."""
        return ComponentRatios(0.5).length


class LogisticSection(Asked):
    """[logistic]: the model of `federated.logistic`; ε of 0 is for no noise."""

    TUNING: ClassVar[frozenset[str]] = frozenset(
        {
            "centres",
            "units",
            "patients",
            "steps",
            "clip",
            "rate",
            "penalty",
            "reach",
            "epsilon",
            "delta",
        }
    )
    columns: SomeTexts
    centres: Numbers
    units: Units
    patients: Count
    steps: Annotated[int, Ge(1), Le(1000)]
    clip: AboveZero
    rate: AboveZero
    penalty: ZeroOrMore
    reach: AboveZero
    epsilon: Annotated[float, Ge(0), Le(20)]
    delta: Delta

    def outcome_of(self, task: str) -> str:
        """The label of the task."""
        return LABELS[task]

    @property
    def rounds(self) -> int:
        """A sum a step."""
        return self.steps

    @property
    def length(self) -> int:
        """The intercept and each column."""
        return 1 + len(self.columns)

    @property
    def mu(self) -> float | None:
        """Of a step."""
        return 1 / noise_for(self.epsilon, self.delta, self.steps) if self.epsilon else None

    @property
    def noise_sd(self) -> float:
        """The clip over what a step costs."""
        return self.clip / self.mu if self.mu else 0.0

    @property
    def row_norm(self) -> float:
        """The clip."""
        return self.clip

    def model(self) -> LogisticPlan:
        """The same for `federated.logistic`."""
        return LogisticPlan(
            tuple(self.columns),
            tuple(self.centres),
            tuple(self.units),
            patients=self.patients,
            steps=self.steps,
            clip=self.clip,
            rate=self.rate,
            penalty=self.penalty,
            reach=self.reach,
        )

    def find_problem(self, plan: PlanSection) -> Wording | None:  # noqa: ARG002
        """A centre and a unit a column."""
        return _one_a_column(self.columns, self.centres, self.units)


class NetworkSection(Asked):
    """[network]: one of the study's networks by federated averaging, without noise.

    It stays within the consortium. `weights` is the number of weights of one network; `folds` are
    as many networks more, each of which leaves out a part of every hospital's patients.
    """

    TUNING: ClassVar[frozenset[str]] = frozenset(
        {"centres", "units", "average", "epochs", "rate", "seed"}
    )
    architecture: Literal["st_gcn", "decomposition_transformer"]
    weights: Count
    centres: Numbers
    units: Units
    average: Annotated[int, Ge(1), Le(200)]
    epochs: Annotated[int, Ge(1), Le(50)]
    rate: AboveZero
    folds: Annotated[int, Ge(2), Le(10)]
    seed: Annotated[int, Ge(0), Le(2**31 - 1)]

    def outcome_of(self, task: str) -> str:
        """The label of the task."""
        return LABELS[task]

    @property
    def passes(self) -> int:
        """How often the network of all patients sees each."""
        return self.average * self.epochs

    @property
    def rounds(self) -> int:
        """Moments of the inputs, averages, and scores of the patients left out."""
        return self.average + 2

    @property
    def length(self) -> int:
        """Weights of all networks, patients of each, and the loss."""
        return (self.folds + 1) * (self.weights + 2)

    def find_problem(self, plan: PlanSection) -> Wording | None:  # noqa: ARG002
        """A centre and a unit a feature."""
        return _one_a_column([""] * len(self.units), self.centres)


KINDS: Mapping[str, type[Asked]] = {
    "counts": CountsSection,
    "survival": SurvivalSection,
    "auc": AucSection,
    "readers": ReadersSection,
    "moments": MomentsSection,
    "combat": CombatSection,
    "dhi_limits": DhiLimitsSection,
    "logistic": LogisticSection,
    "network": NetworkSection,
}
"""What can be asked, by the name of its section."""

ROWS = "rows"
"""Name of the section by which rows come from each hospital's lake."""


@dataclass(frozen=True)
class Plan:
    """A plan that can be used."""

    plan: PlanSection
    kind: str
    asked: Asked
    rows: RowsSection | None = None
    """None where rows come from a table that each hospital names."""

    @property
    def sections(self) -> dict[str, Any]:
        """As `parse_plan` reads it."""
        own = {ROWS: self.rows.model_dump()} if self.rows else {}
        return {"plan": self.plan.model_dump(), self.kind: self.asked.model_dump(), **own}

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it: what a hospital allows."""
        own = [self.rows.model_dump()] if self.rows else []
        return _digest([self.plan.model_dump(), self.kind, self.asked.model_dump(), *own])

    @property
    def query(self) -> str:
        """SHA-256 of what is asked of whom, without name, hospitals, noise and fineness.

        Another protocol asks the same of other rows, which the ledger sees by their digest.
        """
        content = self.asked.model_dump(exclude=set(self.asked.TUNING))
        own = [self.rows.model_dump(exclude=set(self.rows.TUNING))] if self.rows else []
        return _digest([self.plan.task, self.kind, content, *own])

    def epsilon(self, delta: float) -> float | None:
        """What the whole plan costs at δ; None where nothing is added to its sums."""
        if self.asked.mu is None:
            return None
        return epsilon_of(compose([self.asked.mu] * self.asked.rounds), delta)


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_plan(file: Path) -> Plan:
    """Read a plan.

    Raises
    ------
    PlanUnusable
        With everything that is wrong, in English and in Chinese.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_PLAN + 1)
    except OSError as error:
        what = error.strerror or "error"
        raise PlanUnusable([f"it cannot be read ({what})"], [f"无法读取（{what}）"]) from None
    if len(data) > LARGEST_PLAN:
        raise PlanUnusable(["it is longer than a plan may be"], ["文件过长"])
    try:
        return parse_plan(tomllib.loads(data.decode("utf-8")))
    except UnicodeDecodeError:
        raise PlanUnusable(["it is no text in UTF-8"], ["不是 UTF-8 文本"]) from None
    except tomllib.TOMLDecodeError as error:
        raise PlanUnusable([f"it is no TOML: {error}"], [f"不是 TOML：{error}"]) from None


def parse_plan(sections: Mapping[str, Any]) -> Plan:
    """Hold a plan's sections to their types.

    1. There is a section [plan], exactly one of `KINDS`, perhaps [rows], and nothing else.
    2. No key is unknown or missing, and every value has a meaning.
    3. Lists that belong together are of one length, and [rows] fits what is asked.

    Raises
    ------
    PlanUnusable
    """
    kinds = [name for name in sections if name in KINDS]
    unknown = [name for name in sections if name not in {"plan", ROWS, *KINDS}]
    if unknown or len(kinds) != 1 or "plan" not in sections:
        known = ", ".join(KINDS)
        raise PlanUnusable(
            [f"it has not the section [plan] and one of {known}, and nothing else but [{ROWS}]"],
            [f"须且只能包含 [plan] 与以下之一：{known}；另可有 [{ROWS}]"],
        )
    types: dict[str, type[Section]] = {"plan": PlanSection, kinds[0]: KINDS[kinds[0]]}
    if ROWS in sections:
        types[ROWS] = RowsSection
    faults = [f for name, kind in types.items() for f in _faults(name, kind, sections[name])]
    if faults:
        raise PlanUnusable([f.en for f in faults], [f.zh for f in faults])
    asked = KINDS[kinds[0]].model_validate(sections[kinds[0]])
    plan = PlanSection.model_validate(sections["plan"])
    rows = RowsSection.model_validate(sections[ROWS]) if ROWS in sections else None
    problems = {
        kinds[0]: asked.find_problem(plan),
        ROWS: rows.find_problem(plan, asked) if rows else None,
    }
    for place, problem in problems.items():
        if problem:
            raise PlanUnusable([f"[{place}] {problem.en}"], [f"[{place}] {problem.zh}"])
    return Plan(plan, kinds[0], asked, rows)


def _faults(name: str, kind: type[Section], values: Any) -> list[Wording]:
    """One fault a key, in the order in which pydantic finds them."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        places = {".".join(map(str, one["loc"][:1])): one["type"] for one in reversed(found)}
        return [_worded(name, kind, key, fault) for key, fault in reversed(places.items())]
    return []


def _worded(name: str, kind: type[Section], key: str, fault: str) -> Wording:
    place = f"[{name}] {key}".strip()
    hints = get_type_hints(kind, include_extras=True)
    if fault == "extra_forbidden":
        known = ", ".join(kind.model_fields)
        return Wording(f"{place} is not known; known are {known}", f"{place} 未定义；可用：{known}")
    if key not in kind.model_fields:
        return Wording(f"{place} is no section", f"{place} 不是一个节")
    words = wording_of_type(hints[key])
    if fault == "missing":
        return Wording(f"{place} is missing: write {words.en}", f"{place} 缺失：请填写{words.zh}")
    return Wording(
        f"{place} has no value that can be used: write {words.en}",
        f"{place} 取值无效：请填写{words.zh}",
    )
