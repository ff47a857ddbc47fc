"""How values are spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Quartiles:
    """First quartile, median and third quartile."""

    low: float
    median: float
    high: float


def quartiles(values: npt.ArrayLike) -> Quartiles | None:
    """Quartiles with linear interpolation between neighbours (Hyndman & Fan's definition 7).

    Parameters
    ----------
    values : float array (n,)

    Returns
    -------
    Quartiles or None
        None without a value.

    Examples
    --------
    >>> quartiles([1.0, 2.0, 3.0])
    Quartiles(low=1.5, median=2.0, high=2.5)
    """
    known = np.asarray(values, dtype=np.float64)
    if not known.size:
        return None
    return Quartiles(*(float(q) for q in np.quantile(known, (0.25, 0.5, 0.75))))
