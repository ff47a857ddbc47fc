"""Recognises files that are neither DICOM nor a mask, by their first bytes or their ending.

Each is refused with what it is and what to export instead.
"""

from __future__ import annotations

from collections.abc import Sequence

_INSTEAD = "export the lesions as DICOM SEG or RTSTRUCT on their CT series"

SURFACE = f"is a surface, which has no voxels of a CT; {_INSTEAD}"
ANNOTATION = f"is an annotation in XML or JSON (AIM, markups), which is not read; {_INSTEAD}"
SCENE = f"is a workspace of a program; {_INSTEAD}"
SECOND_FILE = (
    "is a mask whose header and voxels are two files; save it as one file (.nrrd, .mha or .nii.gz)"
)
NAMELESS_MASK = (
    "is a mask without the ending of one; "
    "name it <SeriesInstanceUID>__<lesion>.nii.gz (.nii, .nrrd, .mha)"
)
MASK_AMONG_IMAGES = (
    "is a mask, which has no patient of its own; put it into a reader's folder below reads/"
)
ARCHIVE = "is an archive; unpack it, and deliver the files in it"
WORKBOOK = (
    "is a workbook; a reader's list of lesions is lesions.csv or lesions.xlsx, "
    "the case report lies under clinical/"
)
PICTURE = (
    "is a picture or a document, which is not taken in; "
    "leave it out, or send the original DICOM images"
)
ARRAY = f"is an array without a place in the patient; {_INSTEAD}"

_BEGINNINGS: Sequence[tuple[bytes, str]] = (
    (b"NRRD000", NAMELESS_MASK),
    (b"ObjectType", NAMELESS_MASK),
    (b"\x5c\x01\0\0", NAMELESS_MASK),
    (b"\0\0\x01\x5c", NAMELESS_MASK),
    (b"\x93NUMPY", ARRAY),
    (b"MATLAB", ARRAY),
    (b"\x89HDF", ARRAY),
    (b"solid ", SURFACE),
    (b"# vtk", SURFACE),
    (b"ply\n", SURFACE),
    (b"<VTKFile", SURFACE),
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"%PDF", PICTURE),
    (b"GIF8", PICTURE),
    (b"BM", PICTURE),
    (b"\xd0\xcf\x11\xe0", WORKBOOK),
    (b"Rar!", ARCHIVE),
    (b"7z\xbc\xaf", ARCHIVE),
    (b"<?xml", ANNOTATION),
    (b"{", ANNOTATION),
    (b"[", ANNOTATION),
)
"""First bytes of a file, and what it is; the first that fits counts."""

_ENDINGS: Sequence[tuple[tuple[str, ...], str]] = (
    ((".mhd", ".nhdr", ".hdr", ".img", ".img.gz", ".raw", ".raw.gz", ".zraw"), SECOND_FILE),
    ((".stl", ".obj", ".vtk", ".vtp", ".ply", ".3mf"), SURFACE),
    ((".mrb", ".mrml", ".mitk", ".snap"), SCENE),
    ((".xml", ".json", ".fcsv", ".aim"), ANNOTATION),
    ((".npy", ".npz", ".mat", ".h5", ".hdf5"), ARRAY),
    ((".xlsx", ".xls", ".csv", ".ods"), WORKBOOK),
    ((".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz"), ARCHIVE),
    (
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".pdf", ".doc", ".docx", ".txt"),
        PICTURE,
    ),
)
"""Endings, and what they mean where the first bytes say nothing."""

DICOM_AT = 128


def other_format(name: str, data: bytes, *, mask: bool) -> str | None:
    """What a file that is not DICOM is, and what to deliver instead.

    None for DICOM and for an unknown format.

    Parameters
    ----------
    name
        The file's name: only its ending is looked at, nothing of it is quoted.
    mask
        Whether it ends as a mask does, and lies where masks are not read.

    Examples
    --------
    >>> other_format("lesion.stl", b"solid lesion", mask=False) == SURFACE
    True
    >>> other_format("IM0001", bytes(128) + b"DICM", mask=False) is None
    True
    """
    if data[DICOM_AT : DICOM_AT + 4] == b"DICM":
        return None
    if mask:
        return MASK_AMONG_IMAGES
    by_ending = next((what for endings, what in _ENDINGS if name.lower().endswith(endings)), None)
    if by_ending is not None:
        return by_ending
    if data.startswith(b"PK\x03\x04"):
        return WORKBOOK if b"xl/" in data else ARCHIVE
    return next(
        (
            what
            for beginning, what in _BEGINNINGS
            if data.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(beginning)
        ),
        None,
    )
