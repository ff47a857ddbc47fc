"""Finds letters, digits and Chinese characters drawn into a CT slice, without reading them.

What a scanner measures is blurred and noisy. What is drawn is neither: its strokes have one value,
or rise and fall within one pixel, and stand beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

TEXT_RULES = "1"
"""Raise it when the rules change: what the vaults hold is searched again."""

TEXT = (
    "text is drawn into the pixels, which may name the patient; its series is not used; "
    "send the original series without annotations"
)
TEXT_IN_SERIES = (
    "text is drawn into the pixels of one of its slices or more, which may name the patient; "
    "no slice of it is used; send the original series without annotations"
)

Stored = npt.NDArray[np.integer]
Pixels = npt.NDArray[np.int16]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

SMALLEST_SIDE = 16
"""Pixels: a matrix with fewer rows or columns holds no line of text."""

LARGEST_VALUE = 16_000
"""Values are cut off here, so that differences of two fit into 16 bits."""

BLOCK_PIXELS = 2**16
"""Pixels that are searched together: their arrays stay in the processor's cache."""

SIDE_BY_SIDE = 3
"""Strokes in one row of pixels: two letters have as many; a vessel, wire or rib has one."""

ROWS = 4
"""Rows of pixels in which strokes are side by side: the least height of a legible letter is six."""

BAND_ROWS = 8
"""Pixels of height within which those rows are counted: rows of one letter follow each other."""

PLACE_COLUMNS = 32
"""Pixels of width within which those rows are counted; places overlap by half."""

EDGE_HU = 100.0
"""Contrast of a stroke of one exact value.

Thin lines of one value do not occur in measured images, so that little is enough; text of less
contrast cannot be read beside the noise.
"""

CLIPPED_HU = 300.0
"""The same where the value is the least or the largest of the slice.

Air and metal are cut off at these values.
"""

WIDEST_STROKE = 12
"""Pixels: a bold stroke of letters that are fifty pixels high."""

EXACT_SPAN = 44
"""Pixels from the first to the third of three strokes of one value: letters of fifty pixels."""

RIDGE_SPAN = 28
"""The same of ridges, which are thinner; among vessels of a lung distances grow."""

EVEN = 0.35
"""Part of its height by which a stroke may change from one row to the next.

A blurred dot loses half of it and more.
"""

GAP = 3
"""Pixels that noise may interrupt a line by."""

LONGEST_STROKE = 64
"""Pixels: what is longer is a wire, a table, a catheter or the edge of a field."""

SOLID = 0.7
"""Share of its box that rods, screws and leads fill where they are cut across.

A disc fills 0.785, a letter two thirds.
"""

THIN = 3
"""Pixels: what is as thin is a stroke also where it fills its box."""

NOISE_TIMES = 4.0
"""Ridges in noise: contrast in units of the median difference of neighbours.

White noise reaches 3.3 where rows are counted.
"""

STREAK_HU = 450.0
"""Least height of the ridges of a slice with metal: lower ones may be its streaks.

White text is higher.
"""

METAL_HU = 2500.0
"""Above every bone."""

NOISE_MARGIN = 24
"""Pixels around a place in which its noise is measured."""

EVERYWHERE = np.ones((3, 3), bool)
"""Pixels that touch by a corner belong together."""

ANY_HU = 1e9


class Ridges(NamedTuple):
    """What ridges, pixels above (or below) both neighbours, have to be.

    `contrast_hu`: height above the higher neighbour. `alike_hu`: what three strokes side by side
    differ by at most.
    """

    contrast_hu: float
    alike_hu: float


class Scale(NamedTuple):
    """Ridges of every `step`-th pixel: the rules for bright and for dark ones."""

    step: int
    bright: tuple[Ridges, ...]
    dark: tuple[Ridges, ...]

    @property
    def least_hu(self) -> float:
        """Contrast below which nothing is searched."""
        return (
            EDGE_HU
            if self.step == 1
            else min(rule.contrast_hu for rule in (*self.bright, *self.dark))
        )


SCALES = (
    Scale(
        1,
        (Ridges(450, ANY_HU), Ridges(400, 150), Ridges(120, 60)),
        (Ridges(300, ANY_HU), Ridges(120, 60)),
    ),
    Scale(
        2,
        (Ridges(900, ANY_HU), Ridges(500, 100), Ridges(200, 60)),
        (Ridges(600, ANY_HU), Ridges(200, 60)),
    ),
    Scale(
        4,
        (Ridges(1000, ANY_HU), Ridges(500, 100), Ridges(250, 60)),
        (Ridges(700, ANY_HU), Ridges(250, 60)),
    ),
)
"""Thin strokes in the slice itself, thicker ones in every second and fourth pixel.

In 887 slices of twenty series (chest, abdomen, leg, head, teeth, phantoms; soft and sharp kernels
of four makers) no place has even three rows by these rules.
"""


class Strokes(NamedTuple):
    """Strokes that cross rows of pixels, in order of rows and columns.

    Row, first column, last column and value of each.
    """

    row: Numbers
    first: Numbers
    last: Numbers
    value: Numbers

    def where(self, chosen: Flags | Numbers) -> Strokes:
        """Some of them, or in another order."""
        return Strokes(*(column[chosen] for column in self))

    @property
    def middle(self) -> Numbers:
        """The column of the middle."""
        return (self.first + self.last) // 2


class _Edges(NamedTuple):
    """Flat indices of pixels, in order, seen along the rows.

    Ridges, and where runs of one value may begin and end.
    """

    bright: Numbers
    dark: Numbers
    begin: Numbers
    end: Numbers


def holds_text(stored: Stored, slope: float = 1.0, intercept: float = 0.0) -> bool:
    """Whether text is drawn into a slice.

    1. Strokes that cross a row of pixels are of two kinds. Exact: at most `WIDEST_STROKE` pixels of
       one value, `EDGE_HU` above or below what is on both sides, which go on above or below by one
       and a half times their width. Ridges: pixels above or below both neighbours, by the rules of
       `SCALES`.
    2. Text has `SIDE_BY_SIDE` strokes of one kind beside each other in `ROWS` or more rows of one
       place.
    3. What is longer than a letter is high is taken out, of exact strokes also what is solid, of
       ridges what is no stroke but a dot; then 2 is applied again.
    4. Ridges that do not rise above the noise around their place are none, nor, where metal lies in
       the slice, those that may be its streaks.
    5. The same along columns, for text that is turned.

    It does not find a single letter, letters lower than 8 pixels or higher than 64, text whose
    contrast is that of the noise, or half-transparent text in tissue of less than 120 HU of
    contrast.

    Parameters
    ----------
    stored
        Stored values of one slice, shape (rows, columns).
    slope
        HU of one step of the stored values.
    intercept
        HU of the stored value 0.
    """
    if min(stored.shape) < SMALLEST_SIDE:
        return False
    least, largest = int(stored.min()), int(stored.max())
    image, step = _as_int16(stored, least, largest), abs(slope) or 1.0
    brightest = max(slope * end + intercept for end in (least, largest))
    lowest_hu = STREAK_HU if brightest >= METAL_HU else 0.0
    return any(_text_of_scale(image, scale, step, lowest_hu) for scale in SCALES)


def _as_int16(stored: Stored, least: int, largest: int) -> Pixels:
    """Stored values in 16 bits.

    Where they are far from zero, they are taken around the middle of what is not padding.
    """
    if -LARGEST_VALUE <= least <= largest <= LARGEST_VALUE:
        whole = np.ascontiguousarray(stored)
        return whole.view(np.int16) if whole.itemsize == 2 else whole.astype(np.int16)
    some = stored[::8, ::8].astype(np.int32)
    middle = int(np.median(some[some > least])) if (some > least).any() else least
    return np.clip(stored.astype(np.int32) - middle, -LARGEST_VALUE, LARGEST_VALUE).astype(np.int16)


def _text_of_scale(image: Pixels, scale: Scale, slope: float, lowest_hu: float) -> bool:
    small = image if scale.step == 1 else np.ascontiguousarray(image[:: scale.step, :: scale.step])
    if min(small.shape) < SMALLEST_SIDE:
        return False
    exact = scale.step == 1
    for turned, edges in zip(
        (small, small.T),
        _edges(small, max(2, round(scale.least_hu / slope)), exact=exact),
        strict=True,
    ):
        if exact and _text_of_runs(turned, _runs(turned, edges), slope):
            return True
        for sign, points, rules in ((1, edges.bright, scale.bright), (-1, edges.dark, scale.dark)):
            high = tuple(
                rule._replace(contrast_hu=max(rule.contrast_hu, lowest_hu)) for rule in rules
            )
            if _text_of_ridges(turned, points, sign, high, slope):
                return True
    return False


# -- strokes --


def _edges(image: Pixels, least: int, *, exact: bool) -> tuple[_Edges, _Edges]:
    """Edges along the rows, and along the columns (as indices of the transposed image).

    The outermost pixels have none.
    """
    rows, columns = image.shape
    height = max(1, BLOCK_PIXELS // columns)
    parts: list[list[Numbers]] = []
    for top in range(1, rows - 1, height):
        block = image[top - 1 : min(top + height, rows - 1) + 1].ravel()
        parts.append(
            [
                flags.nonzero()[0] + top * columns
                for flags in _flags(block, columns, least, exact=exact)
            ]
        )
    found = [_inner(np.concatenate(kind), columns) for kind in zip(*parts, strict=True)]
    along, across = found[: len(found) // 2], found[len(found) // 2 :]
    turned = [
        np.sort(column * rows + row)
        for row, column in (_place(points, columns) for points in across)
    ]
    none = [np.zeros(0, np.int64)] * (0 if exact else 2)
    return _Edges(*along, *none), _Edges(*turned, *none)


def _place(points: Numbers, columns: int) -> tuple[Numbers, Numbers]:
    """Rows and columns of flat indices; several times faster than numpy's divmod."""
    row = points // columns
    return row, points - row * columns


def _inner(points: Numbers, columns: int) -> Numbers:
    _, column = _place(points, columns)
    return points[(column > 0) & (column < columns - 1)]


def _flags(block: Pixels, columns: int, least: int, *, exact: bool) -> Iterator[Flags]:
    """Flags of a block's inner rows, along the rows, then along the columns.

    For each axis: bright ridges, dark ridges, and the begin and the end of exact runs.

    Flat arrays are several times faster than rows; what crosses the end of a row is dropped later.
    """
    inner = block.size - 2 * columns
    along, across = block[1:] - block[:-1], block[columns:] - block[:-columns]
    before, after = slice(columns - 1, columns - 1 + inner), slice(columns, columns + inner)
    above, below = slice(0, inner), slice(columns, columns + inner)
    yield from _of_axis(along, before, after, least, _flat(across, above, below) if exact else None)
    yield from _of_axis(across, above, below, least, _flat(along, before, after) if exact else None)


def _flat(steps: Pixels, before: slice, after: slice) -> Flags:
    """Pixels whose value one of both neighbours has."""
    same = steps == 0
    return np.asarray(same[before] | same[after])


def _of_axis(
    steps: Pixels, before: slice, after: slice, least: int, level: Flags | None
) -> Iterator[Flags]:
    rise, fall = steps >= least, steps <= -least
    yield rise[before] & fall[after]
    yield fall[before] & rise[after]
    if level is not None:
        edge = rise | fall
        yield edge[before] & level
        yield edge[after] & level


def _runs(image: Pixels, edges: _Edges) -> Strokes:
    """Runs of one value between two edges of one sign."""
    columns = image.shape[1]
    last = np.searchsorted(edges.end, edges.begin)
    begin, last = edges.begin[last < edges.end.size], last[last < edges.end.size]
    end = edges.end[last]
    near = end - begin < WIDEST_STROKE
    row, first = _place(begin[near], columns)
    final = end[near] - row * columns
    inside = final < columns
    row, first, final = row[inside], first[inside], final[inside]
    value = image[row, first].astype(np.int64)
    before, after = value - image[row, first - 1], value - image[row, final + 1]
    whole = (image[row, final] == value) & ((before > 0) == (after > 0))
    return Strokes(row, first, final, value).where(whole)


def _text_of_runs(image: Pixels, runs: Strokes, slope: float) -> bool:
    if runs.row.size < SIDE_BY_SIDE * ROWS:
        return False
    strokes = runs.where(_goes_on(image, runs))
    if strokes.row.size < SIDE_BY_SIDE * ROWS:
        return False
    strokes = strokes.where(~_is_clipped(image, strokes, slope))
    order = np.lexsort((strokes.first, strokes.row, strokes.value))
    strokes = strokes.where(order)
    values, counts = np.unique(strokes.value, return_counts=True)
    for value in values[counts >= SIDE_BY_SIDE * ROWS]:
        of_value = strokes.where(strokes.value == value)
        if _places(of_value, EXACT_SPAN, 0) and _places(
            _of_letters(image == value, of_value, solid=SOLID), EXACT_SPAN, 0
        ):
            return True
    return False


def _goes_on(image: Pixels, runs: Strokes) -> Flags:
    """Whether a run's value is met again above or below it, one and a half times its width away."""
    width = runs.last - runs.first + 1
    reach = width + (width + 1) // 2
    found = np.zeros(runs.row.size, bool)
    for row in (runs.row - reach, runs.row + reach):
        inside = (row >= 0) & (row < image.shape[0])
        found[inside] |= image[row[inside], runs.middle[inside]] == runs.value[inside]
    return found


def _is_clipped(image: Pixels, runs: Strokes, slope: float) -> Flags:
    """Whether a run has an extreme value of the slice and less contrast than `CLIPPED_HU`.

    An extreme value is the least or the largest of the slice.
    """
    contrast = np.minimum(
        abs(runs.value - image[runs.row, runs.first - 1]),
        abs(runs.value - image[runs.row, runs.last + 1]),
    )
    extreme = (runs.value == int(image.min())) | (runs.value == int(image.max()))
    return np.asarray(extreme & (contrast < CLIPPED_HU / slope))


def _text_of_ridges(
    image: Pixels, points: Numbers, sign: int, rules: tuple[Ridges, ...], slope: float
) -> bool:
    if points.size < SIDE_BY_SIDE * ROWS:
        return False
    row, column = _place(points, image.shape[1])
    if ((row[2:] == row[:-2]) & (column[2:] - column[:-2] <= RIDGE_SPAN)).sum() < ROWS:
        return False
    value = image[row, column].astype(np.int64)
    height = (
        np.minimum(sign * (value - image[row, column - 1]), sign * (value - image[row, column + 1]))
        * slope
    )
    ridges = Strokes(row, column, column, value)
    return any(_follow(image, ridges, height, rule, slope) for rule in rules)


def _follow(
    image: Pixels, ridges: Strokes, height: npt.NDArray[np.floating], rule: Ridges, slope: float
) -> bool:
    """Whether ridges follow a rule, also without what is too long, and above the local noise."""
    alike = rule.alike_hu / slope
    high = (height >= rule.contrast_hu).nonzero()[0]
    if high.size < SIDE_BY_SIDE * ROWS:
        return False
    ridges, height = ridges.where(high), height[high]
    if not _places(ridges, RIDGE_SPAN, alike):
        return False
    even = _even(image, ridges, height / slope)
    ridges, height = ridges.where(even), height[even]
    drawn = np.zeros(image.shape, bool)
    drawn[ridges.row, ridges.first] = True
    for shift in range(1, GAP + 1):
        drawn[shift:] |= drawn[:-shift]
    letters = _in_letters(drawn, ridges, solid=1.0)
    ridges, height = ridges.where(letters), height[letters]
    for place in _places(ridges, RIDGE_SPAN, alike):
        clear = height >= NOISE_TIMES * slope * _noise(image, place)
        if _places(ridges.where(clear), RIDGE_SPAN, alike):
            return True
    return False


def _even(image: Pixels, ridges: Strokes, height: npt.NDArray[np.floating]) -> Flags:
    """Whether a ridge goes on in the next row or the one before, as bright as it is.

    Staples, seeds and clips are dots.
    """
    found = np.zeros(ridges.row.size, bool)
    for down in (-1, 1):
        for aside in (-1, 0, 1):
            row, column = ridges.row + down, ridges.first + aside
            found |= abs(image[row, column] - ridges.value) <= EVEN * height
    return found


def _noise(image: Pixels, place: tuple[int, int]) -> float:
    """Median difference of neighbours around a place, in stored values."""
    top, left = (max(0, edge - NOISE_MARGIN) for edge in place)
    around = image[
        top : top + BAND_ROWS + 2 * NOISE_MARGIN, left : left + PLACE_COLUMNS + 2 * NOISE_MARGIN
    ]
    return float(np.median(abs(np.diff(around.astype(np.int32), axis=1))))


# -- how strokes lie --


def _places(strokes: Strokes, span: int, alike: float) -> list[tuple[int, int]]:
    """Row and column of the first corner of places where enough rows have strokes side by side."""
    middle = _side_by_side(strokes, span, alike)
    if middle.size < ROWS:
        return []
    row, column = strokes.row[middle], strokes.middle[middle]
    found = []
    for shift in (0, PLACE_COLUMNS // 2):
        place = (column + shift) // PLACE_COLUMNS
        seen = np.unique(place << 16 | row)
        if seen.size < ROWS:
            continue
        first = seen[: seen.size - ROWS + 1]
        near = first[seen[ROWS - 1 :] - first <= BAND_ROWS]
        found += [(int(one & 0xFFFF), int(one >> 16) * PLACE_COLUMNS - shift) for one in near]
    return found


def _side_by_side(strokes: Strokes, span: int, alike: float) -> Numbers:
    """Indices of strokes that have one on each side within the span, all three alike in value."""
    row, column, value = strokes.row, strokes.middle, strokes.value
    if row.size < SIDE_BY_SIDE:
        return np.zeros(0, np.int64)
    near = ((row[2:] == row[:-2]) & (column[2:] - column[:-2] <= span)).nonzero()[0]
    one, two, three = value[near], value[near + 1], value[near + 2]
    spread = np.maximum(np.maximum(one, two), three) - np.minimum(np.minimum(one, two), three)
    return near[spread <= alike] + 1


def _of_letters(drawn: Flags, strokes: Strokes, *, solid: float) -> Strokes:
    return strokes.where(_in_letters(drawn, strokes, solid=solid))


def _in_letters(drawn: Flags, strokes: Strokes, *, solid: float) -> Flags:
    """Which strokes belong to pieces that are neither longer than a letter nor solid blobs."""
    from scipy import ndimage  # not loaded by the process that reads files before a slice needs it

    labels, count = ndimage.label(drawn, EVERYWHERE)
    if not count:
        return np.zeros(strokes.row.size, bool)
    pixels = np.flatnonzero(drawn)
    # 16 bits are sorted much faster
    piece = labels.ravel()[pixels].astype(np.min_scalar_type(count))
    # piece by piece, in order of rows
    row, column = _place(pixels[np.argsort(piece, kind="stable")], drawn.shape[1])
    area = np.bincount(piece)[1:]
    start = np.cumsum(area) - area
    height = row[start + area - 1] - row[start] + 1
    width = np.maximum.reduceat(column, start) - np.minimum.reduceat(column, start) + 1
    filled = (np.minimum(height, width) > THIN) & (area > solid * height * width)
    fits = np.append(False, (np.maximum(height, width) <= LONGEST_STROKE) & ~filled)
    return np.asarray(fits[labels[strokes.row, strokes.first]])
