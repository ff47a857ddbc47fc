"""One identifier past intake, in the vault of one of two sites: where it shows, what it stops.

    python -m benchmarks.planted_identifier [--home DIR]

An operator's name is written into one image of the vault, as a fault of the program would leave it.
The audit of that site alone has to be red, its publication blocked, the exit code not 0, the check
of blocked sites red in Dagster's pages, and the element named in the run and in `lakehouse status`,
without its value; once the file is as it was, all is green again. With `--home` the home stays,
with the identifier in it, to be looked at:

    LAKEHOUSE_STUDY=DIR/study.toml lakehouse --home DIR/home dev
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.deliveries.conftest import run_delivery
from tests.deliveries.test_audit import SITES, deliver_two_sites
from tests.trial import Trial

ELEMENT, NAME = "(0008,1070)", "Murong^Shuangyan"


@dataclass(frozen=True)
class Seen:
    """What a run and `lakehouse status` after it show."""

    exit_code: int
    red: tuple[str, ...]
    published: tuple[str, ...]
    red_in_dagster: bool
    named_in_run: bool
    named_in_status: bool
    value_shown: bool


CLEAN = Seen(
    exit_code=0,
    red=(),
    published=SITES,
    red_in_dagster=False,
    named_in_run=False,
    named_in_status=False,
    value_shown=False,
)
BLOCKED = Seen(
    exit_code=1,
    red=SITES[:1],
    published=SITES[1:],
    red_in_dagster=True,
    named_in_run=True,
    named_in_status=True,
    value_shown=False,
)


def main() -> None:
    """Run, plant, run, take it out, run; print a table and end with 1 where it differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    given = parser.parse_args().home
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = _try(folder, last=given is not None)
    print(table(found))
    sys.exit(any(seen != expected for _, seen, expected in found))


def _try(folder: Path, *, last: bool) -> list[tuple[str, Seen, Seen]]:
    trial = run_delivery(folder, deliver_two_sites).trial
    image = min((trial.home.vault / SITES[0]).rglob("*.dcm"))
    clean, found = image.read_bytes(), [("as delivered", _run(trial), CLEAN)]
    planted = pydicom.dcmread(image)
    planted.OperatorsName = NAME
    planted.save_as(image)
    found.append((f"a name in {ELEMENT} of one image of {SITES[0]}", _run(trial), BLOCKED))
    if not last:
        image.write_bytes(clean)
        found.append(("the image as it was", _run(trial), CLEAN))
    return found


def _run(trial: Trial) -> Seen:
    run = trial.call("run")
    printed, shown = (" ".join(text.split()) for text in (run.output, trial.call("status").output))
    with duckdb.connect(str(trial.home.published / "lakehouse.duckdb"), read_only=True) as store:
        rows = store.execute("SELECT DISTINCT site FROM scans ORDER BY ALL").fetchall()
    return Seen(
        exit_code=run.exit_code,
        red=tuple(site for site in SITES if f"{site} intake.vault_audit" in printed),
        published=tuple(site for (site,) in rows),
        red_in_dagster=not trial.check_passed("published", "blocked_sites"),
        named_in_run=ELEMENT in printed,
        named_in_status=ELEMENT in shown,
        value_shown=any(part in printed + shown for part in NAME.split("^")),
    )


def table(found: list[tuple[str, Seen, Seen]]) -> str:
    """One row per run."""
    lines = [
        "| vault | `lakehouse run` ends with | audit red | sites published | red in Dagster "
        "| element named in the run | in `lakehouse status` | value shown | as it has to be |",
        "| --- | ---: | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for vault, seen, expected in found:
        cells = (
            seen.exit_code,
            ", ".join(seen.red) or "none",
            ", ".join(seen.published) or "none",
            *("yes" if one else "no" for one in (
                seen.red_in_dagster, seen.named_in_run, seen.named_in_status, seen.value_shown,
                seen == expected,
            )),
        )  # fmt: skip
        lines.append(f"| {vault} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
