"""Finds profiles in files and folders, and tells by their content what they are."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from google.protobuf.message import DecodeError

from breakdown.errors import UsageError
from breakdown.model.identity import Node, Role
from breakdown.store.profiles import device_stats, executors, processes, protobuf, run_metadata, timeline, xplane
from breakdown.store.profiles.device_stats import Run
from breakdown.store.profiles.devices import node_of_device
from breakdown.store.profiles.profile import Profile, Watch
from breakdown.store.profiles.readable import LeftOut
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
_BYTE_ORDER = b"\xef\xbb\xbf"  # how some editors begin a text


@dataclass
class Found:
    """All that was read, by kind, and what could not be."""

    processes: list[Process] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    timelines: list[Run] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True)
class _File:
    """One to read. `named`: the user named it, so it has to be a profile; a folder may hold other things, too."""

    path: Path
    named: bool
    size_bytes: int


class _NoProfileError(Exception):
    """A file that is something else: why."""


class _BrokenError(_NoProfileError):
    """A file that may be a profile, but is broken."""


def read(paths: Sequence[Path], roles: Mapping[Path, Node], watch: Watch) -> tuple[Profile, str]:
    """The profile in these files and folders, and its kind. `roles`: what single XPlane files are of.

    Raises `UsageError` where there is none, where a file is broken or something else, and where roles cannot be told.
    """
    found = Found()
    files = [file for path in paths for file in _files(path)]
    size, done = sum(file.size_bytes for file in files), 0
    for file in files:
        watch("bytes read", done, size)
        try:
            _tell(file, found)
        except _NoProfileError as error:
            if file.named or (isinstance(error, _BrokenError) and file.path.name.endswith(_ENDINGS)):
                raise UsageError(f"{file.path} {error}. Expected {EXPECTED}.") from None
        done += file.size_bytes
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
        return processes.profile(_with_roles(found.processes, roles), found.left_out), XPLANE
    if roles:
        raise UsageError("--role is for XPlane files: RunMetadata and its timeline name the devices themselves.")
    if found.runs:
        remarks = []
        if found.timelines:
            number = len(found.timelines)
            remarks.append(f"{number} timelines were left out: the RunMetadata beside them holds what they hold, and more")
        return device_stats.profile(found.runs, remarks, found.left_out), RUN_METADATA
    return device_stats.profile(found.timelines, (), found.left_out), TIMELINE


def _files(path: Path) -> list[_File]:
    """What is to be read of a path: the file itself, or what a folder holds; where there are XPlane files, these alone."""
    try:
        about = path.stat()
        if not S_ISDIR(about.st_mode):
            if not S_ISREG(about.st_mode):
                raise UsageError(f"{path} is neither a file nor a folder. Expected {EXPECTED}.")
            return [_File(path, True, about.st_size)]
        files = sorted(one for one in path.rglob("*") if one.is_file())
        if any(one.name.endswith(_XPLANE_ENDING) for one in files):
            files = [one for one in files if one.name.endswith(_XPLANE_ENDING)]
        return [_File(one, False, one.stat().st_size) for one in files]
    except FileNotFoundError:
        raise UsageError(f"there is no file or folder {path}.") from None
    except (OSError, ValueError) as error:  # a ValueError: of a path that cannot be one
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None


def _tell(file: _File, found: Found) -> None:
    """Adds what a file holds. Raises `_NoProfileError` where that is no profile."""
    path = file.path
    if file.size_bytes > _MOST_BYTES:
        raise _NoProfileError("is larger than a protobuf message can be")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from None
    if not content:
        raise _BrokenError("is empty")
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content)
    if content.removeprefix(_BYTE_ORDER).lstrip()[:1] == b"{":
        found.timelines.append(_timeline(path, content, found.left_out))
        return
    space, metadata = _parsed("XSpace", content), _parsed("RunMetadata", content)
    if metadata is not None and any(device.device.startswith(b"/") for device in metadata.step_stats.dev_stats):
        found.runs.append(run_metadata.read(str(path), metadata, found.left_out))
    elif space is not None and any(plane.name and plane.lines for plane in space.planes):
        found.processes.append(xplane.read(str(path), space, found.left_out))
    elif space is None or metadata is None:
        raise _BrokenError("is no profile, or one that is cut off or damaged")
    else:
        raise _NoProfileError("holds no profile, or one without any event")


def _unpacked(content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            unpacked = packed.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _BrokenError(f"is packed, and cut off or damaged ({error})") from None
    if len(unpacked) > _MOST_BYTES:
        raise _NoProfileError("is packed, and larger than a protobuf message can be")
    return unpacked


def _parsed(kind: str, content: bytes) -> Any:
    try:
        return protobuf.parse(kind, content)
    except DecodeError:
        return None


def _timeline(path: Path, content: bytes, left_out: LeftOut) -> Run:
    try:
        value = timeline.parse(content)
    except ValueError as error:
        raise _BrokenError(f"is JSON that is cut off or damaged ({error})") from None
    try:
        if not timeline.is_timeline(value):
            raise _NoProfileError("is JSON, but no timeline of TensorFlow's: no device of it computed")
        return timeline.read(str(path), value, left_out)
    except ValueError as error:
        raise _BrokenError(f"is a timeline that contradicts itself: {error}") from None


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
        node = known.get(Path(process.path).resolve()) or node_of_device(process.device)
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
