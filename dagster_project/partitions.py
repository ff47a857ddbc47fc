"""Sites as partitions: a site is a fault domain, and one that fails never holds up the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg

SITES = dg.DynamicPartitionsDefinition(name="site")


def table_check(
    *, by_site: bool, **arguments: Any
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    """Declare a check, with the sites as partitions where its asset has them.

    Dagster 1.13 has the partitions of checks as a preview and warns of them; the tests say whether
    a later version changes them.
    """

    def declare(function: Callable[..., Any]) -> dg.AssetChecksDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)
            partitions = SITES if by_site else None
            return dg.asset_check(partitions_def=partitions, **arguments)(function)

    return declare


def site_of(context: dg.AssetCheckExecutionContext) -> str | None:
    """The site that a check is about; None where it is about all of them."""
    return context.partition_key if context.has_partition_key else None
