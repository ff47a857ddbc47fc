"""Pages: escaped, complete or an error, put in place whole, and shipped with their templates."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from setuptools import find_namespace_packages

from dagster_project.reports import pages
from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.study import load_study

REPOSITORY = Path(__file__).parents[2]


def test_a_figure_is_drawn_in_the_colours_of_the_page():
    assert pages.draw(lambda theme: theme.name.encode()) == "page"


def test_where_there_is_nothing_to_draw_there_is_no_picture():
    def nothing(_):
        raise NothingToDraw("figure", "values")

    assert pages.draw(nothing) is None


def test_a_name_that_a_template_needs_and_does_not_get_is_an_error():
    with pytest.raises(UndefinedError, match="snapshot"):
        pages.render("base.html", study=load_study())


def test_a_write_that_fails_leaves_the_former_page(tmp_path, monkeypatch):
    page = pages.put(tmp_path / "page.html", "before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pages.put(page, "after")
    assert page.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [page]


def test_the_wheel_carries_every_template():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    found = sorted(path.name for path in pages.TEMPLATES.iterdir())
    assert found == [
        "arbitration.html",
        "base.html",
        "bilingual.css",
        "bilingual.html",
        "board.css",
        "board.html",
        "board_waiting.html",
        "case.html",
        "due_list.css",
        "due_list.html",
        "due_list.js",
        "evaluation.css",
        "evaluation.html",
        "head.html",
        "index.css",
        "index.html",
        "index.js",
        "macros.html",
        "monitoring.html",
        "patient.html",
        "reader.css",
        "reader.html",
        "reader_base.html",
        "reader_scan.html",
        "report.css",
        "study_report.html",
        "switched.html",
        "viewer.css",
        "viewer.html",
        "viewer.js",
    ]
    assert all(
        any(fnmatch(name, pattern) for pattern in settings["package-data"]["*"]) for name in found
    )
    assert "dagster_project.reports.templates" in find_namespace_packages(
        str(REPOSITORY), include=settings["packages"]["find"]["include"]
    )
