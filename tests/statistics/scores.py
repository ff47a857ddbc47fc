"""Labels and scores that the tests of figures draw."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

SCORES = st.integers(0, 12).map(lambda v: v / 12)


@st.composite
def judged(draw):
    """Labels with both classes, at least two each, and scores with ties."""
    m, n = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    scores = draw(st.lists(SCORES, min_size=m + n, max_size=m + n))
    labels = draw(st.permutations([True] * m + [False] * n))
    return np.array(labels), np.array(scores)
