"""Pages and figures show finished numbers: `summaries` alone asks the statistics for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagster_project.reports

PAGES = sorted(
    page
    for page in Path(dagster_project.reports.__file__).parent.rglob("*.py")
    if page.stem != "__init__" and page.parent.name != "summaries"
)
STATISTICS = ("dagster_project.statistics", "lifelines", "pingouin", "scipy", "statistics")
FIGURES = {"corrcoef", "cov", "median", "nanquantile", "percentile", "quantile", "std", "var"}


def carried_out(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those of imports that types alone need."""
    for node in ast.iter_child_nodes(tree):
        types_alone = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not types_alone:
            yield node
            yield from carried_out(node)


def found_in(source: str) -> list[str]:
    """Statistics that a module imports, and methods of its own that are some."""
    nodes = list(carried_out(ast.parse(source)))
    imported = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    imported += [str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)]
    called = [n.func for n in nodes if isinstance(n, ast.Call)]
    methods = [f.attr for f in called if isinstance(f, ast.Attribute) and f.attr in FIGURES]
    return [name for name in imported if name.startswith(STATISTICS)] + methods


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_shows_what_it_is_given(page):
    assert found_in(page.read_text(encoding="utf-8")) == []


def test_statistics_would_be_found():
    source = """
if TYPE_CHECKING:
    from dagster_project.statistics.survival import KaplanMeier

def figure(values):
    from scipy.stats import norm
    return np.quantile(values, 0.5)
"""
    assert found_in(source) == ["scipy.stats", "quantile"]
