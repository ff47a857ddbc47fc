"""The standard definition of each feature, and known departures of PyRadiomics from it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

IBSI = Path(__file__).with_name("ibsi.toml")

LOG = "log-sigma-"
"""How PyRadiomics' names of a Laplacian of Gaussian begin."""


@cache
def _registry() -> dict[str, dict[str, str]]:
    return tomllib.loads(IBSI.read_text(encoding="utf-8"))


def ibsi_tag(feature: str) -> str | None:
    """Tag of a feature in the IBSI reference values.

    None where IBSI does not define it, or defines it for unfiltered images alone.

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
    """How PyRadiomics departs from IBSI in this feature or in its image; None where it does not.

    >>> ibsi_deviation("original_firstorder_Kurtosis")
    'PyRadiomics gives kurtosis, IBSI excess kurtosis: it is greater by 3'
    """
    image, feature_class, name = feature.split("_", 2)
    found = (_registry()["deviations"].get(f"{feature_class}.{name}"), ibsi_image_deviation(image))
    return "; ".join(text for text in found if text) or None


def ibsi_image_deviation(image: str) -> str | None:
    """How PyRadiomics' filtered image departs from IBSI 2's; None where it does not.

    >>> ibsi_image_deviation("log-sigma-1-5-mm-3D")
    'PyRadiomics multiplies the Laplacian of Gaussian by (sigma/spacing)²: divide the image by it'
    >>> ibsi_image_deviation("wavelet-HHL") is None
    True
    """
    deviations = _registry()["image_deviations"]
    return next((text for start, text in deviations.items() if image.startswith(start)), None)


def ibsi_divisor(image: str, spacing_mm: float) -> float:
    """What an image's values are divided by to be IBSI 2's: (sigma/spacing)², or 1.

    IBSI 2 takes the derivatives between voxels and does not normalise across scales; ITK, and so
    PyRadiomics, multiplies the second derivatives in millimetres by sigma².

    >>> ibsi_divisor("log-sigma-3-0-mm-3D", spacing_mm=2.0)
    2.25
    >>> ibsi_divisor("wavelet-HHL", spacing_mm=2.0)
    1.0
    """
    if not image.startswith(LOG):
        return 1.0
    sigma_mm = float(image.removeprefix(LOG).removesuffix("-mm-3D").replace("-", "."))
    return (sigma_mm / spacing_mm) ** 2
