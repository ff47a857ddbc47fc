"""Places of lesions on real CTs that breathed and moved, and what wrong pairs of scans give.

    OMP_NUM_THREADS=1 python benchmarks/lesion_places.py ../shared/data [--copies 10]

A next scan is a copy of a real one: turned (up to 4 degrees about each axis), moved (up to 8 mm),
breathed (up to 12 mm at the base, 4 mm forward, the spine and the chest wall still, 1 mm of
roughness), its lesion scaled by 0.6 to 1.2, cut where the motion leaves the images, with noise of
its own. The field is made with NumPy and SciPy and inverted for the lesion's centre; the
registration is ITK's. The CTs are pieces of chests, as far as they are shared openly: whole lungs
give the registration more to hold on to.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter, map_coordinates

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.domain.imaging.lung_registration import Ct, LungsError, register_lungs
from dagster_project.domain.imaging.masks import read_outlines
from dagster_project.domain.imaging.series import read_series

WITHIN_MM = 5.0
FIELD_MM = 6.0
CHESTS = {
    "lung case_1": ("lung_ct/case_1/ct", "lung_ct/case_1/rtstruct.dcm"),
    "lung case_3": ("lung_ct/case_3/ct", "lung_ct/case_3/rtstruct.dcm"),
    "nodule": ("two_readers/ct", "two_readers/reader_1.rtstruct.dcm"),
    "sarcoma 002": ("sarcoma_ct/case_002/image", "sarcoma_ct/case_002/mask/*.dcm"),
}
LEGS = {n: f"sarcoma_ct/case_{n}/image" for n in ("019", "024")}


def lesion_of(folder, scan, contours):
    """The CT and the centre of its outlined lesion in mm."""
    series = read_series(folder / scan)
    (file,) = sorted(folder.glob(contours))
    z, y, x = np.nonzero(read_outlines(file, series)[0].mask)
    index = (float(x.mean()), float(y.mean()), float(z.mean()))
    return series.image, np.array(series.image.TransformContinuousIndexToPhysicalPoint(index))


class Breath:
    """Where each point of the next scan was on this one; axes of the patient, mm."""

    def __init__(self, image, lesion, random):
        self.hu = sitk.GetArrayFromImage(image).astype(np.float32)
        self.spacing, self.origin = np.array(image.GetSpacing()), np.array(image.GetOrigin())
        extent = np.array(image.GetSize()) * self.spacing
        self.middle, self.lesion = self.origin + extent / 2, lesion
        self.turn = turned(np.radians(random.uniform(-4, 4, 3)))
        self.shift = random.uniform(-8, 8, 3)
        self.scale = random.uniform(0.6, 1.2)
        self.field = self._breathed(extent, random)
        self.cut = np.ceil(np.minimum(np.abs(self.shift) + 4, extent * 0.15) / self.spacing)

    def _breathed(self, extent, random):
        lung = ((self.hu > -970) & (self.hu < -500)).astype(np.float32)
        soft = np.clip(2 * gaussian_filter(lung, 12 / self.spacing[::-1]), 0, 1)
        axes = [
            o + np.arange(max(2, int(e / FIELD_MM))) * FIELD_MM
            for o, e in zip(self.origin, extent, strict=True)
        ]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
        inside = self._at(soft, np.stack([x, y, z], -1))
        down = random.uniform(3, 12) * random.choice([-1, 1])
        forward = random.uniform(0, 4) * np.sign(down)
        base = np.clip((self.origin[2] + extent[2] - z) / max(extent[2], 200.0), 0, 1)
        front = np.clip((self.middle[1] - y) / 100 + 0.5, 0, 1)
        rough = [gaussian_filter(random.normal(size=x.shape), 5) for _ in range(3)]
        moved = [r / r.std() for r in rough]
        moved[1] = moved[1] + forward * front
        moved[2] = moved[2] + down * base
        return np.stack([m * inside for m in moved], -1)

    def _at(self, values, points):
        index = (points - self.origin) / self.spacing
        return map_coordinates(
            values, np.moveaxis(index[..., ::-1], -1, 0), order=1, mode="nearest"
        )

    def was(self, points):
        """Places (..., 3) on this scan of places on the next."""
        there = (points - self.middle) @ self.turn.T + self.middle + self.shift
        index = np.moveaxis(((there - self.origin) / FIELD_MM)[..., ::-1], -1, 0)
        moved = [
            map_coordinates(self.field[..., k], index, order=1, mode="nearest") for k in range(3)
        ]
        from_lesion = there + np.stack(moved, -1) - self.lesion
        near = np.exp(-((np.linalg.norm(from_lesion, axis=-1, keepdims=True) / 20) ** 2))
        return self.lesion + from_lesion * (1 + (1 / self.scale - 1) * near)

    def is_now(self):
        """The lesion's centre on the next scan."""
        place = self.lesion.copy()
        for _ in range(80):
            place = place - (self.was(place[None])[0] - self.lesion)
        assert np.linalg.norm(self.was(place[None])[0] - self.lesion) < 0.01
        return place

    def next_scan(self, random):
        """The next scan, cut where the motion leaves the images."""
        kept = [
            np.arange(int(c), n - int(c))
            for c, n in zip(self.cut, self.hu.shape[::-1], strict=True)
        ]
        axes = [o + k * s for o, k, s in zip(self.origin, kept, self.spacing, strict=True)]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
        hu = self._at(self.hu, self.was(np.stack([x, y, z], -1)))
        image = sitk.GetImageFromArray((hu + random.normal(0, 12, hu.shape)).astype(np.int16))
        image.SetSpacing(self.spacing.tolist())
        image.SetOrigin([float(axis[0]) for axis in axes])
        return image


def turned(angles):
    """Rotation by the angles about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def placed(earlier, later, lesion):
    """The lesion's place on the later scan, or the reason for none."""
    try:
        motion = register_lungs(Ct.of(earlier), Ct.of(later))
    except LungsError as error:
        return str(error)
    return (motion.matrix @ [*lesion, 1.0])[:3]


def of_copies(name, image, lesion, copies):
    """Distances in mm from where the lesion is, how far it moved, reasons, and CPU seconds."""
    off, moved, reasons, seconds = [], [], [], []
    for copy in range(copies):
        random = np.random.default_rng([copy, *name.encode()])
        breath = Breath(image, lesion, random)
        scan, truth = breath.next_scan(random), breath.is_now()
        begun = time.process_time()
        found = placed(image, scan, lesion)
        seconds.append(time.process_time() - begun)
        moved.append(float(np.linalg.norm(truth - lesion)))
        if isinstance(found, str):
            reasons.append(found)
        else:
            off.append(float(np.linalg.norm(found - truth)))
    return off, moved, reasons, seconds


def flipped(image, axis):
    """The CT mirrored along an axis of its array (z, y, x), its header as it was."""
    mirrored = sitk.GetImageFromArray(np.flip(sitk.GetArrayFromImage(image), axis).copy())
    mirrored.CopyInformation(image)
    return mirrored


def wrong_pairs(chests, legs):
    """Kind, earlier scan, later scan, lesion; and whether it still lies where it lay."""
    for (_, (one, lesion)), (_, (other, _)) in itertools.permutations(chests.items(), 2):
        yield "another patient", one, other, lesion, False
    for (one, lesion), leg in itertools.product(chests.values(), legs):
        yield "another part of the body", one, leg, lesion, False
        yield "another part of the body", leg, one, lesion, False
    for one, lesion in chests.values():
        x, _, z = (n // 2 for n in one.GetSize())
        yield "mirrored", one, flipped(one, 2), lesion, False
        yield "upside down", one, flipped(one, 0), lesion, False
        for half in (one[:x], one[x:]):
            yield "one half, left or right", one, half, lesion, True
        for half in (one[:, :, :z], one[:, :, z:]):
            yield "one half, upper or lower", one, half, lesion, True
        yield "upper half, then the lower", one[:, :, z:], one[:, :, :z], lesion, True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=10)
    options = parser.parse_args()
    chests = {name: lesion_of(options.data, *files) for name, files in CHESTS.items()}
    heads = ("lesions", "moved by, mm, median", "within 5 mm", "off by, mm, median", "largest")
    print("| CT |", " | ".join([*heads, "no place", "CPU s"]), "|")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    whole = [[], [], [], []]
    for name, (image, lesion) in chests.items():
        found = of_copies(name, image, lesion, options.copies)
        whole = [[*before, *new] for before, new in zip(whole, found, strict=True)]
        print(row(name, *found), flush=True)
    print(row("**all**", *whole))
    print()
    print("| pair | pairs | no place | placed within 5 mm | placed elsewhere |")
    print("|---|---:|---:|---:|---:|")
    counts = {}
    legs = [read_series(options.data / leg).image for leg in LEGS.values()]
    for kind, earlier, later, lesion, is_there in wrong_pairs(chests, legs):
        place = placed(earlier, later, lesion)
        right = not isinstance(place, str) and is_there
        right = right and np.linalg.norm(place - lesion) <= WITHIN_MM
        column = 0 if isinstance(place, str) else 1 if right else 2
        counts.setdefault(kind, [0, 0, 0])[column] += 1
    for kind, of in counts.items():
        print(f"| {kind} | {sum(of)} | {of[0]} | {of[1]} | {of[2]} |")


def row(name, off, moved, reasons, seconds):
    """One line of the first table."""
    near = sum(d <= WITHIN_MM for d in off)
    return (
        f"| {name} | {len(moved)} | {np.median(moved):.1f} | {near} | {np.median(off):.1f} "
        f"| {max(off):.1f} | {len(reasons)} | {np.median(seconds):.2f} |"
    )


if __name__ == "__main__":
    main()
