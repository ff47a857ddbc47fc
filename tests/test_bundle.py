"""What a release for a hospital without a network holds, and what keeps a changed one out."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.test_deploy import DEPLOY, PROGRAMS, SERVICES, program
from tests.test_supply_chain import pinned

BUNDLE = runpy.run_path(str(REPOSITORY / "scripts" / "bundle"))
SBOM = runpy.run_path(str(REPOSITORY / "scripts" / "sbom"))


def test_what_runs_is_pinned_as_everything_is() -> None:
    runtime, lock = pinned("runtime.txt"), pinned("lock.txt")
    assert [name for name, line in runtime.items() if line != lock.get(name)] == []


def test_the_runtime_is_what_the_project_requires_and_no_tool_of_tests() -> None:
    apart = {"torch", "captum"}
    assert set(pinned("runtime.txt")) == SBOM["closure"]() - apart


def test_what_is_built_here_is_part_of_the_runtime() -> None:
    assert set(BUNDLE["built_here"]()) <= set(pinned("runtime.txt"))
    assert "pyradiomics" in BUNDLE["built_here"]()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp39-abi3-manylinux2014_x86_64.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux_2_34_x86_64.whl", True),
        ("a-1-cp311-abi3-manylinux_2_34_x86_64.whl", False),
        ("a-1-cp312-abi3-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp311-cp311-linux_x86_64.whl", False),
    ],
)
def test_a_wheel_is_taken_by_its_tags(name: str, fits: bool) -> None:
    assert BUNDLE["fits"](name) is fits


def test_what_is_compiled_here_asks_for_an_old_glibc() -> None:
    files = [f for f in distribution("pyradiomics").files or [] if f.suffix == ".so"]
    assert files
    for file in files:
        assert BUNDLE["glibc_of"](Path(str(file.locate()))) <= BUNDLE["GLIBC"]


def test_the_glibc_of_a_program_of_this_system_is_seen() -> None:
    assert BUNDLE["glibc_of"](Path("/bin/ls")) > BUNDLE["GLIBC"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "wheelhouse").mkdir()
    return BUNDLE["complete_wheel"](folder, folder / "wheelhouse")


def test_the_wheel_holds_the_whole_program(wheel: Path) -> None:
    assert BUNDLE["left_out"](wheel, BUNDLE["tracked"]()) == []


def test_a_file_that_the_wheel_leaves_out_is_named(wheel: Path) -> None:
    assert BUNDLE["left_out"](wheel, ["models/new.bin", "README.md"]) == ["models/new.bin"]


# -- sums and signature ----------------------------------------------------------------------------


def check(release: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [release / "install.sh", *options, "--check"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The least of a release: install.sh and one wheel."""
    folder = tmp_path / "lakehouse-0"
    (folder / "wheelhouse").mkdir(parents=True)
    (folder / "wheelhouse" / "a-1-py3-none-any.whl").write_bytes(b"a wheel")
    shutil.copy(DEPLOY / "bundle" / "install.sh", folder)
    return folder


def signing_key(folder: Path, name: str) -> tuple[str, str]:
    """A key, and the file of allowed signers that names it."""
    key, signers = folder / name, folder / f"{name}.signers"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
    subprocess.run(command, check=True)
    signers.write_text(f"{name} {key.with_suffix('.pub').read_text()}")
    return str(key), str(signers)


def test_a_signed_release_is_taken_and_another_signature_is_not(
    release: Path, tmp_path: Path
) -> None:
    key, signers = signing_key(tmp_path, "study")
    _, others = signing_key(tmp_path, "stranger")
    BUNDLE["seal"](release, key)
    good = check(release, "--signers", signers)
    assert (good.returncode, "good, by study" in good.stdout) == (0, True)
    assert "not checked" in check(release).stdout
    bad = check(release, "--signers", others)
    assert (bad.returncode, "do not install" in bad.stderr) == (1, True)
    assert not (release / "UNSIGNED").exists()


def test_a_release_without_a_key_says_so_and_is_refused_where_a_signer_is_named(
    release: Path, tmp_path: Path
) -> None:
    _, signers = signing_key(tmp_path, "study")
    BUNDLE["seal"](release, None)
    assert (release / "UNSIGNED").is_file()
    assert "UNSIGNED" in check(release).stdout
    assert check(release, "--signers", signers).returncode == 1


@pytest.mark.parametrize("name", ["install.sh", "wheelhouse/a-1-py3-none-any.whl", "SHA256SUMS"])
def test_one_changed_byte_is_refused(release: Path, tmp_path: Path, name: str) -> None:
    key, signers = signing_key(tmp_path, "study")
    BUNDLE["seal"](release, key)
    content = bytearray((release / name).read_bytes())
    content[-2] ^= 1
    (release / name).write_bytes(content)
    assert check(release, "--signers", signers).returncode != 0


def test_a_file_that_nobody_listed_is_refused(release: Path) -> None:
    BUNDLE["seal"](release, None)
    (release / "wheelhouse" / "b-1-py3-none-any.whl").write_bytes(b"another")
    done = check(release)
    assert (done.returncode, "b-1-py3-none-any.whl" in done.stderr) == (1, True)


# -- units of the image ----------------------------------------------------------------------------


def test_systemd_takes_every_unit_with_the_image_without_a_word(tmp_path: Path) -> None:
    drop_in = tmp_path / "lakehouse-.service.d"
    drop_in.mkdir()
    shutil.copy(DEPLOY / "bundle" / "image.conf", drop_in)
    for unit in SERVICES:
        (tmp_path / unit.name).write_text(re.sub(rf"{PROGRAMS}/\S+", "/bin/true", unit.read_text()))
    done = subprocess.run(
        [program("systemd-analyze"), "verify", *(f"./{unit.name}" for unit in SERVICES)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES, ids=lambda p: p.name)
def test_what_is_compiled_at_run_time_lies_outside_a_read_only_installation(service: Path) -> None:
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert re.search(rf"{name}=/var/cache/lakehouse/", service.read_text())
    assert BUNDLE["ENVIRONMENT"]["NUMBA_CACHE_DIR"] in service.read_text()
