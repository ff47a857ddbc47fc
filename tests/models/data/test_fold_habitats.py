"""Habitats are nodes and tokens of a codebook from a fold's training patients alone.

They come from nothing later than the task allows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from dagster_project.radiomics.habitat_codebook import CodebookError
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.data.fold_habitats import FoldHabitats, raw_names
from models.data.lesion_sequences import SequenceScaler, arrange
from models.data.splits import stratified_folds
from models.evaluation.explanation import importance
from models.evaluation.training import train
from models.learners.decomposition_transformer import decompose, reconstruct
from models.learners.networks import ARCHITECTURES, Network, NetworkModel, architecture
from models.learners.stgcn import GraphConvolution
from models.operation.prediction import input_digests

STUDY = load_study().learning
SECTION = {
    **STUDY,
    "network_epochs": 2,
    "network_seeds": 2,
    "inner_folds": 2,
    "folds": 2,
    "network_features": STUDY["network_features"][:4],
    "leave_site_out_for": "none",
}
TABLES = simulate_tables(Truth(), SECTION["network_features"], patients=70, sites=3, seed=4)
DATA = build_dataset(TASKS["T1"], **TABLES.of_dataset())
HALF = np.arange(70) < 35
FOLD = FoldHabitats.fitted(DATA.series.take(HALF), DATA.patients[:35])
SERIES = FOLD.apply(DATA.series)


@pytest.fixture(autouse=True)
def torch_draws_for_the_test_alone():
    """The weights of a network that is made here come from torch's own generator.

    Afterwards, the generator goes on as before.
    """
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(scope="module", params=ARCHITECTURES)
def trained(request):
    (found,) = train([Network(request.param)], DATA, SECTION, seed=5)
    return found


def with_other_words(rows):
    """The data set with the words of some patients moved to other cells."""
    words = DATA.series.words
    counts = words.words.counts.copy()
    counts[rows[words.at[:, 0]]] = counts[rows[words.at[:, 0]]][:, ::-1]
    return replace(
        DATA,
        series=replace(
            DATA.series, words=replace(words, words=replace(words.words, counts=counts))
        ),
    )


def test_1_patients_held_out_do_not_move_a_folds_codebook():
    other = with_other_words(~HALF)
    assert FoldHabitats.fitted(other.series.take(HALF), DATA.patients[:35]) == FOLD
    assert other.digest != DATA.digest
    assert FoldHabitats.fitted(with_other_words(HALF).series.take(HALF), DATA.patients[:35]) != FOLD


def test_2_a_codebook_of_other_patients_or_of_the_cohort_is_refused():
    with pytest.raises(CodebookError, match="other patients"):
        FOLD.apply_in_training(DATA.series, DATA.patients, DATA.patients[:36])
    whole = FoldHabitats(replace(FOLD.codebook, scope="cohort"), FOLD.grid)
    with pytest.raises(CodebookError, match="for description"):
        whole.apply_in_training(DATA.series, DATA.patients, DATA.patients[:35])
    with pytest.raises(CodebookError, match="not the one that per fold fitted"):
        FoldHabitats.from_facts(whole.facts())
    assert FoldHabitats.from_facts(FOLD.facts()) == FOLD


def test_3_words_of_a_later_visit_change_nothing():
    words = TABLES.habitat_histograms
    late = (words.keys["visit"] == "T2").to_numpy()
    assert late.any()
    early = replace(words, keys=words.keys.filter(pl.Series(~late)), words=words.words.take(~late))
    assert (
        build_dataset(TASKS["T1"], **TABLES.of_dataset() | {"habitat_histograms": early}).digest
        == DATA.digest
    )
    assert set(DATA.series.words.at[:, 2]) == {0, 1}


def test_4_absent_habitats_and_lesions_without_words_are_masked():
    k = len(FOLD.names)
    lesions = DATA.series.words
    i, lesion, visit = lesions.at[7]
    counts, label = (
        lesions.words.counts[7],
        np.argmin(
            (
                (
                    lesions.words.grid.centres[:, None] / FOLD.codebook.scale
                    - np.array(FOLD.codebook.centres) / FOLD.codebook.scale
                )
                ** 2
            ).sum(axis=-1),
            axis=1,
        ),
    )
    assert SERIES.values[i, lesion, -k:, visit, -3].tolist() == pytest.approx(
        np.bincount(label, counts, k) / counts.sum()
    )
    emptied = counts.copy()
    emptied[label == 1] = 0
    changed = lesions.words.counts.copy()
    changed[7] = emptied
    series = FOLD.apply(
        replace(DATA.series, words=replace(lesions, words=replace(lesions.words, counts=changed)))
    )
    assert series.present[i, lesion, -k:, visit].tolist() == [True, False, True, True, True]
    without = FOLD.apply(replace(DATA.series, words=lesions._moved(0, np.arange(1, 70), 70)))
    assert without.present[:, :, :-k].tolist() == SERIES.present[:, :, :-k].tolist()
    assert not without.present[-1, :, -k:].any()


def test_5_contacts_are_the_neighbours_of_the_habitats():
    i, lesion, visit = DATA.series.words.at[3]
    found = SERIES.contacts[i, lesion, visit]
    k, given = len(FOLD.names), len(DATA.series.regions)
    assert np.array_equal(found, found.T)
    assert (found[:given, :given] == 1).all()
    assert found[0, given:].sum() == pytest.approx(1)
    inside = found[given:, given:]
    surface = found[1, given:]
    assert np.triu(inside).sum() + surface.sum() == pytest.approx(1)
    assert 0.1 < surface.sum() < 0.25
    assert inside.shape == (k, k)


def tensors(rows=slice(0, 6)):
    arrays = SequenceScaler.fitted(SERIES).apply(SERIES.take(np.arange(70)[rows]))
    return [torch.from_numpy(arrays[name]) for name in ("x", "present", "days", "ties", "contacts")]


def network(visits=2, name="st_gcn"):
    torch.manual_seed(1)
    return architecture(
        name,
        {
            "features": SERIES.features,
            "regions": SERIES.regions,
            "visits": range(visits),
            "width": 8,
            "dropout": 0.3,
        },
    ).eval()


def test_6_the_order_of_lesions_and_masked_nodes_change_nothing():
    x, present, days, ties, contacts = tensors()
    order = [2, 0, 3, 1]
    expected = network()(x, present, days, ties, contacts)
    shuffled = network()(
        x[:, order], present[:, order], days, ties[:, order][:, :, order], contacts[:, order]
    )
    padded = network()(
        *(torch.cat([a, torch.ones_like(a[:, :1]) * (a is contacts)], 1) for a in (x, present)),
        days,
        torch.nn.functional.pad(ties, (0, 1, 0, 1), value=1.0),
        torch.cat([contacts, torch.ones_like(contacts[:, :1])], 1),
    )
    assert torch.allclose(shuffled, expected, atol=1e-5)
    assert torch.allclose(padded, expected, atol=1e-5)
    moved = contacts.clone()
    moved[..., -5:, -5:] = moved[..., -5:, -5:].flip(-1)
    assert not torch.allclose(network()(x, present, days, ties, moved), expected, atol=1e-5)


def test_6b_for_the_transformer_too_and_what_stands_at_a_masked_token_is_not_read():
    x, present, days, ties, _ = tensors()
    order, made = [2, 0, 3, 1], network(name="decomposition_transformer")
    present[:, 0, -1] = 0  # a habitat that the first lesion has not
    expected = made(x, present, days, ties)
    assert torch.allclose(
        made(x[:, order], present[:, order], days, ties[:, order][:, :, order]), expected, atol=1e-5
    )
    padded = made(
        *(torch.cat([a, torch.zeros_like(a[:, :1])], 1) for a in (x, present)),
        days,
        torch.nn.functional.pad(ties, (0, 1, 0, 1), value=1.0),
    )
    assert torch.allclose(padded, expected, atol=1e-5)
    masked = present.amax(dim=-1) == 0
    noise = torch.where(masked[..., None, None], torch.randn_like(x) * 5, x)
    assert torch.allclose(made(noise, present, days, ties), expected, atol=1e-5)
    absent = present.clone()
    absent[:, :, -5:] = 0
    assert not torch.allclose(made(x, absent, days, ties), expected, atol=1e-3)


def test_6c_level_trend_and_curvature_of_habitats_make_up_what_was_measured():
    data = build_dataset(TASKS["T2"], **TABLES.replace_task("T2"))
    series = FoldHabitats.fitted(data.series, data.patients).apply(data.series)
    arrays = SequenceScaler.fitted(series).apply(series)
    x, days = (torch.from_numpy(arrays[name]).double() for name in ("x", "days"))
    habitats = x[:, :, -5:]
    assert (habitats[..., -3:] != 0).any(dim=(0, 1, 3)).all()
    parts = decompose(habitats, days)
    assert parts.shape[-2] == 3
    assert (reconstruct(parts, days) - habitats).abs().max() < 1e-6


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("seen", [1, 2])
def test_7_gradients_reach_every_node_that_is_allowed_and_no_other(seen, name):
    x, present, days, ties, contacts = (t.clone() for t in tensors())
    x, contacts = x.requires_grad_(), contacts.requires_grad_()
    edges = [contacts] if name == "st_gcn" else []
    network(seen, name)(x, present, days, ties, *edges).sum().backward()
    there, ever = (
        present.bool(),
        present[..., :seen].amax(dim=-1, keepdim=True).bool().expand(*present.shape),
    )
    assert (x.grad[..., :seen, :][there[..., :seen]] != 0).all()
    unseen = ~(there if edges else ever)[
        ..., :seen
    ]  # the transformer reads the last value before a visit that was missed
    assert unseen.any()
    assert (x.grad[..., :seen, :][unseen] == 0).all()
    assert (x.grad[..., seen:, :] == 0).all()
    assert not edges or (contacts.grad[:, :, seen:] == 0).all()
    assert not edges or (contacts.grad[:, :, :seen] != 0).any()


def test_8_within_a_lesion_a_node_takes_its_neighbours_by_contact():
    """By hand: the mean of the lesion's other nodes, weighted by pair of regions and contact."""
    x, present, _, ties, contacts = tensors(slice(0, 2))
    h, nodes = x[..., :4], x.shape[2]
    layer = GraphConvolution(4, 4, regions=nodes)
    with torch.no_grad():
        layer.edges.copy_(torch.randn(nodes, nodes))
        layer.own.weight.zero_(), layer.own.bias.zero_(), layer.other.weight.zero_()
        layer.same.weight.copy_(torch.eye(4))
    found, weight = layer(h, present, ties, contacts).detach(), torch.exp(layer.edges.detach())
    for b, lesion, r, v in np.ndindex(*present.shape):
        near = [
            (float(weight[r, s] * contacts[b, lesion, v, r, s]), h[b, lesion, s, v])
            for s in range(nodes)
            if s != r and present[b, lesion, s, v]
        ]
        wanted = (
            sum(w * value for w, value in near) / (sum(w for w, _ in near) + 1e-6)
            if near and present[b, lesion, r, v]
            else torch.zeros(4)
        )
        assert found[b, lesion, r, v].tolist() == pytest.approx(wanted.tolist(), abs=1e-4)


def test_9_each_fold_of_a_training_has_a_codebook_of_its_own_patients(trained):
    fold = stratified_folds(DATA.patients, DATA.sites, DATA.y, folds=2, seed=5, scope="test")
    assert fold.tolist() == trained.fold.tolist()
    for k, fit in enumerate(trained.fits):
        mine = [p for p, f in zip(DATA.patients, fold, strict=True) if f != k]
        own = FoldHabitats.from_facts(fit.model.facts["habitats"])
        assert own == FoldHabitats.fitted(DATA.series.take(fold != k), mine)
        assert fit.chosen["habitats"] == 5
    assert (
        len({fit.model.facts["habitats"]["fingerprint"] for fit in (*trained.fits, trained.final)})
        == 3
    )
    assert trained.appraisal.tables["folds"]["habitat_lesions"].min() > 30
    assert "habitat codebook" in trained.appraisal.facts["fitted_within_training_folds"]


def test_10_a_stored_network_asks_for_words_and_tells_of_habitats(trained):
    model = trained.final.model
    again = NetworkModel.from_tensors(model.tensors(), model.config())
    assert again.probabilities(DATA).tolist() == model.probabilities(DATA).tolist()
    shares = importance(model, DATA.take(np.arange(70) < 10))["regions"]
    assert set(FOLD.names) < set(shares)
    assert all(shares[name] > 0 for name in FOLD.names)
    with pytest.raises(ValueError, match="materialise habitats"):
        model.probabilities(replace(DATA, series=replace(DATA.series, words=None)))
    assert arrange(DATA.series, raw_names(model.facts)).regions == DATA.series.regions
    moved = np.flatnonzero(
        np.array(input_digests(with_other_words(np.arange(70) == 3)))
        != np.array(input_digests(DATA))
    )
    assert moved.tolist() == [3]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("task", ["T0", "T2"])
def test_11_every_task_has_habitats_at_its_own_visits(task, name):
    data = build_dataset(TASKS[task], **TABLES.replace_task(task))
    fit = Network(name).fit(data, {**SECTION, "network_epochs": 1}, 1)
    visits = len(TASKS[task].visits)
    assert fit.chosen["habitats"] == 5
    arrays = fit.model.arrays(data)
    assert arrays["x"].shape[2:4] == (len(data.series.regions) + 5, visits)
    assert ("contacts" in arrays) == (name == "st_gcn")
    assert set(data.series.words.at[:, 2]) == set(range(visits))
    assert np.isfinite(fit.model.probabilities(data)).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_12_without_words_or_with_too_few_lesions_or_not_asked_for_a_network_trains_as_before(name):
    plain = build_dataset(TASKS["T1"], **TABLES.of_dataset() | {"habitat_histograms": None})
    few = replace(
        DATA,
        series=replace(
            DATA.series,
            words=replace(
                DATA.series.words, settings={**DATA.series.words.settings, "lesions_minimum": 999}
            ),
        ),
    )
    section = {**SECTION, "network_epochs": 1}
    fits = [Network(name).fit(data, section, 1) for data in (plain, few)]
    fits.append(Network(name).fit(DATA, {**section, "habitat_networks": []}, 1))
    assert [f.chosen["habitats"] for f in fits] == [0, 0, 0]
    assert fits[0].model.facts["regions"] == list(plain.series.regions)
    assert fits[0].inner.tolist() == fits[1].inner.tolist() == fits[2].inner.tolist()
