"""Text drawn into CT slices: how much is found, by kind.

Also false alarms on real scans and phantoms, and the time that a slice takes.

    python benchmarks/text_in_pixels.py [--variants 600] [--seed 1]

Real backgrounds are the CT series of ../shared/data (each with its own rescale); phantoms are those
of `benchmarks/scanned.py` and the simulated chest. A variant is one text on one series: on a single
slice, or on every slice of it, where the series counts as found when any slice is. Fonts are those
of requirements/debian.txt (DejaVu, Noto CJK). Legible is text whose ink differs from what it covers
by 200 HU or more; other draws are drawn anew.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scanned import PHANTOMS, scan
from dagster_project.intake.dicom.text_in_pixels import holds_text
from dagster_project.simulation.anatomy import build_anatomy, draw_patterns
from dagster_project.simulation.plan import DEMO

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
LATIN, CHINESE = "/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/opentype/noto"
FONTS = {
    "DejaVu Sans": (f"{LATIN}/DejaVuSans.ttf", 0),
    "DejaVu Sans bold": (f"{LATIN}/DejaVuSans-Bold.ttf", 0),
    "DejaVu Mono": (f"{LATIN}/DejaVuSansMono.ttf", 0),
    "Noto Sans CJK": (f"{CHINESE}/NotoSansCJK-Regular.ttc", 2),
    "Noto Sans CJK bold": (f"{CHINESE}/NotoSansCJK-Bold.ttc", 2),
    "Noto Serif CJK": (f"{CHINESE}/NotoSerifCJK-Regular.ttc", 2),
}
TEXTS = {
    "Latin": ("WANG XIAOMING", "Li Na 1961-04-09", "ZHANG WEI M 62Y", "Dr. Smith, St. Mary"),
    "digits": ("ZY0012345", "19610409", "1961-04-09 10:15", "ID 4471290"),
    "Chinese": ("王小明", "张伟 61岁", "欧阳慕容 男", "北京协和医院"),
}
SIZES = (8, 10, 12, 14, 18, 24, 32)
CONTRASTS: dict[str, int] = {
    "white, clipped": 3071,
    "bright": 1500,
    "grey": 400,
    "black": -1000,
    "outlined": 3071,
}
FORMS = ("plain", "smoothed", "turned 90°", "turned 270°")
SLICES = ("one slice", "all slices")
CODINGS = ("as stored", "JPEG 8 bit, quality 90", "JPEG 8 bit, quality 75", "JPEG 2000 10:1")
LEAST_HU = 200
CODING_SHARES = (0.79, 0.07, 0.07, 0.07)

Hounsfield = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Variant:
    """One text on one series."""

    series: str
    alphabet: str
    text: str
    font: str
    size: int
    contrast: str
    form: str
    slices: str
    coding: str


def read_real() -> dict[str, list[Hounsfield]]:
    """HU of every CT slice of the real data, by series."""
    found = defaultdict(list)
    for file in sorted(SHARED.rglob("*")):
        dataset = _dataset(file)
        if dataset is not None:
            hu = dataset.pixel_array * float(dataset.get("RescaleSlope", 1) or 1) + float(
                dataset.get("RescaleIntercept", 0) or 0
            )
            if hu.ndim == 2:
                found[
                    f"{file.parent.relative_to(SHARED)} {str(dataset.SeriesInstanceUID)[-6:]}"
                ].append(np.rint(hu).clip(-8192, 20000).astype(np.int16))
    return dict(found)


def _dataset(file: Path) -> pydicom.Dataset | None:
    if not file.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(file)
            return (
                dataset
                if dataset.get("SOPClassUID") == CT_CLASS and dataset.pixel_array is not None
                else None
            )
    except Exception:  # a file of the oddities that is no DICOM, or cannot be decoded
        return None


def simulated() -> list[Hounsfield]:
    """Slices of the simulator's chest, with noise."""
    patterns = draw_patterns(DEMO, 0)
    volume = build_anatomy(DEMO, 0, 0, patterns)
    return [
        np.rint(one + 25 * noise).clip(-1024, 3071).astype(np.int16)
        for one, noise in zip(volume, patterns.noise, strict=True)
    ][::6]


def draw_variants(series: Sequence[str], seed: int) -> Iterator[Variant]:
    """Variants without end, each drawn by itself."""
    random = np.random.default_rng(seed)
    while True:
        alphabet = str(random.choice(list(TEXTS)))
        fonts = [name for name in FONTS if ("CJK" in name) or alphabet != "Chinese"]
        yield Variant(
            str(random.choice(series)),
            alphabet,
            str(random.choice(TEXTS[alphabet])),
            str(random.choice(fonts)),
            int(random.choice(SIZES)),
            str(random.choice(list(CONTRASTS))),
            str(random.choice(FORMS)),
            str(random.choice(SLICES)),
            str(random.choice(CODINGS, p=CODING_SHARES)),
        )


@cache
def ink(text: str, font: str, size: int, form: str, outline: int) -> npt.NDArray[np.float64]:
    """The share of each pixel that the letters cover."""
    face, index = FONTS[font]
    letters = ImageFont.truetype(face, size, index=index)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(
        (0, 0), text, font=letters, stroke_width=outline
    )
    picture = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    pen = ImageDraw.Draw(picture)
    pen.fontmode = "1" if form == "plain" else "L"
    pen.text((1 - left, 1 - top), text, fill=255, font=letters, stroke_width=outline)
    return np.rot90(np.asarray(picture) / 255, {"turned 90°": 1, "turned 270°": 3}.get(form, 0))


def draw(hu: Hounsfield, variant: Variant, at: tuple[int, int]) -> tuple[Hounsfield, float]:
    """A slice with the text, and the contrast of its ink with what lay there."""
    layers = [
        (
            ink(variant.text, variant.font, variant.size, variant.form, 0),
            CONTRASTS[variant.contrast],
        )
    ]
    if variant.contrast == "outlined":
        layers.insert(0, (ink(variant.text, variant.font, variant.size, variant.form, 1), -1000))
    found = hu.astype(float)
    for cover, value in layers:
        top, left = (
            a + (o - n) // 2 for a, o, n in zip(at, layers[0][0].shape, cover.shape, strict=True)
        )
        window = found[top : top + cover.shape[0], left : left + cover.shape[1]]
        contrast = abs(float(np.median(window[cover > 0.5])) - value)
        window[:] = window * (1 - cover) + value * cover
    return np.rint(found).astype(np.int16), contrast


def coded(hu: Hounsfield, coding: str) -> tuple[npt.NDArray[np.integer], float, float]:
    """Stored values after a lossy coding, slope and intercept."""
    if coding == "as stored":
        return hu, 1.0, 0.0
    if coding.startswith("JPEG 2000"):
        return (
            _through(
                hu.clip(-1024, 3071).astype(np.int32) + 1024,
                "JPEG2000",
                irreversible=True,
                quality_mode="rates",
                quality_layers=[10],
            ),
            1.0,
            -1024.0,
        )
    grey = np.rint((hu.clip(-1024, 3071).astype(float) + 1024) / 4095 * 255)
    return _through(grey.astype(np.uint8), "JPEG", quality=int(coding[-2:])), 4095 / 255, -1024.0


def _through(
    values: npt.NDArray[np.integer], form: str, **settings: object
) -> npt.NDArray[np.integer]:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint16) if form == "JPEG2000" else values).save(
        buffer, form, **settings
    )
    return np.asarray(Image.open(buffer)).astype(np.uint16 if form == "JPEG2000" else np.uint8)


def is_found(
    planes: Sequence[Hounsfield], variant: Variant, random: np.random.Generator
) -> bool | None:
    """Whether a variant is found; None where it has no room or is not legible."""
    shape = ink(
        variant.text, variant.font, variant.size, variant.form, int(variant.contrast == "outlined")
    ).shape
    room = [side - wanted for side, wanted in zip(planes[0].shape, shape, strict=True)]
    if min(room) < 2:
        return None
    at = (int(random.integers(1, room[0])), int(random.integers(1, room[1])))
    chosen = (
        range(0, len(planes), max(1, len(planes) // 12))
        if variant.slices == "all slices"
        else [int(random.integers(len(planes)))]
    )
    drawn = [draw(planes[k], variant, at) for k in chosen]
    if max(contrast for _, contrast in drawn) < LEAST_HU:
        return None
    return any(
        holds_text(*coded(hu, variant.coding)) for hu, contrast in drawn if contrast >= LEAST_HU
    )


def measure(
    series: dict[str, list[Hounsfield]], count: int, seed: int
) -> list[tuple[Variant, bool]]:
    random, found = np.random.default_rng(seed + 1), []
    for variant in draw_variants(list(series), seed):
        answer = is_found(series[variant.series], variant, random)
        if answer is not None:
            found.append((variant, answer))
        if len(found) == count:
            return found
    return found


def false_alarms(series: dict[str, list[Hounsfield]]) -> Iterator[tuple[str, int, int, float]]:
    """Series, slices, slices with an alarm, and milliseconds of CPU a slice."""
    for name, planes in series.items():
        start = time.process_time()
        alarms = sum(holds_text(plane) for plane in planes)
        yield name, len(planes), alarms, (time.process_time() - start) / len(planes) * 1000


def speed(planes: Sequence[Hounsfield], rounds: int = 5) -> float:
    """The least milliseconds of CPU a slice, of some rounds."""
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        for plane in planes:
            holds_text(plane)
        spent.append((time.process_time() - start) / len(planes) * 1000)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    real = read_real()
    backgrounds = {**real, "simulated chest": simulated()}
    found = measure(
        {name: planes for name, planes in backgrounds.items() if planes[0].shape[0] >= 128},
        given.variants,
        given.seed,
    )
    print_found(found)
    print_alarms(real, backgrounds["simulated chest"])
    large = [plane for planes in real.values() for plane in planes if plane.shape == (512, 512)]
    print(
        f"\n{speed(large[:40]):.2f} ms of CPU a slice of 512 × 512, the least of 5 rounds "
        f"over {len(large[:40])} slices"
    )


def print_found(found: Sequence[tuple[Variant, bool]]) -> None:
    print("| kind | | found | of |\n|---|---|---|---|")
    for kind in ("coding", "contrast", "alphabet", "size", "form", "slices", "font"):
        counts: dict[object, Counter[bool]] = defaultdict(Counter)
        for variant, answer in found:
            counts[getattr(variant, kind)][answer] += 1
        for value in sorted(counts, key=str):
            print(f"| {kind} | {value} | {counts[value][True]} | {counts[value].total()} |")
    print(f"| **all** | | {sum(a for _, a in found)} | {len(found)} |")
    for variant, answer in found:
        if not answer:
            print("missed:", variant, file=sys.stderr)


def print_alarms(real: dict[str, list[Hounsfield]], chest: list[Hounsfield]) -> None:
    print("\n| without text | slices | alarms | ms a slice |\n|---|---|---|---|")
    scanned = {
        f"phantom, {name}": [
            scan(objects, seed, sharp=sharp) for seed, sharp in enumerate((False, True))
        ]
        for name, objects in PHANTOMS.items()
    }
    for name, slices, alarms, spent in false_alarms({**real, "simulated chest": chest, **scanned}):
        print(f"| {name} | {slices} | {alarms} | {spent:.2f} |")


if __name__ == "__main__":
    main()
