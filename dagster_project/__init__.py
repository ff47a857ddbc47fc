"""A lakehouse of serial CT.

It leads from DICOM, contours and case reports to response, heterogeneity and models.
"""
