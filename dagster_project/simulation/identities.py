"""Invented people, hospitals and devices with rare identifying strings.

Every such string is long and rare, so that finding one in an output is no coincidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import numpy as np

from dagster_project.simulation.plan import Plan

SURNAMES = (
    ("欧阳", "Ouyang"),
    ("司马", "Sima"),
    ("上官", "Shangguan"),
    ("诸葛", "Zhuge"),
    ("慕容", "Murong"),
    ("尉迟", "Yuchi"),
    ("澹台", "Tantai"),
    ("闾丘", "Lüqiu"),
    ("令狐", "Linghu"),
    ("钟离", "Zhongli"),
    ("宇文", "Yuwen"),
    ("长孙", "Zhangsun"),
)
"""Compound surnames: with two rare given characters no four of them meet by chance."""

GIVEN = (
    ("慕", "mu"),
    ("霜", "shuang"),
    ("砚", "yan"),
    ("蘅", "heng"),
    ("澈", "che"),
    ("岑", "cen"),
    ("黎", "li"),
    ("筠", "yun"),
    ("曦", "xi"),
    ("璟", "jing"),
    ("翊", "yi"),
    ("莞", "wan"),
    ("榆", "yu"),
    ("洛", "luo"),
    ("笙", "sheng"),
    ("酉", "you"),
    ("骁", "xiao"),
    ("芮", "rui"),
    ("桓", "huan"),
    ("绛", "jiang"),
    ("祁", "qi"),
    ("铮", "zheng"),
    ("邈", "miao"),
    ("樾", "yue"),
)
"""Given characters and how they are spelt."""

HOSPITALS = (
    ("燕山脚下肿瘤医院胸部影像中心", "Yanshan Foothill Oncology Hospital"),
    ("浦江东岸胸科纪念医院放射科", "Pujiang East Bank Thoracic Memorial"),
    ("越秀山麓呼吸病医院影像部", "Yuexiu Hillside Respiratory Hospital"),
    ("锦江西岭肺病医院放射科", "Jinjiang Xiling Lung Hospital"),
)
"""Invented institutions, in turn."""


@dataclass(frozen=True)
class Name:
    """A person's name in both scripts."""

    family: str
    given: str
    family_latin: str
    given_latin: str

    @property
    def chinese(self) -> str:
        """Family and given name without a gap."""
        return self.family + self.given

    @property
    def latin(self) -> str:
        """Romanised, with a space."""
        return f"{self.family_latin} {self.given_latin}"

    def person_name(self, *, chinese: bool) -> str:
        """The DICOM person name (PS3.5 6.2.1).

        It is romanised, with the ideographic group where the charset has it.
        """
        latin = f"{self.family_latin}^{self.given_latin}"
        return f"{latin}={self.family}^{self.given}" if chinese else latin

    def text(self, *, chinese: bool) -> str:
        """As it stands in free text and file names."""
        return self.chinese if chinese else self.latin

    def spellings(self, *, chinese: bool) -> list[str]:
        """Every way in which a site writes a person name in DICOM."""
        latin = f"{self.family_latin}^{self.given_latin}"
        return [latin, f"{self.family}^{self.given}"] if chinese else [latin]


@dataclass(frozen=True)
class Identity:
    """Everything that identifies one patient, apart from the dates."""

    name: Name
    mother: Name
    hospital_number: str
    national_number: str
    telephone: str
    address: str
    uid_root: str
    accession_root: str
    birth_date: date
    sex: str

    def accession(self, visit: str) -> str:
        """Accession number of one visit (at most 16 characters)."""
        return self.accession_root + visit

    def strings(self, *, chinese: bool) -> list[str]:
        """Every identifying string that a site's files hold, apart from dates."""
        texts = [
            self.hospital_number,
            self.national_number,
            self.telephone,
            self.address,
            self.uid_root,
            self.accession_root,
        ]
        names = [self.name.latin, self.name.text(chinese=chinese)]
        return [
            *texts,
            *names,
            *self.name.spellings(chinese=chinese),
            *self.mother.spellings(chinese=chinese),
        ]


@dataclass(frozen=True)
class SiteIdentity:
    """Everything that identifies a site's people and machines beyond its agreed code."""

    institution: str
    institution_latin: str
    institution_address: str
    station: str
    device_serial: str
    uid_root: str
    physicians: tuple[Name, Name, Name]

    def strings(self, *, chinese: bool) -> list[str]:
        """Every identifying string of the site that its files hold."""
        texts = [
            self.institution if chinese else self.institution_latin,
            self.institution_latin,
            self.institution_address,
            self.station,
        ]
        names = [
            spelling for name in self.physicians for spelling in name.spellings(chinese=chinese)
        ]
        return [
            *texts,
            self.device_serial,
            self.uid_root,
            *names,
            self.physicians[0].text(chinese=chinese),
        ]


def draw_name(number: int, order: list[int]) -> Name:
    """The name of that number; two numbers below 6,624 never share one."""
    surname, rest = divmod(order[number % len(order)], len(GIVEN) * (len(GIVEN) - 1))
    first, second = divmod(rest, len(GIVEN) - 1)
    second += second >= first
    (family, family_latin), (one, one_latin), (two, two_latin) = (
        SURNAMES[surname],
        GIVEN[first],
        GIVEN[second],
    )
    return Name(family, one + two, family_latin, (one_latin + two_latin).capitalize())


def draw_identity(plan: Plan, site: int, ordinal: int) -> Identity:
    """The patient of that ordinal at that site."""
    random = plan.random("identity", site, ordinal)
    order = _name_order(plan)
    number = 2 * (site * plan.patients_per_site + ordinal)
    digits = _digits(random)
    born = date(1940, 1, 1) + timedelta(days=int(random.integers(0, 365 * 32)))
    return Identity(
        name=draw_name(number, order),
        mother=draw_name(number + 1, order),
        hospital_number=f"ZY{digits(9)}",
        national_number=f"11010{digits(13)}",
        telephone=f"139{digits(8)}",
        address=_address(plan, site, digits),
        uid_root=f"1.2.156.{digits(9)}.{digits(9)}",
        accession_root=f"ACC{digits(10)}",
        birth_date=born,
        sex="M" if random.random() < 0.65 else "F",
    )


def draw_site_identity(plan: Plan, site: int) -> SiteIdentity:
    """The people and machines of that site."""
    random = plan.random("site identity", site)
    order = _name_order(plan)
    digits = _digits(random)
    institution, latin = HOSPITALS[site % len(HOSPITALS)]
    names = [draw_name(len(order) - 1 - 3 * site - n, order) for n in range(3)]
    return SiteIdentity(
        institution=institution,
        institution_latin=latin,
        institution_address=_address(plan, site, digits),
        station=f"CTSTATION{digits(6)}",
        device_serial=f"SERIAL{digits(9)}",
        uid_root=f"1.2.156.{digits(9)}.{digits(9)}",
        physicians=(names[0], names[1], names[2]),
    )


@cache
def _name_order(plan: Plan) -> list[int]:
    """Names in random order; the plan is frozen, so that it is drawn once."""
    return [
        int(n)
        for n in plan.random("names").permutation(len(SURNAMES) * len(GIVEN) * (len(GIVEN) - 1))
    ]


def _digits(random: np.random.Generator) -> Callable[[int], str]:
    def draw(n: int) -> str:
        return str(random.integers(1, 10)) + "".join(str(d) for d in random.integers(0, 10, n - 1))

    return draw


def _address(plan: Plan, site: int, digits: Callable[[int], str]) -> str:
    block, unit = digits(4), digits(4)
    return (
        f"紫竹院南路{block}号院{unit}室"
        if plan.sites[site % len(plan.sites)].chinese
        else f"{block} Zizhuyuan South Road, room {unit}"
    )
