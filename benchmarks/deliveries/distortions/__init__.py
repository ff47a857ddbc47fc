"""Named faults of deliveries, each drawn from what hospitals and tools really send.

Importing this package registers all of them.
"""

from benchmarks.deliveries.distortions import (
    geometry,
    identity,
    masks,
    readers,
    sheets,
    structure_sets,
    time_of_events,
    units,
)
from benchmarks.deliveries.distortions.registry import DISTORTIONS, Distortion

__all__ = [
    "DISTORTIONS",
    "Distortion",
    "geometry",
    "identity",
    "masks",
    "readers",
    "sheets",
    "structure_sets",
    "time_of_events",
    "units",
]
