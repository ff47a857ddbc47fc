"""De-identification of DICOM objects and masks by allowlist."""
