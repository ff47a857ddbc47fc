"""The networks see what the task allows, in no order of lesions.

A stored network gives the same numbers.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch

from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.logistic import sigmoid
from dagster_project.study import load_study
from models.data.datasets import TASKS, DatasetError, LeakageError, build_dataset
from models.data.fold_habitats import raw_names
from models.data.lesion_sequences import SequenceScaler, arrange
from models.evaluation.explanation import attribute, importance, stability
from models.evaluation.training import train
from models.learners.decomposition_transformer import decompose, reconstruct
from models.learners.fusion import Stack, StackModel, stack_weights
from models.learners.model_catalogue import choose_learners
from models.learners.networks import (
    ARCHITECTURES,
    Network,
    NetworkModel,
    architecture,
    ensemble_logits,
    temperature_of,
)
from models.learners.stgcn import DAYS_UNIT, GraphConvolution, TemporalConvolution

STUDY = load_study().learning
SECTION = {
    **STUDY,
    "network_epochs": 3,
    "network_seeds": 2,
    "inner_folds": 2,
    "folds": 2,
    "network_features": STUDY["network_features"][:4],
}
TABLES = simulate_tables(Truth(), SECTION["network_features"], patients=70, sites=3, seed=4)
DATA = build_dataset(TASKS["T1"], **TABLES.of_dataset())
FACTS = {"features": "abcd", "regions": "rst", "visits": ("T0", "T1"), "width": 8, "dropout": 0.3}


@pytest.fixture(autouse=True)
def torch_draws_for_the_test_alone():
    """The weights of a network that is made here come from torch's own generator.

    Afterwards, the generator goes on as before.
    """
    with torch.random.fork_rng(devices=[]):
        yield


def inputs(lesions=3, visits=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(2, lesions, 3, visits, 4, generator=draw)
    present = (torch.rand(2, lesions, 3, visits, generator=draw) > 0.2).float()
    days = torch.tensor([[0.0, 50.0, 131.0], [0.0, 70.0, 90.0]])[:, :visits]
    ties = torch.rand(2, lesions, lesions, generator=draw)
    return (
        x * present[..., None],
        present,
        days,
        (ties + ties.transpose(1, 2)) * (1 - torch.eye(lesions)),
    )


@pytest.fixture(scope="module")
def trained():
    learners, _ = choose_learners(DATA, SECTION)
    return {m.name: m for m in train(learners, DATA, SECTION, seed=5)}


@pytest.mark.parametrize("visits", [1, 2, 3])
def test_1_level_trend_and_curvature_make_up_the_input(visits):
    x, _, days, _ = inputs(visits=visits)
    x, days = x.double(), days.double()
    parts = decompose(x, days)
    assert parts.shape[-2] == visits
    assert (reconstruct(parts, days) - x).abs().max() < 1e-6


def test_2_components_are_what_they_are_called():
    days = torch.tensor([[0.0, 63.0, 189.0]])
    line = torch.tensor([2.0, 5.0, 11.0]).reshape(1, 3, 1)
    assert decompose(line, days).flatten().tolist() == pytest.approx([6.0, 3.0, 0.0], abs=1e-6)
    bent = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1)
    assert decompose(bent, days).flatten()[2].item() == pytest.approx(-1 / 2 - 1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_3_the_order_of_lesions_and_absent_nodes_change_nothing(name):
    torch.manual_seed(1)
    network = architecture(name, {**FACTS, "visits": ("T0", "T1", "T2")}).eval()
    x, present, days, ties = inputs()
    order = [2, 0, 1]
    shuffled = network(x[:, order], present[:, order], days, ties[:, order][:, :, order])
    padded = network(
        torch.cat([x, torch.zeros_like(x[:, :2])], 1),
        torch.cat([present, torch.zeros_like(present[:, :2])], 1),
        days,
        torch.nn.functional.pad(ties, (0, 2, 0, 2), value=1.0),
    )
    expected = network(x, present, days, ties)
    assert torch.allclose(shuffled, expected, atol=1e-5)
    assert torch.allclose(padded, expected, atol=1e-5)
    assert expected[0] != expected[1]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("task", ["T0", "T1", "T2"])
def test_4_gradients_reach_every_input_that_is_allowed_and_no_other(name, task):
    torch.manual_seed(2)
    seen = len(TASKS[task].visits)
    network = architecture(name, {**FACTS, "visits": TASKS[task].visits}).eval()
    x, present, days, ties = inputs()
    x, days = x.requires_grad_(), days.requires_grad_()
    network(x, present, days, ties).sum().backward()
    there = present.bool()
    assert (x.grad[..., :seen, :][there[..., :seen]] != 0).all()
    assert (x.grad[..., seen:, :] == 0).all()
    assert days.grad is None or (days.grad[:, seen:] == 0).all()
    assert seen == 1 or (days.grad[:, 1:seen] != 0).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_5_networks_stay_small(name):
    nodes = [*"rstu", *(f"habitat_{k}" for k in range(1, 6))]
    told = [*"abcdefghijklmn", "habitat_fraction", "habitat_density_hu", "habitat_spread_hu"]
    made = architecture(
        name,
        {
            "features": told,
            "regions": nodes,
            "visits": range(3),
            "width": STUDY["network_width"],
            "dropout": 0.3,
        },
    )
    assert sum(p.numel() for p in made.parameters()) < 20_000


def test_6_a_series_of_a_later_visit_is_refused_by_name():
    with pytest.raises(LeakageError, match=r"lesion series at T2 \(T2\)"):
        replace(DATA, series=replace(DATA.series, visits=("T0", "T2")))


def test_7_scaling_rests_on_the_rows_it_is_given():
    early = SequenceScaler.fitted(DATA.series.take(np.arange(40)))
    values = DATA.series.values.copy()
    values[40:] *= 9
    moved = SequenceScaler.fitted(replace(DATA.series, values=values).take(np.arange(40)))
    assert np.array_equal(early.means, moved.means)
    assert not np.array_equal(early.means, SequenceScaler.fitted(DATA.series).means)


@pytest.mark.parametrize("name", ["fusion", *ARCHITECTURES, "boosting"])
def test_8_a_stored_model_gives_the_same_bits(trained, name):
    model = trained[name].final.model
    again = type(model).from_tensors(model.tensors(), model.config())
    assert (
        again.probabilities(trained[name].dataset).tolist()
        == model.probabilities(trained[name].dataset).tolist()
    )


def test_8b_a_network_of_an_older_form_is_refused(trained):
    model = trained["st_gcn"].final.model
    older = replace(
        model, weights={**model.weights, "head.weight": model.weights["head.weight"][..., :-2]}
    )
    with pytest.raises(ValueError, match="the stored st_gcn has weights of an older form"):
        older.probabilities(DATA)


def test_9_the_same_seed_gives_the_same_model(trained):
    (again,) = train([Network("st_gcn")], DATA, SECTION, seed=5)
    assert again.probabilities == pytest.approx(trained["st_gcn"].probabilities, abs=1e-6)


def test_10_weights_of_the_stack_are_not_negative_and_prefer_what_tells(trained):
    labels = np.arange(200) % 2 == 0
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0, 1, 200) + 2 * labels - 1, rng.normal(0, 1, 200)
    weights, _ = stack_weights(labels, np.column_stack([good, bad, -good]))
    assert (weights >= 0).all()
    assert weights[0] > 10 * max(weights[1:])
    assert isinstance(trained["fusion"].final.model, StackModel)
    assert (trained["fusion"].final.model.spread(DATA) >= 0).all()


def test_11_a_temperature_undoes_overconfidence():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, 4000)
    labels = rng.random(4000) < sigmoid(logits)
    assert temperature_of(labels, 5 * logits) == pytest.approx(5, rel=0.15)


def test_12_small_cohorts_and_missing_blocks_leave_models_out_with_a_reason():
    learners, left_out = choose_learners(DATA.take(np.arange(70) < 50), SECTION)
    assert "fusion" not in {m.name for m in learners}
    assert left_out["st_gcn"] == "50 patients, [model].network_patients_minimum is 60"
    baseline = build_dataset(TASKS["T0"], **TABLES.replace_task("T0"))
    learners, left_out = choose_learners(baseline, SECTION)
    assert {"clinical", "st_gcn", "fusion"} <= {m.name for m in learners}
    assert left_out["delta_radiomics"] == "no column in block delta"


def test_13_a_patient_with_one_lesion_or_none_at_the_landmark_is_predicted(trained):
    values = DATA.series.values.copy()
    values[0, 1:], values[1, :, :, 1] = np.nan, np.nan
    model: NetworkModel = trained["st_gcn"].final.model
    found = model.probabilities(replace(DATA, series=replace(DATA.series, values=values)))
    assert np.isfinite(found).all()
    assert found[2:] == pytest.approx(model.probabilities(DATA)[2:], abs=1e-6)


def test_14_features_missing_throughout_do_no_harm_and_columns_that_are_gone_are_named(trained):
    values = DATA.series.values.copy()
    values[..., 0] = np.nan
    fit = Network("st_gcn").fit(
        replace(DATA, series=replace(DATA.series, values=values)), SECTION, 1
    )
    assert np.isfinite(fit.inner).all()
    narrow = replace(DATA.series, features=("other", *DATA.series.features[1:]))
    with pytest.raises(
        ValueError,
        match="1 of visits, regions or features that are not there, "
        f"first {DATA.series.features[0]}",
    ):
        arrange(narrow, raw_names(trained["st_gcn"].final.model.config()))
    with pytest.raises(DatasetError, match="no lesion has a value"):
        Network("st_gcn").fit(replace(DATA, series=None), SECTION, 1)


def test_15_a_stack_fits_each_member_once(trained):
    fusion = next(m for m in choose_learners(DATA, SECTION)[0] if isinstance(m, Stack))
    assert fusion.members[0].fit(
        DATA.of_blocks(fusion.members[0].blocks), SECTION, 5
    ) is fusion.members[0].fit(DATA.of_blocks(fusion.members[0].blocks), SECTION, 5)


def test_16_attributions_add_up_and_fall_apart_with_random_weights(trained):
    model, data = trained["st_gcn"].final.model, DATA.take(np.arange(70) < 12)
    found = attribute(model, data)
    arrays = model.arrays(data)
    gap = model.logits(data) - ensemble_logits(
        model.facts, model.weights, {**arrays, "x": np.zeros_like(arrays["x"])}
    )
    assert found.reshape(*gap.shape, -1).sum(axis=-1) == pytest.approx(gap, abs=0.02)
    assert (found[:, arrays["present"] == 0] == 0).all()
    shares = importance(model, data)
    assert sum(shares["features"].values()) == pytest.approx(1)
    rng = np.random.default_rng(0)
    random = replace(
        model,
        weights={
            k: rng.normal(0, 0.3, v.shape).astype(np.float32) for k, v in model.weights.items()
        },
    )
    each = [
        attribute(m, data).mean(axis=0).ravel() for m in (model, random)
    ]  # with signs: sizes alone follow which lesions are there
    assert abs(stability(np.stack(each))) < 0.5


def test_17_each_part_of_the_partition_takes_the_nodes_that_it_is_named_after():
    """Each part of the partition is checked by hand.

    The parts are the node itself; the mean of its lesion's other regions, weighted by pair of
    regions; and the same region of other lesions, weighted by nearness.
    """
    x, present, _, ties = inputs(lesions=3, visits=2)
    layer = GraphConvolution(4, 4, regions=3)
    with torch.no_grad():
        layer.edges.copy_(torch.randn(3, 3))
    eye, nothing, weight = torch.eye(4), torch.zeros(4, 4), torch.exp(layer.edges.detach())
    for part in ("own", "same", "other"):
        for name in ("own", "same", "other"):
            getattr(layer, name).weight = torch.nn.Parameter(eye if name == part else nothing)
        layer.own.bias = torch.nn.Parameter(torch.zeros(4))
        found = layer(x, present, ties).detach()
        for b, lesion, r, v in np.ndindex(*present.shape):
            near = {
                "own": [(lesion, r, 1.0)],
                "same": [(lesion, q, float(weight[r, q])) for q in range(3) if q != r],
                "other": [(k, r, float(ties[b, lesion, k])) for k in range(3) if k != lesion],
            }[part]
            seen = [(w, x[b, k, q, v]) for k, q, w in near if present[b, k, q, v]]
            wanted = (
                sum(w * value for w, value in seen) / sum(w for w, _ in seen)
                if seen and present[b, lesion, r, v]
                else torch.zeros(4)
            )
            assert found[b, lesion, r, v].tolist() == pytest.approx(wanted.tolist(), abs=1e-4)


def test_18_a_neighbouring_visit_counts_less_the_more_days_lie_between():
    layer, h, present = TemporalConvolution(4), torch.zeros(2, 1, 1, 3, 4), torch.ones(2, 1, 1, 3)
    h[:, :, :, 0] = 1.0
    with torch.no_grad():
        layer.now.weight.zero_(), layer.now.bias.zero_(), layer.after.weight.zero_()
        layer.before.weight.copy_(torch.eye(4))
    found = layer(h, present, torch.tensor([[0.0, 40.0, 90.0], [0.0, 120.0, 160.0]])).detach()[
        :, 0, 0, :, 0
    ]
    fading = float(torch.nn.functional.softplus(layer.fading.detach())) / DAYS_UNIT
    assert found[:, 1].tolist() == pytest.approx([np.exp(-40 * fading), np.exp(-120 * fading)])
    assert found[:, [0, 2]].abs().max() == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_19_a_training_leaves_no_tensor_behind(name):
    """Weights and gradients that hold each other's graph are never freed.

    They cost hundreds of MiB per training.
    """

    def alive():
        gc.collect()
        return sum(type(o) in {torch.Tensor, torch.nn.Parameter} for o in gc.get_objects())

    section, data = {**SECTION, "network_epochs": 1}, DATA.of_blocks(("series",))
    Network(name).fit(data, section, seed=0)
    before = alive()
    Network(name).fit(data, section, seed=1)
    assert alive() == before
