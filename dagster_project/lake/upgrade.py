"""Leads the lake of a home to this program's schema version, with a backup of its catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dagster_project.lake.catalogue_backup import back_up, backup_file
from dagster_project.lake.home import Home
from dagster_project.lake.migrations import VERSIONS, Migration, baseline, latest
from dagster_project.lake.store import Lake, migration_lock
from dagster_project.lake.tables import TABLES


@dataclass(frozen=True)
class Plan:
    """What an upgrade would do.

    Parameters
    ----------
    version
        Schema version of the lake as it is.
    migrations
        Versions that it lacks, in order.
    missing
        Tables that it lacks; they are created empty, now or by the next command that writes.
    backup
        Where the catalogue is copied to first.
    """

    version: int
    migrations: tuple[Migration, ...]
    missing: tuple[str, ...]
    backup: Path


def plan_upgrade(home: Home) -> Plan:
    """What `upgrade` would do; nothing is written.

    Raises
    ------
    LaterSchema, OtherSchema
        Where no migration leads to this program's schema.
    """
    with Lake(home.catalog, home.data, read_only=True) as lake:
        return _plan(lake, home)


def upgrade(
    home: Home, *, backup: bool = True, begun: Callable[[Plan], None] = lambda _: None
) -> list[Migration]:
    """Migrate the lake, each version in a transaction of its own; the versions that were applied.

    1. Nothing else may work on the home meanwhile (`home_locked`): the caller sees to it.
    2. The catalogue is backed up before anything is written, unless `backup` is false.
    3. Interrupted or killed, it leaves the lake at a whole version; the next call goes on.

    Parameters
    ----------
    begun
        Is given the plan before its first write; not called where there is nothing to do.

    Raises
    ------
    NoBackup
        Where the catalogue cannot be backed up; nothing is written.
    LaterSchema, OtherSchema
        Where no migration leads to this program's schema; nothing is written.
    """
    home.make()
    with migration_lock(home), Lake(home.catalog, home.data) as lake:
        plan = _plan(lake, home)
        if plan.migrations:
            begun(plan)
            if backup:
                back_up(home, plan.version)
        return lake.migrate()


def _plan(lake: Lake, home: Home) -> Plan:
    fault = lake.fault(migrated=True)
    if fault is not None:
        raise fault
    shape = lake.shape()
    version = lake.version() if shape else latest()
    missing = tuple(t.name for t in TABLES if t.name not in shape)
    unrecorded = (baseline(),) if shape and VERSIONS not in shape else ()
    return Plan(version, unrecorded + lake.pending(), missing, backup_file(home, version))
