"""Rows of the engine's tests."""

from __future__ import annotations

import numpy as np


def a_table(n=60, seed=3):
    """Rows with every column that a plan can name."""
    random = np.random.default_rng(seed)
    size, dhi = random.normal(0, 1, (2, n)).round(6)
    return {
        "patient": [f"P{i:03d}" for i in range(n)],
        "arm": random.choice(["A", "B", "C"], n).tolist(),
        "group": random.choice(["low", "high"], n).tolist(),
        "days": random.integers(1, 400, n).tolist(),
        "event": (random.random(n) < 0.6).tolist(),
        "score": random.random(n).round(4).tolist(),
        "label": (random.random(n) < 1 / (1 + np.exp(-size))).tolist(),
        "size": size.tolist(),
        "dhi": dhi.tolist(),
    }
