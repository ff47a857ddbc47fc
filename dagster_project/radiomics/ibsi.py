"""Evidence that the features mean what IBSI defines: its phantoms, value by value.

Run it with `python -m dagster_project.radiomics.ibsi DATA [--check]`.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dagster_project.radiomics.ibsi_filters import (
    CT_SPACING_MM,
    FilterVerdicts,
    filter_section,
    filter_verdicts,
)
from dagster_project.radiomics.ibsi_intensity import (
    binned_volume_histogram,
    histogram,
    local_peaks,
    statistics,
)
from dagster_project.radiomics.ibsi_morphology import morphology
from dagster_project.radiomics.ibsi_texture import DIRECTIONAL, PLAIN, texture_features
from dagster_project.radiomics.pyradiomics_engine import (
    TEXTURE_CLASSES,
    class_feature_names,
    compute_class,
)
from dagster_project.radiomics.registry import ibsi_deviation, ibsi_tag
from dagster_project.radiomics.resampling import (
    Array,
    Mask,
    bounding_box,
    isotropic_positions,
    spacing_zyx,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ibsi.md"
BEGIN, END = "<!-- begin: python -m dagster_project.radiomics.ibsi -->", "<!-- end -->"

HALF = 0.5 - 1e-6
"""Share of a voxel that an interpolated outline must cover; rounding does not decide."""


@dataclass(frozen=True)
class Configuration:
    """How IBSI prepares an image, by the reference manual's table of configurations.

    One field per line of that table.

    `planar` treats each slice by itself: interpolation in the slice, texture averaged over slices.
    `spacing_mm` None leaves the voxels. Levels are `bin_width_hu` wide from the range's lower end,
    or `bin_count` over the region's own range. `outlier_sigma` drops voxels further from the mean
    than as many standard deviations.
    """

    planar: bool = False
    spacing_mm: float | None = 2.0
    interpolator: Literal["linear", "cubic"] = "linear"
    range_hu: tuple[float, float] | None = (-1000.0, 400.0)
    outlier_sigma: float | None = None
    bin_width_hu: float | None = 25.0
    bin_count: int | None = None
    volume_histogram: float | int | None = None
    """Of the intensity-volume histogram.

    None takes whole HU, a float bins of that width, an integer so many bins.
    """


CONFIGURATIONS = {
    "A": Configuration(planar=True, spacing_mm=None, range_hu=(-500.0, 400.0)),
    "B": Configuration(planar=True, range_hu=(-500.0, 400.0), bin_width_hu=None, bin_count=32),
    "C": Configuration(volume_histogram=2.5),
    "D": Configuration(range_hu=None, outlier_sigma=3.0, bin_width_hu=None, bin_count=32),
    "E": Configuration(
        interpolator="cubic",
        outlier_sigma=3.0,
        bin_width_hu=None,
        bin_count=32,
        volume_histogram=1000,
    ),
}
"""The CT phantom's five."""

FILTERED = Configuration(spacing_mm=CT_SPACING_MM, interpolator="cubic")
"""IBSI 2's configuration B, in which the CT phantom is filtered; levels are not used."""

DIGITAL = Configuration(spacing_mm=None, range_hu=(1.0, 6.0), bin_width_hu=1.0)
"""The digital phantom comes in levels."""


@dataclass(frozen=True)
class Prepared:
    """What features are computed on.

    HU, the outline (morphology), its voxels in range (intensity) and their levels.
    """

    volume: Array
    outlined: Mask
    inside: Mask
    levels: NDArray[np.int32]
    spacing_mm: tuple[float, float, float]


def prepare(image: sitk.Image, outline: sitk.Image, configuration: Configuration) -> Prepared:
    """Interpolate, round, re-segment and discretise in IBSI's order.

    1. Image and outline on a grid centred on the scan's; HU rounded to whole numbers, the outline
       kept from one half.
    2. Intensity mask: HU within the range, then within the outlier limits (standard deviation of
       the population).
    3. Levels from 1.
    """
    volume, share, spacing = _interpolated(image, outline, configuration)
    outlined = share >= HALF
    inside = outlined & _in_range(volume, configuration.range_hu)
    if configuration.outlier_sigma is not None:
        mean, deviation = (
            float(volume[inside].mean(dtype=np.float64)),
            float(volume[inside].std(dtype=np.float64)),
        )
        inside &= np.abs(volume - mean) <= configuration.outlier_sigma * deviation
    return Prepared(volume, outlined, inside, _levels(volume, inside, configuration), spacing)


def compute_features(prepared: Prepared, *, planar: bool) -> dict[str, float]:
    """Features of a prepared phantom, keyed `class_Feature`.

    With `planar`, texture is the mean over slices.
    """
    found = _shape(prepared)
    found |= _values("firstorder", prepared, slice(None))
    box = bounding_box(prepared.inside)
    if box is None:
        return found
    slices = (
        [slice(z, z + 1) for z in range(box[0].start, box[0].stop) if prepared.inside[z].any()]
        if planar
        else [slice(None)]
    )
    for name in TEXTURE_CLASSES:
        parts = [_values(name, prepared, part) for part in slices]
        found |= {key: float(np.nanmean([part[key] for part in parts])) for key in parts[0]}
    return found


def compute_families(
    prepared: Prepared, configuration: Configuration, aggregations: Sequence[str]
) -> dict[str, float]:
    """Every feature of IBSI 1 with a reference value, keyed by its tag."""
    values = prepared.volume[prepared.inside].astype(np.float64)
    return {
        **morphology(prepared.volume, prepared.outlined, prepared.inside, prepared.spacing_mm),
        **local_peaks(prepared.volume, prepared.inside, prepared.spacing_mm),
        **statistics(values),
        **histogram(prepared.levels[prepared.inside]),
        **_volume_histogram(values, configuration),
        **texture_features(prepared.levels, prepared.outlined, aggregations),
    }


def _volume_histogram(
    values: NDArray[np.float64], configuration: Configuration
) -> dict[str, float]:
    how = configuration.volume_histogram
    width, count = (how, 0) if isinstance(how, float) else (0.0, how or 0)
    range_hu = configuration.range_hu
    return binned_volume_histogram(values, range_hu=range_hu, bin_width_hu=width, bin_count=count)


def reference_values(path: Path) -> dict[str, tuple[float, float]]:
    """Value and tolerance by tag.

    A value is printed to three digits, so that it is never known better than half the third.
    """
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter=";") if row["reference value"]]
    values = {row["tag"]: (float(row["reference value"]), float(row["tolerance"])) for row in rows}
    return {
        tag: (v, max(tol, 0.5 * 10 ** (math.floor(math.log10(abs(v))) - 2) if v else 0.0))
        for tag, (v, tol) in values.items()
    }


@dataclass(frozen=True)
class IbsiVerdict:
    """One feature beside its reference value."""

    feature: str
    tag: str
    reference: float
    tolerance: float
    value: float

    @property
    def within(self) -> bool:
        """Within the tolerance."""
        return abs(self.value - self.reference) <= self.tolerance * (1 + 1e-9)


def judge(
    found: dict[str, float], reference: dict[str, tuple[float, float]], *, planar: bool
) -> list[IbsiVerdict]:
    """Every feature that has a reference value; slice by slice the tags say 2D."""
    tags = ((name, ibsi_tag(f"original_{name}")) for name in found)
    named = ((name, tag.replace("_3D", "_2D") if planar else tag) for name, tag in tags if tag)
    return [
        IbsiVerdict(name, tag, *reference[tag], found[name])
        for name, tag in named
        if tag in reference
    ]


@dataclass(frozen=True)
class Phantom:
    """A phantom as a configuration has it prepared, and its reference values by tag."""

    prepared: Prepared
    configuration: Configuration
    reference: dict[str, tuple[float, float]]

    @property
    def aggregations(self) -> list[str]:
        """Aggregations that have reference values.

        In slices where the configuration interpolates in slices, in space where it does so in
        space, and all of them for the digital phantom.
        """
        every = [*DIRECTIONAL, *PLAIN]
        if self.configuration == DIGITAL:
            return every
        return [a for a in every if a.startswith("2") == self.configuration.planar]


def phantoms(data: Path) -> dict[str, Phantom]:
    """The digital phantom, and the CT phantom's configurations with reference values in `data`."""
    folder = data / "ibsi"
    digital = folder / "digital_phantom" / "nifti"
    image, mask = (
        sitk.ReadImage(str(digital / p), sitk.sitkFloat64)
        for p in ("image/phantom.nii.gz", "mask/mask.nii.gz")
    )
    found = {
        "digital": Phantom(
            prepare(image, mask, DIGITAL),
            DIGITAL,
            reference_values(folder / "ibsi_1_dig_phantom.csv"),
        )
    }
    for name, configuration in CONFIGURATIONS.items():
        path = folder / f"ibsi_1_chest_config_{name.lower()}.csv"
        if path.exists():
            found[name] = Phantom(
                prepare(*ct_phantom(data), configuration), configuration, reference_values(path)
            )
    return found


def judge_phantoms(data: Path) -> dict[str, list[IbsiVerdict]]:
    """Verdicts on the features of the engine that have a reference value."""
    return {name: _judged(phantom) for name, phantom in phantoms(data).items()}


def judge_families(data: Path) -> dict[str, list[IbsiVerdict]]:
    """Verdicts on all features of IBSI 1 with a reference value.

    One that is not computed is an infinite distance away.
    """
    return {name: list(_judged_families(phantom)) for name, phantom in phantoms(data).items()}


def judge_filters(data: Path) -> FilterVerdicts:
    """Verdicts on the filtered images: IBSI 2's digital phantoms, and the CT phantom."""
    prepared = prepare(*ct_phantom(data), FILTERED)
    return filter_verdicts(prepared.volume, prepared.inside)


def _judged_families(phantom: Phantom) -> Iterator[IbsiVerdict]:
    found = compute_families(phantom.prepared, phantom.configuration, phantom.aggregations)
    for tag, (reference, tolerance) in phantom.reference.items():
        if family_of(tag) in FAMILY_NAMES and "_mask_" not in tag:
            yield IbsiVerdict(tag, tag, reference, tolerance, found.get(tag, math.inf))


def ct_phantom(data: Path) -> tuple[sitk.Image, sitk.Image]:
    """The CT phantom and its outline, both as real numbers."""
    folder = data / "lung_ct" / "case_1"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "ct")))
    image = sitk.Cast(reader.Execute(), sitk.sitkFloat64)
    outline = sitk.ReadImage(str(folder / "official_mask.nii.gz"), sitk.sitkFloat64)
    outline.CopyInformation(image)
    return image, outline


FAMILY_NAMES = {
    "morph": "morphology",
    "loc": "local intensity",
    "stat": "statistics",
    "ih": "histogram",
    "ivh": "intensity-volume histogram",
    "cm": "co-occurrence",
    "rlm": "run lengths",
    "szm": "size zones",
    "dzm": "distance zones",
    "ngt": "tone differences",
    "ngl": "gray level dependence",
}
"""By the prefix of their tags."""


def family_of(tag: str) -> str:
    """The prefix of a tag.

    >>> family_of("cm_joint_max_3D_avg")
    'cm'
    """
    return tag.split("_", 1)[0]


def table(
    verdicts: dict[str, list[IbsiVerdict]],
    families: dict[str, list[IbsiVerdict]],
    filters: FilterVerdicts,
) -> str:
    """The generated part of docs/ibsi.md."""
    sections = (line for name, found in verdicts.items() for line in _section(name, found))
    return "\n".join([*_families(families), *filter_section(filters), *sections])


def _families(verdicts: dict[str, list[IbsiVerdict]]) -> Iterator[str]:
    yield (
        "\n## All families of IBSI 1, in every aggregation: "
        "within tolerance, of so many with a reference value\n"
    )
    yield (
        f"| family | {' | '.join(_title(name) for name in verdicts)} |\n"
        f"|---|{'---:|' * len(verdicts)}"
    )
    for family, words in (*FAMILY_NAMES.items(), ("", "**all**")):
        judged = [
            [v for v in found if family in {"", family_of(v.tag)}] for found in verdicts.values()
        ]
        yield (
            f"| {words} | "
            f"{' | '.join(f'{sum(v.within for v in some)} of {len(some)}' for some in judged)} |"
        )
    outside = [
        f"{v.tag} ({_title(name)}: {v.value:.6g}, reference {v.reference:.6g})"
        for name, found in verdicts.items()
        for v in found
        if not v.within
    ]
    yield f"\nOutside: {', '.join(outside) or 'none'}."


def _title(name: str) -> str:
    return "digital phantom" if name == "digital" else f"configuration {name}"


def _section(name: str, verdicts: list[IbsiVerdict]) -> Iterator[str]:
    title = "Digital phantom" if name == "digital" else f"CT phantom, configuration {name}"
    yield f"\n## {title}: {sum(v.within for v in verdicts)} of {len(verdicts)} within tolerance\n"
    yield (
        "| feature | IBSI tag | reference | tolerance | value | verdict |\n"
        "|---|---|---|---|---|---|"
    )
    for v in verdicts:
        said = (
            "within"
            if v.within
            else f"**deviates**: {ibsi_deviation(f'original_{v.feature}') or 'not explained'}"
        )
        yield (
            f"| {v.feature} | {v.tag} | {v.reference:.6g} | {v.tolerance:.3g} "
            f"| {v.value:.6g} | {said} |"
        )


def _judged(phantom: Phantom) -> list[IbsiVerdict]:
    planar = phantom.configuration.planar
    return judge(
        compute_features(phantom.prepared, planar=planar), phantom.reference, planar=planar
    )


def _interpolated(
    image: sitk.Image, outline: sitk.Image, configuration: Configuration
) -> tuple[Array, NDArray, tuple[float, float, float]]:
    old, target = spacing_zyx(image), configuration.spacing_mm
    if target is None:
        return (
            sitk.GetArrayFromImage(image).astype(np.float32),
            sitk.GetArrayFromImage(outline),
            old,
        )
    new = (old[0] if configuration.planar else target, target, target)
    positions = [
        isotropic_positions(n, a, b)
        for n, a, b in zip(reversed(image.GetSize()), old, new, strict=True)
    ]
    origin = image.TransformContinuousIndexToPhysicalPoint(
        [float(p[0]) for p in reversed(positions)]
    )
    size, spacing = [len(p) for p in reversed(positions)], list(reversed(new))
    way = sitk.sitkBSpline if configuration.interpolator == "cubic" else sitk.sitkLinear
    volume, share = (
        sitk.GetArrayFromImage(
            sitk.Resample(
                part, size, sitk.Transform(), method, origin, spacing, image.GetDirection()
            )
        )
        for part, method in ((image, way), (outline, sitk.sitkLinear))
    )
    return np.rint(volume).astype(np.float32), share, new


def _in_range(volume: Array, range_hu: tuple[float, float] | None) -> Mask:
    return (
        np.ones(volume.shape, dtype=bool)
        if range_hu is None
        else (volume >= range_hu[0]) & (volume <= range_hu[1])
    )


def _levels(volume: Array, inside: Mask, configuration: Configuration) -> NDArray[np.int32]:
    low = float(volume[inside].min())
    if configuration.bin_count is not None:
        width = (float(volume[inside].max()) - low) / configuration.bin_count
        numbers = np.minimum(np.floor((volume - low) / width) + 1, configuration.bin_count)
    elif configuration.bin_width_hu is None:
        raise ValueError("a configuration needs bin_width_hu or bin_count")
    else:
        start = low if configuration.range_hu is None else configuration.range_hu[0]
        numbers = np.floor((volume - start) / configuration.bin_width_hu) + 1
    return np.where(inside, numbers, 0).astype(np.int32)


def _values(feature_class: str, prepared: Prepared, part: slice) -> dict[str, float]:
    inside, levels = (
        np.ascontiguousarray(prepared.inside[part]),
        np.ascontiguousarray(prepared.levels[part]),
    )
    count = int(prepared.levels.max()) if feature_class == "glcm" else None
    found = compute_class(
        feature_class, prepared.volume[part], inside, levels, spacing_mm=1.0, level_count=count
    )
    return {
        f"{feature_class}_{name}": math.nan if value is None else value
        for name, (value, _) in found.items()
    }


def _shape(prepared: Prepared) -> dict[str, float]:
    """Morphology from PyRadiomics itself, since voxels need not be isotropic here."""
    from radiomics import shape

    mask = sitk.GetImageFromArray(prepared.outlined.astype(np.uint8))
    mask.SetSpacing(tuple(reversed(prepared.spacing_mm)))
    calculator = shape.RadiomicsShape(mask, mask)
    return {
        f"shape_{name}": float(getattr(calculator, f"get{name}FeatureValue")())
        for name in class_feature_names("shape")
    }


def main() -> int:
    """Write the table into docs/ibsi.md, or compare it with what stands there."""
    parser = argparse.ArgumentParser(description="The table of docs/ibsi.md, from the phantoms.")
    parser.add_argument("data", type=Path, help="folder that holds ibsi/ and lung_ct/")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the document differs"
    )
    chosen = parser.parse_args()
    standing = DOCUMENT.read_text(encoding="utf-8")
    head, tail = standing.split(BEGIN)[0], standing.split(END)[1]
    data = chosen.data
    found = table(judge_phantoms(data), judge_families(data), judge_filters(data))
    written = f"{head}{BEGIN}\n{found}\n\n{END}{tail}"
    if chosen.check:
        print(
            "docs/ibsi.md is up to date"
            if written == standing
            else "docs/ibsi.md is stale: run this without --check"
        )
        return int(written != standing)
    DOCUMENT.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
