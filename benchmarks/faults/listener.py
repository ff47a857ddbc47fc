"""A PACS that sends while runs go on.

An object waits while a run takes in the folder; what is put off comes when it is sent again.
Nothing is lost or held twice.

Needs the Debian package dcmtk.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from tests.intake import peers
from tests.intake.builders import ROOT, ct, to_bytes
from tests.trial import Trial, write_protocol

SITE, SLICES = "AB", 12
BEFORE_AND_AFTER = 2
"""Runs beside which nothing comes: the first, which makes the keys, and the last."""


@dataclass
class Sent:
    """What the PACS did and what became of it."""

    series: int = 0
    attempts: int = 0
    put_off: int = 0
    runs: Counter[int] = field(default_factory=Counter)
    missing: int = 0
    doubled: int = 0
    minutes: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether series came while runs went on, each slice is there once, and all ended well."""
        wrong = self.missing or self.doubled or any(code for code in self.runs)
        return not wrong and self.series > 0 and self.runs.total() > BEFORE_AND_AFTER


def run(root: Path, minutes: float, seed: int) -> Sent:
    """Send a series about every ten seconds beside runs without a pause, and count at the end."""
    trial, port = Trial(root / "home", write_protocol(root / "study.toml")), peers.free_port()
    clinical = trial.home.make().landing / SITE / "clinical"
    clinical.mkdir(parents=True)
    (clinical / "patients.csv").write_text(
        "patient_id,sex\n" + "".join(f"ZY{n:07d},F\n" for n in range(12)), encoding="utf-8"
    )
    settings = trial.root / "pacs.toml"
    settings.write_text(f'[{SITE}.listen]\nport = {port}\ncallers = ["PACS"]\n', encoding="utf-8")
    settings.chmod(0o600)
    command = [sys.executable, "-m", "dagster_project.cli", "--home", str(trial.root)]
    environment = {**os.environ, **trial.settings}
    sent, chance, began = Sent(), random.Random(seed), time.monotonic()
    with (root / "log").open("wb") as log:
        _run(command, environment, log, sent)  # makes the keys
        listening = peers.Listening(trial.root, SITE, port, root / "listener", trial.settings)
        running = subprocess.Popen([*command, "run"], env=environment, stdout=log, stderr=log)
        waiting: list[Path] = []
        while time.monotonic() - began < 60 * minutes:
            if running.poll() is not None:
                sent.runs[running.returncode] += 1
                running = subprocess.Popen(
                    [*command, "run"], env=environment, stdout=log, stderr=log
                )
            waiting.append(_series(root, sent.series, chance))
            sent.series += 1
            waiting = [folder for folder in waiting if not _send(folder, port, sent)]
            time.sleep(chance.uniform(5, 15))
        sent.runs[running.wait()] += 1
        while waiting:
            waiting = [folder for folder in waiting if not _send(folder, port, sent)]
        listening.end()
        _run(command, environment, log, sent)
    held = Counter(_identity(f) for f in (trial.home.vault / SITE).rglob("*.dcm"))
    sent.missing, sent.doubled = (
        max(sent.series * SLICES - len(held), 0),
        sum(n > 1 for n in held.values()),
    )
    sent.minutes = (time.monotonic() - began) / 60
    return sent


def _run(command: list[str], environment: dict[str, str], log: object, sent: Sent) -> None:
    sent.runs[
        subprocess.run(
            [*command, "run"], env=environment, stdout=log, stderr=log, check=False
        ).returncode
    ] += 1  # type: ignore[call-overload]


def _series(root: Path, number: int, chance: random.Random) -> Path:
    folder = root / "pacs" / f"{number:05d}"
    folder.mkdir(parents=True)
    patient = f"ZY{chance.randrange(12):07d}"
    for index in range(SLICES):
        image = ct(
            index,
            patient=patient,
            series=f"{ROOT}.2.{number}",
            StudyInstanceUID=f"{ROOT}.1.{number}",
            FrameOfReferenceUID=f"{ROOT}.9.{number}",
            SeriesNumber=number % 9 + 1,
        )
        (folder / f"{index:04d}.dcm").write_bytes(to_bytes(image))
    return folder


def _identity(file: Path) -> str:
    return str(
        pydicom.dcmread(
            file, specific_tags=["SOPInstanceUID"], stop_before_pixels=True
        ).SOPInstanceUID
    )


def _send(folder: Path, port: int, sent: Sent) -> bool:
    """Whether all of a series was stored; a PACS sends the whole again where it was not."""
    sent.attempts += 1
    stored = peers.dcmtk("storescu", port, "+sd", str(folder)).returncode == 0
    sent.put_off += not stored
    return stored


def table(sent: Sent) -> str:
    """Figures of the whole."""
    ended = ", ".join(f"{number} with {code}" for code, number in sorted(sent.runs.items()))
    return "\n".join(
        [
            "| minutes | series | sent, attempts | put off | runs beside it ended "
            "| slices missing | held twice |",
            "| ---: | ---: | ---: | ---: | --- | ---: | ---: |",
            f"| {sent.minutes:.0f} | {sent.series} | {sent.attempts} | {sent.put_off} | {ended} "
            f"| {sent.missing} | {sent.doubled} |",
        ]
    )
