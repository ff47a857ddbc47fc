"""Thousands of distorted deliveries through intake to outcomes, and the result by kind of fault.

    python -m benchmarks.deliveries [--count 3000] [--seed 1] [--only NAME]
        [--without-detection NAME] [--processes 2] [--list]

A delivery is one patient as a hospital sends them (three small synthetic CTs with an asymmetric
lesion, outlines, a case report; or a real CT cropped around its lesion) with one or two named
faults. Faults of one patient share a site of 40 with others and with patients that have none;
faults of people and whole sheets have a small site of their own. Intake, scans, timepoints, reads,
lesions, responses and outcomes are the flow's own assets. Each row of nine tables is compared with
the truth; see verdicts.py for what counts as right, refused and named, wrong and flagged, wrong in
silence, and a crash.

What it leaves out: images' features, heterogeneity, models, pages; pictures of assets. What no
software can see is no distortion here: see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.deliveries.detections import DETECTIONS
from benchmarks.deliveries.distortions import DISTORTIONS
from benchmarks.deliveries.trial import run_trials
from benchmarks.deliveries.verdicts import CRASH, SILENT


def main() -> None:
    options = _options()
    if options.list:
        for one in DISTORTIONS.values():
            print(f"{one.family:15} {one.name:40} {one.expected:8} {one.about}")
        return
    began = time.monotonic()
    only = options.only or list(DISTORTIONS)
    found = run_trials(
        options.count,
        options.seed,
        only,
        without=options.without_detection,
        processes=options.processes,
        home=options.home,
    )
    print(found.table())
    if options.details:
        print(found.details())
    print(
        f"\n{found.total} deliveries, {time.monotonic() - began:.0f} s, "
        f"{options.processes} processes"
    )
    sys.exit(bool(found.counts[SILENT] + found.counts[CRASH]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.deliveries",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=3000, help="deliveries with a fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(DISTORTIONS),
        metavar="NAME",
        help="this distortion alone (may be repeated)",
    )
    parser.add_argument(
        "--without-detection",
        action="append",
        default=[],
        choices=sorted(DETECTIONS),
        metavar="NAME",
        help="switch a rule of the product off",
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--home", type=Path, default=None, help="where homes are made and removed again"
    )
    parser.add_argument(
        "--details",
        action="store_true",
        help="name what was wrong in each silent or crashed delivery",
    )
    parser.add_argument("--list", action="store_true", help="the distortions")
    return parser.parse_args()


if __name__ == "__main__":
    main()
