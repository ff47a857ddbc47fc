"""The analysis datasets of a lake, and the files that they are written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import polars as pl

from dagster_project.domain.adam import DATASETS, SOURCES, derive_adam
from dagster_project.domain.time_to_event import derive_time_to_event
from dagster_project.flow.dataset_json import write_dataset_json
from dagster_project.flow.sas_transport import too_long, write_transport
from dagster_project.flow.whole_files import write_frame, write_together
from dagster_project.lake.store import Lake
from dagster_project.study import Study


class OtherProtocolError(ValueError):
    """The survival times of the lake are not those that the protocol and the code at hand give."""

    def __init__(self, patients: int) -> None:
        super().__init__(
            f"time_to_event of the lake differs from what this protocol and this version give, for "
            f"{patients} patients; run `lakehouse run` first, or take the study.toml and the version of that snapshot"
        )


def analysis_datasets(lake: Lake, study: Study) -> Mapping[str, pl.DataFrame]:
    """Derive every dataset from the lake.

    Raises
    ------
    OtherProtocolError
        Where time_to_event, as it is in the lake, would contradict ADTTE.
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
    return derive_adam(
        tables, study=study.section("study")["registration"], endpoints=endpoints, recist=recist
    )


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
