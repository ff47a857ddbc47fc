"""What a page needs to show the viewer: its script, and the crops that it scrolls through."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dagster_project.reports.crops import WINDOWS
from dagster_project.reports.pages import script

VIEWER = "viewer.js"


@dataclass(frozen=True)
class ViewerCrop:
    """The crop of a lesion at a visit, as `crops.encode_crop` wrote it."""

    visit: str
    lesion: str
    content: bytes


def viewer_values(crops: Sequence[ViewerCrop]) -> dict[str, Any]:
    """Values of the templates' part `viewer.html`; a page without crops has no script."""
    lesions = sorted({crop.lesion for crop in crops})
    visits = list(dict.fromkeys(crop.visit for crop in sorted(crops, key=lambda c: c.visit)))
    return {
        "viewer": {
            "lesions": lesions,
            "visits": visits,
            "windows": {
                name: (round((a + b) / 2), round(b - a)) for name, (a, b) in WINDOWS.items()
            },
            "crops": [
                (crop.lesion, crop.visit, base64.b64encode(crop.content).decode("ascii"))
                for crop in crops
            ],
        }
        if crops
        else None,
        "script": script(VIEWER) if crops else None,
    }
