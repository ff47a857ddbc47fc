"""The whole flow from stage to stage: closed gate, quiet night, arbitration, one more scan; and what must hold at the end."""

from __future__ import annotations

import pytest

from tests.trial import Stage

pytestmark = pytest.mark.xdist_group("flow")


def test_x(grown: Stage) -> None:
    print(grown.outcome, grown.work, grown.trial.analyst)
    for s in grown.trial.said: print(s)
    assert 0
