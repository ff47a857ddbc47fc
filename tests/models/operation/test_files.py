"""A stored model is tensors and facts, and gives the same bits when it is read back."""

from __future__ import annotations

import json
import pickle

import pytest
from safetensors import SafetensorError

from models.operation.files import load_model
from tests.models.operation.logged import DATA


def test_the_stored_model_gives_the_same_bits(logged, trained):
    for model in trained:
        read, facts = load_model(logged.artifacts(model.name) / "model")
        assert read.probabilities(DATA).tolist() == model.final.model.probabilities(DATA).tolist()
        assert (facts["task"], facts["landmark"], facts["cutoff"], facts["name"]) == (
            "T1",
            "T1",
            model.final.cutoff,
            model.name,
        )


def test_a_model_of_an_unknown_kind_is_refused(logged, tmp_path):
    facts = json.loads((logged.artifacts("clinical") / "model" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**facts, "kind": "oracle"}))
    with pytest.raises(ValueError, match="kind oracle, known are linear_logistic"):
        load_model(tmp_path)


def test_nothing_is_read_that_could_run_code(logged):
    """Neither artifacts nor registry hold a pickle, and a model is tensors and JSON."""
    kinds = {f.suffix for f in (logged.folder / "artifacts").rglob("*") if f.is_file()}
    assert kinds == {".safetensors", ".json", ".csv", ".png", ".md"}
    client = logged.client
    for model in logged.runs["model"]:
        assert not any(
            f.path.endswith("MLmodel")
            for f in client.list_artifacts(logged.run(model).info.run_id, "model")
        ), "no flavour that unpickles"
    odd = logged.folder / "odd"
    odd.mkdir()
    (odd / "config.json").write_text(
        (logged.artifacts("clinical") / "model" / "config.json").read_text()
    )
    (odd / "model.safetensors").write_bytes(pickle.dumps({"coefficients": [1.0]}))
    with pytest.raises(SafetensorError):
        load_model(odd)
