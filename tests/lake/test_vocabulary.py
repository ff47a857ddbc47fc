"""Words of two languages mean what the schema allows, one thing each."""

import pytest

from dagster_project.lake import tables
from dagster_project.lake.vocabulary import (
    drug_class,
    find_drugs,
    fold,
    header_column,
    is_missing,
    known_value,
    load_vocabulary,
    regimen_classes,
    word_key,
)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("patient_id", "住院号"),
        ("sex", "性别"),
        ("birth_date", "出生日期"),
        ("age", "年龄"),
        ("smoking", "吸烟史"),
        ("ecog", "ECOG评分"),
        ("stage", "临床分期"),
        ("histology", "病理类型"),
        ("egfr", "EGFR"),
        ("alk", "ALK"),
        ("pd_l1_tps", "PD-L1表达"),
        ("line", "治疗线数"),
        ("regimen", "治疗方案"),
        ("prior_malignancy", "既往恶性肿瘤"),
        ("organ_dysfunction", "脏器功能不全"),
        ("target_radiotherapy", "靶病灶放疗史"),
    ],
)
def test_every_header_of_the_landing_contract(english, chinese):
    assert header_column("patients", english) == header_column("patients", chinese) == english


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("treatments", ("patient_id", "cycle", "date", "drugs")),
        ("follow_up", ("patient_id", "date", "event", "detail")),
        ("clinical_status", ("patient_id", "date", "ecog", "new_symptoms", "clinically_stable")),
        (
            "lesions",
            (
                "patient_id",
                "visit_date",
                "series_uid",
                "lesion",
                "role",
                "organ",
                "node",
                "present",
                "too_small",
                "ld_mm",
                "sa_mm",
                "nontarget_state",
                "unequivocal",
                "roi",
                "artifact",
            ),
        ),
        ("arbitrations", ("patient_id", "accepted_reader", "arbiter", "decided_at")),
    ],
)
def test_every_column_of_the_other_files(table, columns):
    assert [header_column(table, column) for column in columns] == list(columns)


@pytest.mark.parametrize(
    "header", ["Patient ID", "PATIENT-ID", "patient_id ", "患者编号", "住院号（必填）", "ＭＲＮ"]
)
def test_spelling_of_headers_does_not_count(header):
    assert header_column("patients", header) == "patient_id"


def test_no_word_means_two_things_in_one_field():
    import tomllib

    from dagster_project.lake.vocabulary import VOCABULARY

    raw = tomllib.loads(VOCABULARY.read_text(encoding="utf-8"))
    groups = {
        **{f"headers.{k}": v for k, v in raw["headers"].items()},
        **{f"values.{k}": v for k, v in raw["values"].items() if k != "missing"},
    }
    groups["drugs"] = {
        generic: words
        for name, group in raw["drugs"].items()
        if name != "filler"
        for generic, words in group.items()
    }
    for name, meanings in groups.items():
        owner: dict[str, str] = {}
        for meaning, words in meanings.items():
            for word in (meaning, *words):
                assert owner.setdefault(word_key(word), meaning) == meaning, f"{name}: {word}"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (tables.PATIENTS, "sex"),
        (tables.PATIENTS, "smoking"),
        (tables.PATIENTS, "histology"),
        (tables.PATIENTS, "egfr"),
        (tables.PATIENTS, "alk"),
        (tables.PATIENTS, "consent"),
        (tables.FOLLOW_UP, "event"),
        (tables.READS, "role"),
        (tables.READS, "nontarget_state"),
    ],
)
def test_values_are_those_that_the_schema_allows(table, column):
    """Contradictory is what intake makes of two rows; no cell says it."""
    assert set(load_vocabulary().values[column].values()) == set(table.column(column).allowed) - {
        tables.CONTRADICTORY
    }


@pytest.mark.parametrize(
    ("field", "word", "value"),
    [
        ("sex", "女", "F"),
        ("sex", "Male", "M"),
        ("smoking", "从不吸烟", "never"),
        ("smoking", "已戒烟", "former"),
        ("smoking", "有", None),
        ("histology", "肺鳞癌", "squamous_cell_carcinoma"),
        ("histology", "NSCLC-NOS", "nsclc_nos"),
        ("egfr", "19del", "mutant"),
        ("egfr", "(-)", "wild_type"),
        ("alk", "EML4-ALK", "rearranged"),
        ("event", "失访", "lost"),
        ("nontarget_state", "Non-CR/Non-PD", "NON_CR_NON_PD"),
        ("role", "non-target", "non_target"),
        ("organ", "右肺", "lung"),
        ("line", "二线", "2"),
    ],
)
def test_words(field, word, value):
    assert known_value(field, word) == value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("帕博利珠单抗200mg联合培美曲塞、卡铂", "pembrolizumab+pemetrexed+carboplatin"),
        ("nab-paclitaxel/carboplatin", "nab_paclitaxel+carboplatin"),
        ("白蛋白结合型紫杉醇 卡铂 替雷利珠单抗", "nab_paclitaxel+carboplatin+tislelizumab"),
        (
            "Keytruda d1 + pemetrexed 500mg/m2 + carboplatin AUC5 q3w",
            "pembrolizumab+pemetrexed+carboplatin",
        ),
        ("PD-1单抗联合含铂双药化疗", "pd1_inhibitor_nos+chemotherapy_nos"),
        ("pembrolizumab+pemetrexed", "pembrolizumab+pemetrexed"),
        ("紫杉醇脂质体", "paclitaxel_liposome"),
    ],
)
def test_drugs_in_both_languages(text, names):
    drugs = find_drugs(text)
    assert (drugs.text, drugs.partly_unknown) == (names, False)


def test_what_is_no_drug_is_told_and_never_kept():
    assert find_drugs("慕容霜砚").text is None
    assert find_drugs("卡铂 慕容霜砚").partly_unknown
    assert find_drugs("卡铂 慕容霜砚").text == "carboplatin"


def test_every_generic_name_has_a_class_and_finds_itself():
    for generic, group in load_vocabulary().classes.items():
        assert drug_class(generic) == group
        assert find_drugs(generic).names == (generic,)


def test_regimens_of_the_study_are_an_antibody_with_chemotherapy():
    assert regimen_classes("pembrolizumab+pemetrexed+carboplatin") == {"pd1", "chemo"}
    assert regimen_classes("atezolizumab+bevacizumab+paclitaxel+carboplatin") == {
        "pdl1",
        "antiangiogenic",
        "chemo",
    }
    assert regimen_classes(None) == frozenset()


def test_missing_and_folding():
    assert [is_missing(t) for t in ("", "不详", "N/A", "未检测", "0", "无")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    assert fold("Ⅲ Ｂ") == "iii b"
    assert word_key("Non-CR / Non-PD") == "noncrnonpd"
