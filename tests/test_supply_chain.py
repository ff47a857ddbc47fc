"""What is installed is what was locked, and all of it may be part of an Apache-2.0 project."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

REQUIREMENTS = REPOSITORY / "requirements"
SBOM = REPOSITORY / "scripts" / "sbom"


def pinned(name: str) -> dict[str, str]:
    """The lines of each pinned package, by its name."""
    text = re.sub(r"^ *#.*$", "", (REQUIREMENTS / name).read_text(), flags=re.MULTILINE).replace(
        "\\\n", " "
    )
    lines = [line for line in text.splitlines() if line.strip()]
    return {canonicalize_name(Requirement(line.split("--hash")[0]).name): line for line in lines}


@pytest.mark.parametrize("name", ["lock.txt", "build.txt", "accountant.txt"])
def test_every_pinned_file_has_its_hash(name):
    without = [
        package
        for package, line in pinned(name).items()
        if "--hash=sha256:" not in line or "==" not in line
    ]
    assert pinned(name)
    assert without == []


def test_the_environment_is_installed_by_hash():
    setup = (REPOSITORY / "Makefile").read_text()
    for name in ("lock.txt", "build.txt"):
        assert re.search(rf"--require-hashes -r requirements/{name}", setup)
    assert "--no-deps -r requirements/torch.txt" in setup


@pytest.mark.parametrize("package", ["torch", "captum"])
def test_what_torch_requires_is_locked_although_torch_is_not(package):
    needed = [Requirement(r) for r in requires(package) or []]
    names = {
        canonicalize_name(r.name)
        for r in needed
        if not r.marker or r.marker.evaluate({"extra": ""})
    }
    assert names - {"torch"} <= set(pinned("lock.txt"))


def test_what_the_extra_for_federated_runs_requires_is_locked():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(r) for r in project["optional-dependencies"]["federated"]]
    assert {canonicalize_name(r.name) for r in wanted} <= set(pinned("lock.txt"))


def test_the_inventory_of_licences_is_of_this_environment_and_none_is_of_the_gpl():
    done = subprocess.run(
        [sys.executable, SBOM, "--check"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "licence",
    ["", "GPL-3.0-only", "GNU General Public License v3 (GPLv3)", "AGPL-3.0-or-later", "GPLv2+"],
)
def test_a_component_that_may_not_be_part_of_the_project_is_named(licence, capsys):
    script = runpy.run_path(str(SBOM))
    assert script["refused"]({"somebody-elses": ("1.0", licence)}) == 1
    assert "somebody-elses" in capsys.readouterr().err


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "Apache-2.0",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        "LGPL-2.1-or-later",
        "MPL-2.0",
    ],
)
def test_a_component_that_may_be_part_of_it_is_not_named(licence):
    assert runpy.run_path(str(SBOM))["refused"]({"somebody-elses": ("1.0", licence)}) == 0


def test_a_package_that_requires_its_own_extra_is_listed_once(monkeypatch):
    closure = runpy.run_path(str(SBOM))["closure"]
    monkeypatch.setitem(
        closure.__globals__,
        "distribution",
        lambda _: SimpleNamespace(requires=["circular[all]", "extra-only; extra == 'all'"]),
    )
    assert {"circular", "extra-only", "pydicom"} <= closure()


def test_the_list_of_components_is_cyclonedx_and_holds_what_runs_alone():
    script = runpy.run_path(str(SBOM))
    found = script["components"]()
    sbom = json.loads(json.dumps(script["bill_of_materials"](found)))
    names = {canonicalize_name(component["name"]) for component in sbom["components"]}
    assert sbom["bomFormat"] == "CycloneDX"
    assert names == set(found)
    assert {"dagster", "duckdb", "pydicom", "torch"} <= names
    assert not {"pytest", "pingouin", "ruff", "pylibjpeg-libjpeg"} & names
    assert all(component["licenses"] and component["purl"] for component in sbom["components"])
