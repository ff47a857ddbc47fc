"""What a secure sum costs a hospital and the coordinator, and what it shows.

One process acts for all hospitals in turn; figures are CPU time of one thread, medians of
`--repeats` rounds. `r` is the correlation of a hospital's plain vector with what another hospital
sees when it decrypts its ciphertext.

    python -m benchmarks.secure_sum [--lengths 400 3410 20000] [--hospitals 3 8] [--repeats 9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dagster_project.federated.ciphertexts import Cipher
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.key_agreement import Channels, Party, Run
from dagster_project.federated.secure_sum import Member, Part, RunKeys, add_parts

HEAD = (
    "| hospitals | values | KiB a hospital and round | part, ms | of it encryption, ms | "
    "open, ms | hospital and round, CPU ms | add, ms | largest error | r |"
)


def milliseconds(into: list[float], work: Callable[..., Any], *given: Any) -> Any:
    """Do some work and note its CPU time."""
    start = time.process_time()
    done = work(*given)
    into.append(1000 * (time.process_time() - start))
    return done


def enter(hospitals: int) -> tuple[Run, dict[str, Channels], float]:
    """A run of so many, each with its keys to the others; milliseconds that one takes for it."""
    keys = {f"S{i:02}": Ed25519PrivateKey.generate() for i in range(hospitals)}
    pinned = tuple((code, fingerprint(public_bytes(key))) for code, key in keys.items())
    run = Run("benchmark", "0" * 64, pinned)
    parties = {code: Party.enter(run, code, key) for code, key in keys.items()}
    announcements = [party.announcement for party in parties.values()]
    took: list[float] = []
    found = {code: milliseconds(took, p.agree, announcements) for code, p in parties.items()}
    return run, found, median(took)


@dataclass
class Costs:
    """Milliseconds of each step, one a hospital and round, and the errors of the sums."""

    part: list[float] = field(default_factory=list)
    add: list[float] = field(default_factory=list)
    open: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


def one_round(
    run: Run, members: list[Member], vectors: np.ndarray, number: int, costs: Costs
) -> Part:
    """All hospitals and the coordinator in turn; the first hospital's part."""
    length = vectors.shape[1]
    given = zip(members, vectors, strict=True)
    parts = [milliseconds(costs.part, m.part, v, number, length) for m, v in given]
    total = milliseconds(costs.add, add_parts, run, number, length, parts)
    opened = [milliseconds(costs.open, m.open, total, number, length) for m in members]
    exact = (np.rint(vectors * 2**20) / 2**20).sum(axis=0)
    costs.errors.append(max(float(np.abs(o - exact).max()) for o in opened))
    return parts[0]


def measure(hospitals: int, length: int, repeats: int) -> str:
    """A row of the table."""
    run, channels, _ = enter(hospitals)
    keys, costs = RunKeys.make(), Costs()
    members = [Member(found, keys) for found in channels.values()]
    random = np.random.default_rng(1)
    for number in range(1, repeats + 1):
        vectors = random.normal(0, 1, (hospitals, length))
        part = one_round(run, members, vectors, number, costs)
    seen = Cipher(keys.encryption).decrypt(part.ciphertexts)[:length].astype(float)
    r = float(np.corrcoef(seen, vectors[0])[0, 1])
    encryption, part_ms, open_ms = (
        encryption_ms(keys, length, repeats),
        median(costs.part),
        median(costs.open),
    )
    return (
        f"| {hospitals} | {length:,} | {part.size / 1024:.0f} | {part_ms:.1f} | "
        f"{encryption:.1f} | {open_ms:.1f} | {part_ms + open_ms:.1f} | {median(costs.add):.1f} | "
        f"{max(costs.errors):.0g} | {r:.3f} |"
    )


def encryption_ms(keys: RunKeys, length: int, repeats: int) -> float:
    """Milliseconds of the encryption alone."""
    cipher, took = Cipher(keys.encryption), list[float]()
    for _ in range(repeats):
        milliseconds(took, cipher.encrypt, np.ones(length + 1, np.uint64))
    return median(took)


def once_a_run(hospitals: int) -> str:
    """What a run costs before its first round."""
    _, channels, agreement = enter(hospitals)
    took: list[float] = []
    keys = milliseconds(took, RunKeys.make)
    leader, other = list(channels.values())[:2]
    sealed = milliseconds(took, keys.seal, leader)[other.hospital]
    opened = milliseconds(took, RunKeys.unseal, other, sealed)
    milliseconds(took, Member, other, opened)
    return (
        f"{hospitals} hospitals, once per run: agreement {agreement:.1f} ms per hospital; "
        f"the leading one makes the keys in {took[0]:.1f} ms and seals them in {took[1]:.1f} ms "
        f"({len(sealed) / 1024:.0f} KiB each); the others open and try them in "
        f"{took[2] + took[3]:.1f} ms."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[400, 3410, 20_000])
    parser.add_argument("--hospitals", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    measure(3, 64, 2)
    print(HEAD)
    print("|" + "---|" * (HEAD.count("|") - 1))
    for hospitals in chosen.hospitals:
        for length in chosen.lengths:
            print(measure(hospitals, length, chosen.repeats))
    print()
    for hospitals in chosen.hospitals:
        print(once_a_run(hospitals))


if __name__ == "__main__":
    main()
