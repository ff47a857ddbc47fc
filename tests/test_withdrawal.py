"""A patient leaves, and no byte of the patient is left in a whole home.

The study counts one who left, and the models say so.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dagster_project.flow.trace_search import search_home
from dagster_project.flow.withdrawal import find_traces
from tests.test_privacy import unfolded
from tests.trial import SITES, Stage, Trial


@pytest.fixture(scope="module")
def left(opened: Stage, tmp_path_factory: pytest.TempPathFactory):
    """A copy of the study whose gate was opened, before and after one of its patients withdrew."""
    root = tmp_path_factory.mktemp("withdrawal") / "home"
    shutil.copytree(opened.trial.root, root, symlinks=True)
    trial = Trial(root, opened.trial.protocol, opened.trial.plan)
    patient = trial.pseudonym(SITES[1], 1)
    (trial.home.answers / "of-another-version.json").write_text("{}")
    with trial.entered():
        traces = find_traces(trial.lakehouse, patient)
        before = search_home(trial.home, traces)
    return trial, patient, traces, before, trial.call("withdraw", patient, "--yes")


def test_no_byte_of_the_patient_is_left(left):
    trial, patient, traces, before, result = left
    assert patient in traces
    assert len(traces) > 30
    assert {Path(name).parts[0] for name in before} >= {
        "crosswalk",
        "dagster",
        "lake",
        "mlflow",
        "published",
        "reports",
        "vault",
    }  # the search finds what is there
    assert result.exit_code == 0, result.output
    assert not (trial.home.answers / "of-another-version.json").exists(), (
        "what was found in the tables goes with the patient"
    )
    needles = [trace.encode() for trace in traces]
    files = [
        f
        for f in trial.root.rglob("*")
        if f.is_file() and f.relative_to(trial.root).parts[0] not in {"landing", "truth"}
    ]
    assert [
        str(f) for f in files if any(n in content for content in unfolded(f) for n in needles)
    ] == []
    assert not any(trace in str(f) for f in files for trace in traces)


def test_the_study_counts_one_who_withdrew_and_the_others_stay(left):
    trial, *_ = left
    assert trial.rows(
        "SELECT count(*) FROM eligibility WHERE criterion = 'E5' AND verdict = 'not_met'"
    ) == [(1,)]
    assert trial.rows("SELECT count(*) FROM patients") == [(8,)]
    assert trial.rows("SELECT count(DISTINCT patient) FROM scans") == [(7,)]
    assert trial.rows("SELECT count(*) FROM lake.snapshots()")[0][0] <= 2
    page = (trial.home.reports / "study_report.html").read_text(encoding="utf-8")
    assert "Consent not withdrawn" in page


def test_models_that_learnt_from_the_patient_say_so_and_have_no_alias(left):
    from mlflow import MlflowClient

    trial, *_ = left
    client = MlflowClient(trial.home.mlflow_uri, trial.home.mlflow_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    marked = {
        run.info.run_id for run in runs if run.data.tags.get("learnt_from_withdrawn") == "true"
    }
    old = {row[0] for row in trial.rows("SELECT mlflow_run_id FROM model_runs")}
    assert marked
    assert marked <= old
    versions = [
        client.get_model_version(v.name, str(v.version))
        for v in client.search_model_versions()
        if v.run_id in marked
    ]
    assert [v.version for v in versions if v.aliases] == []


@pytest.fixture
def sent_again(left, tmp_path: Path) -> Trial:
    """A copy of the study that the patient has left, after the next run.

    For the other tests, the study itself is as it was.
    """
    before, *_ = left
    shutil.copytree(before.root, tmp_path / "home", symlinks=True)
    trial = Trial(tmp_path / "home", before.protocol, before.plan)
    trial.run(SITES[1])
    return trial


def test_files_that_are_sent_again_are_refused(left, sent_again: Trial):
    _, _, traces, *_ = left
    trial = sent_again
    assert (
        trial.rows("SELECT count(*) FROM quarantine WHERE reason LIKE 'consent is withdrawn%'")[0][
            0
        ]
        > 0
    )
    assert trial.rows("SELECT count(DISTINCT patient) FROM scans") == [(7,)]
    assert search_home(trial.home, traces) == []


def test_the_audit_of_people_keeps_the_mark_and_a_second_time_nobody_is_known(left):
    trial, patient, *_ = left
    lines = [
        json.loads(line)
        for line in (trial.home.crosswalk / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [line["action"] for line in lines] == ["withdraw"]
    again = trial.call("withdraw", patient, "--yes")
    assert again.exit_code == 1
    assert "no patient of the crosswalk" in again.output
