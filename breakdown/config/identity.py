"""A cell's stable id, and its short label for tables and figures.

Two cells have the same id exactly when they measure the same thing. So fields without a meaning for a cell (the servers of
a single node) do not count, nor do those that change no measurement (the port). The id hashes only what differs from
the defaults: a field that a later version adds leaves the ids of older results as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from breakdown.config.cell import Cell

NOT_MEASURED = frozenset({"port", "timeout_s"})
"""Fields that say how a run is carried out, not what is measured."""

PS_FIELDS = frozenset(
    {
        "servers", "consistency", "staleness", "update_on", "sharding", "split_bound_bytes", "server_threads", "push_when",
        "priority", "bucket_bytes", "compression", "compression_threshold", "transport", "serializer", "server_cores",
    }
)  # fmt: skip
"""Fields that mean nothing to a single node."""

NOT_OF_MXNET = frozenset(
    {
        "consistency", "staleness", "sharding", "server_threads", "push_when", "priority", "bucket_bytes", "transport",
        "serializer",
    }
)  # fmt: skip
"""Fields that mean nothing to MXNet, which has ways of its own; its `kvstore` says the consistency."""

NOT_OF_TENSORFLOW = frozenset({"push_when", "priority", "bucket_bytes", "transport", "serializer"})
"""Fields that mean nothing to TensorFlow, which has ways of its own."""

_IN_HEAD = frozenset({"backend", "workers", "servers", "consistency", "staleness", "kvstore", "tf_mode"})
_SPEAKS_FOR_ITSELF = frozenset({"workload", "optimizer", "sharding", "compression", "transport", "serializer"})

_LENGTH = frozenset({"seed", "steps", "warmup_steps"})
"""In the hash, but not in an id's text: most experiments set them once for all cells."""

_HASH_CHARACTERS = 8  # 32 bits: matrices have at most thousands of cells, and equal ids are refused when a file is read
_MAX_ID_TEXT = 60
_NO_FOLDERS_NAME = re.compile(r"[^A-Za-z0-9_.]+")


def is_one_node(cell: Cell) -> bool:
    """Whether there is no parameter server: the other cells are compared with it."""
    return has_no_server({"backend": cell.backend, "kvstore": cell.kvstore, "tf_mode": cell.tf_mode})


def canonical(cell: Cell) -> dict[str, Any]:
    """The fields that say what is measured and that differ from the defaults, by name."""
    return {name: value for name, value in _meaningful(cell).items() if value != _DEFAULTS[name]}


def cell_id(cell: Cell) -> str:
    """Readable text and a short hash, fit for a folder's name: `torch_ps-1s2w-bsp-5f0c2a9e`. Stable over versions."""
    told = canonical(cell)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:_HASH_CHARACTERS]
    text = ""
    spoken = {name: value for name, value in told.items() if name not in _LENGTH}
    for part in (*_head(cell), *_details(cell, spoken)):
        slug = _NO_FOLDERS_NAME.sub("", part)
        if len(text) + 1 + len(slug) > _MAX_ID_TEXT:
            break
        text += slug + "-"
    return text + digest


def label(cell: Cell) -> str:
    """A short name: "single 1 core", "torch_ps 1s2w bsp", and behind it what differs from the defaults."""
    return " ".join((*_head(cell), *_details(cell, canonical(cell))))


def labels(cells: Sequence[Cell]) -> list[str]:
    """The short names of cells that are shown together: what is the same in all of them is left out."""
    told = [_meaningful(cell) for cell in cells]
    varying = _varying(told)
    named = []
    for cell, fields in zip(cells, told, strict=True):
        shown = {name: fields[name] for name in fields if name in varying and fields[name] != _DEFAULTS[name]}
        named.append(" ".join((*_head(cell), *_details(cell, shown))))
    return named


def meaningful(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a cell's fields, by name, that mean something to its backend and its ways. Fields may be missing."""
    backend = config.get("backend")
    silent = set(NOT_MEASURED)
    if has_no_server(config):
        silent |= PS_FIELDS
    if backend == "mxnet":
        silent |= NOT_OF_MXNET
    else:
        silent.add("kvstore")
    if backend == "tensorflow":
        silent |= NOT_OF_TENSORFLOW
    else:
        silent |= {"tf_mode", "trace_every"}
    if config.get("consistency") != "ssp":
        silent.add("staleness")
    if backend != "mxnet" and config.get("sharding") != "split":
        silent.add("split_bound_bytes")
    if config.get("compression") != "2bit":
        silent.add("compression_threshold")
    return {name: value for name, value in config.items() if name not in silent}


def _meaningful(cell: Cell) -> dict[str, Any]:
    return meaningful({**vars(cell), "workload_options": dict(cell.workload_options)})


def has_no_server(config: Mapping[str, Any]) -> bool:
    """`is_one_node` of a cell's fields by name."""
    backend = config.get("backend")
    if backend == "mxnet":
        return config.get("kvstore") == "local"
    return backend == "single" or (backend == "tensorflow" and config.get("tf_mode") == "local")


_DEFAULTS = asdict(Cell())


def _varying(cells: Sequence[Mapping[str, Any]]) -> set[str]:
    """The fields of which two of these cells have different values."""
    first: dict[str, Any] = {}
    return {name for cell in cells for name, value in cell.items() if first.setdefault(name, value) != value}


def _head(cell: Cell) -> tuple[str, ...]:
    if is_one_node(cell):
        cores = cell.cores_per_worker
        how = {"mxnet": (cell.kvstore,), "tensorflow": (cell.tf_mode,)}.get(cell.backend, ())
        return (cell.backend, *how, "whole machine" if cores == 0 else f"{cores} core{'s' if cores > 1 else ''}")
    who = (cell.backend, f"{cell.servers}s{cell.workers}w")
    if cell.backend == "mxnet":
        return (*who, cell.kvstore)
    if cell.backend == "tensorflow":
        return (*who, cell.tf_mode, cell.consistency)
    return (*who, cell.consistency + (f" {cell.staleness}" if cell.consistency == "ssp" else ""))


def _details(cell: Cell, told: Mapping[str, Any]) -> list[str]:
    parts = []
    for name, value in told.items():
        if name in _IN_HEAD or (is_one_node(cell) and name == "cores_per_worker"):
            continue
        if name == "workload_options":
            parts += [f"{option}={_text(value[option])}" for option in sorted(value)]
        elif name in _SPEAKS_FOR_ITSELF:
            parts.append(str(value))
        else:
            parts.append(f"{name}={_text(value)}")
    return parts


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
