"""What a site delivered is in its vault once, and the manifest says what was done."""

from __future__ import annotations

import hashlib
import json

from tests.trial import SITES, Stage


def test_the_manifest_is_a_chain_of_its_records(grown: Stage) -> None:
    for site in SITES:
        records = [
            json.loads(line)
            for line in (grown.trial.home.vault / site / "manifest.jsonl")
            .read_text(encoding="utf-8")
            .splitlines()
        ]
        accepted = [r for r in records if r.get("event") == "accepted"]
        vault = [
            p for p in (grown.trial.home.vault / site).rglob("*") if p.suffix in {".dcm", ".gz"}
        ]
        assert len(accepted) == len(vault)
        assert {r["output"] for r in accepted} == {
            hashlib.sha256(p.read_bytes()).hexdigest() for p in vault
        }


def test_the_landing_is_left_as_it_was_delivered(grown: Stage) -> None:
    """Intake reads and never writes: beside what the fixtures delivered nothing is there."""
    for site in SITES:
        assert {p.name for p in (grown.trial.home.landing / site).iterdir()} <= {
            "SIMULATED",
            "clinical",
            "dicom",
            "reads",
            "arbitration",
            "board",
        }


def test_throwaway_keys_are_spoken_of_on_every_run(grown: Stage) -> None:
    runs = [text for text in grown.trial.said if "files looked at" in text or "The gate is" in text]
    assert runs
    assert all("trial keys" in text for text in runs if "site BJCH" in text)
