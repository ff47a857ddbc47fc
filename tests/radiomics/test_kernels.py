"""What no comparison of features shows about the kernels.

It is eigenvalues in bad cases, how kernels are compiled, and where their code is stored.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.radiomics import fused_engine
from dagster_project.radiomics.kernels import compilation
from dagster_project.radiomics.kernels.mcc import EPS, second_eigenvalues
from tests.radiomics.pyradiomics_oracle import CLASSES, cropped, odd_images, odd_regions

KERNELS = Path(compilation.__file__).parent
MODULES = [
    import_module(f"dagster_project.radiomics.kernels.{f.stem}")
    for f in sorted(KERNELS.glob("*.py"))
    if f.stem != "__init__"
]


def eigenvalue_of_q(p):
    """The second largest of all eigenvalues of Q, written as PyRadiomics defines it."""
    marginal = p.sum(axis=1)
    q = sum(
        np.outer(p[:, k], p[:, k]) / (marginal[:, None] * marginal[k] + EPS) for k in range(len(p))
    )
    return np.sort(np.linalg.eigvals(q).real)[-2]


def probabilities(counts):
    symmetric = np.asarray(counts, dtype=float) + np.asarray(counts, dtype=float).T
    return symmetric / symmetric.sum()


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 60),
    pairs=st.sampled_from([5, 50, 500, 50_000]),
    width=st.floats(0.3, 20),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_second_eigenvalue_of_random_matrices(seed, n, pairs, width):
    """The matrices have from a few pairs, where gray levels fall apart, to many.

    They range from nearly equal neighbours to independent ones.
    """
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, pairs)
    second = np.clip(np.rint(first + rng.normal(0, width, pairs)), 0, n - 1).astype(int)
    counts = np.zeros((n, n))
    np.add.at(counts, (first, second), 1)
    p = probabilities(counts)
    assert second_eigenvalues(p[None])[0] == pytest.approx(eigenvalue_of_q(p), rel=1e-9, abs=1e-12)


def test_second_eigenvalue_where_eps_moves_it():
    """Two levels meet each other alone, once among a million pairs.

    Without eps the eigenvalue would be 1.
    """
    counts = np.zeros((4, 4))
    counts[:2, :2] = [[400_000, 100_000], [100_000, 400_000]]
    counts[2, 3] = 1
    p = probabilities(counts)
    expected = eigenvalue_of_q(p)
    assert 1 - expected > 1e-5
    assert second_eigenvalues(p[None])[0] == pytest.approx(expected, rel=1e-12)


def test_second_eigenvalue_that_belongs_to_a_negative_one():
    """A checkerboard: neighbours always differ, the matrix has the eigenvalues 1 and −1."""
    p = probabilities([[1, 90], [90, 2]])
    assert second_eigenvalues(p[None])[0] == pytest.approx(eigenvalue_of_q(p), rel=1e-12)


def dispatchers():
    return {
        (m.__name__, name): f
        for m in MODULES
        for name, f in vars(m).items()
        if hasattr(f, "py_func") and f.py_func.__module__ == m.__name__
    }


def test_warm_compiles_every_path():
    fused_engine.warm()
    compiled = {key: len(kernel.signatures) for key, kernel in dispatchers().items()}
    assert sum(compiled.values()) >= len(MODULES)
    rng = np.random.default_rng(0)
    for mask in odd_regions(rng).values():
        image, region = cropped(odd_images(rng)["wide"], mask)
        fused_engine.compute_region(image, region, CLASSES, bin_width_hu=25.0, spacing_mm=1.0)
    assert {key: len(kernel.signatures) for key, kernel in dispatchers().items()} == compiled


def test_no_kernel_calls_itself_or_another_module():
    """Cached recursion crashes later processes.

    Numba's cache does not notice a change in another module.
    """
    kernels = dispatchers()
    for (module, name), kernel in kernels.items():
        names = set(kernel.py_func.__code__.co_names)
        assert name not in names
        foreign = {other for (home, other) in kernels if home != module} - {
            other for (home, other) in kernels if home == module
        }
        assert not names & foreign


def test_private_folder_is_ours_alone(tmp_path):
    folder = compilation.private_folder(tmp_path)
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert compilation.private_folder(tmp_path) == folder


@pytest.mark.parametrize("trap", ["open to others", "a link", "a file", "no place"])
def test_private_folder_refuses_a_place_that_others_prepared(tmp_path, trap):
    place = tmp_path / f"lakehouse-kernels-{os.getuid()}"
    if trap == "open to others":
        place.mkdir()
        place.chmod(0o777)
    elif trap == "a link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    elif trap == "a file":
        place.touch()
    assert (
        compilation.private_folder(tmp_path / "absent" if trap == "no place" else tmp_path) is None
    )


PROGRAM = """
from compilation import kernel
import module
print(module.twice(21))
"""
MODULE = """
from compilation import kernel

@kernel
def twice(x):
    return 2 * x
"""


@pytest.mark.parametrize("temporary", ["usable", "prepared by others"])
def test_kernels_work_where_nothing_beside_them_can_be_written(tmp_path, temporary):
    """Files stand where numba would make its folders, so that it fails for every user, root too."""
    package, temp = tmp_path / "package", tmp_path / "temp"
    package.mkdir()
    temp.mkdir()
    (package / "compilation.py").write_text(
        Path(compilation.__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    (package / "module.py").write_text(MODULE, encoding="utf-8")
    (package / "__pycache__").touch()
    cache = temp / f"lakehouse-kernels-{os.getuid()}"
    if temporary == "prepared by others":
        cache.touch()
    environment = {
        **os.environ,
        "TMPDIR": str(temp),
        "XDG_CACHE_HOME": str(package / "__pycache__"),
        "PYTHONPATH": str(package),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "42", done.stderr
    assert any(cache.rglob("*.nbc")) == (temporary == "usable")


READ_ONLY = """
import sys
from pathlib import Path

root = Path(sys.argv[1])
try:
    (root / "new").touch()
    sys.exit("the copy can be written to")
except PermissionError:
    pass
import numpy as np
from dagster_project.radiomics import fused_engine

assert Path(fused_engine.__file__).is_relative_to(root)
cube = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
print(fused_engine.compute_region(cube, cube >= 0, ["firstorder"], bin_width_hu=25.0, \
spacing_mm=1.0)["firstorder_Mean"][0])
"""


def without_override():
    """Makes root in the child obey the write bits of a folder too.

    CAP_DAC_OVERRIDE leaves the bounding set.
    """
    import ctypes

    drop_from_bounding_set, override = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, override, 0, 0, 0)


def test_a_read_only_install_works_with_a_cache_elsewhere(tmp_path):
    install, cache = tmp_path / "install", tmp_path / "cache"
    source = Path(compilation.__file__).parents[2]
    shutil.copytree(source, install / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    cache.mkdir()
    folders = [install, *(f for f in install.rglob("*") if f.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": str(install),
            "HOME": str(install),
        }
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(install)],
            env=environment,
            cwd=install,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=without_override,
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.stdout.strip() == "13.0", done.stderr
    assert any(cache.rglob("*.nbc"))
    assert not list(install.rglob("__pycache__"))
