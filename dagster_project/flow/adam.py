"""The analysis datasets of a lake, and the files that they are written to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from dagster_project.domain.adam import DATASETS, SOURCES, derive_adam
from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.flow.dataset_json import write_dataset_json
from dagster_project.flow.sas_transport import too_long, write_transport
from dagster_project.flow.whole_files import write_frame, write_together
from dagster_project.lake.minimisation import AGE, Minimisation
from dagster_project.lake.store import Lake
from dagster_project.study import Study


class OtherProtocolError(ValueError):
    """The survival times of the lake are not those that the protocol and the code at hand give."""

    def __init__(self, patients: int) -> None:
        super().__init__(
            f"time_to_event of the lake differs from what this protocol and this version give, for "
            f"{patients} patients; run `lakehouse run` first, "
            "or take the study.toml and the version of that snapshot"
        )


VARIABLES_OF: Mapping[str, tuple[str, ...]] = {
    f"patients.{AGE}": ("AGE", "AGEU", "AGEGR1"),
    "patients.sex": ("SEX",),
    "patients.regimen": ("TRT01P",),
    "treatments.drugs": ("TRT01A",),
    "follow_up.detail": (),
    "lesions.organ": ("TULOC", "TULOCGR1"),
}
"""Variables that hold a suppressible column of the lake; other columns of patients are in none."""

UNKNOWN = {"SEX": "U"}
"""Of a variable that is never missing, what its code list has for unknown."""


class SuppressedError(ValueError):
    """The protocol's [publish] leaves a column out that the datasets are derived from."""

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(
            f"ADaM datasets cannot be written without {', '.join(places)}, "
            "which [publish] suppressed_columns of study.toml "
            "leaves out; take the published tables instead, or take the columns off that list"
        )


def minimise_datasets(
    datasets: Mapping[str, pl.DataFrame], published: Minimisation
) -> Mapping[str, pl.DataFrame]:
    """Leave out of the datasets what a publication leaves out; an age in a band is AGEGR1 alone.

    Raises
    ------
    SuppressedError
        Where records are derived from a suppressed column, such as a date.
    """
    sources = [place for place in sorted(published.suppressed) if place.split(".")[0] in SOURCES]
    needed = [p for p in sources if p not in VARIABLES_OF and not p.startswith("patients.")]
    if needed:
        raise SuppressedError(needed)
    gone = {name for place in sources for name in VARIABLES_OF.get(place, ())}
    banded = published.age_band_years > 1
    return {
        name: _minimised(rows, gone, published if banded else None)
        for name, rows in datasets.items()
    }


def _minimised(
    rows: pl.DataFrame, gone: Collection[str], bands: Minimisation | None
) -> pl.DataFrame:
    if bands and "AGEGR1" in rows.columns:
        groups = [bands.band(age) for age in rows["AGE"]]
        rows = rows.with_columns(AGEGR1=pl.Series(groups, dtype=pl.String))
    blank = {*gone, *(("AGE", "AGEU") if bands else ())} & set(rows.columns)
    return rows.with_columns(pl.lit(UNKNOWN.get(n), rows.schema[n]).alias(n) for n in sorted(blank))


def analysis_datasets(lake: Lake, study: Study) -> Mapping[str, pl.DataFrame]:
    """Derive every dataset from the lake.

    Raises
    ------
    OtherProtocolError
        Where time_to_event, as it is in the lake, would contradict ADTTE.
    SuppressedError
        Where they cannot be derived without what [publish] leaves out.
    """
    tables = {name: lake.read(name) for name in SOURCES}
    endpoints, recist = study.section("endpoints"), study.section("recist")
    now = derive_time_to_event(
        tables["responses"],
        tables["treatments"],
        tables["follow_up"],
        tables["patients"],
        tables["timepoints"],
        endpoints,
    )
    differing = (
        lake.read("time_to_event")
        .select(now.columns)
        .join(now, on=now.columns, how="anti", nulls_equal=True)
    )
    if differing.height:
        raise OtherProtocolError(differing["patient"].n_unique())
    datasets = derive_adam(
        tables, study=study.section("study")["registration"], endpoints=endpoints, recist=recist
    )
    return minimise_datasets(datasets, Minimisation.of(study))


def write_datasets(datasets: Mapping[str, pl.DataFrame], folder: Path, study: str) -> list[str]:
    """Write every dataset in every format, all or none.

    Returns
    -------
    list of str
        Variables with a text that is too long for a transport file; their datasets have none.
    """
    refused = [
        f"{name}.{variable}"
        for name, frame in datasets.items()
        for variable in too_long(DATASETS[name], frame)
    ]
    files: dict[Path, Callable[[Path], object]] = {}
    for name, frame in datasets.items():
        stem, dataset = folder / name.lower(), DATASETS[name]
        files |= {
            stem.with_suffix(suffix): partial(write_frame, frame) for suffix in (".parquet", ".csv")
        }
        files[stem.with_suffix(".json")] = partial(write_dataset_json, dataset, frame, study=study)
        if not any(place.startswith(f"{name}.") for place in refused):
            files[stem.with_suffix(".xpt")] = partial(write_transport, dataset, frame)
    write_together(files)
    return refused
