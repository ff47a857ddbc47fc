"""What a simulated cohort is made of.

Sites, scanners, patients' courses and planted troubles are all decided before anything is drawn.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Literal

import numpy as np

Format = Literal["RTSTRUCT", "SEG", "NIFTI"]
Course = Literal[
    "late_responder",
    "early_responder",
    "complete_responder",
    "stable",
    "late_progressor",
    "early_progressor",
    "new_lesion",
    "pseudoprogressor",
]

VISITS = ("T0", "T1", "T2", "V1")
"""Visits at which every patient's biology is drawn.

V1 is scanned for few patients, or later by `add_scan`.
"""

READERS = ("R1", "R2")
"""The two readers of every site; R1 is careful everywhere."""

EXPECTED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "late_responder": {"T1": "SD", "T2": "PR", "V1": "PR"},
        "early_responder": {"T1": "PR", "T2": "PR", "V1": "PR"},
        "complete_responder": {"T1": "PR", "T2": "CR", "V1": "CR"},
        "stable": {"T1": "SD", "T2": "SD", "V1": "SD"},
        "late_progressor": {"T1": "SD", "T2": "PD", "V1": "PD"},
        "early_progressor": {"T1": "PD", "T2": "PD", "V1": "PD"},
        "new_lesion": {"T1": "SD", "T2": "PD", "V1": "PD"},
        "pseudoprogressor": {"T1": "PD", "T2": "PR", "V1": "PR"},
    }
)
"""Overall response of each course by the sums and new lesions of that visit.

It is by RECIST 1.1, with PR against baseline.
"""

RESPONDING: frozenset[str] = frozenset(
    {"late_responder", "early_responder", "complete_responder", "pseudoprogressor"}
)
"""Courses of patients whose hidden response is a response.

A pseudoprogressor's BOR by RECIST 1.1 is nevertheless PD.
"""

TROUBLES: Mapping[str, str] = MappingProxyType(
    {
        "thick_slices": "every scan has 5 mm slices",
        "metal": "metal of 3400 HU with streaks at every visit",
        "motion": "body outline displaced between neighbouring slices at T1",
        "missing_t2": "no scan after cycle 5; treatment ended after cycle 4; lost to follow-up",
        "not_rescanned": (
            "progression at T2, then neither a new therapy nor a CT: confirmation is overdue"
        ),
        "missed_new_lesion": (
            "reader R2 overlooked the new lesion: the two readers differ on the block"
        ),
        "prior_malignancy": "another malignancy in the history",
        "duplicate_patient": (
            "two case-report rows of one hospital number differ in name and birth date"
        ),
        "split_lesion": (
            "L1 falls into L1.1 and L1.2 at T2: "
            "from then on lesions.csv has rows L1.1 and L1.2 (role target) and none for L1"
        ),
        "kernel_change": "another convolution kernel at T2",
        "full_width_number": (
            "the hospital number is written in full-width characters in the case report"
        ),
        "secondary_capture": "a secondary capture with the name burned in",
        "localiser": "a CT localiser (ImageType ORIGINAL\\PRIMARY\\LOCALIZER)",
        "dose_report": "an X-ray radiation dose report (SR)",
        "garbage_file": "a file that is not DICOM, with a name in it",
        "truncated_file": "a CT slice of a series of its own, cut off within its pixels",
        "contour_without_series": (
            "contours of reader R1 that refer to a series that was never sent"
        ),
        "unknown_patient": "a row of reader R1's lesions.csv for a hospital number that nobody has",
        "bad_date": "a follow-up row dated 2024-13-45",
        "unknown_column": (
            "a column of notes with telephone numbers that the landing contract does not know"
        ),
    }
)
"""Every kind of trouble that can be planted, in words."""

EXCLUDING: frozenset[str] = frozenset(
    {"thick_slices", "metal", "motion", "missing_t2", "prior_malignancy", "duplicate_patient"}
)
"""Troubles that make a patient ineligible.

By study rules I5, E1, E1, I4, E2 and, without a birth date, I7, in this order.
"""

HIDDEN_IN_DICOM: frozenset[str] = frozenset(
    {"secondary_capture", "localiser", "dose_report", "garbage_file", "truncated_file"}
)
"""Troubles that are single files under dicom/."""


@dataclass(frozen=True)
class Scanner:
    """A CT scanner as its images show it.

    `grain_px` is the width of the noise grain, across slices and within them.
    """

    manufacturer: str
    model: str
    kernel: str
    other_kernel: str
    kvp: int
    pixel_spacing_mm: float
    noise_hu: float
    grain_px: tuple[float, float]
    intercept: int
    compressed: bool = False
    table: bool = True
    descending: bool = False


@dataclass(frozen=True)
class SitePlan:
    """A site and its patients' courses in turn.

    It says how the site's scanner, its case report and its readers' software write. `chinese`
    concerns names in DICOM, `chinese_forms` the case report's headers and values; `formats` are
    those of the contours of readers R1 and R2; `careless` are the ordinals of the patients whom
    reader R2 read carelessly.
    """

    name: str
    scanner: Scanner
    charset: str
    chinese: bool
    chinese_forms: bool
    csv_encoding: str
    csv_separator: str
    formats: tuple[Format, Format]
    courses: tuple[Course, ...]
    careless: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trouble:
    """A planted trouble: its kind, the site's index and the patient's ordinal there."""

    kind: str
    site: int
    ordinal: int


@dataclass(frozen=True)
class Plan:
    """A whole cohort.

    `signal`, from 0 to 1, is the share of the hidden response in the standardised latent value that
    drives the amount of change within the lesions, and size at T1: at 0 nothing seen up to T1 tells
    responders from non-responders (`signal_auc`). `lesion_mm` bounds the longest diameters of
    targets at T0; `second_target`, `node` and `non_target` are the shares of patients who have such
    a lesion beside the first. Troubles and careless reads of ordinals beyond `patients_per_site`
    are not planted.
    """

    sites: tuple[SitePlan, ...]
    patients_per_site: int
    seed: int = 20260112
    rows: int = 224
    n_slices: int = 72
    signal: float = 0.55
    lesion_mm: tuple[float, float] = (12.0, 32.0)
    second_target: float = 0.8
    node: float = 0.3
    non_target: float = 0.35
    troubles: tuple[Trouble, ...] = ()
    extra_scans: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a plan that could not be drawn."""
        unknown = sorted({trouble.kind for trouble in self.troubles} - set(TROUBLES))
        if unknown:
            raise ValueError(f"Plan.troubles: unknown kind {unknown}; known are {sorted(TROUBLES)}")
        if not 0 <= self.signal <= 1:
            raise ValueError("Plan.signal must lie between 0 and 1")
        if len({site.name for site in self.sites}) < len(self.sites):
            raise ValueError("Plan.sites: two sites bear one name")

    @property
    def signal_auc(self) -> float:
        """AUC of the latent value, hence of the amount of change, for responders.

        Phi(sqrt(2) s / sqrt(1 - s^2)) with s the `signal`, for an unlimited number of patients.
        """
        return (
            1.0
            if self.signal == 1
            else NormalDist().cdf(2**0.5 * self.signal / (1 - self.signal**2) ** 0.5)
        )

    def planted(self) -> tuple[Trouble, ...]:
        """The troubles whose patient exists."""
        return tuple(
            t
            for t in self.troubles
            if t.site < len(self.sites) and t.ordinal < self.patients_per_site
        )

    def troubles_of(self, site: int, ordinal: int) -> frozenset[str]:
        """Kinds of trouble planted on one patient."""
        return frozenset(t.kind for t in self.planted() if (t.site, t.ordinal) == (site, ordinal))

    def random(self, *purpose: object) -> np.random.Generator:
        """A random stream of its own for each purpose.

        So what is drawn never depends on what was drawn before.
        """
        return np.random.default_rng(
            [self.seed, *(zlib.crc32(str(part).encode()) for part in purpose)]
        )


SIEMENS = Scanner("SIEMENS", "SOMATOM Force", "Br40d", "B31f", 120, 1.40, 14.0, (0.5, 0.80), -1024)
GE = Scanner(
    "GE MEDICAL SYSTEMS",
    "Revolution CT",
    "STANDARD",
    "SOFT",
    120,
    1.37,
    17.0,
    (0.4, 0.65),
    0,
    compressed=True,
)
CANON = Scanner(
    "Canon Medical Systems",
    "Aquilion ONE",
    "FC08",
    "FC03",
    100,
    1.43,
    20.0,
    (0.7, 1.00),
    -1024,
    table=False,
    descending=True,
)

DEMO = Plan(
    sites=(
        SitePlan(
            "BJCH",
            SIEMENS,
            "GB18030",
            chinese=True,
            chinese_forms=True,
            csv_encoding="gb18030",
            csv_separator=",",
            formats=("RTSTRUCT", "RTSTRUCT"),
            courses=(
                "late_responder",
                "late_progressor",
                "early_responder",
                "stable",
                "late_responder",
                "new_lesion",
                "late_responder",
                "stable",
                "late_responder",
            ),
        ),
        SitePlan(
            "SHPH",
            GE,
            "ISO_IR 192",
            chinese=True,
            chinese_forms=False,
            csv_encoding="utf-8-sig",
            csv_separator=";",
            formats=("SEG", "SEG"),
            careless=(0, 2, 3),
            courses=(
                "late_responder",
                "stable",
                "late_responder",
                "late_progressor",
                "pseudoprogressor",
                "stable",
                "early_progressor",
                "late_responder",
                "complete_responder",
            ),
        ),
        SitePlan(
            "GZ01",
            CANON,
            "ISO_IR 100",
            chinese=False,
            chinese_forms=False,
            csv_encoding="utf-8",
            csv_separator=",",
            formats=("NIFTI", "NIFTI"),
            courses=(
                "late_responder",
                "stable",
                "late_responder",
                "late_progressor",
                "late_responder",
                "stable",
                "early_responder",
                "new_lesion",
                "late_responder",
            ),
        ),
    ),
    patients_per_site=9,
    troubles=(
        Trouble("kernel_change", 0, 3),
        Trouble("full_width_number", 0, 4),
        Trouble("thick_slices", 0, 6),
        Trouble("metal", 0, 7),
        Trouble("split_lesion", 0, 8),
        Trouble("garbage_file", 0, 1),
        Trouble("dose_report", 0, 2),
        Trouble("unknown_patient", 0, 0),
        Trouble("missing_t2", 1, 7),
        Trouble("secondary_capture", 1, 2),
        Trouble("truncated_file", 1, 5),
        Trouble("bad_date", 1, 5),
        Trouble("not_rescanned", 2, 3),
        Trouble("motion", 2, 4),
        Trouble("prior_malignancy", 2, 5),
        Trouble("missed_new_lesion", 2, 7),
        Trouble("duplicate_patient", 2, 6),
        Trouble("localiser", 2, 0),
        Trouble("contour_without_series", 2, 1),
        Trouble("unknown_column", 2, 0),
    ),
    extra_scans=((0, 4), (2, 2)),
    second_target=0.25,
    node=0.1,
    non_target=0.1,
)
"""The cohort of `make demo`: 3 sites of 9 patients, 6 of the 27 ineligible."""

TINY = Plan(
    sites=(
        SitePlan(
            "BJCH",
            Scanner("SIEMENS", "SOMATOM Force", "Br40d", "B31f", 120, 1.5, 12.0, (0.5, 0.8), -1024),
            "GB18030",
            chinese=True,
            chinese_forms=True,
            csv_encoding="gb18030",
            csv_separator=",",
            formats=("RTSTRUCT", "RTSTRUCT"),
            courses=("late_responder", "late_progressor", "stable"),
        ),
        SitePlan(
            "SHPH",
            Scanner(
                "GE MEDICAL SYSTEMS",
                "Revolution CT",
                "STANDARD",
                "SOFT",
                120,
                1.45,
                15.0,
                (0.4, 0.65),
                0,
                compressed=True,
            ),
            "ISO_IR 192",
            chinese=True,
            chinese_forms=False,
            csv_encoding="utf-8-sig",
            csv_separator=";",
            formats=("SEG", "NIFTI"),
            courses=("late_responder", "stable", "late_responder"),
            careless=(0,),
        ),
    ),
    patients_per_site=3,
    rows=128,
    n_slices=40,
    lesion_mm=(12.0, 20.0),
    troubles=(
        Trouble("thick_slices", 0, 2),
        Trouble("garbage_file", 0, 0),
        Trouble("bad_date", 0, 1),
        Trouble("unknown_column", 0, 0),
        Trouble("missing_t2", 1, 2),
        Trouble("truncated_file", 1, 1),
        Trouble("secondary_capture", 1, 1),
        Trouble("contour_without_series", 1, 0),
        Trouble("unknown_patient", 1, 0),
    ),
)
"""For tests: 2 sites of 3 patients, in seconds."""
