"""CDISC ODM in all its forms: what is delivered, and the tables or the reason that come of it."""

from __future__ import annotations

import pytest

from tests.intake.case_report.test_case_report import Site
from tests.intake.databases import BASELINE, Case, check

V13 = "http://www.cdisc.org/ns/odm/v1.3"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# ── CDISC ODM ──


def item(oid: str, value: str, **more: str) -> str:
    attributes = "".join(f' {key}="{text}"' for key, text in more.items())
    return f'<ItemData ItemOID="{oid}" Value="{value}"{attributes}/>'


def group(oid: str, *items: str, key: str = "", type_: str = "", more: str = "") -> str:
    repeat = f' ItemGroupRepeatKey="{key}"' if key else ""
    return (
        f'<ItemGroupData ItemGroupOID="{oid}"{repeat}{kind(type_)}{more}>'
        f"{''.join(items)}</ItemGroupData>"
    )


def kind(type_: str) -> str:
    return f' TransactionType="{type_}"' if type_ else ""


def form(oid: str, *groups: str, key: str = "", type_: str = "", more: str = "") -> str:
    repeat = f' FormRepeatKey="{key}"' if key else ""
    return f'<FormData FormOID="{oid}"{repeat}{kind(type_)}{more}>{"".join(groups)}</FormData>'


def event(oid: str, *forms: str, key: str = "", type_: str = "", more: str = "") -> str:
    repeat = f' StudyEventRepeatKey="{key}"' if key else ""
    return (
        f'<StudyEventData StudyEventOID="{oid}"{repeat}{kind(type_)}{more}>'
        f"{''.join(forms)}</StudyEventData>"
    )


def subject(key: str, *events: str, type_: str = "", more: str = "") -> str:
    return f'<SubjectData SubjectKey="{key}"{kind(type_)}{more}>{"".join(events)}</SubjectData>'


SEX = ("1", "Male"), ("2", "Female")
NAMES = {
    "SEX": "sex",
    "STG": "stage",
    "CYC": "cycle",
    "EXDT": "treatment date",
    "EV": "event",
    "EVDT": "event date",
    "ECOG": "ecog",
    "AGE": "age",
    "TPS": "PD-L1 TPS",
}


def metadata(
    study: str = "S",
    version: str = "V",
    *,
    answers: tuple[tuple[str, str], ...] = SEX,
    extra: str = "",
    names: dict[str, str] | None = None,
) -> str:
    items = "".join(
        f'<ItemDef OID="{oid}" Name="{name}" DataType="text">'
        + ('<CodeListRef CodeListOID="CL"/>' if oid == "SEX" else "")
        + "</ItemDef>"
        for oid, name in {**NAMES, **(names or {})}.items()
    )
    codes = "".join(
        f'<CodeListItem CodedValue="{code}"><Decode><TranslatedText>{text}</TranslatedText>'
        f"</Decode></CodeListItem>"
        for code, text in answers
    )
    return (
        f'<Study OID="{study}"><GlobalVariables/><MetaDataVersion OID="{version}"'
        f' Name="{version}">{items}{extra}'
        f'<CodeList OID="CL" Name="CL" DataType="text">{codes}</CodeList></MetaDataVersion></Study>'
    )


def odm(
    *content: str,
    file_type: str = "Snapshot",
    more: str = "",
    space: str = V13,
    version: str = "1.3.2",
) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ODM xmlns="{space}" ODMVersion="{version}" FileType="{file_type}"{more}>'
        f"{''.join(content)}</ODM>"
    )


def data(*subjects: str, study: str = "S", version: str = "V") -> str:
    return (
        f'<ClinicalData StudyOID="{study}" MetaDataVersionOID="{version}">'
        f"{''.join(subjects)}</ClinicalData>"
    )


def changes(*content: str, more: str = "") -> str:
    return odm(*content, file_type="Transactional", more=more)


DM = form("DM", group("DM", item("SEX", "2"), item("STG", "IIIB")))
CYCLES = form(
    "EX",
    group("EX", item("CYC", "1"), item("EXDT", "2024-01-05"), key="1"),
    group("EX", item("CYC", "2"), item("EXDT", "2024-01-26"), key="2"),
)
DEATH = form("FU", group("FU", item("EV", "death"), item("EVDT", "2024-09-01"), key="1"))
WHOLE = subject("001", event("SE", DM, CYCLES, DEATH))
ONE = {"001": BASELINE}
TWO_CYCLES = (("001", 1, "2024-01-05"), ("001", 2, "2024-01-26"))
DIED = (("001", "death", "2024-09-01"),)
ROW = "clinical/odm.xml row"


def changed(*subjects: str) -> str:
    """The whole record inserted, and then what changes it."""
    return changes(
        metadata(), data(subject("001", event("SE", DM, CYCLES, DEATH), type_="Insert"), *subjects)
    )


def at(*forms: str, type_: str = "Update") -> str:
    return subject("001", event("SE", *forms, type_=type_), type_=type_)


ODM_CASES = {
    "a snapshot of one patient": Case(
        {"odm.xml": odm(metadata(), data(WHOLE))}, ONE, TWO_CYCLES, DIED
    ),
    "a death that is removed later in the file": Case(
        {"odm.xml": changed(at(form("FU", group("FU", key="1", type_="Remove"), type_="Update")))},
        ONE,
        TWO_CYCLES,
    ),
    "a form that is removed takes its groups with it": Case(
        {"odm.xml": changed(at(form("EX", type_="Remove")))}, ONE, (), DIED
    ),
    "an event that is removed takes its forms with it": Case(
        {"odm.xml": changed(subject("001", event("SE", type_="Remove"), type_="Update"))},
        {"001": {"sex": None}},
    ),
    "a subject that is removed is none": Case(
        {"odm.xml": changed(subject("001", type_="Remove"))}, {}
    ),
    "an item that is removed, one that is emptied, one that is changed": Case(
        {
            "odm.xml": changed(
                at(
                    form(
                        "DM",
                        group(
                            "DM",
                            '<ItemData ItemOID="SEX" TransactionType="Remove"/>',
                            '<ItemData ItemOID="STG" IsNull="Yes" TransactionType="Update"/>',
                            type_="Update",
                        ),
                        type_="Update",
                    ),
                    form(
                        "EX",
                        group(
                            "EX",
                            item("EXDT", "2024-01-27", TransactionType="Update"),
                            key="2",
                            type_="Update",
                        ),
                        type_="Update",
                    ),
                )
            )
        },
        {"001": {"sex": None, "stage": None}},
        (("001", 1, "2024-01-05"), ("001", 2, "2024-01-27")),
        DIED,
    ),
    "removed and inserted again": Case(
        {
            "odm.xml": changed(
                at(
                    form(
                        "FU",
                        group("FU", key="1", type_="Remove"),
                        group(
                            "FU",
                            item("EV", "alive"),
                            item("EVDT", "2024-10-01"),
                            key="1",
                            type_="Insert",
                        ),
                    )
                )
            )
        },
        ONE,
        TWO_CYCLES,
        (("001", "alive", "2024-10-01"),),
    ),
    "upserts alone, as an audit feed has them": Case(
        {
            "odm.xml": changes(
                metadata(),
                data(
                    *(
                        subject("001", event("SE", f, type_="Upsert"), type_="Upsert")
                        for f in (DM, CYCLES, DEATH, CYCLES)
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "context alone changes nothing": Case(
        {
            "odm.xml": changed(
                at(
                    form(
                        "FU",
                        group(
                            "FU",
                            item("EV", "alive", TransactionType="Context"),
                            key="1",
                            type_="Context",
                        ),
                        type_="Context",
                    ),
                    type_="Context",
                )
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "a removal of one cycle by its repeat key": Case(
        {"odm.xml": changed(at(form("EX", group("EX", key="2", type_="Remove"))))},
        ONE,
        TWO_CYCLES[:1],
        DIED,
    ),
    "a removal that does not say which cycle": Case(
        {"odm.xml": changed(at(form("EX", group("EX", type_="Remove"))))},
        ONE,
        TWO_CYCLES,
        DIED,
        {f"{ROW} 5": "has no ItemGroupRepeatKey"},
    ),
    "a removal of what nobody inserted": Case(
        {"odm.xml": changed(at(form("FU", group("FU", key="7", type_="Remove"))))},
        ONE,
        TWO_CYCLES,
        DIED,
        {f"{ROW} 5": "no delivered file holds"},
    ),
    "two cycles without repeat keys, in an audit feed": Case(
        {
            "odm.xml": changes(
                metadata(),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            DM,
                            form(
                                "EX",
                                group("EX", item("CYC", "1"), item("EXDT", "2024-01-05")),
                                group("EX", item("CYC", "2"), item("EXDT", "2024-01-26")),
                            ),
                        ),
                    )
                ),
            )
        },
        ONE,
        (),
        (),
        {f"{ROW} {n}": "has no ItemGroupRepeatKey" for n in (2, 3)},
    ),
    "two changes of a group that does not repeat, as its definition says": Case(
        {
            "odm.xml": changes(
                metadata(extra='<ItemGroupDef OID="EX" Name="x" Repeating="No"/>'),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            DM,
                            form(
                                "EX",
                                group("EX", item("CYC", "1"), item("EXDT", "2024-01-06")),
                                group("EX", item("EXDT", "2024-01-05")),
                            ),
                        ),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES[:1],
    ),
    "item groups and forms that are in no event, as REDCap writes a classic project": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        form(
                            "DM",
                            group("", item("SEX", "2"), key="1"),
                            group("", item("STG", "IIIB"), key="1"),
                            key="1",
                        ),
                        form(
                            "EX",
                            group("EX", item("CYC", "1"), item("EXDT", "2024-01-05"), key="1"),
                            key="1",
                        ),
                        form(
                            "EX",
                            group("EX", item("CYC", "2"), item("EXDT", "2024-01-26"), key="1"),
                            key="2",
                        ),
                        group("FU", item("EV", "death"), item("EVDT", "2024-09-01")),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "items that are in no item group": Case(
        {
            "odm.xml": odm(
                metadata(), data(subject("001", event("SE", DM, form("FU", item("EV", "death")))))
            )
        },
        ONE,
        (),
        (),
        {"clinical/odm.xml": "in no item group of a subject"},
    ),
    "a subject without its key": Case(
        {"odm.xml": changed("<SubjectData TransactionType='Remove'/>")},
        ONE,
        TWO_CYCLES,
        DIED,
        {f"{ROW} 5": "has no SubjectKey"},
    ),
    "an item inserted twice, differently": Case(
        {
            "odm.xml": changed(
                at(form("FU", group("FU", item("EV", "alive", TransactionType="Insert"), key="1")))
            )
        },
        ONE,
        TWO_CYCLES,
        (),
        {f"{ROW} 5 column event": "given twice", f"{ROW} 4 column event": "is missing"},
    ),
    "an instruction that ODM does not have": Case(
        {"odm.xml": changed(at(form("FU", group("FU", key="1", type_="Delete"))))},
        ONE,
        TWO_CYCLES,
        DIED,
        {f"{ROW} 5": "a TransactionType that ODM 1.3 does not have"},
    ),
    "a snapshot that removes": Case(
        {
            "odm.xml": odm(
                metadata(), data(WHOLE, at(form("FU", group("FU", key="1", type_="Remove"))))
            )
        },
        ONE,
        TWO_CYCLES,
        (),
        {"clinical/odm.xml": "is a Snapshot and yet changes"},
    ),
    "typed items with audit records and signatures": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM",
                                    '<ItemDataString ItemOID="SEX">2<!-- x --></ItemDataString>',
                                    '<ItemDataText ItemOID="STG">IIIB</ItemDataText>',
                                    '<ItemDataDate ItemOID="EXDT" AuditRecordID="A">'
                                    " 2024-01-05 </ItemDataDate><ItemDataInteger"
                                    ' ItemOID="CYC">1</ItemDataInteger>',
                                ),
                            ),
                            '<AuditRecord><UserRef UserOID="U"/><LocationRef'
                            ' LocationOID="L"/><DateTimeStamp>2024-02-01T00:00:00'
                            "</DateTimeStamp></AuditRecord>",
                            '<Signature><UserRef UserOID="U"/></Signature>',
                        ),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES[:1],
    ),
    "an empty item and one that is null": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM", item("SEX", ""), '<ItemData ItemOID="STG" IsNull="Yes"/>'
                                ),
                            ),
                        ),
                    )
                ),
            )
        },
        {"001": {"sex": None, "stage": None}},
    ),
    "English stands behind German and Chinese": Case(
        {
            "odm.xml": odm(
                metadata().replace(
                    "<TranslatedText>Female",
                    '<TranslatedText xml:lang="de">weiblich</TranslatedText><TranslatedText'
                    ' xml:lang="zh">女</TranslatedText><TranslatedText xml:lang="en-GB">Female',
                ),
                data(WHOLE),
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "items that are known by their question alone": Case(
        {
            "odm.xml": odm(
                metadata(names={"SEX": "I_17", "STG": "I_18"})
                .replace(
                    'Name="I_18" DataType="text">',
                    'Name="I_18" DataType="text"><Question><TranslatedText'
                    ' xml:lang="de">Stadium</TranslatedText>'
                    '<TranslatedText xml:lang="en">Clinical stage</TranslatedText></Question>',
                )
                .replace(
                    'Name="I_17" DataType="text">',
                    'Name="I_17" DataType="text" SASFieldName="SEX">',
                ),
                data(WHOLE).replace("item", "item"),
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "a code that its list does not have": Case(
        {"odm.xml": odm(metadata(answers=(("M", "Male"), ("F", "Female"))), data(WHOLE))},
        {"001": {"sex": None, "stage": "IIIB"}},
        TWO_CYCLES,
        DIED,
        {f"{ROW} 1 column sex": "not in the item's code list"},
    ),
    "no metadata, where 1 may be female": Case(
        {
            "odm.xml": odm(
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM",
                                    item("IT.SEX", "1"),
                                    item("IT.ecog", "1"),
                                    item("IT.stage", "IIIB"),
                                ),
                            ),
                        ),
                    )
                )
            ).replace("<ClinicalData", "<ClinicalData", 1)
        },
        {"001": {"sex": None, "ecog": None, "stage": "IIIB"}},
        (),
        (),
        {
            "clinical/odm.xml": "holds no metadata",
            f"{ROW} 1 column sex": "code of an answer",
            f"{ROW} 1 column ecog": "code of an answer",
        },
    ),
    "another version of the metadata": Case(
        {"odm.xml": odm(metadata(version="V1"), data(WHOLE, version="V2"))},
        {"001": {"sex": None, "stage": "IIIB"}},
        TWO_CYCLES,
        DIED,
        {
            "clinical/odm.xml": "MetaDataVersion that is not delivered",
            f"{ROW} 1 column sex": "metadata version that is not delivered",
        },
    ),
    "two studies with a code list of one name": Case(
        {
            "odm.xml": odm(
                metadata("OTHER", answers=(("1", "Female"), ("2", "Male"))), metadata(), data(WHOLE)
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "the subjects of two studies": Case(
        {
            "odm.xml": odm(
                metadata(),
                metadata("S2"),
                data(WHOLE),
                data(subject("001", event("SE", DM)), study="S2"),
            )
        },
        {},
        (),
        (),
        {"clinical/odm.xml": "2 studies"},
    ),
    "age in months, and PD-L1 in percent, by their units": Case(
        {
            "odm.xml": odm(
                metadata(
                    extra="<ItemDef OID='A2' Name='age' DataType='integer'>"
                    "<MeasurementUnitRef MeasurementUnitOID='MU.M'/></ItemDef>"
                    "<ItemDef OID='P2' Name='pd_l1_tps' DataType='float'><MeasurementUnitRef"
                    " MeasurementUnitOID='MU.P'/></ItemDef>"
                ).replace(
                    "<GlobalVariables/>",
                    "<GlobalVariables/><BasicDefinitions><MeasurementUnit OID='MU.M'"
                    " Name='months'><Symbol><TranslatedText>months</TranslatedText></Symbol>"
                    "</MeasurementUnit>"
                    "<MeasurementUnit OID='MU.P' Name='percent'/></BasicDefinitions>",
                ),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM",
                                    item("SEX", "2"),
                                    item("STG", "IIIB"),
                                    item("A2", "756"),
                                    item("P2", "0.8"),
                                ),
                            ),
                        ),
                    )
                ),
            )
        },
        {"001": {**BASELINE, "age_years": None, "pd_l1_tps": 0.8}},
        (),
        (),
        {f"{ROW} 1 column age": "not an age in years"},
    ),
    "a unit that nobody defines": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM",
                                    item("SEX", "2"),
                                    item("STG", "IIIB"),
                                    '<ItemData ItemOID="AGE" Value="63"><MeasurementUnitRef'
                                    ' MeasurementUnitOID="MU.X"/></ItemData>',
                                ),
                            ),
                        ),
                    )
                ),
            )
        },
        {"001": {**BASELINE, "age_years": None}},
        (),
        (),
        {f"{ROW} 1 column age": "a unit that the metadata do not define"},
    ),
    "cycles that are events by their name": Case(
        {
            "odm.xml": odm(
                metadata(
                    extra="".join(
                        f'<StudyEventDef OID="SE.{n}" Name="Cycle {n}" Repeating="No"'
                        f' Type="Scheduled"/>'
                        for n in (1, 2)
                    )
                ),
                data(
                    subject(
                        "001",
                        event("SE", DM),
                        event("SE.1", form("EX", group("EX", item("EXDT", "2024-01-05")))),
                        event("SE.2", form("EX", group("EX", item("EXDT", "2024-01-26")))),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES,
    ),
    "cycles that are repeats of one event": Case(
        {
            "odm.xml": odm(
                metadata(
                    extra=(
                        '<StudyEventDef OID="SE.C" Name="Treatment cycle" '
                        'Repeating="Yes" Type="Scheduled"/>'
                    )
                ),
                data(
                    subject(
                        "001",
                        event("SE", DM),
                        event("SE.C", form("EX", group("EX", item("EXDT", "2024-01-05"))), key="1"),
                        event("SE.C", form("EX", group("EX", item("EXDT", "2024-01-26"))), key="2"),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES,
    ),
    "a form that is divided into item groups": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            DM,
                            form(
                                "EX",
                                group("EX.a", item("CYC", "1")),
                                group("EX.b", item("EXDT", "2024-01-05")),
                            ),
                            form(
                                "FU",
                                group("FU.a", item("EV", "death")),
                                group("FU.b", item("EVDT", "2024-09-01")),
                            ),
                        ),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES[:1],
        DIED,
    ),
    "a second version of ODM": Case(
        {"odm.xml": odm(data(WHOLE), space="http://www.cdisc.org/ns/odm/v2.0", version="2.0")},
        {},
        (),
        (),
        {"clinical/odm.xml": "of a version that is not read"},
    ),
    "a namespace of somebody's own": Case(
        {"odm.xml": odm(data(WHOLE), space="urn:odm")},
        {},
        (),
        (),
        {"clinical/odm.xml": "of a version that is not read"},
    ),
    "elements of a vendor that are called as ODM's are": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            DM,
                            '<v:FormData xmlns:v="urn:v" FormOID="FU"><v:ItemGroupData/>'
                            "</v:FormData>",
                        ),
                    )
                ),
            )
        },
        ONE,
    ),
    (
        "OpenClinica: the subject's number, sex and birth date are attributes, "
        "and what is removed is marked"
    ): Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "SS_1",
                        event(
                            "SE",
                            form(
                                "EX",
                                group(
                                    "EX",
                                    item("CYC", "1"),
                                    item("EXDT", "2024-01-05"),
                                    key="1",
                                    type_="Insert",
                                ),
                                group(
                                    "EX",
                                    item("CYC", "2"),
                                    item("EXDT", "2024-01-26"),
                                    key="2",
                                    type_="Insert",
                                    more=' oc:Removed="Yes"',
                                ),
                            ),
                        ),
                        more=(
                            ' oc:StudySubjectID="001" oc:Status="available" '
                            'oc:Sex="f" oc:DateOfBirth="1960-02-03"'
                        ),
                    ),
                    subject(
                        "SS_2", event("SE", DM), more=' oc:StudySubjectID="002" oc:Status="removed"'
                    ),
                ),
                more=' xmlns:oc="urn:oc"',
            )
        },
        {"001": {"sex": "F", "age_years": 63}},
        TWO_CYCLES[:1],
        (),
        {f"{ROW} 2": "marked as removed", f"{ROW} 3": "marked as removed"},
    ),
    (
        "REDCap's own ODM: events by their unique name, codes, checkboxes, "
        "states of forms, missing data codes"
    ): Case(
        {
            "odm.xml": odm(
                metadata(
                    "Project.X",
                    "M",
                    names={
                        "ecog": "ecog",
                        "record_id": "record_id",
                        "dm_complete": "dm_complete",
                        "race___1": "race___1",
                    },
                ).replace(
                    "<GlobalVariables/>",
                    "<GlobalVariables><rc:MissingDataCodes>-66, Not asked | XX, Lost"
                    "</rc:MissingDataCodes></GlobalVariables>",
                ),
                data(
                    subject(
                        "1",
                        event(
                            "Event.baseline_arm_1",
                            form(
                                "Form.dm",
                                group(
                                    "dm.record_id",
                                    item("record_id", "1"),
                                    item("SEX", "2"),
                                    key="1",
                                ),
                                group(
                                    "dm.stage",
                                    item("STG", "IIIB"),
                                    item("ecog", "XX"),
                                    item("race___1", "1"),
                                    key="1",
                                ),
                                group("dm.dm_complete", item("dm_complete", "2"), key="1"),
                                key="1",
                            ),
                            key="1",
                            more=' rc:UniqueEventName="baseline_arm_1"',
                        ),
                        event(
                            "Event.cycle_2_arm_1",
                            form(
                                "Form.ex",
                                group("ex.EXDT", item("EXDT", "2024-01-26"), key="1"),
                                key="1",
                            ),
                            key="1",
                            more=' rc:UniqueEventName="cycle_2_arm_1"',
                        ),
                        event(
                            "Event.cycle_1_arm_1",
                            form(
                                "Form.ex",
                                group("ex.EXDT", item("EXDT", "2024-01-05"), key="1"),
                                key="1",
                            ),
                            key="1",
                            more=' rc:UniqueEventName="cycle_1_arm_1"',
                        ),
                    ),
                    study="Project.X",
                    version="M",
                ),
                more=' xmlns:rc="https://projectredcap.org"',
            )
        },
        {"1": {**BASELINE, "ecog": None}},
        (("1", 1, "2024-01-05"), ("1", 2, "2024-01-26")),
        (),
        {
            f"{ROW} 2 item 3": "item is not known",
            f"{ROW} 2 column ecog": "code for a missing value",
        },
    ),
    "metadata in one file and data in another": Case(
        {"odm.xml": odm(data(WHOLE)), "odm_metadata.xml": odm(metadata())}, ONE, TWO_CYCLES, DIED
    ),
    "a snapshot and two later files, whatever their names": Case(
        {
            "odm_3.xml": odm(
                metadata(), data(WHOLE), more=' CreationDateTime="2025-01-01T00:00:00Z"'
            ),
            "odm_2.xml": changes(
                data(at(form("FU", group("FU", key="1", type_="Remove")))),
                more=' CreationDateTime="2025-01-02T00:00:00Z"',
            ),
            "odm_1.xml": changes(
                data(
                    at(
                        form(
                            "FU",
                            group(
                                "FU",
                                item("EV", "alive"),
                                item("EVDT", "2024-10-01"),
                                key="1",
                                type_="Insert",
                            ),
                        )
                    )
                ),
                more=' CreationDateTime="2025-01-03T00:00:00+08:00"',
            ),
        },
        ONE,
        TWO_CYCLES,
        (("001", "alive", "2024-10-01"),),
    ),
    "two files in the order of PriorFileOID": Case(
        {
            "odm_a.xml": changes(
                data(subject("001", type_="Remove")), more=' FileOID="B" PriorFileOID="A"'
            ),
            "odm_b.xml": odm(
                metadata(), data(WHOLE, subject("002", event("SE", DM))), more=' FileOID="A"'
            ),
        },
        {"002": BASELINE},
    ),
    "two files of which nobody knows which is the later": Case(
        {
            "odm_a.xml": changes(data(subject("001", type_="Remove"))),
            "odm_b.xml": odm(metadata(), data(WHOLE)),
        },
        {},
        (),
        (),
        {
            "clinical/ ODM file 1": "which is the later",
            "clinical/ ODM file 2": "which is the later",
        },
    ),
    "an older snapshot beside a newer one": Case(
        {
            "odm.xml": odm(metadata(), data(WHOLE), more=' CreationDateTime="2024-01-01T00:00:00"'),
            "odm_new.xml": odm(
                metadata(),
                data(subject("001", event("SE", DM, CYCLES))),
                more=' CreationDateTime="2025-01-01T00:00:00"',
            ),
        },
        ONE,
        TWO_CYCLES,
        (),
        {"clinical/odm.xml": "older than another Snapshot"},
    ),
    "a file that continues one that is not there": Case(
        {"odm.xml": changes(metadata(), data(WHOLE), more=' FileOID="C" PriorFileOID="B"')},
        ONE,
        TWO_CYCLES,
        DIED,
        {"clinical/odm.xml": "PriorFileOID"},
    ),
    "subjects of two hospitals, one of them this one": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject("001", '<SiteRef LocationOID="AB"/>', event("SE", DM)),
                    subject("002", '<SiteRef LocationOID="XY"/>', event("SE", DM)),
                ),
            )
        },
        ONE,
        (),
        (),
        {"clinical/odm.xml": "records of other sites"},
    ),
    "subjects of two hospitals, neither known here": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject("001", '<SiteRef LocationOID="L1"/>', event("SE", DM)),
                    subject("002", '<SiteRef LocationOID="L2"/>', event("SE", DM)),
                ),
            )
        },
        {},
        (),
        (),
        {"clinical/odm.xml": "several sites"},
    ),
    "written in GB18030": Case(
        {
            "odm.xml": odm(metadata(answers=(("1", "男"), ("2", "女"))), data(WHOLE))
            .replace("UTF-8", "GB18030")
            .encode("gb18030")
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
}


def renamed(*names: tuple[str, str], **texts: str) -> str:
    """The metadata with other names and texts of their items."""
    made = metadata(names=dict(names))
    for name, text in texts.items():
        made = made.replace(
            f'Name="{name}" DataType="text">', f'Name="{name}" DataType="text">{text}'
        )
    return made


def question(text: str) -> str:
    return f"<Question><TranslatedText>{text}</TranslatedText></Question>"


REPORTS = {
    "LibreClinica 279: an answer without a text": Case(
        {"odm.xml": odm(metadata(answers=(("1", "Male"), ("2", ""))), data(WHOLE))},
        {"001": {"sex": None, "stage": "IIIB"}},
        TWO_CYCLES,
        DIED,
        {f"{ROW} 1 column sex": "not in the item's code list"},
    ),
    "OpenClinica 10881: events that repeat without a repeat key": Case(
        {
            "odm.xml": odm(
                metadata(),
                data(
                    subject(
                        "001",
                        event("SE", DM),
                        event(
                            "T",
                            form("EX", group("EX", item("CYC", "1"), item("EXDT", "2024-01-05"))),
                        ),
                        event(
                            "T",
                            form("EX", group("EX", item("CYC", "2"), item("EXDT", "2024-01-26"))),
                        ),
                    )
                ),
            )
        },
        ONE,
        TWO_CYCLES,
    ),
    "rwslib 98: a subject is removed": Case(
        {
            "odm.xml": changed(
                '<SubjectData SubjectKey="001" TransactionType="Remove"><SiteRef'
                ' LocationOID="AB"/></SubjectData>'
            )
        },
        {},
    ),
    "Rave: the subject's key is a number of its own, items in context bear queries": Case(
        {
            "odm.xml": changes(
                metadata(),
                data(
                    subject(
                        "5f3c-77",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM",
                                    item("SEX", "2", TransactionType="Upsert"),
                                    item("STG", "IIIB"),
                                ),
                            ),
                            form(
                                "EX",
                                group(
                                    "EX",
                                    item("CYC", "1"),
                                    item("EXDT", "2024-01-05"),
                                    '<ItemData ItemOID="CYC" TransactionType="Context">'
                                    '<m:Query Status="Open"/></ItemData>',
                                    type_="Upsert",
                                    key="1",
                                ),
                            ),
                        ),
                        more=' m:SubjectKeyType="SubjectUUID" m:SubjectName="001"',
                    )
                ),
                more=' xmlns:m="urn:mdsol"',
            )
        },
        ONE,
        TWO_CYCLES[:1],
    ),
    "one snapshot per subject": Case(
        {
            "odm_1.xml": odm(metadata(), data(WHOLE)),
            "odm_2.xml": odm(metadata(), data(subject("002", event("SE", DM)))),
        },
        {"001": BASELINE, "002": BASELINE},
        TWO_CYCLES,
        DIED,
    ),
    "one file twice": Case(
        {"odm.xml": odm(metadata(), data(WHOLE)), "odm (1).xml": odm(metadata(), data(WHOLE))},
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "times of creation that contradict the prior files": Case(
        {
            "odm_a.xml": changes(
                data(at(form("FU", type_="Remove"))),
                more=' FileOID="B" PriorFileOID="A" CreationDateTime="2024-01-01T00:00:00"',
            ),
            "odm_b.xml": odm(
                metadata(), data(WHOLE), more=' FileOID="A" CreationDateTime="2025-01-01T00:00:00"'
            ),
        },
        {},
        (),
        (),
        {
            "clinical/ ODM file 1": "which is the later",
            "clinical/ ODM file 2": "which is the later",
        },
    ),
    "openEDC: items that are known by their question, OIDs that say nothing": Case(
        {
            "odm.xml": odm(
                renamed(
                    ("SEX", "I.1"),
                    ("STG", "I.18"),
                    **{"I.1": question("Sex"), "I.18": question("Clinical stage")},
                ),
                data(WHOLE),
            )
        },
        ONE,
        TWO_CYCLES,
        DIED,
    ),
    "a name and a question that say two things": Case(
        {
            "odm.xml": odm(
                renamed(("BD", "date"), date=question("Date of birth")),
                data(
                    subject(
                        "001",
                        event(
                            "SE",
                            form(
                                "DM",
                                group(
                                    "DM",
                                    item("SEX", "2"),
                                    item("STG", "IIIB"),
                                    item("BD", "1961-04-09"),
                                ),
                            ),
                        ),
                    )
                ),
            )
        },
        ONE,
        (),
        (),
        {f"{ROW} 1 item 3": "labelled as another"},
    ),
}
"""What was reported of other programs that read or write ODM, and what real programs write."""


@pytest.mark.parametrize("case", ODM_CASES.values(), ids=ODM_CASES)
def test_odm(site, case):
    check(site, case)


@pytest.mark.parametrize("case", REPORTS.values(), ids=REPORTS)
def test_what_other_programs_write_or_got_wrong(site, case):
    check(site, case)


def test_a_value_longer_than_any_answer_costs_its_cell_and_no_more(site):
    """An attachment in an item, or megabytes where an age is expected."""
    from tests.intake.test_any_text import odm_of

    site.put("clinical/odm.xml", odm_of({"patient_id": "001", "age": "6" * 70_000, "sex": "F"}))
    (row,) = site.build()["patients"].to_dicts()
    assert (row["sex"], row["age_years"]) == ("F", None)
    assert any("column age" in item for item in site.refusals)
