"""ε of the ledger beside Google's dp-accounting, by privacy loss distributions and Rényi orders.

dp-accounting needs older packages than the project does, so it has an environment of its own:

    make accountant

Ends with 1 where a figure of the ledger differs by more than 1 % from that of the distributions.
"""

from __future__ import annotations

import sys

from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from dp_accounting.rdp import RdpAccountant

from dagster_project.federated.accounting import compose, epsilon_of

CASES = (
    ((3.730631634815942, 1),),
    ((5.0, 1),),
    ((10.0, 40),),
    ((24.0, 40),),
    ((60.0, 40),),
    ((20.0, 200),),
    ((8.0, 10), (12.0, 10), (20.0, 10)),
)
"""σ/Δ of a step and how many; the last is a run with two of its trials before it."""

DELTAS = (1e-5, 1e-6)

INTERVAL = 1e-4
"""Of the privacy losses, as dp-accounting has it by default."""

LARGEST_DIFFERENCE = 0.01


def by_distributions(steps: tuple[tuple[float, int], ...], delta: float) -> float:
    """ε by convolving the discretised privacy loss distributions of all steps."""
    first, *others = (
        from_gaussian_mechanism(sigma, value_discretization_interval=INTERVAL).self_compose(n)
        for sigma, n in steps
    )
    for other in others:
        first = first.compose(other)
    return first.get_epsilon_for_delta(delta)


def by_orders(steps: tuple[tuple[float, int], ...], delta: float) -> float:
    """ε by Rényi differential privacy."""
    accountant = RdpAccountant()
    for sigma, n in steps:
        accountant.compose(SelfComposedDpEvent(GaussianDpEvent(sigma), n))
    return accountant.get_epsilon(delta)


def main() -> int:
    print("| steps × σ/Δ | δ | ε of the ledger | ε, PLD | difference | ε, RDP |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for steps in CASES:
        for delta in DELTAS:
            ours = epsilon_of(compose([1 / sigma for sigma, n in steps for _ in range(n)]), delta)
            pld = by_distributions(steps, delta)
            worst = max(worst, abs(ours / pld - 1))
            shown = ", ".join(f"{n} × {sigma:.4g}" for sigma, n in steps)
            print(
                f"| {shown} | {delta:g} | {ours:.6f} | {pld:.6f} | "
                f"{100 * (ours / pld - 1):+.4f} % | {by_orders(steps, delta):.4f} |"
            )
    print(f"\nLargest difference: {100 * worst:.4f} %")
    return int(worst > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
