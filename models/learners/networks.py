"""The two networks as learners.

Seeds and inner folds are trained side by side, as one batched model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dagster_project.radiomics.habitat_codebook import CodebookError
from dagster_project.statistics.logistic import sigmoid
from dagster_project.statistics.roc import youden_cutoff
from models.data.datasets import SERIES, Dataset, DatasetError
from models.data.fold_habitats import PREFIX, FoldHabitats, raw_names
from models.data.lesion_sequences import LesionSequences, SequenceScaler, arrange
from models.data.splits import stratified_folds
from models.data.stability import StableFeatures
from models.learners.learners import Fit, Section

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUTS = ("x", "present", "days", "ties")
"""Arrays that a network is given, in the order of its arguments.

`contacts` comes last where the ST-GCN has habitats as nodes.
"""

SHARED = ("ties",)
"""Those of the inputs that are the same for all networks trained side by side.

The others are based on what each network fitted on its own patients.
"""

ARCHITECTURES = ("st_gcn", "decomposition_transformer")
"""Names of the networks."""


def architecture(name: str, config: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights."""
    from models.learners.decomposition_transformer import DecompositionTransformer
    from models.learners.stgcn import SpatioTemporalGraph

    sizes = len(config["features"]), len(config["regions"]), len(config["visits"])
    nodes, features = (
        sum(n.startswith(PREFIX) for n in config[key]) for key in ("regions", "features")
    )
    if name == "st_gcn":
        return SpatioTemporalGraph(
            *sizes, width=config["width"], dropout=config["dropout"], habitats=nodes
        )
    return DecompositionTransformer(
        *sizes, width=config["width"], dropout=config["dropout"], habitats=(nodes, features)
    )


def frame_of(facts: Mapping[str, Any]) -> nn.Module:
    """A network that will be given its weights.

    The initial weights are drawn, and torch's generator goes on as if they were not.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return architecture(facts["architecture"], facts).eval()


def inputs_of(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Names of the arrays that a network is given."""
    return (*INPUTS, "contacts") if "contacts" in arrays else INPUTS


def choose_device(asked: str) -> str:
    """`auto` is the GPU where there is one; else what is asked for."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """An ensemble over seeds of one architecture: sigmoid(mean of the logits / temperature)."""

    kind: ClassVar[str] = "network"
    facts: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    scaler: SequenceScaler
    temperature: float

    def logits(self, dataset: Dataset) -> np.ndarray:
        """One row a seed, before the temperature."""
        return ensemble_logits(self.facts, self.weights, self.arrays(dataset))

    def arrays(self, dataset: Dataset) -> dict[str, np.ndarray]:
        """What the network is given, scaled as in its training.

        These are the nodes it knows, its own habitats among them where it has a codebook.
        """
        series = arrange(_series(dataset), raw_names(self.facts))
        own = self.facts.get("habitats")
        return self.scaler.apply(
            _looked_at(
                self.facts["architecture"],
                FoldHabitats.from_facts(own).apply(series) if own else series,
            )
        )

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row."""
        return sigmoid(self.logits(dataset).mean(axis=0) / self.temperature)

    def spread(self, dataset: Dataset) -> np.ndarray:
        """Standard deviation of the probability between seeds."""
        return sigmoid(self.logits(dataset) / self.temperature).std(axis=0)

    def tensors(self) -> dict[str, np.ndarray]:
        """Weights of all seeds, scaler and temperature."""
        return {
            **{f"weights/{k}": v for k, v in self.weights.items()},
            **{f"scaler/{k}": v for k, v in self.scaler.tensors().items()},
            "temperature": np.array([self.temperature]),
        }

    def config(self) -> dict[str, Any]:
        """Architecture, sizes, and the names of visits, regions and features in order."""
        return dict(self.facts)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> NetworkModel:
        """The model that `tensors` and `config` were taken from."""
        parts = {
            name: {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{name}/")}
            for name in ("weights", "scaler")
        }
        return cls(
            dict(config),
            parts["weights"],
            SequenceScaler(**parts["scaler"]),
            float(tensors["temperature"][0]),
        )


def ensemble_logits(
    facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Logits (seeds, patients) of stacked weights.

    Dropout is off and the CPU computes, so that a stored model gives the same numbers everywhere.

    Raises
    ------
    ValueError
        The weights are those of an older form of the network.
    """
    import torch
    from torch.func import functional_call, vmap

    network = frame_of(facts)
    stacked = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in weights.items()}
    if {k: v.shape[1:] for k, v in stacked.items()} != {
        k: v.shape for k, v in network.state_dict().items()
    }:
        raise ValueError(
            f"the stored {facts['architecture']} has weights of an older form of the network; "
            "train it anew"
        )
    inputs = tuple(torch.from_numpy(arrays[name]) for name in inputs_of(arrays))
    with torch.no_grad():
        found = vmap(lambda w: functional_call(network, w, inputs))(stacked)
    return found.numpy().astype(np.float64)


def temperature_of(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature, 0.2 to 20, of least log loss on held-out logits (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        z = logits / np.exp(log_t)
        return float(np.mean(np.logaddexp(0.0, z) - labels * z))

    return float(
        np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(20.0)), method="bounded").x)
    )


def _series(dataset: Dataset) -> LesionSequences:
    if dataset.series is None or not dataset.series.features:
        raise DatasetError(
            f"task {dataset.task.name}: no lesion has a value at "
            f"{', '.join(dataset.task.visits)}; materialise radiomic_features first"
        )
    return dataset.series


def _looked_at(architecture: str, series: LesionSequences) -> LesionSequences:
    """The series as a network looks at it.

    Tokens attend to one another without edges, so the transformer is given no contacts.
    """
    return series if architecture == "st_gcn" else replace(series, contacts=None)


@dataclass(frozen=True)
class Network:
    """A `learners.Learner` over the block `series`."""

    name: str
    negative_control: bool = False
    blocks: tuple[str, ...] = (SERIES,)

    @property
    def architecture(self) -> str:
        """The network behind the name, which a negative control shares."""
        return self.name.removesuffix("_control")

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """Fit on training patients.

        1. Divide them into inner folds by site and label, the same as every other learner's.
        2. Train one network on the complement of each inner fold and `network_seeds` on all, each
           with a codebook of habitats (where `habitat_networks` names it and lesions have words)
           and a scaler of its own patients, which sets to 0 the features that the readers of these
           patients do not agree on.
        3. Temperature, then cut-off by Youden's index, on the inner held-out logits.
        """
        scope = f"task {dataset.task.name}, model {self.name}, inner folds"
        fold = stratified_folds(
            dataset.patients,
            dataset.sites,
            dataset.y,
            folds=section["inner_folds"],
            seed=seed,
            scope=scope,
        )
        rows = [np.flatnonzero(fold != k) for k in range(fold.max() + 1)] + [
            np.arange(fold.size)
        ] * section["network_seeds"]
        stable = [
            StableFeatures.fitted(dataset.readers.take(r) if dataset.readers else None, section)
            for r in rows[: fold.max() + 2]
        ]
        seen, habitats = self._seen(dataset, rows[: fold.max() + 2], section)
        scalers = [
            SequenceScaler.fitted(own.take(r), s.unstable)
            for own, r, s in zip(seen, rows, stable, strict=False)
        ]
        arrays = [scaler.apply(own) for scaler, own in zip(scalers, seen, strict=True)]
        facts = self._facts(seen[-1], habitats, section)
        weights, curve = train_side_by_side(
            facts,
            [*arrays, *[arrays[-1]] * (section["network_seeds"] - 1)],
            dataset.y,
            rows,
            section,
            seed,
        )
        inner = _held_out_logits(facts, weights, arrays, fold)
        temperature = temperature_of(dataset.y, inner)
        model = NetworkModel(
            facts,
            {n: w[fold.max() + 1 :].copy() for n, w in weights.items()},
            scalers[-1],
            temperature,
        )
        held_out = sigmoid(inner / temperature)
        n_weights = float(sum(w[0].size for w in weights.values()))
        return Fit(
            model,
            youden_cutoff(dataset.y, held_out),
            {
                "temperature": temperature,
                "n_weights": n_weights,
                "loss": float(curve[-1]),
                **stable[-1].facts,
                **_told_of(habitats),
            },
            inner=held_out,
            curve=tuple(curve),
        )

    def _facts(
        self, series: LesionSequences, habitats: FoldHabitats | None, section: Section
    ) -> dict[str, Any]:
        """What the architecture is built from."""
        return {
            "architecture": self.architecture,
            "visits": list(series.visits),
            "regions": list(series.regions),
            "features": list(series.features),
            "width": section["network_width"],
            "dropout": section["network_dropout"],
            **({"habitats": habitats.facts()} if habitats else {}),
        }

    def _seen(
        self, dataset: Dataset, rows: list[np.ndarray], section: Section
    ) -> tuple[list[LesionSequences], FoldHabitats | None]:
        """The series for each list of training rows, and the last codebook.

        Each series has the habitats that those patients gave.

        Where one of the lists gives no codebook there are no habitats in any: networks are trained
        side by side.
        """
        series, names = _series(dataset), np.asarray(dataset.patients)
        if self.architecture not in section["habitat_networks"] or series.words is None:
            return [series] * len(rows), None
        try:
            fitted = [FoldHabitats.fitted(series.take(r), names[r].tolist()) for r in rows]
        except CodebookError:
            return [series] * len(rows), None
        seen = [
            f.apply_in_training(series, names.tolist(), names[r].tolist())
            for f, r in zip(fitted, rows, strict=True)
        ]
        return [_looked_at(self.architecture, s) for s in seen], fitted[-1]


def _held_out_logits(
    facts: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    arrays: Sequence[Mapping[str, np.ndarray]],
    fold: np.ndarray,
) -> np.ndarray:
    """The logit (n,) of each patient by the network of the inner fold that left the patient out."""
    inner = np.zeros(fold.size)
    for k in range(fold.max() + 1):
        held = fold == k
        inner[held] = ensemble_logits(
            facts,
            {n: w[k : k + 1] for n, w in weights.items()},
            {n: a[held] for n, a in arrays[k].items()},
        )[0]
    return inner


def _told_of(habitats: FoldHabitats | None) -> dict[str, float]:
    """Counts for the log: habitats that are nodes, and the lesion visits behind their codebook."""
    return (
        {
            "habitats": float(habitats.codebook.count),
            "habitat_lesions": float(habitats.codebook.n_lesions),
        }
        if habitats
        else {"habitats": 0.0}
    )


def train_side_by_side(
    facts: Mapping[str, Any],
    arrays: list[dict[str, np.ndarray]],
    labels: np.ndarray,
    rows: list[np.ndarray],
    section: Section,
    seed: int,
    start: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Train one network per list of rows, all at once (vmap over stacked weights).

    Returns the stacked weights and the mean loss per epoch. Where `start` is given, training goes
    on from these stacked weights.

    AdamW with decoupled weight decay and a cosine rate; the batches of each are drawn from its own
    rows alone. Results repeat for the same seed on the same kind of device. On the CPU one thread
    works: the matrices are small, and threads that wait for one another on a busy machine cost more
    than they save.
    """
    import torch
    from threadpoolctl import threadpool_limits

    device = choose_device(section["device"])
    with (
        threadpool_limits(limits=1),
        torch.random.fork_rng(devices=[] if device == "cpu" else None),
    ):
        torch.manual_seed(seed)
        return _descend(
            facts,
            _batched_inputs(arrays, device),
            torch.from_numpy(labels.astype(np.float32)).to(device),
            rows,
            section,
            seed,
            start,
        )


def _batched_inputs(arrays: list[dict[str, np.ndarray]], device: str) -> tuple[Tensor, ...]:
    """Once a network, since each has a codebook and a scaler of its own; what is SHARED once."""
    import torch

    stacked = [
        arrays[0][name] if name in SHARED else np.stack([a[name] for a in arrays])
        for name in inputs_of(arrays[0])
    ]
    return tuple(torch.from_numpy(a).to(device) for a in stacked)


def _descend(
    facts: Mapping[str, Any],
    inputs: tuple[Tensor, ...],
    labels: Tensor,
    rows: list[np.ndarray],
    section: Section,
    seed: int,
    start: Mapping[str, np.ndarray] | None,
) -> tuple[dict[str, np.ndarray], list[float]]:
    import torch
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap

    networks = [architecture(facts["architecture"], facts).to(labels.device) for _ in rows]
    stacked, buffers = stack_module_state(networks)
    # Detached: else autograd records every step a second time, and weight and gradient hold each
    # other's graph for good.
    weights = {
        k: w.detach() if start is None else torch.from_numpy(start[k].copy()).to(w)
        for k, w in stacked.items()
    }
    network = networks[0].train()

    def loss(w: dict[str, Tensor], b: dict[str, Tensor], y: Tensor, *batch: Tensor) -> Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(
            functional_call(network, (w, b), batch), y
        )

    step = vmap(grad_and_value(loss), randomness="different")
    optimiser = torch.optim.AdamW(
        weights.values(), lr=section["learning_rate"], weight_decay=section["network_decay"]
    )
    batches = _batches(rows, section["network_batch"], np.random.default_rng(seed))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, section["network_epochs"])
    each, curve = torch.arange(len(rows), device=labels.device)[:, None], []
    for _ in range(section["network_epochs"]):
        losses = []
        for index in next(batches):
            i = torch.from_numpy(index).to(labels.device)
            gradients, value = step(
                weights,
                buffers,
                labels[i],
                *(a[i] if k == INPUTS.index("ties") else a[each, i] for k, a in enumerate(inputs)),
            )
            for name, weight in weights.items():
                weight.grad = gradients[name]
            optimiser.step()
            losses.append(value.mean())
        schedule.step()
        curve.append(float(torch.stack(losses).mean()))
    return {k: v.cpu().numpy() for k, v in {**weights, **buffers}.items()}, curve


def _batches(rows: list[np.ndarray], size: int, rng: np.random.Generator) -> Any:
    """An endless sequence of epochs.

    An epoch is a list of index arrays (networks, batch), drawn without repetition.
    """
    while True:
        shortest = min(map(len, rows))
        order = np.stack([rng.permutation(r)[:shortest] for r in rows])
        yield np.array_split(order, max(1, shortest // size), axis=1)
