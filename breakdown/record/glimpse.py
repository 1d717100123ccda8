"""What a trace file tells at a glance, without reading its rows: whose process it is of, and whether that closed it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Optional

from breakdown.record.layout import HEAD, MAGIC, MARK, Kind

_START_BYTES, _END_BYTES = 1024, 64
"""More than the first block takes, and than the last one does."""


@dataclass(frozen=True)
class Glimpse:
    """`node`: "worker-0". `closed`: its process wrote all that it had, and said so."""

    node: str
    pid: int
    closed: bool


def glimpse(path: str) -> Optional[Glimpse]:
    """None where it is no trace, or does not say whose it is."""
    try:
        with open(path, "rb") as file:
            start = file.read(_START_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
            end = file.read()
        count = HEAD.unpack_from(start, len(MAGIC))[3]
        meta = json.loads(start[len(MAGIC) + HEAD.size :][:count])
        return Glimpse("{}-{}".format(meta["role"], meta["rank"]), int(meta["pid"]), _ends(end))
    except Exception:  # cut off or damaged: whoever reads it whole says so
        return None


def _ends(end: bytes) -> bool:
    last = end.rfind(MARK)
    return last >= 0 and len(end) - last >= HEAD.size and HEAD.unpack_from(end, last)[1] == Kind.END
