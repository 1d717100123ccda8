"""From the columns of a table to small integers, and back: what the rest of the analysis computes with.

Text is looked at once a distinct value, never once a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breakdown.errors import TraceError

Ints = NDArray[np.integer[Any]]
"""Integers of any width."""
Long = NDArray[np.int64]
"""Times in ns, sizes in bytes, ids."""
NONE: Final = -1
"""The code of nothing: no such row, request, place or step."""
MISSING: Final = int(np.iinfo(np.int64).min)
"""A time or size that was not measured."""

_TABLE_LIMIT: Final = 1 << 24  # a lookup table of up to this many entries is cheaper than sorting, whatever the rows


class Names:
    """Texts and their codes, counted from 0 in the order of first use."""

    def __init__(self, *texts: str) -> None:
        self._codes = {text: code for code, text in enumerate(texts)}

    def code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._codes)

    def of(self, column: pd.Series[Any]) -> Ints:
        """The codes of a column of text. A null counts as the empty text."""
        codes, texts = _categories(column)
        return np.array([*map(self.code, texts), self.code("")], dtype=np.int32)[codes]  # a null's code is -1: the last


def labels(column: pd.Series[Any], known: Mapping[str, int]) -> Ints:
    """The model's numbers for a column of its own labels. Raises `TraceError` at a label that the model does not know."""
    codes, texts = _categories(column)
    numbers: Ints = np.array([*(known.get(text, NONE) for text in texts), NONE], dtype=np.int8)[codes]
    if len(numbers) and int(numbers.min()) < 0:
        strange = {texts[code] if code >= 0 else "null" for code in np.unique(codes[numbers < 0]).tolist()}
        raise TraceError(
            f"column '{column.name}' holds {', '.join(map(repr, sorted(strange)))}, which is none of {', '.join(known)}. "
            "The trace was written by another version, or by a faulty backend: record the run again."
        )
    return numbers


def integers(column: pd.Series[Any]) -> Long:
    """A column of whole numbers as int64, with `MISSING` for null."""
    if column.dtype == np.int64:
        return column.to_numpy()
    return column.to_numpy(dtype=np.int64, na_value=MISSING)


def compact(values: Ints) -> tuple[Ints, Ints]:
    """The distinct values, ascending, and for each value its place among them. Values must not be negative."""
    if not len(values):
        return values, np.zeros(0, dtype=np.int32)
    if int(values.max()) > max(_TABLE_LIMIT, 4 * len(values)):
        distinct, inverse = np.unique(values, return_inverse=True)
        return distinct, inverse.astype(np.int32)
    present = np.zeros(int(values.max()) + 1, dtype=bool)
    present[values] = True
    distinct = np.flatnonzero(present)
    table = np.zeros(len(present), dtype=np.int32)
    table[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct, table[values]


def order_by(group: Ints, time_ns: Long) -> Long:
    """Row numbers sorted by group, then by time, then as they stand. Groups must not be negative."""
    if not len(group):
        return np.zeros(0, dtype=np.int64)
    time_ns = time_ns - time_ns.min()
    time_bits = int(time_ns.max()).bit_length()
    if time_bits + int(group.max()).bit_length() > 63:
        return np.lexsort((time_ns, group))
    word = (group.astype(np.int64) << time_bits) | time_ns  # both in one sortable word: several times faster
    return np.argsort(word, kind="stable")


def _categories(column: pd.Series[Any]) -> tuple[Ints, list[str]]:
    values = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    return values.cat.codes.to_numpy(), [str(text) for text in values.cat.categories]
