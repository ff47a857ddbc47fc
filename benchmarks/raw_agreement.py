"""What the gate says of a second reader who measures another patient in some of the cases.

Simulated sites of 60 patients with three lesions each; two readers with an error of 1.5 mm. In a
share of the patients the second reader measures somebody else; an arbiter settles every one of
them for the first. Judged by `domain/cohort/quality.py`: by the resolved figure alone, as before
decision 0170, and with the raw one.

    python -m benchmarks.raw_agreement [--sites 200] [--seed 1]
"""

from __future__ import annotations

import argparse
import datetime as dt

import numpy as np
import polars as pl

from dagster_project.domain.cohort.quality import judge_agreement
from dagster_project.domain.reading.agreement import derive_pairs, derive_reader_agreement
from dagster_project.study import load_study
from tests.domain.rows import DECISIONS, frame, table

SHARES = (0.0, 0.05, 0.10, 0.25, 0.48)
PATIENTS, LESIONS, ERROR_MM = 60, 3, 1.5
MEASUREMENT = "longest_diameter_mm"
LOCKED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def site(share: float, random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads of two readers, and the arbiter's decisions."""
    size = random.uniform(12, 80, (PATIENTS, LESIONS))
    wrong = random.random(PATIENTS) < share
    seen = np.where(wrong[:, None], size[random.permutation(PATIENTS)], size)
    second = seen + random.normal(0, ERROR_MM, size.shape)
    reads = [
        {
            "site": "S01",
            "patient": f"P{p:02}",
            "lesion": f"L{n}",
            "reader": reader,
            "scan": "S",
            "locked_at": LOCKED,
            "visit": "T0",
            "volume_mm3": float(mm**3 / 2),
            MEASUREMENT: float(mm),
        }
        for reader, sizes in (("R1", size), ("R2", second))
        for p, lesions in enumerate(sizes)
        for n, mm in enumerate(lesions)
    ]
    decisions = [
        {
            "site": "S01",
            "patient": f"P{p:02}",
            "accepted_reader": "R1",
            "arbiter": "R9",
            "decided_at": LOCKED,
        }
        for p in np.flatnonzero(wrong)
    ]
    return table("reads", *reads), frame(DECISIONS, *decisions)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    study, random = load_study(), np.random.default_rng(asked.seed)
    print(
        "| another patient measured | raw ICC | resolved ICC | its lower bound "
        "| passes by the resolved figure alone | passes with the raw one |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    for share in SHARES:
        figures, before, now = [], 0, 0
        for _ in range(asked.sites):
            reads, decisions = site(share, random)
            found = derive_reader_agreement(
                derive_pairs(reads), decisions, study.section("agreement")
            )
            row = found.filter(pl.col("measurement") == MEASUREMENT).row(0, named=True)
            figures.append([row["icc_raw"], row["icc_resolved"], row["icc_lower"]])
            verdicts = {
                v.rule: v.verdict
                for v in judge_agreement(found, study)
                if v.scope == f"S01 {MEASUREMENT}"
            }
            raw = verdicts.pop("icc_raw")
            resolved = all(verdict == "pass" for verdict in verdicts.values())
            before += resolved
            now += resolved and raw == "pass"
        raw_icc, icc, lower = np.median(np.array(figures, dtype=float), axis=0)
        print(
            f"| {share:.0%} | {raw_icc:.3f} | {icc:.3f} | {lower:.3f} "
            f"| {before / asked.sites:.0%} | {now / asked.sites:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
