"""ADSL, ADRS, ADTR and ADTTE: a few rows in, the records that a statistician expects out."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from dagster_project.domain.adam import DATASETS, derive_adam
from dagster_project.domain.adam.variables import MOST_LABEL, MOST_NAME, MOST_TEXT, VARIABLES
from dagster_project.domain.response.responses import derive_responses
from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.flow.adam import SuppressedError, minimise_datasets
from dagster_project.lake.minimisation import AS_IN_THE_LAKE, Minimisation
from tests.domain.courses import ENDPOINTS, IRECIST, RECIST
from tests.domain.records import (
    DAY_ZERO,
    VISIT_DAYS,
    cycles,
    follow_up,
    lesions,
    responses,
    table,
    timepoints,
)

GOLDEN = Path(__file__).with_name("golden") / "pharmaverseadam_variables.csv"
FOUND = lesions(L1=[60, 40, 60], L2=[40, 20, 20], N1=[None, None, 12])
VISITS = timepoints("T0", "T1", "T2")


def day(n: int) -> date:
    return DAY_ZERO + timedelta(n)


def adam(found=FOUND, visits=VISITS, graded=None, events=(), given=(0, 21), **patient):
    read = (
        derive_responses(found, visits, evaluator="accepted", recist=RECIST, irecist=IRECIST)
        if graded is None
        else graded
    )
    tables = {
        "patients": table("patients", {"age_years": 61, "sex": "F", "regimen": "x+y", **patient}),
        "treatments": cycles(*given),
        "follow_up": follow_up(*events),
        "timepoints": visits,
        "lesions": found,
        "responses": read,
    }
    datasets = derive_adam(tables, study="X", endpoints=ENDPOINTS, recist=RECIST)
    for name, frame in datasets.items():
        check(name, frame)
    return {name: frame.drop("STUDYID") for name, frame in datasets.items()}, tables


def check(name, frame):
    """What holds of every dataset."""
    assert dict(frame.schema) == DATASETS[name].schema
    assert frame.select(DATASETS[name].keys).is_unique().all()
    if "PARAMCD" in frame.columns:
        assert (frame["PARAMCD"].str.len_bytes().max() or 0) <= MOST_NAME
        assert frame["PARAMCD"].str.contains(r"^[A-Z_][A-Z0-9_]*$").all()
        assert (
            frame.select("PARAMCD", "PARAM", "PARCAT3").unique().height
            == frame["PARAMCD"].n_unique()
            == frame["PARAM"].n_unique()
        ), "one PARAM a PARAMCD"
    if "AVISITN" in frame.columns:
        named = frame.drop_nulls("AVISIT").select("AVISIT", "AVISITN").unique()
        assert named["AVISIT"].n_unique() == named["AVISITN"].n_unique() == named.height, (
            "one AVISITN an AVISIT"
        )
        assert named["AVISITN"].null_count() == 0
    for column in frame.select(pl.col(pl.String)).columns:
        assert (frame[column].str.len_bytes().max() or 0) <= MOST_TEXT


def one(frame, code, **more):
    (row,) = frame.filter(PARAMCD=code, **more).to_dicts()
    return row


# -- the list of pharmaverseadam
# ---------------------------------------------------------------------------------------

GOLDEN_ROWS = list(csv.DictReader(GOLDEN.read_text(encoding="utf-8").splitlines()))
OWN = {"NACTDT", "AVALU", "SIMFL"}
"""Variables that pharmaverseadam has not: two of ADaMIG, and that of simulated patients."""

NOT_COLLECTED = {"ARM", "ARMCD", "ACTARM", "ACTARMCD"}
"""Variables of its adtte_onco that this study cannot have: it is not randomised."""


def test_names_labels_and_types_are_those_of_pharmaverseadam():
    listed = {r["variable"]: (r["label"], r["type"]) for r in GOLDEN_ROWS}
    kinds = {"text": "text", "date": "date", "integer": "number", "float": "number"}
    assert {n: (v.label, kinds[v.type]) for n, v in VARIABLES.items() if n not in OWN} == {
        n: listed[n] for n in VARIABLES if n not in OWN
    }
    assert not OWN & set(listed)


def test_adtte_has_every_variable_of_adtte_onco_but_the_arms():
    theirs = {r["variable"] for r in GOLDEN_ROWS if r["dataset"] == "adtte_onco"}
    assert theirs - set(DATASETS["ADTTE"].schema) == NOT_COLLECTED


def test_names_and_labels_fit_a_transport_file():
    for variable in VARIABLES.values():
        assert len(variable.name) <= MOST_NAME
        assert len(variable.label.encode()) <= MOST_LABEL
    assert all(len(d.label.encode()) <= MOST_LABEL for d in DATASETS.values())


# -- ADSL
# --------------------------------------------------------------------------------------------------


def test_adsl_holds_treatment_death_and_last_contact():
    (row,) = adam(events=[("new_therapy", 120), ("death", 200)])[0]["ADSL"].to_dicts()
    assert (
        row["USUBJID"],
        row["SITEID"],
        row["AGE"],
        row["AGEU"],
        row["SEX"],
        row["SAFFL"],
        row["TRT01P"],
    ) == ("BJCH-A", "BJCH", 61, "YEARS", "F", "Y", "x+y")
    assert (row["TRTSDT"], row["TRTEDT"], row["NACTDT"], row["DTHFL"], row["DTHDT"]) == (
        day(0),
        day(21),
        day(120),
        "Y",
        day(200),
    )
    assert row["LSTALVDT"] == day(120)


def test_a_date_of_death_that_another_date_contradicts_is_not_given():
    (row,) = adam(events=[("death", 60)])[0]["ADSL"].to_dicts()
    assert (row["DTHFL"], row["DTHDT"]) == ("Y", None), "there is a CT of day 98"


def test_who_withdrew_is_in_no_dataset():
    assert all(frame.is_empty() for frame in adam(consent="withdrawn")[0].values())


# -- ADRS
# --------------------------------------------------------------------------------------------------


def test_each_visit_has_its_responses_with_codes_and_days():
    adrs = adam()[0]["ADRS"]
    at_t2 = {
        r["PARAMCD"]: (r["AVALC"], r["AVAL"])
        for r in adrs.filter(AVISIT="T2").iter_rows(named=True)
    }
    assert at_t2 == {
        "OVR": ("PD", 5),
        "OVRASOF": ("PD", 5),
        "TRGRESP": ("PD", 5),
        "NTRGRESP": ("NONE", None),
        "NEWLIND": ("Y", 1),
        "IOVR": ("iUPD", 2),
    }
    row = one(adrs, "OVR", AVISIT="T2")
    assert (
        row["ADT"],
        row["ADY"],
        row["AVISITN"],
        row["ANL01FL"],
        row["RSACPTFL"],
        row["RSEVALID"],
    ) == (day(VISIT_DAYS["T2"]), VISIT_DAYS["T2"] + 1, 2, "Y", "Y", None)


def test_best_responses_have_the_date_of_the_first_visit_that_had_them():
    adrs = adam()[0]["ADRS"]
    assert {
        c: (one(adrs, c)["AVALC"], one(adrs, c)["AVAL"], one(adrs, c)["ADT"])
        for c in ("BOR", "CBOR", "IBOR")
    } == {"BOR": ("PR", 2, day(56)), "CBOR": ("SD", 3, day(56)), "IBOR": ("iPR", 5, day(56))}


def test_events_are_yes_or_no_with_the_date_of_the_first():
    adrs = adam(events=[("death", 200)])[0]["ADRS"]
    assert {
        c: (one(adrs, c)["AVALC"], one(adrs, c)["AVAL"], one(adrs, c)["ADT"])
        for c in ("PD", "RSP", "CRSP", "DEATH", "CLINPD")
    } == {
        "PD": ("Y", 1, day(98)),
        "RSP": ("Y", 1, day(56)),
        "CRSP": ("N", 0, None),
        "DEATH": ("Y", 1, day(200)),
        "CLINPD": ("N", 0, None),
    }
    assert (one(adrs, "LSTA")["AVALC"], one(adrs, "LSTA")["ADT"]) == ("PD", day(98))


def test_a_subject_without_an_assessment_is_missing_not_absent():
    adrs = adam(found=FOUND.clear(), visits=VISITS.clear())[0]["ADRS"]
    assert {
        c: (one(adrs, c)["AVALC"], one(adrs, c)["AVAL"]) for c in ("BOR", "CBOR", "IBOR")
    } == dict.fromkeys(("BOR", "CBOR", "IBOR"), ("MISSING", 7))


def test_terms_are_those_of_cdisc():
    graded = responses(("T1", "NON_CR_NON_PD", "iNON_CR_NON_PD"), ("T2", "NE", "iNE"))
    adrs = adam(graded=graded)[0]["ADRS"]
    assert {
        (c, v): (one(adrs, c, AVISIT=v)["AVALC"], one(adrs, c, AVISIT=v)["AVAL"])
        for c in ("OVR", "IOVR")
        for v in ("T1", "T2")
    } == {
        ("OVR", "T1"): ("NON-CR/NON-PD", 4),
        ("OVR", "T2"): ("NE", 6),
        ("IOVR", "T1"): ("NON-iCR/NON-iUPD", 3),
        ("IOVR", "T2"): ("NE", 8),
    }


def test_a_reader_is_named_and_counts_for_no_event():
    graded = pl.concat(
        [responses(("T1", "SD", "iSD")), responses(("T1", "PD", "iUPD"), evaluator="R2")]
    )
    adrs = adam(graded=graded)[0]["ADRS"]
    assert adrs.filter(PARAMCD="OVR").select("RSEVALID", "AVALC", "ANL01FL", "RSACPTFL").rows() == [
        (None, "SD", "Y", "Y"),
        ("R2", "PD", None, None),
    ]
    assert one(adrs, "PD")["AVALC"] == "N"


# -- ADTR
# --------------------------------------------------------------------------------------------------


def test_each_lesion_has_its_diameters_with_dates_and_changes():
    adtr = adam()[0]["ADTR"]
    assert adtr.filter(PARAMCD="LDIAM1").select(
        "TRLNKID", "AVISIT", "ADT", "ADY", "AVAL", "BASE", "CHG", "NADIR", "CHGNAD", "ABLFL"
    ).rows() == [
        ("L1", "T0", day(-7), -7, 60, 60, 0, None, None, "Y"),
        ("L1", "T1", day(56), 57, 40, 60, -20, 60, -20, None),
        ("L1", "T2", day(98), 99, 60, 60, 0, 40, 20, None),
    ]
    new = one(adtr, "NWDIA1")
    assert (new["TRGRPID"], new["TRLNKID"], new["AVAL"], new["BASE"], new["CHG"]) == (
        "NEW",
        "N1",
        12,
        None,
        None,
    )


def test_the_sum_is_that_of_the_responses():
    datasets, tables = adam()
    sums = datasets["ADTR"].filter(PARAMCD="SDIAM")
    assert sums.select(
        "AVISIT", "AVAL", "BASE", "CHG", "PCHG", "NADIR", "ABLFL", "LSEXP"
    ).rows() == [
        ("T0", 100, 100, 0, 0, None, "Y", "L1, L2"),
        ("T1", 60, 100, -40, -40, 100, None, "L1, L2"),
        ("T2", 80, 100, -20, -20, 60, None, "L1, L2"),
    ]
    theirs = (
        tables["responses"]
        .select(
            "visit",
            "sum_mm",
            "baseline_sum_mm",
            "change_from_baseline_percent",
            "nadir_mm",
            "change_from_nadir_percent",
        )
        .rows()
    )
    assert (
        sums.filter(pl.col("ABLFL").is_null())
        .select("AVISIT", "AVAL", "BASE", "PCHG", "NADIR", "PCHGNAD")
        .rows()
        == theirs
    )


def test_gone_is_0_too_small_is_5_and_not_evaluated_has_no_record():
    found = lesions(L1=[30, 0], L2=[20, 20], L10=[15, 15]).with_columns(
        too_small_to_measure=(pl.col("lesion") == "L2") & (pl.col("visit") == "T1"),
        longest_diameter_mm=pl.when((pl.col("lesion") != "L1") & (pl.col("visit") == "T1"))
        .then(None)
        .otherwise("longest_diameter_mm"),
    )
    adtr = adam(found, timepoints("T0", "T1"))[0]["ADTR"]
    assert adtr.filter(AVISIT="T1").select("PARAMCD", "TRLNKID", "AVAL", "TRSTRESC").rows() == [
        ("LDIAM1", "L1", 0, "ABSENT"),
        ("LDIAM2", "L2", 5, "TOO SMALL TO MEASURE"),
    ], "L10 was not measured: neither a diameter nor a sum"


def test_a_node_has_its_short_axis():
    found = lesions(L1=[30, 30]).with_columns(
        is_lymph_node=pl.lit(value=True), short_axis_mm=pl.lit(17.0), organ=pl.lit("lymph node")
    )
    adtr = adam(found, timepoints("T0", "T1"))[0]["ADTR"]
    row = one(adtr, "NLDIAM1", AVISIT="T0")
    assert (row["AVAL"], row["TRTESTCD"], row["TULOCGR1"]) == (17, "SAXIS", "NODAL")
    assert one(adtr, "SDIAM", AVISIT="T0")["AVAL"] == 17


# -- ADTTE
# --------------------------------------------------------------------------------------------------


def test_an_event_has_its_dates_and_its_record_in_adrs():
    datasets, _ = adam()
    row = one(datasets["ADTTE"], "PFS")
    assert (
        row["STARTDT"],
        row["ADT"],
        row["AVAL"],
        row["AVALU"],
        row["CNSR"],
        row["EVNTDESC"],
        row["CNSDTDSC"],
    ) == (day(0), day(98), 99, "DAYS", 0, "Disease Progression", None)
    (source,) = datasets["ADRS"].filter(ASEQ=row["SRCSEQ"]).to_dicts()
    assert (row["SRCDOM"], row["SRCVAR"], source["PARAMCD"], source["ADT"]) == (
        "ADRS",
        "ADT",
        "PD",
        day(98),
    )


def test_censoring_names_the_last_adequate_assessment_the_start_or_the_last_contact():
    datasets, _ = adam(lesions(L1=[60, 50, 50]))
    pfs, os = one(datasets["ADTTE"], "PFS"), one(datasets["ADTTE"], "OS")
    assert (pfs["CNSR"], pfs["ADT"], pfs["CNSDTDSC"], pfs["SRCDOM"]) == (
        1,
        day(98),
        "Last Adequate Tumor Assessment",
        "ADRS",
    )
    assert datasets["ADRS"].filter(ASEQ=pfs["SRCSEQ"])["PARAMCD"].to_list() == ["OVR"]
    assert (os["CNSR"], os["ADT"], os["CNSDTDSC"], os["SRCDOM"], os["SRCVAR"], os["SRCSEQ"]) == (
        1,
        day(98),
        "Alive During Study",
        "ADSL",
        "LSTALVDT",
        None,
    )
    nothing = one(adam(found=FOUND.clear(), visits=VISITS.clear())[0]["ADTTE"], "PFS")
    assert (
        nothing["CNSR"],
        nothing["AVAL"],
        nothing["CNSDTDSC"],
        nothing["SRCDOM"],
        nothing["SRCVAR"],
    ) == (1, 1, "Treatment Start", "ADSL", "TRTSDT")


EVENTS = {
    # follow-up                                             PARAMCD  day  EVNTDESC
    # source
    "death": ([("death", 120)], "OS", 120, "Death", ("ADRS", "DEATH")),
    "death on the day of the first cycle": ([("death", 0)], "OS", 0, "Death", ("ADRS", "DEATH")),
    "a new therapy": (
        [("new_therapy", 70)],
        "PFSN",
        70,
        "New Anti-Cancer Therapy",
        ("ADSL", "NACTDT"),
    ),
    "clinical progression": (
        [("progression_clinical", 80)],
        "PFSC",
        80,
        "Clinical Progression",
        ("ADRS", "CLINPD"),
    ),
}


@pytest.mark.parametrize(("events", "code", "end", "words", "source"), EVENTS.values(), ids=EVENTS)
def test_events_of_the_follow_up(events, code, end, words, source):
    visits = timepoints("T0") if end == 0 else VISITS
    datasets, _ = adam(
        FOUND.filter(pl.col("visit").is_in(visits["visit"].to_list())), visits, events=events
    )
    row = one(datasets["ADTTE"], code)
    assert (row["CNSR"], row["ADT"], row["AVAL"], row["EVNTDESC"], row["SRCDOM"]) == (
        0,
        day(end),
        end + 1,
        words,
        source[0],
    )
    found = (
        datasets["ADRS"].filter(ASEQ=row["SRCSEQ"])["PARAMCD"].to_list()
        if row["SRCSEQ"]
        else [row["SRCVAR"]]
    )
    assert found == [source[1]]


def test_response_landmark_and_irecist_begin_and_end_where_they_do():
    adtte = adam()[0]["ADTTE"]
    dor, immune = one(adtte, "DOR"), one(adtte, "PFSI")
    assert (dor["STARTDT"], dor["ADT"], dor["AVAL"], dor["CNSR"]) == (day(56), day(98), 43, 0)
    assert (immune["ADT"], immune["CNSR"], immune["PARCAT3"]) == (day(98), 1, "iRECIST")
    assert adtte.filter(PARAMCD="PFSL").is_empty(), "progressed at the landmark"
    later = one(
        adam(lesions(L1=[60, 50, 50, 90]), timepoints("T0", "T1", "T2", "V1"))[0]["ADTTE"], "PFSL"
    )
    assert (later["STARTDT"], later["ADT"], later["AVAL"], later["CNSR"]) == (
        day(98),
        day(160),
        63,
        0,
    )


@pytest.mark.parametrize(
    "events",
    [
        (),
        [("death", 120)],
        [("death", 98)],
        [("new_therapy", 60)],
        [("progression_clinical", 70), ("death", 300)],
        [("death", None)],
    ],
)
@pytest.mark.parametrize("found", [FOUND, lesions(L1=[60, 40, 30, 30]), lesions(L1=[60, 0, 30])])
def test_every_time_of_the_lake_has_a_record_that_is_one_day_longer(events, found):
    datasets, tables = adam(found, timepoints("T0", "T1", "T2", "V1"), events=events)
    times = derive_time_to_event(
        *(tables[n] for n in ("responses", "treatments", "follow_up", "patients", "timepoints")),
        ENDPOINTS,
    ).drop_nulls("days")
    assert datasets["ADTTE"].height == times.height
    clamped = times.filter((pl.col("days") == 1) & pl.col("event")).height
    assert abs(datasets["ADTTE"]["AVAL"].sum() - times["days"].sum() - times.height) <= clamped
    assert datasets["ADTTE"]["CNSR"].sum() == times.filter(~pl.col("event")).height
    assert datasets["ADTTE"].filter(SRCDOM="ADRS")["SRCSEQ"].null_count() == 0


def test_without_a_first_cycle_there_is_no_time_and_no_day():
    datasets, _ = adam(given=())
    assert datasets["ADTTE"].is_empty()
    assert datasets["ADRS"]["ADY"].null_count() == datasets["ADRS"].height
    assert datasets["ADTR"]["ADT"].null_count() == 0


# -- what [publish] leaves out
# -----------------------------------------------------------------------------------------------


def test_an_age_in_a_band_is_its_group_alone_and_what_is_suppressed_is_blank():
    datasets = minimise_datasets(
        adam()[0], Minimisation(5, frozenset({"patients.sex", "patients.stage", "lesions.organ"}))
    )
    for name, rows in datasets.items():
        assert {"STUDYID": pl.String, **rows.schema} == DATASETS[name].schema
        assert rows["AGE"].null_count() == rows["AGEU"].null_count() == rows.height
        assert set(rows["SEX"]) <= {"U"}
    assert datasets["ADSL"]["AGEGR1"].to_list() == ["60-64"]
    assert datasets["ADTR"]["TULOC"].null_count() == datasets["ADTR"].height


def test_without_settings_the_datasets_are_as_they_were():
    before = adam()[0]
    assert all(
        rows.equals(before[name])
        for name, rows in minimise_datasets(before, AS_IN_THE_LAKE).items()
    )


def test_a_column_that_records_are_made_of_cannot_be_left_out():
    with pytest.raises(SuppressedError, match=r"responses\.scan_date"):
        minimise_datasets(adam()[0], Minimisation(1, frozenset({"responses.scan_date"})))
