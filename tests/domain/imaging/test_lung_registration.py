"""How a chest moved, found on its lungs, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.domain.imaging.lung_registration import (
    CUT,
    NO_FIT,
    NO_LUNGS,
    Ct,
    LungsError,
    find_lungs,
    register_lungs,
)

SPACING = 3.0
SHAPE = (80, 80, 100)
"""Voxels as (z, y, x)."""


def chest(shift=(0.0, 0.0, 0.0), angle_deg=0.0, wide=1.0, mirrored=False):
    """Two unlike ellipsoids of lung with a heart between them in a body in air, on a mattress.

    It is moved about the origin by (x, y, z) in mm and turned about the long axis.
    """
    z, y, x = (
        (np.arange(n) - n / 2).reshape([-1 if k == axis else 1 for k in range(3)]) * SPACING
        for axis, n in enumerate(SHAPE)
    )
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    mattress = (y + 0 * x + 0 * z > 95) & (y < 110)
    x, y, z = x - shift[0], y - shift[1], z - shift[2]
    x, y = (c * x + s * y) / wide, -s * x + c * y
    x = -x if mirrored else x
    body = (x / 125) ** 2 + (y / 85) ** 2 + 0 * z < 1
    right = ((x - 48) / 36) ** 2 + (y / 56) ** 2 + (z / 85) ** 2 < 1
    left = ((x + 48) / 32) ** 2 + ((y - 8) / 48) ** 2 + ((z - 6) / 70) ** 2 < 1
    heart = ((x + 22) / 30) ** 2 + ((y + 25) / 28) ** 2 + ((z + 25) / 35) ** 2 < 1
    spine = (x / 14) ** 2 + ((y - 60) / 14) ** 2 < 1
    hu = np.where(body, 40, np.where(mattress, -900, -1000))
    hu = np.where((right | left) & ~heart, -800, hu)
    image = sitk.GetImageFromArray(np.where(spine & body, 300, hu).astype(np.int16))
    image.SetSpacing([SPACING] * 3)
    image.SetOrigin([-n / 2 * SPACING for n in reversed(SHAPE)])
    return image


def moved(point, shift, angle_deg):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    x, y, z = point
    return np.array([c * x - s * y, s * x + c * y, z]) + shift


STILL = Ct.of(chest())
PLACES = ((48.0, 0.0, 0.0), (-45.0, 20.0, 30.0))


@pytest.mark.parametrize(("shift", "angle"), [((0, 0, 0), 0), ((18, -9, 12), 0), ((6, 0, -9), 6)])
def test_a_place_is_carried_within_two_millimetres(shift, angle):
    motion = register_lungs(STILL, Ct.of(chest(shift, angle)))
    for place in PLACES:
        found = (motion.matrix @ [*place, 1.0])[:3]
        assert np.linalg.norm(found - moved(place, shift, angle)) < 2.0
    assert motion.shared > 0.9


def test_the_same_pair_gives_the_same_motion_to_the_last_digit():
    other = Ct.of(chest((18, -9, 12), 3))
    first, second = (register_lungs(STILL, other) for _ in range(2))
    assert (first.matrix == second.matrix).all()


def test_a_scan_that_is_cut_below_gives_the_place_all_the_same():
    motion = register_lungs(STILL, Ct.of(chest((18, -9, 12))[:, :, 35:]))
    assert (
        np.linalg.norm(
            (motion.matrix @ [*PLACES[1], 1.0])[:3] - (PLACES[1] + np.array((18, -9, 12)))
        )
        < 2.0
    )


def test_a_tilted_gantry_is_undone():
    sheared = chest()
    affine = Ct.of(sheared).affine.copy()
    shear = np.eye(4)
    shear[1, 2] = np.tan(np.radians(10.0))
    tilted = Ct(_sheared(sheared, shear), shear @ affine)
    for place in PLACES:
        assert (
            np.linalg.norm((register_lungs(STILL, tilted).matrix @ [*place, 1.0])[:3] - place) < 2.0
        )


def _sheared(image, shear):
    """The image whose voxels lie, by the sheared affine, where they lie in the patient."""
    return sitk.Resample(
        image,
        image,
        sitk.AffineTransform(shear[:3, :3].ravel().tolist(), shear[:3, 3].tolist()),
        sitk.sitkLinear,
        -1000.0,
    )


def test_foam_beside_the_patient_is_no_lung():
    foam = chest()
    hu = sitk.GetArrayFromImage(foam)
    hu[hu == -800] = 40
    alone = sitk.GetImageFromArray(hu)
    alone.CopyInformation(foam)
    assert not find_lungs(Ct.of(alone))[1].any()
    litres = find_lungs(STILL)[1].sum() * 4.0**3 / 1e6
    assert litres == pytest.approx((sitk.GetArrayFromImage(foam) == -800).sum() * 27 / 1e6, rel=0.2)


EMPTY = sitk.Image([40, 40, 40], sitk.sitkInt16)


@pytest.mark.parametrize(
    ("earlier", "later", "reason"),
    [
        (EMPTY, chest(), NO_LUNGS["earlier"]),
        (chest(), EMPTY, NO_LUNGS["later"]),
        (chest(), chest(wide=1.3), NO_FIT),
        (chest(), chest(mirrored=True), NO_FIT),
        (chest()[:, :, :38], chest()[:, :, 40:], CUT),
    ],
    ids=["none-earlier", "none-later", "wider", "mirrored", "halves"],
)
def test_a_motion_that_cannot_be_trusted_is_refused_by_name(earlier, later, reason):
    with pytest.raises(LungsError) as refused:
        register_lungs(Ct.of(earlier), Ct.of(later))
    assert str(refused.value) == reason
