"""Sheets of the case report as spreadsheets and databases export them."""

from __future__ import annotations

import csv
import io
import zipfile
from random import Random

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.site import Sheet, Site

CLINICAL = ("clinical/patients.csv", "clinical/treatments.csv", "clinical/follow_up.csv")


def _one(site: Site, rng: Random) -> Sheet:
    return site.sheets[rng.choice(CLINICAL)]


def _all(site: Site) -> list[Sheet]:
    return [site.sheets[name] for name in CLINICAL]


@distortion("spreadsheets", "right", of="sheets")
def semicolons(site: Site, rng: Random) -> None:
    """Semicolons separate cells."""
    for sheet in _all(site):
        sheet.delimiter = ";"


@distortion("spreadsheets", "right", of="sheets")
def tabs(site: Site, rng: Random) -> None:
    """Tabs separate cells."""
    for sheet in _all(site):
        sheet.delimiter = "\t"


@distortion("spreadsheets", "either", of="sheets")
def pipes(site: Site, rng: Random) -> None:
    """Vertical bars separate cells."""
    for sheet in _all(site):
        sheet.delimiter = "|"


CHINESE = {
    "patient_id": "住院号",
    "sex": "性别",
    "age": "年龄",
    "smoking": "吸烟史",
    "ecog": "ECOG评分",
    "stage": "临床分期",
    "histology": "病理类型",
    "egfr": "EGFR",
    "alk": "ALK",
    "pd_l1_tps": "PD-L1表达",
    "line": "治疗线数",
    "regimen": "治疗方案",
    "prior_malignancy": "既往恶性肿瘤",
    "organ_dysfunction": "脏器功能不全",
    "target_radiotherapy": "靶病灶放疗史",
    "consent": "知情同意",
    "cycle": "周期",
    "date": "日期",
    "drugs": "药物",
    "event": "事件",
    "detail": "备注",
}
WORDS = {
    "F": "女",
    "M": "男",
    "never": "从不",
    "former": "既往",
    "current": "目前吸烟",
    "adenocarcinoma": "腺癌",
    "squamous_cell_carcinoma": "鳞癌",
    "mutant": "突变",
    "wild_type": "野生型",
    "rearranged": "重排",
    "negative": "阴性",
    "alive": "存活",
    "death": "死亡",
    "given": "同意",
    "n": "否",
}


def _translate(site: Site) -> None:
    for sheet in _all(site):
        sheet.rows = [[WORDS.get(cell, cell) for cell in row] for row in sheet.rows]
        sheet.header = [CHINESE[name] for name in sheet.header]


@distortion("spreadsheets", "right", of="sheets")
def chinese(site: Site, rng: Random) -> None:
    """Headers and words are Chinese, in UTF-8 with a byte order mark."""
    _translate(site)
    for sheet in _all(site):
        sheet.encoding = "utf-8-sig"


@distortion("spreadsheets", "right", of="sheets")
def gb18030(site: Site, rng: Random) -> None:
    """Headers and words are Chinese, in GB18030."""
    _translate(site)
    for sheet in _all(site):
        sheet.encoding = "gb18030"


@distortion("spreadsheets", "either", of="sheets")
def big5(site: Site, rng: Random) -> None:
    """Traditional Chinese headers in Big5."""
    sheet = _one(site, rng)
    sheet.header = ["住院號" if c == "patient_id" else c for c in sheet.header]
    sheet.encoding = "big5"


@distortion("spreadsheets", "right", of="sheets")
def utf16(site: Site, rng: Random) -> None:
    """UTF-16 with a byte order mark and tabs: Excel's `Unicode text`."""
    for sheet in _all(site):
        sheet.encoding, sheet.delimiter = "utf-16", "\t"


@distortion("spreadsheets", "either", of="sheets")
def utf16_without_a_mark(site: Site, rng: Random) -> None:
    """UTF-16 without a byte order mark."""
    _one(site, rng).encoding = rng.choice(["utf-16-le", "utf-16-be"])


@distortion("spreadsheets", "right", of="sheets")
def byte_order_mark(site: Site, rng: Random) -> None:
    """UTF-8 with a byte order mark."""
    for sheet in _all(site):
        sheet.encoding = "utf-8-sig"


@distortion("spreadsheets", "either", of="sheets")
def title_above_the_header(site: Site, rng: Random) -> None:
    """A title row stands above the header."""
    sheet = _one(site, rng)
    sheet.above = 1
    sheet.raw = (
        "Export of the study 2026-01-12" + "," * (len(sheet.header) - 1) + "\n" + sheet.text()
    ).encode()


@distortion("spreadsheets", "either", of="sheets")
def header_of_two_rows(site: Site, rng: Random) -> None:
    """A merged header: groups of columns stand above their names."""
    sheet = _one(site, rng)
    sheet.above = 1
    groups = ["Patient", *[""] * (len(sheet.header) - 1)]
    sheet.raw = (",".join(groups) + "\n" + sheet.text()).encode()


@distortion("spreadsheets", "either", of="sheets")
def separator_line(site: Site, rng: Random) -> None:
    """The first line says which separator follows: sep=;."""
    sheet = _one(site, rng)
    sheet.delimiter, sheet.above = ";", 1
    sheet.raw = ("sep=;\n" + sheet.text()).encode()


@distortion("spreadsheets", "either", of="sheets")
def column_twice_and_different(site: Site, rng: Random) -> None:
    """The stage stands in two columns that say different things."""
    sheet = site.sheets["clinical/patients.csv"]
    place = sheet.column("stage")
    sheet.header.append(rng.choice(["stage", "Stage", "临床分期"]))
    for row in sheet.rows:
        row.append("IIIA" if row[place] != "IIIA" else "IVA")


@distortion("spreadsheets", "right", of="sheets")
def columns_in_another_order(site: Site, rng: Random) -> None:
    """Columns come in another order."""
    for sheet in _all(site):
        order = rng.sample(range(len(sheet.header)), len(sheet.header))
        sheet.header = [sheet.header[k] for k in order]
        sheet.rows = [[row[k] for k in order] for row in sheet.rows]


@distortion("spreadsheets", "right", of="sheets")
def an_unknown_column(site: Site, rng: Random) -> None:
    """A column that nobody knows."""
    sheet = _one(site, rng)
    sheet.header.insert(1, "remarks of the study nurse")
    for row in sheet.rows:
        row.insert(1, "see letter")


@distortion("spreadsheets", "right", of="sheets")
def newline_in_a_cell(site: Site, rng: Random) -> None:
    """A quoted cell holds a line break."""
    sheet = site.sheets["clinical/treatments.csv"]
    for row in sheet.rows:
        row[sheet.column("drugs")] = "pembrolizumab\npemetrexed"


@distortion("spreadsheets", "right", of="sheets")
def control_characters(site: Site, rng: Random) -> None:
    """Cells hold a vertical tab, a form feed, U+0085 or U+2028."""
    sheet = _one(site, rng)
    place = {
        "clinical/patients.csv": "regimen",
        "clinical/treatments.csv": "drugs",
        "clinical/follow_up.csv": "event",
    }[sheet.name]
    if place not in sheet.header:
        return
    for row in sheet.rows:
        row[sheet.column(place)] += rng.choice(["\v", "\f", "\u0085", "\u2028", "\x1c"]) + (
            "pemetrexed" if place != "event" else ""
        )


@distortion("spreadsheets", "right", of="sheets")
def trailing_delimiters(site: Site, rng: Random) -> None:
    """Rows end with empty cells."""
    for sheet in _all(site):
        sheet.raw = "".join(f"{line},,,\n" for line in sheet.text().splitlines()).encode()


@distortion("spreadsheets", "right", of="sheets")
def empty_rows(site: Site, rng: Random) -> None:
    """Empty rows stand between rows and behind them."""
    sheet = _one(site, rng)
    for place in sorted(rng.sample(range(len(sheet.rows) + 1), 2), reverse=True):
        sheet.rows.insert(place, [""] * len(sheet.header))
        sheet.owners.insert(place, -1)


@distortion("spreadsheets", "either", of="sheets")
def a_total_below(site: Site, rng: Random) -> None:
    """A row below the patients gives their number."""
    sheet = site.sheets["clinical/patients.csv"]
    sheet.rows.append(
        [
            rng.choice(["Total", "合计", "n ="]),
            str(len(sheet.rows)),
            *[""] * (len(sheet.header) - 2),
        ]
    )
    sheet.owners.append(-1)


@distortion("spreadsheets", "either", of="sheets")
def header_repeated(site: Site, rng: Random) -> None:
    """The header stands again in the middle: two exports were joined."""
    sheet = _one(site, rng)
    sheet.rows.insert(len(sheet.rows) // 2, list(sheet.header))
    sheet.owners.insert(len(sheet.owners) // 2, -1)


@distortion("spreadsheets", "refused", of="sheets")
def one_row_shifted(site: Site, rng: Random) -> None:
    """The cells of one row have slipped to the right by one."""
    sheet = site.sheets["clinical/patients.csv"]
    row = rng.choice(sheet.rows)
    row.insert(1, "")


@distortion("spreadsheets", "refused", of="sheets")
def one_row_short(site: Site, rng: Random) -> None:
    """A cell of one row is missing: what follows has slipped to the left."""
    sheet = site.sheets["clinical/patients.csv"]
    del rng.choice(sheet.rows)[rng.randrange(2, 6)]


@distortion("spreadsheets", "refused", of="sheets")
def an_unquoted_comma(site: Site, rng: Random) -> None:
    """A comma within a cell was not quoted."""
    sheet = site.sheets["clinical/treatments.csv"]
    place = sheet.column("drugs")
    lines = sheet.text().splitlines()
    lines[2] = lines[2].replace(sheet.rows[1][place], "pembrolizumab, 200 mg, day 1")
    sheet.raw = ("\n".join(lines) + "\n").encode()


@distortion("spreadsheets", "either", of="sheets")
def a_quote_never_closed(site: Site, rng: Random) -> None:
    """A quotation mark opens a cell and is never closed."""
    sheet = _one(site, rng)
    lines = sheet.text().splitlines()
    cells = lines[1].split(",")
    cells[-1] = f'"{cells[-1]}'
    lines[1] = ",".join(cells)
    sheet.raw = ("\n".join(lines) + "\n").encode()


@distortion("spreadsheets", "right", of="sheets")
def line_ends_of_old_machines(site: Site, rng: Random) -> None:
    """Lines end with CR alone, or with CR LF."""
    end = rng.choice(["\r", "\r\n"])
    for sheet in _all(site):
        sheet.raw = sheet.text().replace("\n", end).encode()


@distortion("spreadsheets", "right", of="sheets")
def everything_quoted(site: Site, rng: Random) -> None:
    """Each cell is quoted."""
    for sheet in _all(site):
        out = io.StringIO(newline="")
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([sheet.header, *sheet.rows])
        sheet.raw = out.getvalue().encode()


@distortion("spreadsheets", "refused", of="sheets")
def zip_under_csv(site: Site, rng: Random) -> None:
    """An archive bears the ending .csv."""
    sheet = _one(site, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", sheet.text())
    sheet.raw = out.getvalue()


@distortion("spreadsheets", "refused", of="sheets")
def html_under_csv(site: Site, rng: Random) -> None:
    """A web page's table bears the ending .csv, as hospital systems export `Excel`."""
    sheet = _one(site, rng)
    rows = "".join(
        "<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>"
        for row in [sheet.header, *sheet.rows]
    )
    sheet.raw = f"<html><body><table>{rows}</table></body></html>".encode()


@distortion("spreadsheets", "refused", of="sheets")
def empty_file(site: Site, rng: Random) -> None:
    """A sheet is empty."""
    _one(site, rng).raw = b""


@distortion("spreadsheets", "either", of="sheets")
def header_alone_missing(site: Site, rng: Random) -> None:
    """The header was lost."""
    sheet = _one(site, rng)
    sheet.above = -1
    sheet.raw = sheet.text().partition("\n")[2].encode()


@distortion("spreadsheets", "either", of="sheets")
def nul_bytes_behind(site: Site, rng: Random) -> None:
    """The file is padded with zero bytes."""
    sheet = _one(site, rng)
    sheet.raw = sheet.text().encode() + b"\0" * 512


@distortion("spreadsheets", "either", of="sheets")
def torn_file(site: Site, rng: Random) -> None:
    """The transfer broke off in the middle of the last row of treatments."""
    sheet = site.sheets["clinical/treatments.csv"]
    sheet.raw = sheet.text().encode()[:-18]


@distortion("spreadsheets", "right", of="sheets")
def headers_in_capitals(site: Site, rng: Random) -> None:
    """Headers are in capitals, with blanks."""
    for sheet in _all(site):
        sheet.header = [f" {name.upper().replace('_', ' ')} " for name in sheet.header]
