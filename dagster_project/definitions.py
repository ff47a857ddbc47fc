"""Where everything comes together: what `workspace.yaml` loads."""

import sys
from pathlib import Path

if (
    BESIDE := str(Path(__file__).resolve().parents[1])
) not in sys.path:  # assets, checks and models lie beside this package
    sys.path.insert(0, BESIDE)

import dagster as dg

import assets
import checks
from dagster_project.console import console
from dagster_project.jobs import JOBS
from dagster_project.resources import Lakehouse
from dagster_project.schedules import nightly
from dagster_project.sensors import SENSORS

defs = dg.Definitions(
    assets=dg.load_assets_from_package_module(assets),
    asset_checks=dg.load_asset_checks_from_package_module(checks),
    resources={"lakehouse": Lakehouse()},
    jobs=JOBS,
    schedules=[nightly],
    sensors=SENSORS,
    executor=dg.in_process_executor,
    loggers={"console": console},
)
