"""What two blinded readers leave in their folders."""

from __future__ import annotations

from random import Random

import numpy as np
from pydicom.dataset import Dataset

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import (
    Delivery,
    Lesion,
    Structures,
    Visit,
    axes,
    get_hu,
    lesion_contours,
    measure,
    slice_heights,
    structure_set,
)
from benchmarks.deliveries.site import Site


def _of_reader(visit: Visit, reader: str) -> Dataset:
    content = next(s for s in visit.structures if s.folder == f"reads/{reader}").content
    assert isinstance(content, Dataset)
    return content


def _redraw(one: Delivery, visit: Visit, reader: str, lesions: list[Lesion]) -> None:
    drawn = next(s for s in visit.structures if s.folder == f"reads/{reader}")
    rois = [(lesion.label, lesion_contours(lesion, visit.slices)) for lesion in lesions]
    drawn.content = structure_set(visit, one.number, rois, place=5 if reader == "R1" else 6)


@distortion("readers", "either", readers=True, n_lesions=2)
def labels_swapped(one: Delivery, rng: Random) -> None:
    """The second reader numbers the two lesions the other way round."""
    for visit in one.visits:
        made = _of_reader(visit, "R2")
        first, second = made.StructureSetROISequence
        first.ROIName, second.ROIName = second.ROIName, first.ROIName


@distortion("readers", "either", readers=True, n_lesions=2)
def labels_swapped_at_one_visit(one: Delivery, rng: Random) -> None:
    """The second reader confuses the two lesions at one visit."""
    made = _of_reader(rng.choice(one.visits), "R2")
    first, second = made.StructureSetROISequence
    first.ROIName, second.ROIName = second.ROIName, first.ROIName


@distortion("readers", "refused", readers=True, of="sheets")
def second_reader_absent(site: Site, rng: Random) -> None:
    """The second reader has delivered nothing."""
    del site.sheets["reads/R2/lesions.csv"]
    site.locks["R2"] = None
    for one in site.deliveries:
        del one.reads["R2"]
        for visit in one.visits:
            visit.structures = [s for s in visit.structures if s.folder != "reads/R2"]


@distortion("readers", "refused", readers=True, of="sheets")
def second_reader_unlocked(site: Site, rng: Random) -> None:
    """The second reader has not locked."""
    site.locks["R2"] = None


@distortion("readers", "refused", readers=True, of="sheets")
def lock_without_a_time(site: Site, rng: Random) -> None:
    """LOCKED holds no time."""
    site.locks["R2"] = rng.choice(["done\n", "2026-13-40\n", "OK 2026\n"])


@distortion("readers", "refused", readers=True)
def two_rows_of_one_lesion(one: Delivery, rng: Random) -> None:
    """A reader's list names one lesion twice at a visit, the second time as a non-target."""
    row = dict(rng.choice(one.reads["R1"]))
    one.reads["R1"].append({**row, "role": "non_target"})


@distortion("readers", "refused", readers=True)
def lesion_not_listed(one: Delivery, rng: Random) -> None:
    """A lesion was outlined and does not stand in the reader's list of that visit."""
    one.reads["R1"].remove(rng.choice(one.reads["R1"]))


@distortion("readers", "either", readers=True)
def second_reader_much_larger(one: Delivery, rng: Random) -> None:
    """The second reader's outlines are larger by half at one visit."""
    visit = rng.choice(one.visits)
    _redraw(one, visit, "R2", [lesion.grown(1.5) for lesion in visit.lesions])


@distortion("readers", "right", readers=True)
def roi_named_otherwise(one: Delivery, rng: Random) -> None:
    """Contours bear another label than the list, and the list says which."""
    for visit in one.visits:
        for reader in ("R1", "R2"):
            _of_reader(visit, reader).StructureSetROISequence[0].ROIName = "Contour 7"
    for rows in one.reads.values():
        for row in rows:
            row["roi"] = "Contour 7"


@distortion("readers", "refused", readers=True)
def absent_and_outlined(one: Delivery, rng: Random) -> None:
    """A lesion is marked absent and yet outlined."""
    rng.choice(one.reads["R1"])["present"] = "n"


@distortion("readers", "refused", readers=True)
def typo_in_a_label(one: Delivery, rng: Random) -> None:
    """The list of a reader misspells the lesion at one visit."""
    row = rng.choice(one.reads["R1"])
    row["lesion"] = f"{row['lesion']}l"


@distortion("readers", "refused", readers=True)
def role_of_no_kind(one: Delivery, rng: Random) -> None:
    """The list of a reader gives a role that is none."""
    rng.choice(one.reads["R1"])["role"] = rng.choice(["measurable", "T", "?", "yes"])


@distortion("readers", "refused", readers=True, alone=True)
def series_of_nobody(one: Delivery, rng: Random) -> None:
    """The list names a series that was not sent."""
    for row in one.reads["R1"]:
        row["visit_date"], row["series_uid"] = "", "1.2.826.0.1.3680043.10.778.9999.1"


@distortion("readers", "right", readers=True, alone=True)
def by_series_not_date(one: Delivery, rng: Random) -> None:
    """The lists name series in place of dates."""
    for rows in one.reads.values():
        for row in rows:
            visit = next(v for v in one.visits if f"{v.date:%Y-%m-%d}" == row["visit_date"])
            row["visit_date"], row["series_uid"] = "", visit.series_uid


@distortion("readers", "right", readers=True)
def contours_of_a_reader_beside_the_images(one: Delivery, rng: Random) -> None:
    """A treatment plan's larger outline of the same lesion lies under dicom/ beside both reads.

    It is a read of the site's own, and no other figure changes.
    """
    visit = rng.choice(one.visits)
    grown = [lesion.grown(1.3) for lesion in visit.lesions]
    hu, (xs, ys) = np.stack([get_hu(s) for s in visit.slices]), axes()
    visit.truth_of["SITE"] = {
        lesion.label: measure(lesion.mask(xs, ys, slice_heights()), hu) for lesion in grown
    }
    rois = [(lesion.label, lesion_contours(lesion, visit.slices)) for lesion in grown]
    visit.extra.append(
        Structures(
            "dicom", f"plan_{one.serial}.dcm", structure_set(visit, one.number, rois, place=8)
        )
    )


@distortion("readers", "refused", readers=True)
def new_before_treatment(one: Delivery, rng: Random) -> None:
    """Both readers call the lesion new at the visit before treatment."""
    for rows in one.reads.values():
        for row in rows:
            if row["visit_date"] == f"{one.visits[0].date:%Y-%m-%d}":
                row["role"] = "new"
