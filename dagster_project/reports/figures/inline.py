"""A figure as part of a page: SVG in the page's colours, its words in both languages.

The words are text of the page, so they need no font of their own and follow its switch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import count
from xml.etree import ElementTree as ET

from dagster_project.lake.reasons import chinese_label
from dagster_project.reports.palette import PAGE, STYLE_NAMES

_SVG = "{http://www.w3.org/2000/svg}"

_HREF = "{http://www.w3.org/1999/xlink}href"

_REFERENCE = re.compile(r"url\(#([^)]+)\)")

_DECIMALS = re.compile(r"(\d\.\d\d)\d+")
"""Coordinates beyond a hundredth of a point, which nobody sees and a page would carry."""

_TEXT_STYLE = re.compile(r"font-family: [^;]+; ")

_UNTURNED = re.compile(r"rotate\(-?0 ")


def inline_svg(written: bytes, names: Mapping[str, str] | None = None) -> bytes:
    """What matplotlib wrote, fit to stand within a page beside others of its kind.

    1. metadata, document type and the rule for all elements of a document go
    2. names that nothing refers to go; the others are those of this figure alone
    3. a text with a Chinese form stands there in both languages, marked with `lang`
    4. a page needs no name space; a colour of `PAGE` is the page's of that name, day and night

    Parameters
    ----------
    written
        SVG in the colours of `PAGE`.
    names
        Chinese of what the figure names beside the words of the catalogue.

    Raises
    ------
    xml.etree.ElementTree.ParseError
        If it is no SVG.
    """
    root = ET.fromstring(written)  # noqa: S314 - written a moment ago by matplotlib
    for child in list(root):
        if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
            root.remove(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    _name_anew(root, hashlib.sha256(written).hexdigest()[:6])
    for parent in list(root.iter()):
        _in_both_languages(parent, names)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
    return _in_page_colours(ET.tostring(root, encoding="unicode")).encode()


def _name_anew(root: ET.Element, figure: str) -> None:
    """Keep the names that are referred to, made those of this figure."""
    wanted = {e.get(_HREF, "").removeprefix("#") for e in root.iter()}
    wanted |= {m for e in root.iter() for m in _REFERENCE.findall(e.get("clip-path", ""))}
    numbers = count(1)
    names = {name: f"f{figure}-{next(numbers)}" for name in sorted(wanted - {""})}
    for element in root.iter():
        own = names.get(element.attrib.pop("id", ""))
        if own:
            element.set("id", own)
        if _HREF in element.attrib:
            element.set("href", "#" + names[element.attrib.pop(_HREF).removeprefix("#")])
        clip = _REFERENCE.fullmatch(element.get("clip-path", ""))
        if clip:
            element.set("clip-path", f"url(#{names[clip[1]]})")


def _in_both_languages(parent: ET.Element, names: Mapping[str, str] | None) -> None:
    for place, element in reversed(list(enumerate(parent))):
        if element.tag != f"{_SVG}text":
            continue
        _plain(element)
        chinese = chinese_label(element.text or "", names)
        if chinese == element.text:
            continue
        twin = ET.Element(element.tag, {**element.attrib, "lang": "zh"})
        twin.text = chinese
        element.set("lang", "en")
        parent.insert(place + 1, twin)


def _plain(text: ET.Element) -> None:
    """The page's font; no turn where there is none."""
    text.set("style", _TEXT_STYLE.sub("", text.get("style", "")))
    if _UNTURNED.match(text.get("transform", "")):
        del text.attrib["transform"]


def _in_page_colours(svg: str) -> str:
    for colour, name in STYLE_NAMES.items():
        svg = svg.replace(f": {getattr(PAGE, colour)}", f": var(--{name})")
    for colour, name in zip(PAGE.series[2:], ("third", "fourth", "fifth"), strict=True):
        svg = svg.replace(f": {colour}", f": var(--{name})")
    return re.sub(r">\s+<", "><", _DECIMALS.sub(r"\1", svg.replace("\n", " ")))
