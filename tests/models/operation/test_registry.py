"""A registered model is found by its alias, the champion before the candidate."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest

from models.evaluation.training import best_model
from models.evaluation.training_distribution import TrainingDistribution
from models.operation.registry import (
    aliases_held,
    find_served,
    load_registered,
    load_served,
    make_client,
)
from tests.models.cohorts import SECTION
from tests.models.operation.logged import DATA, log


def test_the_alias_reads_the_best_model(logged, trained):
    best = best_model(trained)
    read, facts = load_registered(logged.uri, "T1", "candidate")
    assert facts["name"] == best.name
    assert read.probabilities(DATA).tolist() == best.final.model.probabilities(DATA).tolist()


def test_a_second_training_makes_new_versions_and_moves_the_alias(trained, fresh):
    first = log(trained, fresh)
    second = log(trained[:1] + trained[-1:], fresh)
    assert first["model_version"].to_list() == ["1", "2", "3", "4", "1"]
    assert second["model_version"].to_list() == ["5", "2"]
    assert (
        load_registered(f"sqlite:///{fresh}/mlflow.db", "T1", "candidate")[1]["name"] == "clinical"
    )
    moved = log(trained[:1], fresh, artifact_root=fresh / "moved")
    assert (fresh / "moved" / moved["mlflow_run_id"].item() / "artifacts" / "roc.csv").is_file()
    assert len(list((fresh / "artifacts").iterdir())) == 7
    again = log(trained[:1], fresh, artifact_root=fresh / "moved")
    assert (fresh / "moved" / again["mlflow_run_id"].item()).is_dir()


def test_the_champion_is_asked_before_the_candidate_and_its_absence_is_told(
    trained, fresh, looking
):
    uri, easy = f"sqlite:///{fresh}/mlflow.db", {**SECTION, "promotion_slope": [-100, 100]}
    looking(math.inf)
    make_client(uri)
    assert find_served(uri, "T1", ("champion", "candidate")) is None
    with pytest.raises(
        LookupError, match="no model of task T1 carries the alias champion; materialise model_runs"
    ):
        load_registered(uri, "T1", "champion")
    best = replace(best_model(trained), verdicts=())
    others = [t for t in trained if t.name != best.name and not t.negative_control]
    promoted, later = (
        log([best, *others], fresh, section=easy),
        log(trained, fresh, section=SECTION),
    )
    found = find_served(uri, "T1", ("champion", "candidate"))
    assert (found.alias, found.version, found.run, found.model) == (
        "champion",
        promoted["model_version"][0],
        promoted["mlflow_run_id"][0],
        best.name,
    )
    held = later.filter(pl.col("alias").is_not_null())
    assert aliases_held(uri, "T1", ("champion", "candidate")) == {
        found.run: "champion",
        held["mlflow_run_id"].item(): "candidate",
    }
    served = load_served(uri, found)
    assert [f.probabilities(DATA).tolist() for f in served.folds] == [
        f.model.probabilities(DATA).tolist() for f in best.fits
    ]
    assert served.reference.ood_score(DATA) == pytest.approx(
        TrainingDistribution.fitted(best.dataset).ood_score(DATA), abs=0, nan_ok=True
    )
