"""How long other radiomics engines take for one region, and whether they give the same values.

    OMP_NUM_THREADS=1 python benchmarks/engines.py flash-radiomics=ENV/bin/python
        mirp=ENV/bin/python [--volumes 2 14 92] [--rounds 3]

They are compared with the fast engine.

Each engine runs in an environment of its own (`python -m venv ENV; ENV/bin/pip install
flash-radiomics` and what it asks for), since their pins do not agree with ours. One region on its
crop at 1 mm, the original image alone, all of its 107 features or what the engine has in their
place, bins of 25 HU, one thread. CPU seconds of the engine's process from image and mask in memory
to values, the least of the rounds after one that is not counted. Values are compared by
PyRadiomics' names, where an engine has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.extraction import lesion
from dagster_project.radiomics import fused_engine
from dagster_project.radiomics.resampling import bounding_box
from dagster_project.study import load_study

OTHERS = {
    "flash-radiomics": """
from flash_radiomics import RadiomicsFeatureExtractor
engine = RadiomicsFeatureExtractor({"setting": {"label": 1, "binWidth": 25.0, "distances": [1], \
"additionalInfo": False, "hdf5OutputDirectory": folder},
    "imageType": {"Original": {}}, "scalarFeatureClass": {c: [] for c in \
("firstorder", "shape", "glcm", "glrlm", "glszm", "gldm", "ngtdm")},
    "spatialFeatureClass": None}, backend="cpu", num_threads=1)
def compute(image, mask):
    return engine.execute(image, mask, label=1)
""",
    "mirp": """
from mirp import extract_features
def compute(image, mask):
    found = extract_features(image=sitk.GetArrayFromImage(image), \
mask=sitk.GetArrayFromImage(mask), by_slice=False, base_discretisation_method="fixed_bin_size",
                             base_discretisation_bin_width=25.0, \
resegmentation_intensity_range=[-2000.0, 4000.0])[0]
    return {n: found[n].iloc[0] for n in found.columns}
""",
}
"""How each engine is asked, in its own environment."""

CHILD = """
import json, sys, time, logging, warnings
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import SimpleITK as sitk
image, mask, rounds, folder = sitk.ReadImage(sys.argv[1]), sitk.ReadImage(sys.argv[2]), \
int(sys.argv[3]), sys.argv[4]
{engine}
seconds = []
for _ in range(rounds + 1):
    start = time.process_time()
    found = compute(image, mask)
    seconds.append(time.process_time() - start)
values = {{}}
for name, value in found.items():
    try:
        values[name] = float(value)
    except (TypeError, ValueError):
        pass
print("RESULT" + json.dumps([min(seconds[1:]), values]))
"""


def of_other(name, python, files, rounds, folder):
    """CPU seconds and values of another engine."""
    told = subprocess.run(
        [python, "-c", CHILD.format(engine=OTHERS[name]), *map(str, files), str(rounds), folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode or "RESULT" not in told.stdout:
        sys.exit(f"{name} failed: {told.stderr[-2000:]}")
    return json.loads(told.stdout.rpartition("RESULT")[2])


def of_ours(image, mask, rounds, settings):
    """CPU seconds and values of the fast engine."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.process_time()
        found = fused_engine.compute_region(
            image,
            mask,
            settings["classes"],
            bin_width_hu=settings["bin_width_hu"],
            spacing_mm=settings["spacing_mm"],
        )
        seconds.append(time.process_time() - start)
    return min(seconds[1:]), {
        f"original_{name}": value for name, (value, _) in found.items() if value is not None
    }


def keep(image, mask, folder):
    """The crop as two files, one voxel of margin about it."""
    files = Path(folder) / "image.mha", Path(folder) / "mask.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.pad(image, 1, mode="edge")), str(files[0]))
    sitk.WriteImage(sitk.GetImageFromArray(np.pad(mask.astype(np.uint8), 1)), str(files[1]))
    return files


def compared(found, ours):
    """How many features of the same name agree to 1e-6 relative, out of how many.

    Also the largest deviation of a feature that does not.
    """
    shared = [n for n in ours if n in found]
    if not shared:
        return "no feature of one name"
    off = {n: abs(found[n] - ours[n]) / max(abs(ours[n]), 1e-12) for n in shared}
    different = {n: d for n, d in off.items() if d > 1e-6}
    worst = max(different, key=different.get, default=None)
    return f"{len(shared) - len(different)} of {len(shared)}" + (
        f", most in {worst} ({different[worst]:.1e})" if worst else ""
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="+", metavar="NAME=PYTHON", help=f"of {', '.join(OTHERS)}")
    parser.add_argument(
        "--volumes", type=float, nargs="+", default=[2.0, 14.0, 92.0], help="millilitres"
    )
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    settings = load_study().section("radiomics")
    fused_engine.warm()
    print("| ml | engine | features | CPU s | × ours | same values |\n|---|---|---|---|---|---|")
    for volume in chosen.volumes:
        image, mask = lesion(volume, seed=round(volume))
        box = bounding_box(mask)
        image, mask = np.ascontiguousarray(image[box]), np.ascontiguousarray(mask[box])
        seconds, ours = of_ours(image, mask, chosen.rounds, settings)
        print(f"| {volume:g} | this project | {len(ours)} | {seconds:.3f} | 1 | |", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            files = keep(image, mask, folder)
            for name, _, python in (e.partition("=") for e in chosen.engines):
                took, found = of_other(name, python, files, chosen.rounds, folder)
                print(
                    f"| {volume:g} | {name} | {len(found)} | {took:.3f} | {took / seconds:.1f} "
                    f"| {compared(found, ours)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
