"""Which scans are described again and which are not."""

from __future__ import annotations

import datetime as dt

import pytest

from dagster_project.domain.imaging.series import SeriesError
from tests.domain.records import table
from tests.flow.site import Site


class Describer:
    """Stands in for reading a series; counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.asked = 0
        self.sop_instance_uids: frozenset[str] = frozenset()
        monkeypatch.setattr("dagster_project.domain.imaging.series.read_series", lambda _: self)
        monkeypatch.setattr("dagster_project.domain.imaging.series.describe_series", self)
        self.error = error
        self.found: dict[str, object] = {}

    def __call__(self, *_: object) -> dict[str, object]:
        self.asked += 1
        if self.error:
            raise self.error
        left_out = {"site", "patient", "scan", "simulated", "input_fingerprint"}
        plain = {
            "n_repeated_slices": 0,
            "rescale_flag": False,
            "scan_date": dt.date(2024, 1, 2),
            **self.found,
        }
        return {
            k: v for k, v in table("scans", plain).row(0, named=True).items() if k not in left_out
        }


def test_a_scan_is_described_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    describer = Describer(monkeypatch)
    assert site.run() == {"computed": 1, "reused": 0, "removed": 0, "refused": 0}
    assert site.run() == {"computed": 0, "reused": 1, "removed": 0, "refused": 0}
    assert describer.asked == 1


def test_a_series_that_cannot_be_stacked_is_tried_once_and_told_every_night(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    describer = Describer(monkeypatch, SeriesError("slices of two sizes; send one series a folder"))
    for _ in range(2):
        assert site.run() == {"computed": 0, "reused": 0, "removed": 0, "refused": 1}
        assert site.refusals.select("stage", "item").rows() == [("scans", "scan SCAN")]
        assert "two sizes" in site.refusals["reason"][0]
    assert describer.asked == 1


def test_another_slice_has_it_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Describer(monkeypatch, SeriesError("no"))
    site.run()
    (site.folder / "0002.dcm").write_bytes(b"slice")
    mended = Describer(monkeypatch)
    assert site.run() == {"computed": 1, "reused": 0, "removed": 0, "refused": 0}
    assert mended.asked == 1
    assert site.refusals.height == 0


def test_a_fault_of_the_machine_is_tried_again_and_quotes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    Describer(monkeypatch, OSError("no space for Zhang San"))
    assert site.run()["refused"] == 1
    assert "Zhang" not in site.refusals["reason"][0]
    again = Describer(monkeypatch)
    assert site.run()["computed"] == 1
    assert again.asked == 1


def test_a_landing_marked_as_simulated_later_marks_rows_that_are_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    Describer(monkeypatch)
    site.run()
    assert site.scans["simulated"].to_list() == [False]
    (site.lakehouse.home.vault / site.name / "SIMULATED").touch()
    site.run()
    assert site.scans["simulated"].to_list() == [True]


def test_a_scan_that_is_gone_is_removed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Describer(monkeypatch)
    site.run()
    (site.folder / "0001.dcm").unlink()
    assert site.run() == {"computed": 0, "reused": 0, "removed": 1, "refused": 0}
    assert site.scans.height == 0


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({"n_repeated_slices": 3}, "another acquisition"),
        ({"rescale_flag": True}, "air is not near -1000 HU"),
        ({"scan_date": None}, "no date of acquisition"),
        ({}, None),
    ],
)
def test_what_is_doubtful_in_a_scan_that_is_used_is_named_every_night(
    site: Site, monkeypatch: pytest.MonkeyPatch, found: dict[str, object], named: str | None
) -> None:
    describer = Describer(monkeypatch)
    describer.found = found
    for _ in range(2):
        assert site.run()["refused"] == 0
        assert site.scans.height == 1
        reasons = site.refusals["reason"].to_list() if site.refusals.height else []
        assert [named in reason for reason in reasons] == [True] * (named is not None)
