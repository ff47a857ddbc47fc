"""Another trial's tables written short: a line per lesion, a column per visit.

They become rows of SDTM TU, TR and RS with their places.
"""

from __future__ import annotations

from dagster_project.domain.external_trials.trial_grading import grade_trial
from dagster_project.domain.external_trials.trial_rows import TrialRow
from tests.domain.courses import IRECIST, RECIST

VISITS = ("SCREENING", "WEEK 6", "WEEK 12", "WEEK 18", "WEEK 24")
DATES = ("2024-01-02", "2024-02-13", "2024-03-26", "2024-05-07", "2024-06-18")
ROLES = {"T": "TARGET", "K": "TARGET", "P": "NON-TARGET", "N": "NEW"}
"""First letter of a label: T target, K target node, P non-target, N new lesion."""


def rows(file, *cells):
    return [
        TrialRow(file, number, {"USUBJID": "S1", **c}) for number, c in enumerate(cells, start=2)
    ]


def visit(n, domain):
    return {
        "VISITNUM": str(n + 1),
        "VISIT": VISITS[n],
        f"{domain}DTC": DATES[n],
        f"{domain}EVAL": "INVESTIGATOR",
    }


def tu(*labels, new_at=1):
    return rows(
        "tu.csv",
        *(
            {
                **visit(new_at if label[0] == "N" else 0, "TU"),
                "TULNKID": label,
                "TUSTRESC": ROLES[label[0]],
                "TULOC": "LYMPH NODE" if label[0] == "K" else f"ORGAN OF {label}",
            }
            for label in labels
        ),
    )


def measured(label, n, value, **more):
    """A number is a diameter in mm, a word the tumour state; `more` are cells that differ."""
    number = isinstance(value, (int, float))
    test = ("SAXIS" if label[0] == "K" else "LDIAM") if number else "TUMSTATE"
    result = (
        {"TRORRES": str(value), "TRORRESU": "mm", "TRSTRESN": str(value), "TRSTRESU": "mm"}
        if number
        else {"TRORRES": value, "TRSTRESC": value}
    )
    return {
        **visit(n, "TR"),
        "TRLNKID": label,
        "TRGRPID": ROLES[label[0]],
        "TRTESTCD": test,
        **result,
        **more,
    }


def tr(**lesions):
    """None means that the lesion has no row at that visit."""
    n = max(map(len, lesions.values()))
    return rows(
        "tr.csv",
        *(
            measured(label, place, values[place])
            for place in range(n)
            for label, values in lesions.items()
            if values[place] is not None
        ),
    )


def rs(n, category="RECIST 1.1", **results):
    """What was recorded of one visit; in capitals the code of the test."""
    return rows(
        "rs.csv",
        *(
            {**visit(n, "RS"), "RSCAT": category, "RSTESTCD": test, "RSSTRESC": word}
            for test, word in results.items()
        ),
    )


def grade(tr_rows, tu_rows=(), rs_rows=(), dm_rows=()):
    return grade_trial(tu_rows, tr_rows, rs_rows, dm_rows, RECIST, IRECIST)


def overall(graded):
    return graded.visits["overall_response"].to_list()


def flagged(graded):
    """(rule, place) a flag."""
    return graded.flags.select("rule", "place").rows()
