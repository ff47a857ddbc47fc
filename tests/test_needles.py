"""The search of many strings finds what `re` finds."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from tests import needles
from tests.needles import Needles

WORDS = st.lists(st.binary(min_size=3, max_size=9), min_size=1, max_size=8)


@given(WORDS, st.lists(st.binary(max_size=12), max_size=8), st.data())
def test_the_first_of_many_is_that_of_re(words, between, data):
    planted = [part + data.draw(st.sampled_from([*words, b""])) for part in between]
    text, sought = b"".join(planted), Needles(words)
    with mock.patch.object(needles, "CHUNK", 8):
        found = sought.search(text)
    wanted = sought.pattern.search(text)
    assert (found and found.group()) == (wanted and wanted.group())
