"""ADRS, ADTR and ADTTE: a few rows in, the records that a statistician expects out."""

from __future__ import annotations

from datetime import timedelta

from dagster_project.domain.adam import derive_adrs, derive_adtr, derive_adtte
from dagster_project.domain.endpoints import derive_outcomes
from dagster_project.domain.responses import derive_responses
from dagster_project.domain.time_to_event import derive_time_to_event
from tests.domain.courses import ENDPOINTS, IRECIST, RECIST
from tests.domain.records import DAY_ZERO, VISIT_DAYS, cycles, follow_up, lesions, table, timepoints

FOUND = lesions(L1=[60, 40, 60], L2=[40, 20, 20], N1=[None, None, 12])
VISITS = timepoints("T0", "T1", "T2")
RESPONSES = derive_responses(FOUND, VISITS, evaluator="accepted", recist=RECIST, irecist=IRECIST)
CASE = (RESPONSES, cycles(0), follow_up(), table("patients", {}), VISITS)


def test_adrs_holds_each_response_of_each_visit_and_the_best_ones_once():
    adrs = derive_adrs(RESPONSES, derive_outcomes(*CASE, ENDPOINTS, RECIST))
    at_t2 = dict(adrs.filter(AVISIT="T2").select("PARAMCD", "AVALC").iter_rows())
    assert at_t2 == {"OVR": "PD", "OVRASOF": "PD", "TRGRESP": "PD", "NTRGRESP": "NONE", "NEWLIND": "Y", "IOVR": "iUPD"}
    best = adrs.filter(adrs["AVISIT"].is_null())
    assert best.select("PARAMCD", "AVALC", "ADY").rows() == [("BOR", "PR", None), ("CBOR", "SD", None), ("IBOR", "iPR", None)]
    assert adrs.filter(AVISIT="T2", PARAMCD="OVR").select("ADT", "ADY", "AVISITN", "ANL01FL").rows() == [
        (DAY_ZERO + timedelta(VISIT_DAYS["T2"]), VISIT_DAYS["T2"], 2, "Y")]


def test_adtr_holds_diameters_and_sums_with_their_changes():
    adtr = derive_adtr(RESPONSES, FOUND)
    assert adtr.filter(PARAMCD="LDIAM", TRLNKID="L1")["AVAL"].to_list() == [60, 40, 60]
    assert adtr.filter(PARAMCD="SUMDIAM").select("AVISIT", "AVAL", "BASE", "CHG", "PCHG", "NADIR").rows() == [
        ("T1", 60, 100, -40, -40, 100), ("T2", 80, 100, -20, -20, 60)]
    assert adtr.filter(TRLNKID="N1")["TRGRPID"].to_list() == ["NEW"]


def test_adtte_names_end_point_version_and_origin_and_censors_with_one():
    adtte = derive_adtte(derive_time_to_event(*CASE, ENDPOINTS))
    found = {r["PARAMCD"]: (r["AVAL"], r["CNSR"]) for r in adtte.iter_rows(named=True)}
    assert found["PFS"] == (98, 0)
    assert found["PFSI"] == (98, 1)
    assert found["DOR"] == (42, 0)
    assert found["OS"] == (98, 1)
    assert "PFSL" not in found, "progressed at the landmark"
    assert adtte.filter(PARAMCD="PFS")["EVNTDESC"].to_list() == ["progression"]
