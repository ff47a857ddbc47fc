from __future__ import annotations

from dataclasses import replace

import pytest

from dagster_project.simulation.identities import draw_identity, draw_site_identity
from dagster_project.simulation.plan import DEMO


def test_nobody_shares_a_string_that_identifies():
    people = [draw_identity(DEMO, site, ordinal) for site in range(3) for ordinal in range(9)]
    for fact in (
        "hospital_number",
        "national_number",
        "telephone",
        "address",
        "uid_root",
        "accession_root",
    ):
        assert len({getattr(person, fact) for person in people}) == len(people)
    assert len(
        {person.name.chinese for person in people} | {person.mother.chinese for person in people}
    ) == 2 * len(people)


@pytest.mark.parametrize("seed", range(5))
def test_identifying_strings_are_too_long_to_be_met_by_chance(seed):
    plan = replace(DEMO, seed=seed)
    for site in range(3):
        strings = [
            s
            for ordinal in range(9)
            for s in draw_identity(plan, site, ordinal).strings(chinese=plan.sites[site].chinese)
        ]
        assert (
            min(
                len(s.encode("gb18030"))
                for s in [*strings, *draw_site_identity(plan, site).strings(chinese=True)]
            )
            >= 8
        )


def test_names_are_written_in_the_scripts_of_the_site():
    name = draw_identity(DEMO, 0, 0).name
    assert name.person_name(chinese=True).split("=")[1].replace("^", "") == name.chinese
    assert name.person_name(chinese=False).isprintable()
    assert "=" not in name.person_name(chinese=False)
