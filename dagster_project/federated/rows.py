"""A hospital's rows as a table of the plan's columns."""

from __future__ import annotations

from collections.abc import Iterable, Sized

import numpy as np
import numpy.typing as npt

from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import OtherColumns, RowsApart


def as_table(values: npt.ArrayLike, columns: int) -> Floats:
    """Rows by columns; a hospital may have no rows.

    Parameters
    ----------
    values : float array (rows, columns)
    columns
        Of the plan.

    Returns
    -------
    float array (rows, columns)

    Raises
    ------
    OtherColumns
        Where the rows are of another number of columns.

    Examples
    --------
    >>> as_table([], 2).shape
    (0, 2)
    """
    table = np.asarray(values, dtype=np.float64)
    if table.shape == (0,):
        return np.zeros((0, columns))
    if table.ndim != 2 or table.shape[1] != columns:
        raise OtherColumns(table.shape[-1] if table.ndim else 0, columns)
    return table


def as_flags(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Marks that are yes or no: a missing one, or a code such as 2, is neither.

    Raises
    ------
    RowsApart
    """
    flags = np.asarray(values)
    if flags.size and flags.dtype != np.bool_:
        raise RowsApart(
            "marks of classes or events are not all true or false", "标记并非均为真或假"
        )
    return flags.astype(bool)


def same_rows(*columns: Sized) -> None:
    """Hold columns to one number of rows: a single value would else count for all.

    Raises
    ------
    RowsApart
    """
    if len({len(column) for column in columns}) > 1:
        raise RowsApart("columns have different numbers of rows", "各列行数不同")


def check_units(units: Iterable[float]) -> None:
    """Units of a plan are above 0.

    Raises
    ------
    ValueError
    """
    if not all(0 < unit < np.inf for unit in units):
        raise ValueError("the unit of a column is a finite number above 0; correct the plan")
