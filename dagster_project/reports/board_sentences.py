"""The rules that gave a visit's response, with the numbers put in.

They repeat what the tables say and judge nothing: a comparison shows both its sides.
"""

from __future__ import annotations

from dagster_project.domain.response.findings import Rules
from dagster_project.reports.board_words import NONTARGET, Both, words
from dagster_project.reports.summaries.tables import Row
from dagster_project.reports.wording import number, signed

MOST_DIGITS = 4
"""Decimals at most, where two different numbers look the same with fewer."""

NO_SUM: Both = (
    "No sum: a target was not evaluated, or there is none.",
    "无径线总和：有靶病灶未评价或无靶病灶。",
)
NEW_LESION: Both = (
    "A new lesion was seen: progression by RECIST 1.1 whatever the sum.",
    "出现新病灶：无论总和如何，RECIST 1.1 评为进展。",
)
OPENS: Both = (
    "No block was open before: this progression is unconfirmed (iUPD).",
    "此前无未结束区段：本次进展为未确认（iUPD）。",
)
RESETS: Both = (
    "The progression was not confirmed and is reset: pseudoprogression by iRECIST.",
    "进展未获确认，已重置：iRECIST 假性进展。",
)
CONFIRMS: Both = ("The progression is confirmed (iCPD).", "进展已确认（iCPD）。")
STANDS: Both = (
    "The block stays open: neither confirmed nor reset.",
    "区段未结束：既未确认亦未重置。",
)


def sentences_of(response: Row, before: Row | None, now: Row | None, recist: Rules) -> list[Both]:
    """The steps by which the response of a visit was found.

    1. progression of the targets against the nadir, and response against baseline
    2. new lesions, and non-targets where there are some
    3. the sums that would have confirmed or reset a block open before; what became of the block

    Parameters
    ----------
    response
        Row of responses.
    before, now
        The block that was open before this visit, and the block as of it; None where there is none.
    """
    found = [*_of_sums(response, recist)]
    if response["new_lesion"]:
        found.append(NEW_LESION)
    if response["nontarget_response"] not in {None, "NONE"}:
        english, chinese = words(NONTARGET, response["nontarget_response"])
        found.append((f"{english[0].upper()}{english[1:]}.", f"{chinese}。"))
    if before is not None:
        found += _of_block(response, before)
    return [*found, *_outcome(before, now)]


def _of_sums(response: Row, recist: Rules) -> list[Both]:
    size, nadir, baseline = (response[n] for n in ("sum_mm", "nadir_mm", "baseline_sum_mm"))
    if size is None:
        return [NO_SUM]
    found = [] if nadir is None else [_progression(size, nadir, recist)]
    if baseline:
        found.append(_response(size, baseline, recist))
    return found


def _progression(size: float, nadir: float, recist: Rules) -> Both:
    ratio, least, tolerance = (
        recist[n] for n in ("progression_ratio", "progression_mm", "tolerance")
    )
    limit, growth = ratio * nadir, size - nadir
    larger, grown = size >= limit - tolerance, growth >= least - tolerance
    left, right = _apart(size, limit)
    up, floor = _apart(growth, least)
    sums = f"{left} {_sign(larger)} {ratio:g} × {number(nadir, 1)} = {right}"
    steps = f"{'+' if growth >= 0 else ''}{up} {_sign(grown)} {floor} mm"
    if larger and grown:
        return (
            f"{sums}, and {steps}: progression of the targets.",
            f"{sums}，且 {steps}：靶病灶进展。",
        )
    return (f"{sums}; {steps}: no progression of the targets.", f"{sums}；{steps}：靶病灶未进展。")


def _response(size: float, baseline: float, recist: Rules) -> Both:
    ratio, tolerance = recist["response_ratio"], recist["tolerance"]
    limit = ratio * baseline
    smaller = size <= limit + tolerance
    left, right = _apart(size, limit)
    sums = f"{left} {'≤' if smaller else '>'} {ratio:g} × {number(baseline, 1)} = {right}"
    if smaller:
        return f"{sums}: reaches partial response.", f"{sums}：达到部分缓解。"
    return f"{sums}: no partial response.", f"{sums}：未达部分缓解。"


def _of_block(response: Row, block: Row) -> list[Both]:
    size = response["sum_mm"]
    found = []
    for key, rises, english, chinese in (
        ("confirm_if_sum_mm", True, "confirm the block", "确认区段"),
        ("reset_below_mm", False, "reset the block", "重置区段"),
    ):
        limit = block[key]
        if size is None or limit is None:
            continue
        met = size >= limit if rises else size < limit
        left, right = _apart(size, limit)
        sign = "≥" if met == rises else "<"
        verdict = ("enough to", "足以") if met else ("not enough to", "不足以")
        found.append(
            (
                f"{left} {sign} {right}: by its sum {verdict[0]} {english}.",
                f"{left} {sign} {right}：按总和{verdict[1]}{chinese}。",
            )
        )
    return found


def _outcome(before: Row | None, now: Row | None) -> list[Both]:
    if now is None or now["outcome"] == "closed":
        return []
    if now["outcome"] == "open":
        return [STANDS if before is not None else OPENS]
    if before is None:
        return []
    return [CONFIRMS if now["outcome"] == "confirmed" else RESETS]


def _sign(met: bool) -> str:
    return "≥" if met else "<"


def _apart(first: float, second: float) -> tuple[str, str]:
    """Two numbers with as many decimals as tell them apart.

    >>> _apart(31.94, 31.92), _apart(5.0, 5.0)
    (('31.94', '31.92'), ('5.0', '5.0'))
    """
    for digits in range(1, MOST_DIGITS + 1):
        texts = number(first, digits), number(second, digits)
        if texts[0] != texts[1]:
            return texts
    return number(first, 1), number(second, 1)


def difference(size: float | None, reference: float | None) -> str:
    """A difference in mm with its sign, or absent."""
    return signed(None if size is None or reference is None else size - reference, 1)
