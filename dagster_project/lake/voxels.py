"""What a voxel's value means where it is no measurement: read by whoever reads a scan's image."""

from __future__ import annotations

OUTSIDE_FIELD_HU = -32768
"""HU of a voxel that the scanner did not measure: padding around the field of view.

No CT holds it (air is -1000 HU), so that it goes with the image wherever it is read: no region,
ring, mean or artifact figure may use it, and every window of a picture shows it black.
"""
