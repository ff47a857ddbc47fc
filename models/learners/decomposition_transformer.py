"""The decomposition-ensemble transformer, with one small attention encoder per component.

The components are level, trend and curvature over real days.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.learners.stgcn import DAYS_UNIT

COMPONENTS = ("level", "trend", "curvature")
"""Orthogonal contrasts of up to three visits: with three points there is no season to look for."""

Groups = tuple[tuple[slice, slice], ...]


def contrasts(days: Tensor) -> Tensor:
    """Bases of the components over the visits, (b, components, visits).

    They are 1; t - mean(t); and the second difference's weights. With three visits w = (1/d01,
    -1/d01 - 1/d12, 1/d12), orthogonal to the other two for any days. Days of one visit after
    another count at least 1 day; the unit is DAYS_UNIT.
    """
    steps = (days[:, 1:] - days[:, :-1]).clamp(min=1.0) / DAYS_UNIT
    t = torch.cat([torch.zeros_like(days[:, :1]), steps.cumsum(dim=1)], dim=1)
    bases = [torch.ones_like(t)]
    if t.shape[1] > 1:
        bases.append(t - t.mean(dim=1, keepdim=True))
    if t.shape[1] > 2:
        first, second = 1 / steps[:, :1], 1 / steps[:, 1:2]
        bases.append(torch.cat([first, -first - second, second], dim=1))
    return torch.stack(bases, dim=1)


def decompose(x: Tensor, days: Tensor) -> Tensor:
    """Level, trend and curvature: (b, ..., v, f) to (b, ..., components, f).

    Level is the mean, trend the OLS slope, and curvature the difference of the slopes. The sum of
    the parts is the input (`reconstruct`), exactly three degrees of freedom for three visits.
    """
    bases = contrasts(days)
    weights = bases / (bases**2).sum(dim=-1, keepdim=True)
    if bases.shape[1] > 2:
        weights = torch.cat([weights[:, :2], bases[:, 2:]], dim=1)
    return torch.einsum("bcv,b...vf->b...cf", weights, x)


def reconstruct(parts: Tensor, days: Tensor) -> Tensor:
    """The values at the visits: level + trend (t - mean t) + curvature w / |w|^2."""
    bases = contrasts(days)
    if bases.shape[1] > 2:
        bases = torch.cat(
            [bases[:, :2], bases[:, 2:] / (bases[:, 2:] ** 2).sum(dim=-1, keepdim=True)], dim=1
        )
    return torch.einsum("bcv,b...cf->b...vf", bases, parts)


class ComponentEncoder(nn.Module):
    """One attention block over a component's tokens, and a logit.

    The tokens are a lesion's region or habitat each, and each feature over the lesions. `groups`
    are the places (regions, features) of regions with their features and, where there are any, of
    habitats with theirs. The nodes of each group are pooled apart. A region's feature is one token,
    its mean over all regions; a habitat's is a token of its own in each habitat, since shares of
    habitats add up to 1 and their mean carries no information.
    """

    def __init__(
        self, features: int, regions: int, visits: int, width: int, dropout: float, groups: Groups
    ) -> None:
        super().__init__()
        self.groups = groups
        self.node = nn.Linear(features + visits, width)
        self.region = nn.Parameter(torch.randn(regions, width) * 0.1)
        own = [
            (r.stop - r.start if i else 1) * (f.stop - f.start) for i, (r, f) in enumerate(groups)
        ]
        self.feature = nn.Parameter(torch.randn(2, sum(own), width) * 0.1)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.mix = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear((len(groups) + 1) * width, 1)

    def forward(self, part: Tensor, present: Tensor) -> Tensor:
        """Part (b, l, r, f), present (b, l, r, v) to logits (b,)."""
        seen = present.amax(dim=-1)
        nodes = self.node(torch.cat([part, present], dim=-1)) + self.region
        mean, known = self._features(part, seen)
        tokens = torch.cat(
            [nodes.flatten(1, 2), mean[..., None] * self.feature[0] + self.feature[1]], dim=1
        )
        mask = torch.cat([seen.flatten(1), known], dim=1)
        h = tokens + self.dropout(self._attend(self.norm(tokens), mask))
        h, n = h + self.mix(h), seen[0].numel()
        each = [
            (h[:, :n].unflatten(1, seen.shape[1:])[:, :, r].flatten(1, 2), seen[:, :, r].flatten(1))
            for r, _ in self.groups
        ]
        pooled = [
            (a * m[..., None]).sum(dim=1) / (m.sum(dim=1, keepdim=True) + 1e-6)
            for a, m in (*each, (h[:, n:], known))
        ]
        return self.head(self.dropout(torch.cat(pooled, dim=-1))).squeeze(-1)

    def _features(self, part: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of each feature token, and 0 where no lesion has the habitat that it is of."""
        (r, f), *habitats = self.groups
        mean = [
            (part[:, :, r, f] * seen[:, :, r, None]).sum(dim=(1, 2))
            / (seen[:, :, r].sum(dim=(1, 2)) + 1e-6)[:, None]
        ]
        known = [torch.ones_like(mean[0])]
        for r, f in habitats:
            n = seen[:, :, r].sum(dim=1)[..., None]
            mean.append(
                ((part[:, :, r, f] * seen[:, :, r, None]).sum(dim=1) / (n + 1e-6)).flatten(1)
            )
            known.append((n > 0).to(n.dtype).expand(-1, -1, f.stop - f.start).flatten(1))
        return torch.cat(mean, dim=1), torch.cat(known, dim=1)

    def _attend(self, h: Tensor, mask: Tensor) -> Tensor:
        scores = torch.einsum("bic,bjc->bij", self.query(h), self.key(h)) / h.shape[-1] ** 0.5
        return torch.softmax(scores + (mask[:, None] - 1) * 1e4, dim=-1) @ self.value(h)


class DecompositionTransformer(nn.Module):
    """The sum of the components' logits.

    Visits after the task's are cut off before anything is computed. The last of the regions and of
    the features, as many as `habitats` says of each, are habitats of the lesion and their features.
    """

    def __init__(
        self,
        features: int,
        regions: int,
        visits: int,
        *,
        width: int = 12,
        dropout: float = 0.3,
        habitats: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.visits = visits
        whole, known = regions - habitats[0], features - habitats[1]
        groups = (
            (slice(0, whole), slice(0, known)),
            (slice(whole, regions), slice(known, features)),
        )[: 1 + bool(habitats[0])]
        self.encoders = nn.ModuleList(
            [
                ComponentEncoder(features, regions, visits, width, dropout, groups)
                for _ in COMPONENTS[:visits]
            ]
        )

    def forward(
        self,
        x: Tensor,
        present: Tensor,
        days: Tensor,
        ties: Tensor,  # noqa: ARG002 - one signature for both networks
    ) -> Tensor:
        """X (b, l, r, v, f), present (b, l, r, v), days (b, v), ties (b, l, l) to logits (b,)."""
        x, present, days = (
            x[..., : self.visits, :],
            present[..., : self.visits],
            days[:, : self.visits],
        )
        parts = decompose(x, days)
        return torch.stack(
            [encoder(parts[..., i, :], present) for i, encoder in enumerate(self.encoders)]
        ).sum(dim=0)
