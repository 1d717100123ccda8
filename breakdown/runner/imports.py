"""Saves a profile that TensorFlow wrote by itself as an experiment of one cell, as if it had been recorded here."""

from __future__ import annotations

import gc
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakdown.errors import UsageError
from breakdown.model.identity import Node, Role
from breakdown.model.schema import FORMAT_VERSION
from breakdown.runner import machine
from breakdown.store.collect import collect
from breakdown.store.folder import ExperimentFolder
from breakdown.store.lock import is_empty
from breakdown.store.profiles import clocks, grammar, sources, traces
from breakdown.store.profiles.profile import Profile, Watch, settle
from breakdown.store.profiles.readable import whole

CELL = "profile"
"""The name of the one cell's folder."""

_NOT_IN: Mapping[str, str] = {
    sources.XPLANE: "XPlane holds no bytes of tensors: pushed and pulled bytes are not measured, not zero",
    sources.RUN_METADATA: "RunMetadata holds nothing but operations: a step is from the first to the last of them",
    sources.TIMELINE: (
        "a timeline holds neither bytes nor names of received tensors (they are not measured, not zero), and nothing but "
        "operations: a step is from the first to the last of them. The RunMetadata that it was made from holds more"
    ),
}
_ROLE = re.compile(r"(?P<name>[a-z]+)-(?P<rank>[0-9]{1,5})", re.IGNORECASE)
_LAST_RANK = 0xFFFF  # of `Node.code`

_NEVER = (
    "no profile of TensorFlow's tells encoding, decoding and sockets apart: all that lies between sending and having a "
    "tensor is 'transfer', in push or pull; serialize is the main thread's own part of a step"
)
_NO_BATCH = "a profile does not say how many samples a step takes: 1 is assumed, so samples/s are steps/s. Give --batch-size"


@dataclass(frozen=True)
class Imported:
    """Where the result is, and how many steps it has."""

    output: Path
    steps: int


def role(text: str) -> Node:
    """The role of "worker-0". Raises `UsageError`."""
    found = _ROLE.fullmatch(text)
    if found is None or found["name"].upper() not in Role.__members__ or int(found["rank"]) > _LAST_RANK:
        raise UsageError(f"unknown role '{text}'. Known: worker-N, server-N, scheduler-0.")
    return Node(Role[found["name"].upper()], int(found["rank"]))


def unwatched(what: str, done: int, total: int) -> None:
    """For whoever need not know how far an import is."""


def import_profile(
    paths: Sequence[Path],
    output: Path,
    warmup_steps: int,
    batch_size: int | None,
    roles: Mapping[Path, Node],
    watch: Watch = unwatched,
) -> Imported:
    """Reads the profile in these files and folders, and saves it. `watch` is told how far that is.

    Raises `UsageError` where it cannot be read or holds no step, or where the output is not empty.
    """
    with _keeping_all():
        return _import(paths, output, warmup_steps, batch_size, roles, watch)


@contextmanager
def _keeping_all() -> Iterator[None]:
    """Millions of small objects are made, and none of them is garbage before the end: to look for it takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _import(
    paths: Sequence[Path],
    output: Path,
    warmup_steps: int,
    batch_size: int | None,
    roles: Mapping[Path, Node],
    watch: Watch,
) -> Imported:
    if output.exists() and (not output.is_dir() or not is_empty(output)):
        raise UsageError(f"{output} is not empty. Choose another --output.")
    profile, kind = sources.read(paths, roles, watch)
    if not profile.steps:
        why = "".join(f" {remark}." for remark in profile.remarks)
        raise UsageError(
            f"no step is in {', '.join(map(str, paths))}: profile while steps run, for at least one whole step.{why}"
        )
    clock, clock_remarks = clocks.align(profile)
    settle(profile)
    written, steps = grammar.write(profile, watch)
    fewest = min(map(len, steps.values()))
    if warmup_steps >= fewest:
        raise UsageError(f"--warmup-steps {warmup_steps} leaves nothing: the profile has {fewest} steps of a worker.")
    folder = ExperimentFolder(output)
    cell = folder.cell(CELL)
    traces.write(cell, written, steps, clock, batch_size or 1, warmup_steps)
    collected = collect(cell, 0)
    what = whole(shlex.join(map(str, paths)))
    folder.write({"name": output.name, "description": f"{kind}: {what}", "cells": [CELL]})
    missing = (_NEVER, _NOT_IN[kind], *(() if batch_size else (_NO_BATCH,)))
    warnings = [whole(text) for text in (*missing, *clock_remarks, *profile.remarks, *collected.warnings)]
    entry = {"run": 0, "status": "done", "error": None, "log": None, "wall_s": _wall_s(profile)}
    entry |= {"recorder_cost_ns_per_span": {}, "warnings": warnings}
    about = {"format_version": FORMAT_VERSION, "cell_id": CELL, "experiment": output.name}
    # the machine on which it was profiled is not known
    about |= {"machine": {}, "versions": machine.versions(), "commit": machine.commit(), "cores": {}, "notes": list(missing)}
    cell.write({**about, "runs": [entry], **_told_by(profile, kind, paths, warmup_steps, batch_size)})
    return Imported(output, len(profile.steps))


def _wall_s(profile: Profile) -> float:
    begin, end = min(step.start_ns for step in profile.steps), max(step.end_ns for step in profile.steps)
    return round((end - begin) / 1e9, 3)


def _told_by(
    profile: Profile, kind: str, paths: Sequence[Path], warmup_steps: int, batch_size: int | None
) -> Mapping[str, Any]:
    """Label and configuration, as far as the profile tells them."""
    workers, servers = (sum(node.role is role for node in profile.nodes) for role in (Role.WORKER, Role.SERVER))
    config: dict[str, Any] = {"backend": "tensorflow", "workers": workers, "batch_size": batch_size or 1}
    config |= {"warmup_steps": warmup_steps, "workload": whole(paths[0].name), "profile": kind}
    if servers:
        config["servers"] = servers
    else:
        config["tf_mode"] = "local"
    shape = f"{servers}s{workers}w" if servers else "local"
    return {"label": f"tensorflow {shape}, {kind} of {whole(paths[0].name)}", "config": config}
