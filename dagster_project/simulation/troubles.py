"""The planted files that no pipeline may trip over.

Captures with burned-in names, localisers, dose reports, garbage and orphans.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, XRayRadiationDoseSRStorage

from dagster_project.simulation.contour_files import save, write_contours
from dagster_project.simulation.dicom_series import ct_header
from dagster_project.simulation.headers import EXTRA_SERIES, Study, write_header
from dagster_project.simulation.reading import Outline
from dagster_project.simulation.scans import Scan


def write_trouble(kind: str, folder: Path, study: Study, scan: Scan) -> str:
    """Write the file of one trouble into a patient's folder; returns its name."""
    path = (
        folder
        / {
            "secondary_capture": f"SCREEN_{study.name_text()}.dcm",
            "localiser": f"SCOUT_{study.name_text()}.dcm",
            "dose_report": f"DOSE_{study.name_text()}.dcm",
            "garbage_file": f"{study.name_text()}.tmp",
            "truncated_file": f"LAST_{study.name_text()}.dcm",
        }[kind]
    )
    {
        "secondary_capture": _capture,
        "localiser": _localiser,
        "dose_report": _dose_report,
        "garbage_file": _garbage,
        "truncated_file": _truncated,
    }[kind](path, study, scan)
    return path.name


def write_orphan_contours(
    folder: Path, study: Study, scan: Scan, outlines: dict[str, Outline]
) -> None:
    """Contours of reader R1 for a series that was never sent.

    They are those of a study whose every UID is another.
    """
    write_contours(
        folder, OrphanStudy(study.patient, study.site, study.visit), scan, "R1", outlines
    )


class OrphanStudy(Study):
    """A study of the same patient under UIDs that no image bears."""

    def uid(self, kind: int, *more: int) -> str:
        """A UID beside the real ones."""
        return super().uid(kind + 500, *more)


def _capture(path: Path, study: Study, scan: Scan) -> None:
    dataset = _single_image(study, SecondaryCaptureImageStorage, "OT", 1)
    dataset.ImageType, dataset.ConversionType, dataset.BurnedInAnnotation = (
        ["DERIVED", "SECONDARY"],
        "WSD",
        "YES",
    )
    _set_pixels(
        dataset,
        np.kron(scan.hu[0, ::4, ::4] > -500, np.ones((2, 2), bool)).astype(np.uint8) * 200,
        8,
    )
    save(path, dataset)


def _localiser(path: Path, study: Study, scan: Scan) -> None:
    dataset = ct_header(study, scan, 0)
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = (
        study.uid(EXTRA_SERIES, 2, 1),
        study.uid(EXTRA_SERIES, 2),
    )
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    _set_pixels(dataset, (scan.hu.mean(axis=1) + 1024).clip(0).astype(np.uint16), 16)
    dataset.RescaleIntercept = "-1024"
    save(path, dataset)


def _dose_report(path: Path, study: Study, _scan: Scan) -> None:
    dataset = _single_image(study, XRayRadiationDoseSRStorage, "SR", 3)
    text = Dataset()
    text.RelationshipType, text.ValueType, text.TextValue = (
        "CONTAINS",
        "TEXT",
        f"Dose of {study.name_text()}",
    )
    dataset.ValueType, dataset.ContinuityOfContent, dataset.ContentSequence = (
        "CONTAINER",
        "SEPARATE",
        [text],
    )
    save(path, dataset)


def _garbage(path: Path, study: Study, _scan: Scan) -> None:
    path.write_bytes(
        f"not an image: {study.name_text()} {study.patient.identity.hospital_number}\n".encode()
        + bytes(range(256)) * 8
    )


def _truncated(path: Path, study: Study, scan: Scan) -> None:
    dataset = ct_header(study, scan, 0)
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = (
        study.uid(EXTRA_SERIES, 4, 1),
        study.uid(EXTRA_SERIES, 4),
    )
    _set_pixels(dataset, (scan.hu[0] + 1024).clip(0).astype(np.uint16), 16)
    save(path, dataset)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])


def _single_image(study: Study, sop_class: str, modality: str, number: int) -> Dataset:
    dataset = write_header(
        study,
        sop_class=sop_class,
        instance_uid=study.uid(EXTRA_SERIES, number, 1),
        series_uid=study.uid(EXTRA_SERIES, number),
        modality=modality,
    )
    dataset.SeriesNumber, dataset.InstanceNumber = str(900 + number), "1"
    return dataset


def _set_pixels(dataset: Dataset, pixels: np.ndarray, bits: int) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
        1,
        "MONOCHROME2",
        0,
    )
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
