"""Habitats of the accepted lesions.

Local features are computed once per lesion and scan; one frozen codebook turns them into habitats.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import run_tasks
from dagster_project.domain.imaging.outline_flags import without_features
from dagster_project.flow.dhi import PEELING
from dagster_project.flow.habitat_histograms import (
    HistogramTask,
    load_histograms,
    write_new_histograms,
)
from dagster_project.flow.result_cache import fingerprint, mask_file, scan_folder, scan_image
from dagster_project.flow.step_result import (
    Say,
    StepResult,
    frame_of,
    refusal,
    refuse_by_site,
    report_progress,
)
from dagster_project.lake.files import write_whole
from dagster_project.lake.tables import HABITATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dagster_project.radiomics.habitat_codebook import Codebook, LocalFeatures
    from dagster_project.radiomics.habitat_histograms import (
        BinCounts,
        CohortHistograms,
        HistogramGrid,
    )
    from dagster_project.resources import Lakehouse
    from dagster_project.study import Study

LOCAL = (*PEELING, "spread_mm")
"""Settings that local features depend on; the others change the codebook alone."""

NO_OUTLINE = "no outline at this visit"
TOO_FEW = "fewer than {} voxels remain after peeling"
NO_CODEBOOK = "no codebook yet: {}"
HABITAT_KEY = ("site", "patient", "visit", "scan", "lesion", "simulated")


@dataclass(frozen=True)
class LesionTask:
    """One accepted lesion on one scan: its local features, then its habitat map and measures."""

    key: Mapping[str, Any]
    folder: Path
    pixel_digest: str
    mask: Path | None
    settings: Mapping[str, Any]
    local: Path
    volume_mm3: float
    codebook: Codebook | None = None
    fingerprint: str = ""
    flagged: str | None = None


def habitat_settings(study: Study) -> dict[str, Any]:
    """The settings of [habitats], and those that are shared with [dhi]."""
    shared = study.section("dhi")
    return {**study.section("habitats"), **{name: shared[name] for name in PEELING}}


def map_file(folder: Path, input_fingerprint: str) -> Path:
    """File of a lesion's habitat map, below its scan's folder; a row of habitats leads to it."""
    return folder / "habitats" / f"{input_fingerprint}.npz"


def keep_local_features(task: LesionTask) -> int:
    """Compute a lesion's local features and store them.

    An empty file means that nothing is left of the lesion after peeling.
    """
    import numpy as np

    from dagster_project.domain.imaging.masks import load_mask
    from dagster_project.radiomics.habitat_codebook import DECIMALS, localise

    assert task.mask is not None, "only outlined lesions are measured"
    local = localise(
        scan_image(task.folder, task.pixel_digest), load_mask(task.mask), task.settings
    )
    content = io.BytesIO()
    if local is not None:
        tenths = np.rint(local.features * 10**DECIMALS).astype(np.int16)
        np.savez_compressed(
            content, mask=local.mask, values=local.values.astype(np.int16), tenths=tenths
        )
    write_whole(task.local, content.getvalue())
    return local.count if local else 0


def load_local_features(file: Path) -> LocalFeatures | None:
    """What `keep_local_features` kept."""
    import numpy as np

    from dagster_project.radiomics.habitat_codebook import DECIMALS, LocalFeatures

    if file.stat().st_size == 0:
        return None
    with np.load(file) as kept:
        features = np.round(kept["tenths"] / 10**DECIMALS, DECIMALS)
        return LocalFeatures(kept["mask"], kept["values"].astype(np.float64), features)


def load_map(file: Path) -> NDArray[np.uint8]:
    """Habitat of each voxel in a lesion's box (z, y, x) at 1 mm, 0 outside."""
    import numpy as np

    with np.load(file) as kept:
        return np.asarray(kept["codes"])


def map_lesion(task: LesionTask) -> dict[str, float | None] | None:
    """Store the map of a lesion's habitats and return its measures.

    None where too little is left of it.
    """
    import numpy as np

    from dagster_project.radiomics.habitat_codebook import assign_habitats
    from dagster_project.radiomics.habitat_measures import measure_habitats

    local = load_local_features(task.local)
    if task.codebook is None or local is None or local.count < task.settings["minimum_voxels"]:
        return None
    codes, content = assign_habitats(local, task.codebook), io.BytesIO()
    np.savez_compressed(content, codes=codes)
    write_whole(map_file(task.folder, task.fingerprint), content.getvalue())
    return measure_habitats(codes, local, task.codebook)


def measure_new_habitats(lakehouse: Lakehouse, say: Say) -> StepResult:
    """Measure the habitats of the lesions that have no rows of this codebook.

    Local features of new lesions come first, then a codebook where none is frozen yet.
    """
    settings, tasks = habitat_settings(lakehouse.study), _lesion_tasks(lakehouse)
    refused = _localise_new(tasks, say)
    write_new_histograms(
        [HistogramTask(t.local, word_grid(lakehouse.study)) for t in tasks if t.mask], say
    )
    codebook, waiting = frozen_codebook(lakehouse.home.codebooks, tasks, settings)
    wanted = [_with_codebook(t, codebook, waiting) for t in tasks if t.local not in refused]
    (present,) = lakehouse.read(HABITATS.name)
    reused = present.filter(pl.col("input_fingerprint").is_in([t.fingerprint for t in wanted]))
    new = [t for t in wanted if t.fingerprint not in set(reused["input_fingerprint"])]
    rows = [
        row for t in new if t.mask is None or codebook is None for row in _rows(t, None, waiting)
    ]
    for outcome in report_progress(
        run_tasks(map_lesion, mapped := [t for t in new if t.mask and codebook]),
        len(mapped),
        "habitats mapped",
        say,
    ):
        if outcome.reason:
            refused[outcome.task.local] = str(outcome.reason)
        else:
            rows += _rows(outcome.task, outcome.result, waiting)
    refuse_by_site(
        lakehouse,
        HABITATS.name,
        pl.DataFrame([_refused(t, refused[t.local]) for t in tasks if t.local in refused]),
    )
    counts = {
        "computed": len(mapped),
        "reused": reused["input_fingerprint"].n_unique(),
        "refused": len(refused),
    }
    facts = {"codebook": codebook.name if codebook else waiting} | (
        {"fitted_on_lesions": codebook.n_lesions} if codebook else {}
    )
    return StepResult(pl.concat([reused, frame_of(rows, HABITATS)]), counts, facts=facts)


def word_grid(study: Study) -> HistogramGrid:
    """The grid of the protocol."""
    from dagster_project.radiomics.habitat_histograms import HistogramGrid

    return HistogramGrid.of(study.section("habitat_histogram"))


def load_histograms_as_of(
    lakehouse: Lakehouse,
    snapshot: int,
    visits: Sequence[str],
    *,
    load: Callable[[HistogramTask], BinCounts | None] = load_histograms,
) -> CohortHistograms:
    """The words of the accepted lesions at some visits, as of a snapshot of the lake.

    A lesion whose words are not stored is left out.

    `load` reads one file of the vault.
    """
    from dagster_project.radiomics.habitat_histograms import CohortHistograms, stack_histograms

    grid, settings = word_grid(lakehouse.study), habitat_settings(lakehouse.study)
    tasks = [t for t in _lesion_tasks(lakehouse, snapshot) if t.mask and t.key["visit"] in visits]
    loaded = ((task.key, load(HistogramTask(task.local, grid))) for task in tasks)
    found = [(key, counts) for key, counts in loaded if counts]
    columns = ("site", "patient", "visit", "lesion")
    keys = pl.DataFrame(
        [[k[c] for c in columns] for k, _ in found],
        schema=dict.fromkeys(columns, pl.String),
        orient="row",
    )
    return CohortHistograms(keys, stack_histograms(grid, [w for _, w in found]), settings)


def frozen_codebook(
    folder: Path, tasks: list[LesionTask], settings: Mapping[str, Any]
) -> tuple[Codebook | None, str]:
    """The cohort's codebook of this version and these settings.

    It is read where it was fitted once, else fitted now and frozen.

    Where there are too few lesions for one, None and why.
    """
    from dagster_project.radiomics.habitat_codebook import (
        CodebookError,
        fit_codebook,
        read_codebook,
        write_codebook,
    )

    file = folder / f"habitats-{settings['version']}-{fingerprint(dict(settings))}.json"
    if file.is_file():
        return read_codebook(file), ""
    kept = {
        (t.key["patient"], t.key["visit"], t.key["lesion"]): load_local_features(t.local)
        for t in tasks
        if t.mask and t.local.is_file()
    }
    samples = {
        key: local
        for key, local in kept.items()
        if local and local.count >= settings["minimum_voxels"]
    }
    try:
        codebook = fit_codebook(samples, settings, settings["seed"], "cohort")
    except CodebookError as why:
        return None, NO_CODEBOOK.format(why)
    write_codebook(file, codebook)
    return codebook, ""


def named_codebook(folder: Path, name: str) -> Codebook | None:
    """The frozen codebook that a row names; None where it is no longer there."""
    from dagster_project.radiomics.habitat_codebook import read_codebook

    return next(
        (
            codebook
            for codebook in map(read_codebook, sorted(folder.glob("habitats-*.json")))
            if codebook.name == name
        ),
        None,
    )


def _localise_new(tasks: list[LesionTask], say: Say) -> dict[Path, str]:
    """Store missing local features; return which lesions could not be measured, and why."""
    new = [t for t in tasks if t.mask and not t.local.is_file()]
    outcomes = run_tasks(
        keep_local_features, new, weight=lambda t: t.volume_mm3, together=lambda t: t.folder
    )
    return {
        o.task.local: str(o.reason)
        for o in report_progress(outcomes, len(new), "lesions localised", say)
        if o.reason
    }


def _rows(
    task: LesionTask, measures: Mapping[str, float | None] | None, waiting: str
) -> list[dict[str, Any]]:
    from dagster_project.radiomics.habitat_measures import measure_names

    reason = task.flagged or (
        NO_OUTLINE
        if task.mask is None
        else waiting or TOO_FEW.format(task.settings["minimum_voxels"])
    )
    whole = {
        **task.key,
        "codebook": task.codebook.name if task.codebook else None,
        "input_fingerprint": task.fingerprint,
    }
    found = measures or dict.fromkeys(measure_names(task.settings["count"]))
    undefined = reason if measures is None else "all densities are equal"
    return [
        {**whole, "measure": name, "value": value, "reason": undefined if value is None else None}
        for name, value in found.items()
    ]


def _refused(task: LesionTask, reason: str) -> dict[str, Any]:
    k = task.key
    return refusal(
        str(k["site"]),
        HABITATS.name,
        f"scan {k['scan']} lesion {k['lesion']}",
        reason,
        simulated=bool(k["simulated"]),
    )


def _with_codebook(task: LesionTask, codebook: Codebook | None, waiting: str) -> LesionTask:
    digest = fingerprint(
        dict(task.key),
        task.local.stem,
        dict(task.settings),
        codebook.fingerprint if codebook else waiting,
        *([task.flagged] if task.flagged else []),
    )
    return replace(task, codebook=codebook, fingerprint=digest)


def _lesion_tasks(lakehouse: Lakehouse, as_of: int | None = None) -> list[LesionTask]:
    """One task per lesion and visit of the accepted reads, now or at a snapshot."""
    lesions, scans = lakehouse.read("lesions", "scans", as_of=as_of)
    seen = lesions.join(
        scans.select("site", "patient", "scan", "pixel_digest"), on=["site", "patient", "scan"]
    ).sort("site", "patient", "visit", "lesion")
    return [_lesion_task(lakehouse, row) for row in seen.iter_rows(named=True)]


def _lesion_task(lakehouse: Lakehouse, row: dict[str, Any]) -> LesionTask:
    settings, folder = habitat_settings(lakehouse.study), scan_folder(lakehouse.home.vault, row)
    digest = fingerprint(
        row["pixel_digest"], row["mask_digest"], {name: settings[name] for name in LOCAL}
    )
    flagged = without_features(row.get("outline_flags"))
    mask = mask_file(folder, row["mask_digest"]) if row["mask_digest"] and not flagged else None
    return LesionTask(
        {n: row[n] for n in HABITAT_KEY},
        folder,
        row["pixel_digest"],
        mask,
        settings,
        folder / "habitats" / f"local-{digest}.npz",
        float(row["volume_mm3"] or 0),
        flagged=flagged,
    )
