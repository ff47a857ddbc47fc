"""Secrets planted in every VR, private block and depth do not come out.

What the study needs comes out unchanged.
"""

import datetime as dt
import io
import re
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID_dictionary

from dagster_project.intake.dicom.allowlists import LABEL_MAP_SEG, load_allowlists
from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.dicom.identifiers import make_needles
from dagster_project.intake.refusals import RefusedError
from tests.intake.builders import (
    CT_CLASS,
    KEYS,
    PERSON,
    ROOT,
    code,
    ct,
    image,
    plant,
    read_back,
    rtstruct,
    seg,
    seg_mask,
    to_bytes,
)

SECRET = b"Qxzvkw Zhang"
BUILDERS = {"CT": ct, "RTSTRUCT": rtstruct, "SEG": seg}


def clean(ds, person=PERSON):
    return deidentify(open_source(to_bytes(ds) if isinstance(ds, Dataset) else ds), person)


def leaves(data: bytes, secret: bytes = SECRET) -> bool:
    return any(
        part in data
        for part in (secret, secret.split()[0], secret.upper(), secret.split()[0].lower())
    )


# ── planted secrets ──

TEXT_VRS = [
    "AE",
    "AS",
    "CS",
    "DA",
    "DS",
    "DT",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "ST",
    "TM",
    "UC",
    "UI",
    "UR",
    "UT",
]
BINARY_VRS = [
    "OB",
    "OD",
    "OF",
    "OL",
    "OV",
    "OW",
    "UN",
    "SV",
    "UV",
    "US",
    "SS",
    "UL",
    "SL",
    "FL",
    "FD",
    "AT",
]


@pytest.mark.parametrize("vr", TEXT_VRS + BINARY_VRS)
@pytest.mark.parametrize("kind", sorted(BUILDERS))
def test_a_secret_of_any_vr_goes_from_private_blocks_at_every_depth(kind, vr):
    ds = BUILDERS[kind]()
    secret = SECRET + b"    "  # 16 bytes: a whole number of values of every VR
    deepest, middle = Dataset(), Dataset()
    plant(deepest, 0x00091002, vr, secret)
    middle.add_new(0x00091003, "SQ", [deepest])
    middle.add_new(0x00081140, "SQ", [deepest])
    plant(ds, 0x00090010, "LO", b"CLINIC PACS")
    plant(ds, 0x00091001, vr, secret)
    ds.add_new(0x00091005, "SQ", [middle])
    ds.add_new(0x00400275, "SQ", [middle])
    data = to_bytes(ds)
    assert data.count(b"Qxzvkw") == 5
    assert not leaves(clean(data).data)


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientAddress",
        "PatientComments",
        "AdditionalPatientHistory",
        "InstitutionName",
        "StationName",
        "OperatorsName",
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "ImageComments",
        "RequestingPhysician",
        "DeviceSerialNumber",
        "OtherPatientIDs",
        "EthnicGroup",
        "Occupation",
        "MedicalAlerts",
        "PerformedProcedureStepDescription",
        "CommentsOnThePerformedProcedureStep",
        "DerivationDescription",
        "TimezoneOffsetFromUTC",
        "InstanceCreationDate",
        "IssuerOfPatientID",
        "SoftwareVersions",
        "AcquisitionComments",
        "TextComments",
        "DataSetTrailingPadding",
        "OverlayData",
        "IconImageSequence",
    ],
)
@pytest.mark.parametrize("kind", sorted(BUILDERS))
def test_a_secret_in_a_standard_element_goes(kind, keyword):
    ds = BUILDERS[kind]()
    tag = {"OverlayData": 0x60003000}.get(keyword) or Tag(keyword)
    if keyword == "IconImageSequence":
        icon = Dataset()
        icon.PixelData = SECRET * 2
        icon["PixelData"].VR = "OW"
        ds.add_new(tag, "SQ", [icon])
    else:
        plant(
            ds,
            tag,
            "OW" if keyword == "OverlayData" else pydicom.datadict.dictionary_VR(tag),
            SECRET,
        )
    assert not leaves(clean(ds).data)


def places(kind):
    """Every element that stays, at every depth, with the data set that holds it."""

    def walk(ds, rules, path):
        for rule in rules:
            if rule.action == "items" and rule.tag in ds:
                for n, item in enumerate(ds[rule.tag].value):
                    yield from walk(item, rule.items, (*path, (rule.tag, n)))
            elif rule.action not in {"items", "pixels", "method"} and rule.vrs != ("SQ",):
                yield path, rule

    source = BUILDERS[kind]()
    return list(walk(source, load_allowlists()[source.SOPClassUID].rules, ()))


def output_or_reason(ds):
    """The bytes that leave: the file's, or the reason's."""
    try:
        return clean(ds).data
    except RefusedError as refused:
        return refused.reason.encode()


def put(ds, path, rule, value):
    for tag, n in path:
        ds = ds[tag].value[n]
    plant(ds, rule.tag, rule.vrs[0], value)


@pytest.mark.parametrize("kind", sorted(BUILDERS))
@pytest.mark.parametrize(
    "secret",
    [
        b"Qxzvkw Zhang",
        b"QXZVKW",
        "慕容霜砚".encode(),
        "慕容霜砚".encode("gb18030"),
        b"440106194905110021",
        b"13800138000 ",
    ],
    ids=range(6),
)
def test_a_secret_in_an_element_that_stays_goes_or_the_file_is_refused(kind, secret):
    found = places(kind)
    assert len(found) > 30
    for path, rule in found:
        ds = BUILDERS[kind]()
        put(ds, path, rule, secret)
        data = output_or_reason(ds)
        searched = re.sub(rb"2\.25\.\d+", b"", data)
        assert secret.strip() not in searched, rule.keyword
        assert secret.strip().split()[0].lower() not in searched.lower(), rule.keyword


def test_preamble_file_meta_and_padding_are_made_anew():
    ds = ct()
    ds.file_meta.SourceApplicationEntityTitle = "QXZVKW"
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = "1.2.3", SECRET
    data = (
        (SECRET * 11)[:128]
        + to_bytes(ds)[128:]
        + b"\xfc\xff\xfc\xff"
        + b"OB\0\0"
        + len(SECRET).to_bytes(4, "little")
        + SECRET
    )
    result = clean(data).data
    assert result[:128] == bytes(128)
    assert not leaves(result)
    meta = read_back(result).file_meta
    assert {e.keyword for e in meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }


def test_bits_above_bits_stored_are_cleared():
    hidden = image(0).astype("<u2") | (np.arange(192).reshape(16, 12).astype("<u2") % 16 << 12)
    ds = ct()
    ds.PixelData = hidden.tobytes()
    assert np.array_equal(read_back(clean(ds).data).pixel_array, image(0))


CHARSETS = [
    ("ISO_IR 100", "Müller^Jörg", "latin-1"),
    ("ISO_IR 192", "Murong^Shuangyan=慕容^霜砚", "utf-8"),
    ("GB18030", "Murong^Shuangyan=慕容^霜砚", "gb18030"),
    ("GBK", "Murong^Shuangyan=慕容^霜砚", "gbk"),
    (["ISO 2022 IR 6", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东=", "iso2022"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "iso2022jp"),
]


@pytest.mark.parametrize(
    ("charset", "name", "encoding"), CHARSETS, ids=[str(c[2]) for c in CHARSETS]
)
def test_names_of_every_character_set_go(charset, name, encoding):
    ds = ct()
    ds.SpecificCharacterSet = charset
    for keyword in ("PatientName", "ReferringPhysicianName", "OtherPatientNames"):
        setattr(ds, keyword, name)
    ds.PatientID = "张三0017" if encoding in {"utf-8", "gb18030", "gbk"} else "ZY0017"
    raw = to_bytes(ds)
    original = pydicom.dcmread(io.BytesIO(raw))
    original_bytes = original.get_item("PatientName").value.strip()
    data = clean(raw).data
    for part in (
        original_bytes,
        *(c for c in original_bytes.split(b"=") if len(c) > 3),
        "慕容".encode(),
        "慕容".encode("gb18030"),
        "张三".encode(),
        b"ZY0017",
    ):
        assert part not in data


def test_the_byte_scan_refuses_a_label_that_is_a_name_of_the_file():
    label = "GTV-77"
    assert (
        read_back(clean(rtstruct(names=(label,))).data).StructureSetROISequence[0].ROIName == label
    )
    with pytest.raises(RefusedError, match="identifier of the patient would stand in the output"):
        clean(rtstruct(names=(label,)), replace(PERSON, needles=make_needles([label])))


def test_the_byte_scan_finds_a_name_among_the_pixels():
    ds = ct()
    ds.BitsStored, ds.HighBit = 16, 15
    ds.PixelData = (b"Murong Shuangyan" * 24)[: 16 * 12 * 2]
    with pytest.raises(RefusedError, match="identifier of the patient"):
        clean(ds)


# ── what stays ──


def test_pixels_and_geometry_are_those_of_the_source():
    ds = ct(2)
    out = read_back(clean(ds).data)
    assert np.array_equal(out.pixel_array, image(2))
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "Rows",
        "Columns",
        "BitsStored",
        "PixelRepresentation",
        "ConvolutionKernel",
        "KVP",
        "Manufacturer",
        "InstanceNumber",
        "PatientSex",
    ):
        assert out[keyword].value == ds[keyword].value, keyword


def test_the_output_says_what_was_done():
    out = read_back(clean(ct()).data)
    assert out.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (out.PatientIdentityRemoved, out.LongitudinalTemporalInformationModified) == (
        "YES",
        "MODIFIED",
    )
    assert [item.CodeValue for item in out.DeidentificationMethodCodeSequence] == [
        "113100",
        "113105",
        "113107",
        "113108",
    ]
    assert (out.PatientID, str(out.PatientName), out.PatientBirthDate) == (
        PERSON.pseudonym,
        PERSON.pseudonym,
        "",
    )


def test_dates_move_by_the_patients_days_and_intervals_stay():
    first, second = (
        read_back(clean(ct(AcquisitionDate=d, StudyDate=d)).data) for d in ("20240105", "20240313")
    )
    moved = [dt.datetime.strptime(ds.AcquisitionDate, "%Y%m%d") for ds in (first, second)]
    assert moved[0] - dt.datetime(2024, 1, 5) == dt.timedelta(days=PERSON.shift_days)
    assert moved[1] - moved[0] == dt.timedelta(days=68)


@pytest.mark.parametrize("value", ["", "20241345", "2024", "Murong"])
def test_a_date_that_is_none_is_left_out(value):
    ds = ct(AcquisitionDate=None)
    plant(ds, "AcquisitionDate", "DA", value.encode())
    assert "AcquisitionDate" not in read_back(clean(ds).data)


def test_the_day_is_taken_from_the_time_stamp_where_it_stands_nowhere_else():
    out = read_back(
        clean(ct(AcquisitionDate=None, AcquisitionDateTime="20240105101530.123456+0800")).data
    )
    assert dt.datetime.strptime(out.AcquisitionDate, "%Y%m%d") == dt.datetime(
        2024, 1, 5
    ) + dt.timedelta(days=PERSON.shift_days)
    assert "AcquisitionDateTime" not in out


@pytest.mark.parametrize(
    ("age", "told"),
    [
        ("063Y", "063Y"),
        ("089Y", "089Y"),
        ("090Y", "090Y"),
        ("101Y", "090Y"),
        ("018M", "018M"),
        ("63", None),
    ],
)
def test_ages_above_89_are_told_as_90(age, told):
    ds = ct()
    plant(ds, "PatientAge", "AS", age.encode())
    assert read_back(clean(ds).data).get("PatientAge") == told


def test_the_same_uid_maps_to_the_same_uid_everywhere():
    image_out, rt_out, seg_out = (read_back(clean(ds).data) for ds in (ct(0), rtstruct(), seg()))
    frame = rt_out.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert (
        series.SeriesInstanceUID
        == image_out.SeriesInstanceUID
        == seg_out.ReferencedSeriesSequence[0].SeriesInstanceUID
    )
    assert series.ContourImageSequence[0].ReferencedSOPInstanceUID == image_out.SOPInstanceUID
    assert frame.FrameOfReferenceUID == image_out.FrameOfReferenceUID == seg_out.FrameOfReferenceUID
    assert rt_out.StudyInstanceUID == image_out.StudyInstanceUID == seg_out.StudyInstanceUID
    assert series.ContourImageSequence[0].ReferencedSOPClassUID == CT_CLASS
    assert all(
        uid.startswith("2.25.")
        for uid in (
            image_out.SOPInstanceUID,
            image_out.SeriesInstanceUID,
            image_out.FrameOfReferenceUID,
        )
    )


def test_uids_of_the_standard_stay_and_vendors_under_its_root_do_not():
    assert all(
        keyed_uid(uid, KEYS.uid) == uid
        for uid in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.4.1.1")
    )
    vendor = "1.2.840.10008.99.440106194905110021"
    assert vendor not in UID_dictionary
    assert keyed_uid(vendor, KEYS.uid).startswith("2.25.")
    assert (
        keyed_uid(f"{ROOT}.1 ", KEYS.uid)
        == keyed_uid(f"{ROOT}.1\0", KEYS.uid)
        != keyed_uid(f"{ROOT}.1", b"other")
    )


def test_contours_are_those_of_the_source_and_names_are_the_vocabularys():
    out = read_back(clean(rtstruct(names=("GTV-1", "GTV Murong", "for Dr Ouyang"))).data)
    names = [roi.ROIName for roi in out.StructureSetROISequence]
    assert names[0] == "GTV-1"
    assert re.fullmatch(r"lesion_[A-Z2-7]{8}", names[1])
    assert re.fullmatch(r"ROI_[A-Z2-7]{8}", names[2])
    assert list(out.ROIContourSequence[0].ContourSequence[0].ContourData) == [
        0,
        0,
        0,
        5,
        0,
        0,
        5,
        5,
        0,
        0,
        5,
        0,
    ]
    assert [o.RTROIInterpretedType for o in out.RTROIObservationsSequence] == ["GTV"] * 3


def test_a_contour_too_long_for_explicit_encoding_stays_whole():
    ds = rtstruct()
    points = np.round(np.random.default_rng(1).uniform(-200, 200, 3 * 9000), 3)
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = None
    plant(
        ds.ROIContourSequence[0].ContourSequence[0],
        "ContourData",
        "DS",
        b"\\".join(b"%.3f" % p for p in points),
    )
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    out = read_back(clean(implicit(ds)).data)
    assert out.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert np.allclose(
        np.array(out.ROIContourSequence[0].ContourSequence[0].ContourData, float), points
    )


def implicit(ds):
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, implicit_vr=True, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def test_a_segmentation_is_read_back_by_highdicom():
    ds = seg()
    ds.DimensionIndexSequence = [item(0x0062000B, 0x0062000A), item(0x00200032, 0x00209113)]
    out = hd.seg.segread(io.BytesIO(clean(ds).data))
    assert np.array_equal(out.pixel_array, seg_mask(2))
    segment = out.get_segment_description(1)
    assert segment.segment_label == "Nodule 1"
    assert (segment.segmented_property_type.value, segment.segmented_property_type.meaning) == (
        "4147007",
        "Mass",
    )


def item(index, group):
    ds = Dataset()
    ds.DimensionOrganizationUID, ds.DimensionIndexPointer, ds.FunctionalGroupPointer = (
        f"{ROOT}.8",
        index,
        group,
    )
    return ds


def test_codes_of_a_site_become_those_of_the_list():
    ds = seg()
    ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence = [
        code("86049000", "SCT", "Murong's tumour")
    ]
    out = read_back(clean(ds).data).SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert (out.CodeValue, out.CodeMeaning) == ("86049000", "Neoplasm, Primary")


@pytest.mark.parametrize(
    ("said", "syntax", "told"),
    [
        ("01", "1.2.840.10008.1.2.1", "01"),
        ("00", "1.2.840.10008.1.2.1", "00"),
        (None, "1.2.840.10008.1.2.1", None),
    ],
)
def test_loss_in_the_images_history_is_told(said, syntax, told):
    assert (
        read_back(clean(ct(**({"LossyImageCompression": said} if said else {}))).data).get(
            "LossyImageCompression"
        )
        == told
    )


def test_what_is_done_twice_is_done_the_same():
    data = to_bytes(ct())
    assert clean(data) == clean(data)


def test_what_was_done_is_counted_by_action_and_tag():
    actions = clean(ct(PatientComments="Murong")).actions
    assert actions["dropped", "00104000"] == 1
    assert (
        actions["uid", "0020000D"],
        actions["date", "00080022"],
        actions["pseudonym", "00100010"],
        actions["pixels", "7FE00010"],
    ) == (1, 1, 1, 1)


# ── what is refused ──

REFUSALS = [
    (lambda: ct(ImageType=["DERIVED", "SECONDARY", "AXIAL"]), "ImageType is not"),
    (lambda: ct(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "ImageType is not"),
    (
        lambda: ct(ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MPR"]),
        "localiser or a derived",
    ),
    (lambda: ct(ImageType=None), "ImageType is not"),
    (lambda: ct(BurnedInAnnotation="YES"), "BurnedInAnnotation"),
    (
        lambda: ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        r"SOP class is not taken in \(Secondary Capture",
    ),
    (
        lambda: ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67"),
        r"SOP class is not taken in \(X-Ray Radiation Dose SR",
    ),
    (lambda: ct(SOPClassUID="1.2.3.4"), r"missing or unknown"),
    (lambda: ct(ImagePositionPatient=None), "ImagePositionPatient is missing"),
    (lambda: ct(Rows=17), "length is not that of the geometry"),
    (lambda: ct(HighBit=15), "do not fit"),
    (lambda: ct(SamplesPerPixel=3), "not a grey image"),
    (lambda: ct(BitsAllocated=32), "do not fit"),
    (lambda: ct(Rows=0), "empty"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSALS, ids=[r[1] for r in REFUSALS])
def test_what_is_refused_says_why(build, reason):
    with pytest.raises(RefusedError, match=reason) as refused:
        clean(build())
    assert "Murong" not in refused.value.reason
    assert ";" in refused.value.reason


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Murong Shuangyan, tel 13800138000",
        b"\0" * 128 + b"DICM",
        b"\0" * 128 + b"DICM" + b"\xff" * 64,
    ],
    ids=["empty", "text", "prefix", "noise"],
)
def test_what_is_not_dicom_is_refused(data):
    with pytest.raises(RefusedError):
        clean(data)


def test_a_file_cut_anywhere_is_refused():
    data = to_bytes(ct())
    refused = 0
    for length in range(132, len(data) - 1, 7):
        with pytest.raises(RefusedError):
            clean(data[:length])
        refused += 1
    assert refused > 100


def test_an_element_of_another_vr_is_damage():
    ds = ct()
    plant(ds, "SliceThickness", "LO", b"1.25")
    with pytest.raises(
        RefusedError, match=r"\(0018,0050\) SliceThickness has a value representation other"
    ):
        clean(ds)


@pytest.mark.parametrize(
    ("build", "keyword", "value"),
    [
        (ct, "RescaleIntercept", b"-1O24"),
        (ct, "RescaleSlope", b"Murong"),
        (ct, "PixelSpacing", b"0.75"),
        (seg, "MaximumFractionalValue", b"Mur\0"),
    ],
)
def test_what_is_measured_with_is_never_left_out_silently(build, keyword, value):
    ds = build()
    plant(ds, keyword, pydicom.datadict.dictionary_VR(keyword), value)
    with pytest.raises(
        RefusedError, match=f"{keyword} is not plausible|{keyword} has not the length"
    ):
        clean(ds)


@pytest.mark.parametrize(
    "value", [b"0\\0\\0\\5\\0", b"0\\0\\zero", b"13800138000\\0\\0", b"0\\0\\Li\x07"]
)
def test_a_contour_that_is_not_plausible_leaves_without_its_figures(value):
    """The number of points stays, the points do not.

    The structure is refused by the code that reads the contours.
    """
    ds = rtstruct()
    plant(ds.ROIContourSequence[0].ContourSequence[0], "ContourData", "DS", value)
    contour = read_back(clean(ds).data).ROIContourSequence[0].ContourSequence[0]
    assert "ContourData" not in contour
    assert contour.NumberOfContourPoints == 4


def test_the_thickness_of_a_contours_plane_stays():
    ds = rtstruct()
    ds.ROIContourSequence[0].ContourSequence[0].ContourSlabThickness = 3.0
    assert (
        read_back(clean(ds).data).ROIContourSequence[0].ContourSequence[0].ContourSlabThickness == 3
    )


def test_a_length_that_swallows_its_neighbours_is_damage():
    data = to_bytes(ct())
    kernel = data.index(b"\x18\x00\x10\x12SH")
    swallowing = data[: kernel + 6] + (200).to_bytes(2, "little") + data[kernel + 8 :]
    with pytest.raises(RefusedError):
        clean(swallowing)


def test_a_label_map_is_taken_in_as_a_segmentation_and_its_colours_go():
    source = seg()
    source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = LABEL_MAP_SEG
    (
        source.SegmentationType,
        source.PhotometricInterpretation,
        source.BitsAllocated,
        source.BitsStored,
        source.HighBit,
    ) = "LABELMAP", "PALETTE COLOR", 8, 8, 7
    source.PixelData = seg_mask(2).tobytes()
    source.RedPaletteColorLookupTableData = b"Murong"
    made = clean(source)
    written = read_back(made.data)
    assert (made.kind, written.SOPClassUID, written.SegmentationType) == (
        "SEG",
        LABEL_MAP_SEG,
        "LABELMAP",
    )
    assert (written.PhotometricInterpretation, "RedPaletteColorLookupTableData" in written) == (
        "MONOCHROME2",
        False,
    )
    assert np.array_equal(written.pixel_array, seg_mask(2))
    assert b"Murong" not in made.data


def _content(ds):
    return clean(ds).content_digest


def _changed(ds, **changes):
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "change",
    [
        {"SeriesInstanceUID": "1.2.9"},
        {"FrameOfReferenceUID": "1.2.9"},
        {"AcquisitionDate": "20240301"},
        {"SliceThickness": 2},
        {"ConvolutionKernel": "Br64d"},
    ],
)
def test_a_slice_of_another_series_place_or_day_is_another_object(change):
    assert _content(_changed(ct(), **change)) != _content(ct())
    assert _content(_changed(ct(), SliceThickness="1.00", AccessionNumber="other")) == _content(
        ct()
    )


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (rtstruct, {"FrameOfReferenceUID": "1.2.9"}),
        (seg, {"FrameOfReferenceUID": "1.2.9"}),
        (seg, {"MaximumFractionalValue": 1}),
    ],
)
def test_contours_with_other_references_or_other_values_are_another_object(make, change):
    assert _content(_changed(make(), **change)) != _content(make())
    assert _content(make(series="1.2.9")) != _content(make())
