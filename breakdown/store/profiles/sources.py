"""Finds profiles in files and folders, and tells by their content what they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from breakdown.errors import UsageError
from breakdown.model.identity import Node, Role
from breakdown.store.profiles import device_stats, executors, processes, protobuf, run_metadata, timeline, xplane
from breakdown.store.profiles.device_stats import Run
from breakdown.store.profiles.profile import Profile
from breakdown.store.profiles.xplane import Process

EXPECTED = (
    "an XPlane file (plugins/profile/TIME/HOST.xplane.pb), a serialised RunMetadata, or the JSON of "
    "timeline.Timeline(...).generate_chrome_trace_format()"
)
XPLANE, RUN_METADATA, TIMELINE = "XPlane", "RunMetadata", "timeline"

_XPLANE_ENDING = ".xplane.pb"
_ENDINGS = (".pb", ".json")
"""Files in a folder that are told to be profiles by their names: one of these that is broken is an error."""

_MOST_BYTES = 2**31 - 1  # of a protobuf message


@dataclass
class Found:
    """All that was read, by kind."""

    processes: list[Process] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    timelines: list[Run] = field(default_factory=list)


class _NoProfileError(Exception):
    """A file that is something else: why."""


class _BrokenError(_NoProfileError):
    """A file that may be a profile, but is broken."""


def read(paths: Sequence[Path], roles: Mapping[Path, Node]) -> tuple[Profile, str]:
    """The profile in these files and folders, and its kind. `roles`: what single XPlane files are of.

    Raises `UsageError` where there is none, where a file is broken or something else, and where roles cannot be told.
    """
    found = Found()
    for path in paths:
        _take(path, found)
    kinds = [kind for kind, there in ((XPLANE, found.processes), (RUN_METADATA, found.runs or found.timelines)) if there]
    if not kinds:
        raise UsageError(f"there is no profile in {', '.join(map(str, paths))}. Expected {EXPECTED}.")
    if len(kinds) > 1:
        raise UsageError(
            f"{found.processes[0].path} is an XPlane file, {(found.runs or found.timelines)[0].path} is of a session.run: "
            "they tell the same in two ways. Give the files of one kind."
        )
    if found.processes:
        _same_moment(found.processes)
        return processes.profile(_with_roles(found.processes, roles)), XPLANE
    if roles:
        raise UsageError("--role is for XPlane files: RunMetadata and its timeline name the devices themselves.")
    if found.runs:
        remarks = []
        if found.timelines:
            count = len(found.timelines)
            remarks.append(f"{count} timelines were left out: the RunMetadata beside them holds what they hold, and more")
        return device_stats.profile(found.runs, remarks), RUN_METADATA
    return device_stats.profile(found.timelines, ()), TIMELINE


def _take(path: Path, found: Found) -> None:
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}.")
    if not path.is_dir():
        try:
            _tell(path, found)
        except _NoProfileError as error:
            raise UsageError(f"{path} {error}. Expected {EXPECTED}.") from None
        return
    files = sorted(one for one in path.rglob("*") if one.is_file())
    if any(one.name.endswith(_XPLANE_ENDING) for one in files):
        files = [one for one in files if one.name.endswith(_XPLANE_ENDING)]
    for one in files:
        try:
            _tell(one, found)
        except _NoProfileError as error:  # a folder may hold other things, too
            if isinstance(error, _BrokenError) and one.name.endswith(_ENDINGS):
                raise UsageError(f"{one} {error}. Expected {EXPECTED}.") from None


def _tell(path: Path, found: Found) -> None:
    """Adds what a file holds. Raises `_NoProfileError` where that is no profile."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _NoProfileError("is larger than a protobuf message can be")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    if not content:
        raise _BrokenError("is empty")
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content)
    if content.lstrip()[:1] == b"{":
        found.timelines.append(_timeline(path, content))
        return
    space, metadata = _parsed("XSpace", content), _parsed("RunMetadata", content)
    if metadata is not None and any(device.device.startswith("/") for device in metadata.step_stats.dev_stats):
        found.runs.append(run_metadata.read(str(path), metadata))
    elif space is not None and any(plane.name and plane.lines for plane in space.planes):
        found.processes.append(xplane.read(str(path), space))
    elif space is None or metadata is None:
        raise _BrokenError("is no profile, or one that is cut off or damaged")
    else:
        raise _NoProfileError("holds no profile, or one without any event")


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise _BrokenError(f"is packed, and cut off or damaged ({error})") from None


def _parsed(kind: str, content: bytes) -> Any:
    try:
        return protobuf.parse(kind, content)
    except DecodeError:
        return None


def _timeline(path: Path, content: bytes) -> Run:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise _BrokenError(f"is JSON that is cut off or damaged ({error})") from None
    if not timeline.is_timeline(value):
        raise _NoProfileError("is JSON, but no timeline of TensorFlow's: no device of it computed")
    try:
        return timeline.read(str(path), value)
    except (KeyError, TypeError, ValueError) as error:
        raise _BrokenError(f"is a timeline with an event that lacks something ({error!r})") from None


def _same_moment(found: Sequence[Process]) -> None:
    folders = sorted({str(Path(one.path).parent) for one in found})
    names = [Path(one.path).name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and len(folders) > 1:
        raise UsageError(f"{twice[0]} is there {names.count(twice[0])} times. Give one profile: {', '.join(folders)}.")


def _with_roles(found: Sequence[Process], given: Mapping[Path, Node]) -> Mapping[Node, Process]:
    """Each process by its role: as given, as the tensors tell that it sent, or as is left."""
    known = {path.resolve(): node for path, node in given.items()}
    nodes: dict[Node, Process] = {}
    unknown: list[Process] = []
    read_paths = {Path(one.path).resolve() for one in found}
    for path in given:
        if path.resolve() not in read_paths:
            raise UsageError(f"--role names {path}, which is none of the files that were read.")
    for process in found:
        node = known.get(Path(process.path).resolve()) or executors.node_of_device(process.device)
        if node is None:
            unknown.append(process)
        else:
            _place(nodes, node, process)
    for process in unknown:
        has_work = bool(executors.operations(process))
        if len(found) == 1 and has_work:
            nodes[Node(Role.WORKER, 0)] = process
        elif nodes and not has_work and Node(Role.SCHEDULER, 0) not in nodes:
            nodes[Node(Role.SCHEDULER, 0)] = process
        else:
            raise UsageError(
                f"{process.path} does not tell which role it is of: it sent no tensor to another process. "
                f"Say so: --role worker-0={process.path} (known: worker-N, server-N, scheduler-0)."
            )
    if not any(node.role is Role.WORKER for node in nodes):
        raise UsageError(f"no worker is among {_listed(one.path for one in found)}. Give its XPlane file, too.")
    return nodes


def _place(nodes: dict[Node, Process], node: Node, process: Process) -> None:
    if node in nodes:
        raise UsageError(f"{nodes[node].path} and {process.path} are both of {node}. Give one profile, or say --role.")
    nodes[node] = process


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(paths)
