"""Which standard definition stands behind each feature, and where PyRadiomics is known to depart from it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

IBSI = Path(__file__).with_name("ibsi.toml")


@cache
def _registry() -> dict[str, dict[str, str]]:
    return tomllib.loads(IBSI.read_text(encoding="utf-8"))


def ibsi_tag(feature: str) -> str | None:
    """Tag of a feature in the IBSI reference values; None where IBSI does not define it, or defines it for unfiltered images alone.

    >>> ibsi_tag("original_glcm_Contrast")
    'cm_contrast_3D_avg'
    >>> ibsi_tag("wavelet-LLH_glcm_Contrast") is None
    True
    """
    image, feature_class, name = feature.split("_", 2)
    if feature_class == "ibsi":
        return name
    return _registry()[feature_class].get(name) if image == "original" else None


def ibsi_deviation(feature: str) -> str | None:
    """How PyRadiomics departs from IBSI in this feature; None where it does not.

    >>> ibsi_deviation("original_firstorder_Kurtosis")
    'PyRadiomics gives kurtosis, IBSI excess kurtosis: it is greater by 3'
    """
    _, feature_class, name = feature.split("_", 2)
    return _registry()["deviations"].get(f"{feature_class}.{name}")
