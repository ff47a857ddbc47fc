"""DICOM headers as hospitals write them, full of people.

Names are in three character sets, at every depth, in private blocks and free text.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from dagster_project.simulation.biology import Patient
from dagster_project.simulation.identities import SiteIdentity
from dagster_project.simulation.plan import VISITS

CT_SERIES, FRAME_OF_REFERENCE, EXTRA_SERIES, READER_SERIES = 2, 3, 4, 10
"""What the number after the visit's in a UID stands for."""

FIRST_INSTANCE = 1001
"""Instances count from here, so that the UIDs of a series are of one length."""

PRIVATE_CREATOR = "CLINIC PACS 2.1"
"""Owner of the private blocks."""


@dataclass(frozen=True)
class Study:
    """One visit of one patient as the hospital knows it."""

    patient: Patient
    site: SiteIdentity
    visit: str

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID (0020,000D)."""
        return self.uid(1)

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID (0020,000E) of the CT."""
        return self.uid(CT_SERIES)

    def uid(self, kind: int, *more: int) -> str:
        """A UID below the patient's root."""
        return ".".join(
            map(str, (self.patient.identity.uid_root, VISITS.index(self.visit) + 1, kind, *more))
        )

    def instance_uid(self, index: int) -> str:
        """SOPInstanceUID (0008,0018) of the CT slice of that index, from 0 at the lowest z."""
        return f"{self.series_uid}.{FIRST_INSTANCE + index}"

    @property
    def date(self) -> str:
        """StudyDate as DICOM writes it."""
        return self.patient.visit_date(self.visit).strftime("%Y%m%d")

    def name_text(self) -> str:
        """The patient's name as this site writes it in free text."""
        return self.patient.identity.name.text(chinese=self.patient.site.chinese)


def write_header(
    study: Study, *, sop_class: str, instance_uid: str, series_uid: str, modality: str
) -> Dataset:
    """Patient, study, equipment and everything beside them that identifies someone.

    The caller adds what the object itself is.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = study.patient.site.charset
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance_uid
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.Modality = (
        series_uid,
        study.study_uid,
        modality,
    )
    _add_patient(dataset, study)
    _add_study(dataset, study)
    _add_people(dataset, study)
    _add_equipment(dataset, study)
    _add_nested(dataset, study)
    _add_private(dataset, study)
    return dataset


def _add_patient(dataset: Dataset, study: Study) -> None:
    identity, chinese = study.patient.identity, study.patient.site.chinese
    dataset.PatientName = identity.name.person_name(chinese=chinese)
    dataset.PatientID = identity.hospital_number
    dataset.IssuerOfPatientID = study.site.station
    dataset.PatientBirthDate = identity.birth_date.strftime("%Y%m%d")
    dataset.PatientSex = identity.sex
    dataset.PatientAge = f"{age_on(study):03d}Y"
    dataset.PatientAddress = identity.address
    dataset.PatientTelephoneNumbers = identity.telephone
    dataset.PatientMotherBirthName = identity.mother.person_name(chinese=chinese)
    dataset.OtherPatientNames = identity.name.person_name(chinese=chinese)
    dataset.PatientComments = f"{study.name_text()} {identity.telephone} {identity.address}"


def age_on(study: Study) -> int:
    """Age in completed years on the day of the scan."""
    born, day = study.patient.identity.birth_date, study.patient.visit_date(study.visit)
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _add_study(dataset: Dataset, study: Study) -> None:
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = (
        study.date
    )
    dataset.StudyTime, dataset.SeriesTime = "101530", "101742"
    dataset.AccessionNumber = study.patient.identity.accession(study.visit)
    dataset.StudyID = study.patient.identity.accession(study.visit)
    dataset.StudyDescription = (
        f"胸部CT增强 {study.name_text()} 复查"
        if study.patient.site.chinese
        else f"Chest CT of {study.name_text()}"
    )
    dataset.SeriesDescription = f"THORAX 1.0 {study.name_text()}"
    dataset.ProtocolName = f"Thorax {study.patient.identity.hospital_number}"
    dataset.ImageComments = (
        f"{study.name_text()} tel {study.patient.identity.telephone}, "
        f"reported to {_physician(study, 0)}"
    )
    dataset.AdmittingDiagnosesDescription = f"NSCLC, {study.name_text()}"


def _physician(study: Study, number: int) -> str:
    return study.site.physicians[number].text(chinese=study.patient.site.chinese)


def _add_people(dataset: Dataset, study: Study) -> None:
    names = [name.person_name(chinese=study.patient.site.chinese) for name in study.site.physicians]
    dataset.ReferringPhysicianName, dataset.PerformingPhysicianName, dataset.OperatorsName = names
    dataset.PhysiciansOfRecord = names[0]
    dataset.NameOfPhysiciansReadingStudy = names[1]
    dataset.RequestingPhysician = names[2]


def _add_equipment(dataset: Dataset, study: Study) -> None:
    scanner = study.patient.site.scanner
    dataset.Manufacturer, dataset.ManufacturerModelName = scanner.manufacturer, scanner.model
    dataset.InstitutionName = (
        study.site.institution if study.patient.site.chinese else study.site.institution_latin
    )
    dataset.InstitutionAddress = study.site.institution_address
    dataset.StationName = study.site.station
    dataset.DeviceSerialNumber = study.site.device_serial
    dataset.DeviceUID = f"{study.site.uid_root}.7"


def _add_nested(dataset: Dataset, study: Study) -> None:
    identity, chinese = study.patient.identity, study.patient.site.chinese
    request, other, old, referenced = Dataset(), Dataset(), Dataset(), Dataset()
    request.RequestedProcedureDescription = f"CT {study.name_text()}"
    request.RequestedProcedureID = identity.accession(study.visit)
    request.ScheduledProcedureStepDescription = (
        f"Thorax {study.name_text()} {identity.hospital_number}"
    )
    other.PatientID, other.TypeOfPatientID = identity.national_number, "TEXT"
    old.PatientName = identity.mother.person_name(chinese=chinese)
    old.PatientID = identity.national_number
    original = Dataset()
    original.ModifiedAttributesSequence = [old]
    original.AttributeModificationDateTime, original.ModifyingSystem = (
        f"{study.date}101530",
        study.site.station,
    )
    original.SourceOfPreviousValues, original.ReasonForTheAttributeModification = (
        study.site.institution_latin,
        "CORRECT",
    )
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = (
        "1.2.840.10008.3.1.2.3.1",
        study.uid(9, 1),
    )
    dataset.RequestAttributesSequence = [request]
    dataset.OtherPatientIDsSequence = [other]
    dataset.OriginalAttributesSequence = [original]
    dataset.ReferencedStudySequence = [referenced]


def _add_private(dataset: Dataset, study: Study) -> None:
    identity = study.patient.identity
    block = dataset.private_block(0x0009, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", f"{study.name_text()} {identity.national_number}")
    block.add_new(0x02, "UN", f"{identity.name.latin} {identity.hospital_number}".encode("latin-1"))
    nested = Dataset()
    nested.PatientName = identity.name.person_name(chinese=study.patient.site.chinese)
    block.add_new(0x03, "SQ", [nested])
    dataset.private_block(0x0029, PRIVATE_CREATOR, create=True).add_new(
        0x10, "LT", f"{study.name_text()}, {identity.address}"
    )
