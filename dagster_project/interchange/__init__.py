"""Results in the formats of other systems: DICOM SEG, DICOM SR and FHIR."""
