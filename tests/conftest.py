"""Where the real data lie, and what all tests share."""

from __future__ import annotations

import os
import signal
import sys
import tracemalloc  # noqa: F401 - pytest's hook imports it in whichever thread warns first
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

# The flow's modules take seconds to import: fixtures do so, and only tests of the flow wait for
# them.
if TYPE_CHECKING:
    import dagster as dg

    from tests.trial import Stage, Trial

pytest_plugins = ("tests.guard", "tests.order")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("LAKEHOUSE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
"""Real data made by others.

Where the folder is absent the tests on it are not collected, and the header says so.
"""

# The same examples at every run, and no clock: an unlucky draw or a busy machine is no failure.
# HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

if settings().derandomize:
    # Hypothesis also draws constants of whatever local modules are loaded: those differ with the
    # order of tests, and so would the examples.
    providers._get_local_constants = providers.Constants


# The code sets these for its process when it first uses what they silence; here they stand from the
# start.
for silenced in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[silenced] = "true"
for silenced in ("GX_ANALYTICS_ENABLED", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):
    os.environ[silenced] = "false"

# Dozens of tests start Python anew. Without compiled modules each of these processes would compile
# thousands of files again, which takes longer than most of the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# As every run of Dagster leaves them. A script that starts the tests with & has SIGINT ignored, and
# every child would inherit that.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say whether the real data are there."""
    return (
        "real data: "
        f"{'present' if SHARED_DATA.is_dir() else 'ABSENT, the tests on it are not collected'}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `real_data` where the data are absent; put the longest first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    if SHARED_DATA.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("real_data")]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


GROUPS = {
    **dict.fromkeys(
        (
            "tests/assets/",
            "tests/test_flow.py",
            "tests/test_privacy.py",
            "tests/test_bad_input.py",
            "tests/test_cli.py",
            "tests/test_withdrawal.py",
            "tests/flow/",
        ),
        "flow",
    ),
    "tests/deliveries/": "deliveries",
    "tests/simulation/": "simulation",
}
"""Tests that share what takes long to make: one worker has them all.

Each of the other files goes to one worker as a whole.
"""


LONGEST = (
    "tests/deliveries/",
    "tests/assets/",
    "tests/flow/",
    "tests/test_",
    "tests/intake/test_pacs.py",
    "tests/intake/pacs/",
    "tests/intake/identity/test_keys.py",
    "tests/benchmarks/",
    "tests/models/",
    "tests/lake/test_publish.py",
    "tests/lake/test_minimisation.py",
)
"""Where tests take seconds to minutes.

Left for the end, one of them would occupy one worker while the others are done.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests by group and file, where `--dist loadgroup` is given.

    xdist 3.8's own marks for groups do nothing with pytest 9.2.
    """
    from xdist.scheduler import LoadGroupScheduling

    config.option.loadscopereorder = (
        False  # xdist begins with files of many tests, and those are the quick ones
    )

    class ByGroupAndFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((group for start, group in GROUPS.items() if file.startswith(start)), file)

    return ByGroupAndFile(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data."""
    return SHARED_DATA


# -- one small study for all tests of the whole flow, from stage to stage
# --------------------------------------------------


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Two simulated sites have delivered, with faults; nothing has been run."""
    from dagster_project.simulation.cohort import simulate_cohort
    from tests.bad_deliveries import spoil
    from tests.trial import Trial, write_protocol

    folder = tmp_path_factory.mktemp("trial")
    made = Trial(folder / "home", write_protocol(folder / "study.toml"))
    simulate_cohort(made.home.landing, made.root / "truth", made.plan)
    spoil(made)
    return made


@pytest.fixture(scope="session")
def closed(trial: Trial) -> Stage:
    """After the first run: the gate is closed by the careless reader."""
    from tests.trial import after

    return after(trial, trial.run())


@pytest.fixture(scope="session")
def denied(closed: Stage) -> tuple[dg.ExecuteInProcessResult, int]:
    """An attempt to train behind the closed gate, and the number of MLflow's runs after it.

    The attempt is model_runs alone, in a run of its own.
    """
    from tests.trial import mlflow_runs

    return closed.trial.materialise("model_runs"), mlflow_runs(closed.trial)


@pytest.fixture(scope="session")
def repeated(closed: Stage, denied: tuple[dg.ExecuteInProcessResult, int]) -> Stage:
    """After a night with nothing new, asked to have a model at the end."""
    from tests.trial import after

    return after(closed.trial, closed.trial.call("run", "--require-model"))


@pytest.fixture(scope="session")
def opened(repeated: Stage) -> Stage:
    """After the arbiter's decisions were delivered, while an analyst reads."""
    from tests.analyst import reading
    from tests.trial import after, deliver_decisions

    made = repeated.trial
    deliver_decisions(made)
    with reading(made.home.published / "lakehouse.duckdb") as made.analyst:
        outcome = made.call("run", "--require-model")
    return after(made, outcome)


@pytest.fixture(scope="session")
def grown(opened: Stage) -> Stage:
    """After one more scan and a board's decision of one patient were delivered."""
    from dagster_project.simulation.cohort import add_scan
    from tests.trial import SITES, after, deliver_board_decision

    made = opened.trial
    deliver_board_decision(made, SITES[0])
    made.plan = add_scan(made.home.landing, made.root / "truth", made.plan, SITES[0], 0)
    return after(made, made.run())
