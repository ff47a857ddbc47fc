"""The spatio-temporal graph network (after Yan et al., AAAI 2018).

Lesions and their regions are nodes, visits are frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DAYS_UNIT = 63.0
"""Elapsed days enter the networks in units of the interval of two visits."""


class GraphConvolution(nn.Module):
    """Sum over a partition of Lambda^-1 (A * M) X W.

    The parts are the node itself, the other regions of its lesion, and the same region of other
    lesions.

    Within a lesion A is 1, or `contacts` where habitats are nodes; between lesions it is `ties`.

    Weights of edges (M) are learned for each pair of regions, never a pair of lesions, so that the
    order of lesions means nothing.
    """

    def __init__(self, channels: int, out: int, regions: int) -> None:
        super().__init__()
        self.own, self.same, self.other = (nn.Linear(channels, out, bias=i == 0) for i in range(3))
        self.edges = nn.Parameter(torch.zeros(regions, regions))

    def forward(
        self, h: Tensor, present: Tensor, ties: Tensor, contacts: Tensor | None = None
    ) -> Tensor:
        """H (b, l, r, v, c); present (b, l, r, v); ties (b, l, l); contacts (b, l, v, r, r)."""
        m = present[..., None]
        inside = (1 - torch.eye(len(self.edges), device=h.device)) * torch.exp(self.edges)
        pairs, edges = ("rs", inside) if contacts is None else ("blvrs", inside * contacts)
        same = torch.einsum(f"{pairs},blsvc->blrvc", edges, h * m) / (
            torch.einsum(f"{pairs},blsvc->blrvc", edges, m) + 1e-6
        )
        other = torch.einsum("blk,bkrvc->blrvc", ties, h * m) / (
            torch.einsum("blk,bkrvc->blrvc", ties, m) + 1e-6
        )
        return (self.own(h) + self.same(same) + self.other(other)) * m


class TemporalConvolution(nn.Module):
    """Kernel of three visits on each node.

    A neighbour's part fades with the days between, at a learned rate.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.now, self.before, self.after = (
            nn.Linear(channels, channels, bias=i == 0) for i in range(3)
        )
        self.fading = nn.Parameter(torch.tensor(-2.0))

    def forward(self, h: Tensor, present: Tensor, days: Tensor) -> Tensor:
        """H (b, l, r, v, c); days (b, v)."""
        m = present[..., None]
        gap = torch.exp(
            -nn.functional.softplus(self.fading)
            * (days[:, 1:] - days[:, :-1]).clamp(min=1)
            / DAYS_UNIT
        )[:, None, None, :, None]
        h = h * m
        empty = torch.zeros_like(h[..., :1, :])
        earlier = torch.cat([empty, h[..., :-1, :] * gap], dim=-2)
        later = torch.cat([h[..., 1:, :] * gap, empty], dim=-2)
        return (self.now(h) + self.before(earlier) + self.after(later)) * m


class SpatioTemporalGraph(nn.Module):
    """Two blocks of graph and temporal convolution, a masked mean, one logit.

    The mean is over the nodes of each visit.

    The last `habitats` of the regions are habitats of the lesion; the mean of each over the lesions
    is taken apart, and that of all other regions together. Visits after the task's are cut off
    before anything is computed: `visits` frames are looked at, whatever is handed over.
    """

    def __init__(
        self,
        features: int,
        regions: int,
        visits: int,
        *,
        width: int = 12,
        dropout: float = 0.3,
        habitats: int = 0,
    ) -> None:
        super().__init__()
        self.visits = visits
        self.groups = (
            slice(0, regions - habitats),
            *(slice(k, k + 1) for k in range(regions - habitats, regions)),
        )
        self.embed = nn.Linear(features + 1, width)
        self.graphs = nn.ModuleList([GraphConvolution(width, width, regions) for _ in range(2)])
        self.times = nn.ModuleList([TemporalConvolution(width) for _ in range(2)])
        self.region = nn.Parameter(torch.randn(regions, width) * 0.1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(visits * (width * len(self.groups) + 1), 1)

    def forward(
        self, x: Tensor, present: Tensor, days: Tensor, ties: Tensor, contacts: Tensor | None = None
    ) -> Tensor:
        """Logits (b,) of a batch.

        The inputs are x (b, l, r, v, f), present (b, l, r, v), days (b, v), ties (b, l, l) and
        contacts (b, l, v, r, r).
        """
        x, present, days = (
            x[..., : self.visits, :],
            present[..., : self.visits],
            days[:, : self.visits],
        )
        contacts = None if contacts is None else contacts[:, :, : self.visits]
        clock = (days / DAYS_UNIT)[:, None, None, :, None].expand(*x.shape[:-1], 1)
        m = present[..., None]
        h = (self.embed(torch.cat([x, clock], dim=-1)) + self.region[None, None, :, None]) * m
        for graph, time in zip(self.graphs, self.times, strict=True):
            h = h + self.dropout(
                torch.tanh(time(torch.tanh(graph(h, present, ties, contacts)), present, days))
            )
        pooled = [
            (h * m)[:, :, g].sum(dim=(1, 2)) / (m[:, :, g].sum(dim=(1, 2)) + 1e-6)
            for g in self.groups
        ]
        counted = torch.log1p(present[:, :, 0].sum(dim=1))[..., None]
        return self.head(self.dropout(torch.cat([*pooled, counted], dim=-1).flatten(1))).squeeze(-1)
