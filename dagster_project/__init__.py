"""A lakehouse of serial CT: from DICOM, contours and case reports to response, heterogeneity and models."""
