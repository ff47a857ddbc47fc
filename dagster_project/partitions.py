"""Sites as partitions: a site is a fault domain, and one that fails never holds up the others."""

from __future__ import annotations

import dagster as dg

SITES = dg.DynamicPartitionsDefinition(name="site")
