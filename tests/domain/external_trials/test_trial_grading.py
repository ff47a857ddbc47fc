"""Another trial's SDTM tables, one numbered case per rule.

Then the real subjects, the dirty ones and the real sums.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.external_trials.trial_rows import TrialRow, response_word, state_of
from dagster_project.flow.trial_tables import read_trial
from tests.domain.courses import IRECIST, RECIST
from tests.domain.sdtm import (
    DATES,
    VISITS,
    flagged,
    grade,
    measured,
    overall,
    rows,
    rs,
    tr,
    tu,
    visit,
)

GRADED = {
    # TR: a line per lesion, a column per visit (screening first)                         overall
    # response
    "1 targets": (tr(T01=[50, 34, 34], T02=[50, 36, 60]), ["PR", "PD"]),
    "2 a node counts with its short axis": (tr(T01=[50, 50], K01=[20, 9]), ["SD"]),
    "3 a node below 10 mm is normal, the target is gone": (tr(T01=[50, 0], K01=[20, 9]), ["CR"]),
    "4 non-target: unequivocal progression": (
        tr(T01=[50, 50], P01=["PRESENT", "UNEQUIVOCAL PROGRESSION"]),
        ["PD"],
    ),
    "4b the same in pharmaverse's word": (tr(T01=[50, 50], P01=["PRESENT", "UNEQUIVOCAL"]), ["PD"]),
    "4c an equivocal change of a non-target": (
        tr(T01=[50, 50], P01=["PRESENT", "EQUIVOCAL"]),
        ["SD"],
    ),
    "5 non-target gone, target there": (tr(T01=[50, 50], P01=["PRESENT", "ABSENT"]), ["SD"]),
    "6 non-target disease only": (
        tr(P01=["PRESENT", "PRESENT", "ABSENT"]),
        ["NON_CR_NON_PD", "CR"],
    ),
    "7 too small to measure counts 5 mm": (tr(T01=[12, "TOO SMALL TO MEASURE"]), ["PR"]),
    "8 a target without a row is not evaluated": (tr(T01=[50, 50], T02=[50, None]), ["NE"]),
    "9 a new lesion in TU alone": (tr(T01=[50, 50]), ["PD"]),
    "10 a new lesion that is measured": (tr(T01=[50, 50, 50], N01=[None, 12, 18]), ["PD", "PD"]),
}


@pytest.mark.parametrize(("measurements", "expected"), GRADED.values(), ids=GRADED)
def test_responses(measurements, expected, request):
    labels = sorted({r("TRLNKID") for r in measurements}) + (
        ["N01"] if "TU alone" in request.node.name else []
    )
    graded = grade(measurements, tu(*labels))
    assert overall(graded) == expected
    assert flagged(graded) == []


def test_a_row_tells_everything_with_the_rule_that_gave_it():
    (row,) = grade(tr(T01=[50, 30], P01=["PRESENT", "PRESENT"]), tu("T01", "P01")).visits.to_dicts()
    assert (row["subject"], row["evaluator"], row["visit"], row["days_from_baseline"]) == (
        "S1",
        "INVESTIGATOR",
        "WEEK 6",
        42,
    )
    assert (row["sum_mm"], row["baseline_sum_mm"], row["nadir_mm"]) == (30, 50, 50)
    assert (
        row["target_response"],
        row["nontarget_response"],
        row["new_lesion"],
        row["overall_response"],
        row["irecist_response"],
    ) == ("PR", "NON_CR_NON_PD", False, "PR", "iPR")
    assert row["rule"] == "target PR: sum at most 70 % of baseline; non-target NON_CR_NON_PD"


def changed(n, **cells):
    """The course 50 mm, 30 mm with other cells in row n."""
    return [
        replace(r, cells={**r.cells, **cells}) if r.number == n else r for r in tr(T01=[50, 30])
    ]


VARIANTS = {
    "1 centimetres": changed(3, TRORRES="3", TRORRESU="cm", TRSTRESN="3", TRSTRESU="cm"),
    "2 collected in cm, standardised in mm": changed(3, TRORRES="3", TRORRESU="cm"),
    "3 only the result as collected": changed(3, TRSTRESN="", TRSTRESU=""),
    "4 DIAMETER": changed(3, TRTESTCD="DIAMETER"),
    "5 label with a reader's prefix": [
        replace(r, cells={**r.cells, "TRLNKID": "INV-T01"}) for r in tr(T01=[50, 30])
    ],
    "6 time of day in the date": changed(3, TRDTC=DATES[1] + "T09:30"),
    "7 visits without names": [
        replace(r, cells={k: v for k, v in r.cells.items() if k != "VISIT"})
        for r in tr(T01=[50, 30])
    ],
    "8 visits without numbers": [
        replace(r, cells={k: v for k, v in r.cells.items() if k != "VISITNUM"})
        for r in tr(T01=[50, 30])
    ],
    "9 study days for dates": [
        replace(
            r,
            cells={k: v for k, v in r.cells.items() if k != "TRDTC"}
            | {"TRDY": str(42 * (r.number - 2))},
        )
        for r in tr(T01=[50, 30])
    ],
    "10 no evaluator": [
        replace(r, cells={k: v for k, v in r.cells.items() if k != "TREVAL"})
        for r in tr(T01=[50, 30])
    ],
    "11 baseline marked, not named": [
        replace(
            r, cells={**r.cells, "VISIT": f"V{r.number}", "TRBLFL": "Y" if r.number == 2 else ""}
        )
        for r in tr(T01=[50, 30])
    ],
}


@pytest.mark.parametrize("measurements", VARIANTS.values(), ids=VARIANTS)
def test_columns_may_vary(measurements):
    graded = grade(measurements)
    assert overall(graded) == ["PR"]
    assert graded.visits["sum_mm"].to_list() == [30]
    assert flagged(graded) == []


BAD = {
    # what is wrong                           rows
    # flagged at                     overall response
    "no baseline": (tr(T01=[None, 50, 30]), [("no_baseline", "tr.csv row 2")], ["NE", "NE"]),
    "more than five targets": (
        tr(**{f"T0{n}": [20, 20] for n in range(1, 7)}),
        [("too_many_targets", "tr.csv row 2")],
        ["SD"],
    ),
    "a lesion twice, the same": (
        rows("tr.csv", measured("T01", 0, 50), measured("T01", 1, 30), measured("T01", 1, 30)),
        [("repeated_row", "tr.csv row 4")],
        ["PR"],
    ),
    "a visit twice, contradictory": (
        rows("tr.csv", measured("T01", 0, 50), measured("T01", 1, 30), measured("T01", 1, 60)),
        [("contradictory_rows", "tr.csv row 4")],
        ["NE"],
    ),
    "a negative diameter": (tr(T01=[50, -30]), [("negative_diameter", "tr.csv row 3")], ["NE"]),
    "a negative diameter, another target has progressed": (
        tr(T01=[50, -30], T02=[50, 130]),
        [("negative_diameter", "tr.csv row 4")],
        ["PD"],
    ),
    "a partial date": (changed(3, TRDTC="2024-02"), [("partial_date", "tr.csv row 3")], ["PR"]),
    "dated before a visit numbered lower: by the dates 30 mm came first": (
        [
            replace(r, cells={**r.cells, "TRDTC": DATES[{2: 0, 3: 2, 4: 1}[r.number]]})
            for r in tr(T01=[50, 40, 30])
        ],
        [("date_order", "tr.csv row 4")],
        ["PD", "PR"],
    ),
    "a unit that is none": (
        changed(3, TRORRESU="kg", TRSTRESU="kg"),
        [("unit_unknown", "tr.csv row 3")],
        ["NE"],
    ),
    "no unit": (changed(3, TRORRESU="", TRSTRESU=""), [("unit_missing", "tr.csv row 3")], ["PR"]),
    "two numbers that differ": (
        changed(3, TRORRES="33"),
        [("contradictory_units", "tr.csv row 3")],
        ["NE"],
    ),
    "a word for a number": (
        changed(3, TRORRES="about 30", TRSTRESN="", TRSTRESC="about 30"),
        [("not_a_number", "tr.csv row 3")],
        ["NE"],
    ),
    "not done, with a result": (
        changed(3, TRSTAT="NOT DONE"),
        [("not_done_with_result", "tr.csv row 3")],
        ["NE"],
    ),
    "not done": (changed(3, TRSTAT="NOT DONE", TRORRES="", TRSTRESN=""), [], ["NE"]),
    "absent, with a size": (
        rows(
            "tr.csv", measured("T01", 0, 50), measured("T01", 1, 30), measured("T01", 1, "ABSENT")
        ),
        [("contradictory_state", "tr.csv row 3")],
        ["NE"],
    ),
    "a node with its longest diameter alone": (
        rows(
            "tr.csv",
            measured("K01", 0, 20, TRLOC="LYMPH NODE"),
            measured("K01", 1, 20, TRLOC="LYMPH NODE", TRTESTCD="LDIAM"),
        ),
        [("short_axis_missing", "tr.csv row 3")],
        ["NE"],
    ),
    "a target too small to be one": (
        tr(T01=[8, 8]),
        [("target_below_measurable", "tr.csv row 2")],
        ["SD"],
    ),
    "a sum that is not the sum": (
        rows(
            "tr.csv",
            measured("T01", 0, 50),
            measured("T01", 1, 30),
            measured("T01", 1, 35, TRTESTCD="SUMDIAM", TRLNKID=""),
        ),
        [("sum_differs", "tr.csv row 4")],
        ["PR"],
    ),
    "neither target nor non-target": (
        rows(
            "tr.csv",
            measured("T01", 0, 50),
            measured("T01", 1, 30),
            measured("T01", 1, 12, TRLNKID="X9", TRGRPID=""),
        ),
        [("role_unknown", "tr.csv row 4")],
        ["PR"],
    ),
}


@pytest.mark.parametrize(("measurements", "flags", "expected"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_flagged_by_rule_and_row_and_the_rest_is_graded(
    measurements, flags, expected
):
    graded = grade(measurements)
    assert flagged(graded) == flags
    assert overall(graded) == expected


def test_more_than_two_targets_an_organ_are_flagged():
    lesions = [replace(r, cells={**r.cells, "TULOC": "LUNG"}) for r in tu("T01", "T02", "T03")]
    graded = grade(tr(T01=[20, 20], T02=[20, 20], T03=[20, 20]), lesions)
    assert flagged(graded) == [("targets_in_one_organ", "tr.csv row 2")]
    assert overall(graded) == ["SD"]


def test_an_assessment_after_death_is_flagged():
    graded = grade(tr(T01=[50, 30]), dm_rows=rows("dm.csv", {"DTHDTC": "2024-02-01"}))
    assert flagged(graded) == [("after_death", "tr.csv row 3")]
    assert overall(graded) == ["PR"]


def test_a_lesion_without_any_role_but_its_label_is_taken_by_it_and_flagged():
    graded = grade([replace(r, cells={**r.cells, "TRGRPID": ""}) for r in tr(T01=[50, 30])])
    assert overall(graded) == ["PR"]
    assert set(flagged(graded)) == {
        ("role_by_label", "tr.csv row 2"),
        ("role_by_label", "tr.csv row 3"),
    }


COMPARED = {
    "1 the same": (rs(1, OVRLRESP="PR"), [[]]),
    "2 another overall response": (rs(1, OVRLRESP="SD"), [["overall: recorded SD, by rule PR"]]),
    "3 words written out": (rs(1, OVRLRESP="PARTIAL RESPONSE", NTRGRESP="NOT APPLICABLE"), [[]]),
    "4 components": (
        rs(1, OVRLRESP="PD", TRGRESP="PR", NEWLIND="Y"),
        [["new_lesion: recorded yes, by rule no", "overall: recorded PD, by rule PR"]],
    ),
    "5 iRECIST beside RECIST 1.1": (
        [*rs(1, OVRLRESP="PR"), *rs(1, "iRECIST", OVRLRESP="iSD")],
        [["irecist: recorded iSD, by rule iPR"]],
    ),
}


@pytest.mark.parametrize(("recorded", "expected"), COMPARED.values(), ids=COMPARED)
def test_differences_from_what_was_recorded(recorded, expected):
    graded = grade(tr(T01=[50, 30]), rs_rows=recorded)
    assert graded.visits["differences"].to_list() == expected
    assert graded.differences == bool(expected[0])


def test_a_response_that_is_kept_is_told_apart_from_the_sums():
    graded = grade(tr(T01=[100, 70, 80]), rs_rows=rs(2, TRGRESP="SD", OVRLRESP="SD"))
    assert graded.visits["differences"].to_list()[1] == [
        "target: recorded SD, by rule PR (SD by the sums alone)",
        "overall: recorded SD, by rule PR",
    ]


DIRTY = {
    "components that do not give the overall response": (
        rs(1, TRGRESP="PR", NTRGRESP="NON-CR/NON-PD", NEWLIND="N", OVRLRESP="SD"),
        ["components"],
    ),
    "a word that is no response": (rs(1, OVRLRESP="BETTER"), ["unknown_word"]),
    "a word of the other criteria": (rs(1, OVRLRESP="PR", TRGRESP="iCPD"), ["unknown_word"]),
    "twice the same": (rs(1, OVRLRESP="PR") * 2, ["repeated_row"]),
    "twice, contradictory": (
        [*rs(1, OVRLRESP="PR"), *rs(1, OVRLRESP="SD")],
        ["contradictory_rows"],
    ),
    "confirmed without an unconfirmed one": (
        rs(1, "iRECIST", OVRLRESP="iCPD"),
        ["unconfirmed_before"],
    ),
    "something after confirmation": (
        [
            *rs(1, "iRECIST", OVRLRESP="iUPD"),
            *rs(2, "iRECIST", OVRLRESP="iCPD"),
            *rs(3, "iRECIST", OVRLRESP="iSD"),
        ],
        ["after_confirmation"],
    ),
}


@pytest.mark.parametrize(("recorded", "rules"), DIRTY.values(), ids=DIRTY)
def test_recorded_responses_that_contradict_themselves_are_flagged_with_their_place(
    recorded, rules
):
    graded = grade([], rs_rows=recorded)
    assert graded.flags["rule"].to_list() == rules
    assert graded.flags["place"].str.starts_with("rs.csv row ").all()
    assert set(overall(graded)) == {None}


def test_two_evaluators_are_graded_apart():
    other = [
        replace(
            r,
            cells={
                **r.cells,
                "TREVAL": "INDEPENDENT ASSESSOR",
                "TREVALID": "READER 2",
                "TRORRES": "50",
                "TRSTRESN": "50",
            },
        )
        for r in tr(T01=[50, 30])
    ]
    graded = grade([*tr(T01=[50, 30]), *other])
    assert graded.visits.select("evaluator", "overall_response").rows() == [
        ("INDEPENDENT ASSESSOR, READER 2", "SD"),
        ("INVESTIGATOR", "PR"),
    ]


CELLS = st.sampled_from(
    [
        "",
        "NA",
        "10",
        "-4",
        "3.5",
        "ABSENT",
        "PRESENT",
        "NOT DONE",
        "mm",
        "cm",
        "T01",
        "NT01",
        "x",
        "2024-02",
        "2024-02-30",
        "1",
        "TARGET",
        "NEW",
        "LDIAM",
        "TUMSTATE",
    ]
)
NAMES = (
    "USUBJID",
    "VISIT",
    "VISITNUM",
    "TRDTC",
    "TRLNKID",
    "TRGRPID",
    "TRTESTCD",
    "TRORRES",
    "TRSTRESN",
    "TRORRESU",
    "TRSTRESU",
    "TRSTAT",
    "TREVAL",
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, CELLS)), max_size=8))
def test_no_rows_make_it_fail(cells):
    graded = grade([TrialRow("tr.csv", n, c) for n, c in enumerate(cells, start=2)])
    assert graded.flags["place"].str.starts_with("tr.csv row ").all()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from([0, 7, 12, 30, 50, 62, None]), min_size=1, max_size=len(VISITS) - 1),
    st.randoms(use_true_random=False),
)
def test_neither_the_order_of_rows_nor_the_unit_matters(sizes, random):
    measurements = tr(T01=[50, *sizes], T02=[20] * (len(sizes) + 1))
    in_cm = [
        replace(
            r,
            cells={
                **r.cells,
                **{n: str(float(r(n)) / 10) for n in ("TRORRES", "TRSTRESN")},
                "TRORRESU": "cm",
                "TRSTRESU": "cm",
            },
        )
        for r in measurements
    ]
    assert (
        overall(grade(random.sample(measurements, len(measurements))))
        == overall(grade(measurements))
        == overall(grade(in_cm))
    )


def test_states_and_responses_are_read_in_any_spelling():
    assert [
        state_of(word)
        for word in ("Absent", "too small to measure", "< 5 mm", "Non-evaluable", "green")
    ] == ["gone", "too small", "too small", "not evaluated", None]
    assert [
        response_word(word)
        for word in ("NON-CR/NON-PD", "iUPD", "Complete Response", "NOT APPLICABLE")
    ] == ["NON_CR_NON_PD", "UPD", "CR", None]


@pytest.mark.real_data
def test_real_subjects_and_dirty_ones_in_one_folder(shared_data):
    """Every recorded response of three subjects x three evaluators from raw diameters.

    Of thirteen dirty subjects six contradict themselves.
    """
    from dagster_project.domain.external_trials.trial_grading import grade_trial

    read = read_trial(shared_data / "response")
    sdtm = [r for r in read["TR"] if r.file.startswith("sdtm")]
    graded = grade_trial(read["TU"], sdtm, read["RS"], read["DM"], RECIST, IRECIST)
    compared = graded.visits.drop_nulls("recorded_overall")
    assert compared.height == 24
    assert compared["recorded_overall"].to_list() == compared["overall_response"].to_list()
    assert graded.differences == 0
    dirty = graded.flags.filter(
        graded.flags["place"].str.starts_with("sdtm_rs_irecist_dirty.csv row")
    )
    assert set(dirty["subject"].str.tail(4)) == {"1028", "1034", "1097", "1148", "1153", "1203"}
    assert ("after_confirmation", "sdtm_rs_irecist_dirty.csv row 17") in dirty.select(
        "rule", "place"
    ).rows()


@pytest.mark.real_data
def test_published_sums_of_three_trials(shared_data):
    from dagster_project.domain.external_trials.trial_grading import grade_trial

    sums = [
        r for r in read_trial(shared_data / "response")["TR"] if r.file.startswith("target_lesion")
    ]
    counts = Counter()
    for (subject,), visits in grade_trial([], sums, [], [], RECIST, IRECIST).visits.group_by(
        ["subject"]
    ):
        responses = visits.sort("visit_number")["overall_response"].to_list()
        counts[subject[:6]] += bool(
            {"PR", "CR"}.intersection(
                responses[responses.index("PD") :] if "PD" in responses else []
            )
        )
    assert counts == {"Study1": 2, "Study2": 3, "Study3": 5}


# -- which rows make one assessment
# -----------------------------------------------------------------------------------


def unscheduled(date, mm, number="", name="UNSCHEDULED", label="T01"):
    return measured(label, 1, mm, VISIT=name, VISITNUM=number, TRDTC=date)


@pytest.mark.parametrize("number", ["", "99"])
def test_unscheduled_assessments_that_share_a_number_are_separated_by_their_dates(number):
    graded = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            unscheduled("2024-03-10", 31, number),
            unscheduled("2024-05-02", 60, number),
        )
    )
    assert graded.visits.select("sum_mm", "overall_response").rows() == [(31.0, "SD"), (60.0, "PD")]
    assert [rule for rule, _ in flagged(graded)] == ["visit_separated"]


def test_images_of_some_days_are_one_unscheduled_assessment():
    graded = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            measured("T02", 0, 30),
            unscheduled("2024-03-10", 31),
            unscheduled("2024-03-12", 31, label="T02"),
        )
    )
    assert graded.visits["sum_mm"].to_list() == [62.0]


def test_a_scheduled_visit_over_several_weeks_stays_one_unless_a_lesion_was_measured_twice():
    late = {"VISIT": "WEEK 6", "VISITNUM": "2"}
    once = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            measured("T02", 0, 30),
            measured("T01", 1, 31, **late),
            measured("T02", 1, 31, **late, TRDTC="2024-03-20"),
        )
    )
    assert once.visits["sum_mm"].to_list() == [62.0]
    twice = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            measured("T01", 1, 31, **late),
            measured("T01", 1, 60, **late, TRDTC="2024-03-20"),
        )
    )
    assert overall(twice) == ["SD", "PD"]


def test_a_new_lesion_of_tu_joins_the_assessment_of_its_date():
    new = rows(
        "tu.csv",
        {
            **visit(1, "TU"),
            "TULNKID": "N01",
            "TUSTRESC": "NEW",
            "VISIT": "UNSCHEDULED",
            "VISITNUM": "",
            "TUDTC": "2024-05-02",
        },
    )
    graded = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            unscheduled("2024-03-10", 31),
            unscheduled("2024-05-02", 30),
        ),
        new,
    )
    assert graded.visits.select("new_lesion", "overall_response").rows() == [
        (False, "SD"),
        (True, "PD"),
    ]


@pytest.mark.parametrize(
    "fragments",
    [
        ("T01.1", "T01.2"),
        ("T01A", "T01B"),
        ("T01a", "T01b"),
        ("T01-1", "T01-2"),
        ("T01_1", "T01_2"),
        ("T01-A", "T01-B"),
    ],
)
def test_fragments_of_a_target_are_added(fragments):
    graded = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 40),
            *(measured(f, 1, mm) for f, mm in zip(fragments, (15, 13), strict=True)),
        )
    )
    assert graded.visits.select("sum_mm", "overall_response").rows() == [(28.0, "PR")]


@pytest.mark.parametrize("label", ["T01/T02", "T01+T02", "T01 & T02", "T01, T02"])
def test_a_merged_mass_counts_once(label):
    graded = grade(
        rows("tr.csv", measured("T01", 0, 30), measured("T02", 0, 20), measured(label, 1, 65))
    )
    assert graded.visits.select("sum_mm", "overall_response").rows() == [(65.0, "PD")]


def test_a_target_that_the_baseline_does_not_have_is_flagged():
    graded = grade(
        rows("tr.csv", measured("T01", 0, 30), measured("T01", 1, 30), measured("T07", 1, 12))
    )
    assert flagged(graded) == [("target_not_at_baseline", "tr.csv row 4")]


def test_subjects_of_two_sites_with_one_number_are_two():
    both = [
        {**measured("T01", n, mm), "USUBJID": "", "SUBJID": "001", "SITEID": site}
        for site, course in (("01", (30, 31)), ("02", (30, 60)))
        for n, mm in enumerate(course)
    ]
    graded = grade(rows("tr.csv", *both))
    assert graded.visits.select("subject", "overall_response").rows() == [
        ("01-001", "SD"),
        ("02-001", "PD"),
    ]


def test_a_row_in_no_visit_costs_that_row_alone():
    graded = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            measured("T01", 1, 90, VISIT="", VISITNUM="", TRDTC=""),
            measured("T01", 2, 30),
        )
    )
    assert overall(graded) == ["SD"]
    assert flagged(graded) == [("visit_unknown", "tr.csv row 3")]


def test_a_subject_in_tu_alone_or_at_baseline_alone_is_named():
    graded = grade(
        rows("tr.csv", measured("T01", 0, 30)),
        rows("tu.csv", {**visit(0, "TU"), "USUBJID": "S2", "TULNKID": "T01", "TUSTRESC": "TARGET"}),
    )
    assert flagged(graded) == [("not_measured", "tu.csv row 2"), ("baseline_only", "tr.csv row 2")]


def test_of_several_rows_the_accepted_one_counts_and_the_assessment_is_marked():
    graded = grade(
        rows(
            "tr.csv",
            measured("T01", 0, 30),
            measured("T01", 1, 31),
            measured("T01", 1, 60, TRACPTFL="Y"),
        )
    )
    assert graded.visits.select("sum_mm", "accepted").rows() == [(60.0, True)]
