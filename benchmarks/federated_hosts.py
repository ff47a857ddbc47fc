"""A run between hosts: coordinator and each hospital in a network namespace of its own.

Namespaces are joined by a bridge (iproute2: `ip netns`, veth), as machines are by a switch; each
has its own address, loopback and ports. Root is needed. While a run goes on, the sockets of every
hospital are listed in its namespace: it may connect to the coordinator's one port and listen on
loopback alone.

    python -m benchmarks.federated_hosts [--hospitals 3 8] [--rounds 10]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.federated_processes import plan_of, table
from dagster_project.federated.engine.kits import Address
from dagster_project.federated.engine.simulation import Federation, deal
from dagster_project.federated.ledger import Budget

CODES = ["BJCH", "CDHX", "GZSM", "HZZJ", "NJGL", "SHFD", "WHTJ", "XAJD"]
SWITCH, NETWORK, PORT = "fedswitch", "10.77.0", 8443
TIMEOUT_S = 180


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def hosts(names: list[str]) -> Iterator[dict[str, str]]:
    """Addresses by name, of namespaces on one switch; all are taken away at the end."""
    made = [SWITCH, *(f"fed{name.lower()}" for name in names)]
    try:
        for name in made:
            ip("netns", "add", name)
        ip("-n", SWITCH, "link", "add", "br0", "type", "bridge")
        ip("-n", SWITCH, "link", "set", "br0", "up")
        for i, name in enumerate(made[1:], start=1):
            ip(
                "-n",
                SWITCH,
                "link",
                "add",
                f"port{i}",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                name,
            )
            ip("-n", SWITCH, "link", "set", f"port{i}", "master", "br0")
            ip("-n", SWITCH, "link", "set", f"port{i}", "up")
            ip("-n", name, "address", "add", f"{NETWORK}.{i}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield {name: f"{NETWORK}.{i}" for i, name in enumerate(names, start=1)}
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


SOCKETS = """
import psutil
for c in psutil.net_connections("inet"):
    here, there = (a.ip.removeprefix("::ffff:") if a else "" for a in (c.laddr, c.raddr))
    if c.status == psutil.CONN_LISTEN:
        print("listens", here)
    elif there and there != "127.0.0.1":
        print("connects", f"{there}:{c.raddr.port}")
"""


def sockets(name: str) -> set[str]:
    """What the processes of a host listen on and connect to, loopback connections left out."""
    command = ["ip", "netns", "exec", f"fed{name.lower()}", sys.executable, "-c", SOCKETS]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(found.splitlines())


def measure(count: int, rounds: int) -> str:
    """A row of the table."""
    codes = CODES[:count]
    names = ["coordinator", *codes]
    with tempfile.TemporaryDirectory() as folder, hosts(names) as addresses:
        place, plan = Path(folder), plan_of(rounds, codes)
        tables = deal(table(place / "all.parquet"), codes, place)
        within = {name: ("ip", "netns", "exec", f"fed{name.lower()}") for name in names}
        address = Address(addresses["coordinator"], PORT)
        federation = Federation.make(place, tables, Budget(3.0, 1e-5), address, within)
        federation.allow(plan)
        times, seen = [], dict.fromkeys(codes, frozenset[str]())

        def progress(outcome):
            times.append(time.monotonic())
            if outcome.request == "part" and outcome.number == 2:
                seen.update({code: frozenset(sockets(code)) for code in codes})

        started = time.monotonic()
        with federation.started():
            outcomes = federation.carry_out(plan, TIMEOUT_S, progress)
    results = {str(outcome.result) for outcome in outcomes.values()}
    others = set().union(*seen.values()) - {"listens 127.0.0.1", f"connects {address.target}"}
    cpu = max(outcome.cpu_s for outcome in outcomes.values())
    done = len(outcomes) == count and len(results) == 1
    return (
        f"| {count} | {rounds} | {'yes' if done else 'NO'} | {times[0] - started:.1f} | "
        f"{(times[-1] - times[0]) / rounds:.2f} | {cpu:.1f} | "
        f"{', '.join(sorted(others)) or 'nothing'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hospitals", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    print(
        "| hospitals | rounds | all have the same result | to the first request, s | a round, s | "
        "CPU of the slowest hospital, s | hospitals listen or connect elsewhere |"
    )
    print("|---|---|---|---|---|---|---|")
    for count in chosen.hospitals:
        print(measure(count, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
