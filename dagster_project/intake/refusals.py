"""How a file is refused: with a reason that a site can act on, and never with a value."""

from __future__ import annotations


class RefusedError(Exception):
    """A file that is not taken in.

    `waits_for` names what would change the verdict without the file changing: "series" (the CT that
    it refers to) or "consent"; such a file is looked at again when that has changed. "next_run": it
    is looked at again in every run.
    """

    def __init__(self, reason: str, waits_for: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.waits_for = waits_for

    def __reduce__(self) -> tuple[type[RefusedError], tuple[str, str]]:
        return type(self), (self.reason, self.waits_for)


class DamagedError(RefusedError):
    """An element whose bytes are not what its tag says.

    A wrong length may have swallowed its neighbours.
    """

    def __init__(self, tag: int, keyword: str, fault: str) -> None:
        super().__init__(
            f"damaged: ({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword} {fault}; "
            "export the file again"
        )
        self._arguments = (tag, keyword, fault)

    def __reduce__(self) -> tuple[type[DamagedError], tuple[int, str, str]]:  # type: ignore[override]
        return type(self), self._arguments
