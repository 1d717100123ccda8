"""Arrow tables as pandas frames: text categorical, nullable numbers in pandas' nullable types, all others plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa


def frame(table: pa.Table) -> pd.DataFrame:
    """A frame of this table, without a copy where that is possible. Uses the table up: let go of it.

    Nullable columns become Int64 and Float64, whether or not a null is there: a null stays apart from 0 and from NaN.
    """
    columns: dict[str, Any] = {}
    for field in table.schema:
        column = table[field.name]
        table = table.drop_columns([field.name])
        if field.nullable:
            missing = column.is_null().to_numpy()
            values = column.fill_null(0).to_numpy()
            wrap = nullable_integers if pa.types.is_integer(field.type) else _nullable_floats
            columns[field.name] = wrap(values, missing)
        else:
            columns[field.name] = column.to_pandas()
        del column
    return pd.DataFrame(columns, copy=False)


def integers(column: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """The numbers of an int64 or Int64 column; 0 where it is null."""
    values: npt.NDArray[np.int64] = column.to_numpy(dtype=np.int64, na_value=0)
    return values


def nullable_integers(values: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_]) -> pd.arrays.IntegerArray:
    """An Int64 column that is null where `missing`."""
    return pd.arrays.IntegerArray(values, missing)


def _nullable_floats(values: npt.NDArray[np.float64], missing: npt.NDArray[np.bool_]) -> pd.arrays.FloatingArray:
    return pd.arrays.FloatingArray(values, missing)
