"""What the figures are called: their files' names without an ending, by which the page finds them too."""

from __future__ import annotations

import hashlib
import re

from breakdown.analysis.findings import CellFinding, Waterfall

RATES, STAGES = "samples-per-second", "stages"

LONGEST_NAME = 120
"""Characters of a file's name; most file systems take 255 bytes. A longer one is cut and gets a hash of all of it."""


def of_waterfall(fall: Waterfall) -> str:
    return file_name("waterfall", fall.cell_id)


def of_keys(cell: CellFinding) -> str:
    return file_name("keys", cell.cell_id)


def of_servers(cell: CellFinding) -> str:
    return file_name("servers", cell.cell_id)


def file_name(kind: str, what: str) -> str:
    """A file name from a kind and a label: letters, digits, dot and dash only, and not too many of them."""
    name = f"{kind}-{re.sub(r'[^A-Za-z0-9._]+', '-', what).strip('-')}"
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
