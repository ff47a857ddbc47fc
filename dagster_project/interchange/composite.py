"""What every exported DICOM object has alike: whose it is, that dates are shifted, no clock."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from dagster_project.domain.imaging.series import Series
from dagster_project.interchange.identifiers import derived_uid

TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Elements of the source that an object needs, empty where the source has none."""

DEIDENTIFIED = ("PatientIdentityRemoved", "DeidentificationMethod")

MIDNIGHT = "000000"
"""Time of content: a true time beside shifted dates would reveal when somebody worked."""


class NotExportable(ValueError):
    """A visit of which an object cannot be made; the message says why and what to do."""


def headers_of(series: Series, datasets: Iterable[Dataset]) -> dict[int, Dataset]:
    """Header of the slice at each index of a series' stack; a slice that is missing has none.

    Where a slice states no SliceThickness, it is the distance of the slices: that of the voxels
    that the lake measures on.
    """
    found = {}
    for header in datasets:
        if header.SOPInstanceUID in series.image_places:
            if header.get("SliceThickness") is None:
                header.SliceThickness = format_number_as_ds(series.image.GetSpacing()[2])
            found[series.image_places[header.SOPInstanceUID]] = header
    return dict(sorted(found.items()))


def source_headers(datasets: Iterable[Dataset]) -> list[Dataset]:
    """Headers of one series as the builders of objects need them; the originals stay as they are.

    1. Elements of type 2 that a slice has not are empty.
    2. All slices have the orientation of the first one: the lake accepts cosines that differ in
       their last digits, and a segmentation has one.
    """
    made = []
    for dataset in datasets:
        copy = Dataset()
        copy.update(dataset)
        copy.file_meta = dataset.file_meta
        for keyword in TYPE_2:
            if keyword not in copy:
                setattr(copy, keyword, "")
        made.append(copy)
    for copy in made:
        copy.ImageOrientationPatient = made[0].ImageOrientationPatient
    return made


@contextmanager
def pseudonyms_as_names() -> Iterator[None]:
    """PatientName is a pseudonym, as in the CT: of that no library has to warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent")
        yield


def settle(dataset: Dataset, source: Dataset, date: dt.date | None, parts: object) -> None:
    """Replace what a library took from the clock or drew; say that dates are shifted.

    Parameters
    ----------
    dataset
        A new SEG or SR.
    source
        A slice of the series that it is about.
    date
        Shifted date of the scan.
    parts
        What the object's own UIDs are derived from.
    """
    day = date.strftime("%Y%m%d") if date else str(source.get("StudyDate", ""))
    dataset.ContentDate = dataset.SeriesDate = day
    dataset.ContentTime = dataset.SeriesTime = MIDNIGHT
    for keyword in (
        "InstanceCreationDate",
        "InstanceCreationTime",
        "ContributingEquipmentSequence",
    ):
        if keyword in dataset:
            del dataset[keyword]
    organisation = derived_uid("dimensions", parts)
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(name, []):
            item.DimensionOrganizationUID = organisation
    for keyword in DEIDENTIFIED:
        if keyword in source:
            setattr(dataset, keyword, source[keyword].value)
    if "DeidentificationMethodCodeSequence" in source:
        dataset.DeidentificationMethodCodeSequence = source.DeidentificationMethodCodeSequence
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
