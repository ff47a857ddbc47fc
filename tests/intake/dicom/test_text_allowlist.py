"""A text stays if it is on the list; a label that is not plain becomes a neutral one.

The neutral label is the same everywhere.
"""

import re

import pytest

from dagster_project.intake.dicom.text_allowlist import (
    clean_label,
    contrast_word,
    is_model,
    is_plain_label,
    is_word,
    known_code,
    load_texts,
)

TARGET = re.compile(r"^(GTV|L\d+|lesion|nodule|tumou?r|mass).*", re.IGNORECASE)


@pytest.mark.parametrize(
    "kernel",
    [
        "B30f",
        "Br40d",
        "I31f",
        "3",
        "STANDARD",
        "BONEPLUS",
        "FC08",
        "FC13-H",
        "B",
        "YA",
        "B_VSHARP_C",
        "Bl57",
        "Qr40",
    ],
)
def test_kernels_of_all_vendors_stay(kernel):
    assert is_word("kernel", kernel)


@pytest.mark.parametrize("text", ["Murong", "B30f Murong", "13800138000", "Zhang", "Li"])
def test_other_texts_are_no_kernels(text):
    assert not is_word("kernel", text)


@pytest.mark.parametrize(
    "model",
    [
        "SOMATOM Definition AS+",
        "Brilliance 16P",
        "Discovery ST",
        "LightSpeed VCT",
        "Aquilion ONE",
        "uCT 760",
        "NeuViz 128",
        "Revolution CT",
        "Biograph mCT Flow"[:12],
    ],
)
def test_models_stay(model):
    assert is_model(model)


@pytest.mark.parametrize(
    "text",
    [
        "SOMATOM Murong",
        "Force 13800138000",
        "Zhang San",
        "Emotion 440106 1949 0511",
        "Force 1949",
        "Emotion 16 64",
        "SOMATOM 4401",
        "ZYA1234",
    ],
)
def test_other_texts_are_no_models(text):
    assert not is_model(text)


@pytest.mark.parametrize(
    "label",
    [
        "GTV-1",
        "GTV_Mass_CT",
        "Nodule 1",
        "Nodule1",
        "L1",
        "L1a",
        "LN 3",
        "病灶1",
        "右肺结节2",
        "first segment",
        "GTV-L12",
        "ROI-4",
        "Lesion 2",
        "Lung tumour 1",
        "12",
        "LN 4R",
        "左肺病灶12",
        "L1-1",
        "L 1 2",
        "T01.2",
        "T01-2",
        "T01B",
        "T01/T02",
        "L1 + L2",
    ],
)
def test_plain_labels_stay_as_they_are(label):
    assert is_plain_label(label)
    assert clean_label(label, key=b"k", target=TARGET) == label


@pytest.mark.parametrize(
    "label",
    [
        "GTV Murong",
        "慕容病灶",
        "L1 440106194905110021",
        "nodule 138 001 380 00",
        "seen by Ouyang",
        "张三",
        "x" * 50,
        "GTV\x00Murong",
        "A B",
        "---",
        "mass (Mrs W.)",
        "GTV 61-04-09",
        "GTV 24.02.20",
        "GTV 610409",
        "病灶 61/4/9",
        "nodule 138 001",
        "L138",
        "GTV １９４９",
        "ROI 4 4 1",
        "L1 L2",
        "GTV 2-4",
        "GTV-1-2",
        "L61/04/09",
        "GTV 61/04/09",
        "L24-02",
        "T2-24",
    ],
)
def test_other_labels_become_neutral_and_the_same_each_time(label):
    neutral = clean_label(label, key=b"k", target=TARGET)
    assert re.fullmatch(r"(lesion|ROI)_[A-Z2-7]{8}", neutral)
    assert neutral == clean_label(f"  {label.upper()} ", key=b"k", target=TARGET).replace(
        "GTV", "GTV"
    )
    assert neutral != clean_label(label, key=b"other", target=TARGET)


def test_what_two_readers_call_the_same_is_the_same_neutral_label():
    """Over visits, files and tables; a capital or a full-width figure is no other lesion."""
    said = ("GTV 61-04-09", "gtv_61-04-09 ", "ＧＴＶ 61 04 09")
    assert len({clean_label(label, key=b"k", target=TARGET) for label in said}) == 1


def test_a_neutral_label_is_a_target_where_the_label_was_one():
    assert TARGET.match(clean_label("GTV Murong", key=b"k", target=TARGET))
    assert not TARGET.match(clean_label("Herz Murong", key=b"k", target=TARGET))


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("", None),
        ("NONE", None),
        ("平扫", None),
        ("Iohexol", "IOHEXOL"),
        ("CONTRAST, Dr Ouyang 80ml", "CONTRAST"),
    ],
)
def test_contrast_is_told_without_its_text(said, word):
    assert contrast_word(said) == word


def test_codes_off_the_list_become_its_first():
    assert tuple(known_code("property", "86049000", "SCT")) == (
        "86049000",
        "SCT",
        "Neoplasm, Primary",
    )
    assert tuple(known_code("property", "440106194905", "99LOCAL")) == ("4147007", "SCT", "Mass")


def test_every_list_that_the_allowlists_name_is_there():
    from dagster_project.intake.dicom.allowlists import load_allowlists

    rules = [rule for allowlist in load_allowlists().values() for rule in allowlist.all_rules()]
    named = {rule.argument for rule in rules if rule.action == "words"}
    assert named <= load_texts().words.keys()
    assert {rule.argument for rule in rules if rule.action == "code"} <= load_texts().codes.keys()
