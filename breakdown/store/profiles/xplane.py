"""The events of an XPlane file: one process as TensorFlow's profiler saw it, in nested events by thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

HOST_PLANE, TASK_PLANE = "/host:CPU", "Task Environment"
START_STAT = "profile_start_time"
SEND_KEY = "key"
"""Of a `_Send`: its rendezvous key, which begins with the device that sends: the process itself."""

_PS_PER_NS = 1000


@dataclass(eq=False)
class Event:
    """One event, with those that lie within it."""

    name: str
    start_ns: int
    end_ns: int
    stats: Mapping[str, Any]
    inner: list[Event] = field(default_factory=list)

    def all(self) -> Iterator[Event]:
        """This one and all within it."""
        yield self
        for one in self.inner:
            yield from one.all()


@dataclass(frozen=True)
class Thread:
    """The outermost events of a thread, in order. Threads of one pool are numbered: "tf_Compute", "tf_Compute#2"."""

    name: str
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Process:
    """One file. `is_wall_clock`: its times are of the host's clock, not from the start of the profile."""

    path: str
    host: str | None
    threads: tuple[Thread, ...]
    is_wall_clock: bool
    devices: tuple[str, ...]  # of further planes, which are not read

    @cached_property
    def device(self) -> str:
        """The device that the process sends tensors from, such as "/job:ps/replica:0/task:0/device:CPU:0"; "": none."""
        sent = Counter(
            str(event.stats[SEND_KEY]).split(";")[0]
            for thread in self.threads
            for outer in thread.events
            for event in outer.all()
            if SEND_KEY in event.stats and event.name.endswith(":_Send")
        )
        return sent.most_common(1)[0][0] if sent else ""


def read(path: str, space: Any) -> Process:
    """The process in a parsed XSpace."""
    planes = {plane.name: plane for plane in space.planes}
    start_ns = 0
    if TASK_PLANE in planes:
        start_ns = int(_stats(planes[TASK_PLANE].stats, _names(planes[TASK_PLANE].stat_metadata)).get(START_STAT, 0))
    host = planes.get(HOST_PLANE)
    threads = _threads(host, start_ns) if host is not None else ()
    devices = tuple(sorted(name for name in planes if name.startswith("/device:")))
    return Process(path, space.hostnames[0] if space.hostnames else None, threads, start_ns > 0, devices)


def _threads(plane: Any, start_ns: int) -> tuple[Thread, ...]:
    events, stats = _names(plane.event_metadata), _names(plane.stat_metadata)
    found = []
    names: Counter[str] = Counter()
    for line in plane.lines:
        base = start_ns + line.timestamp_ns
        own = []
        for event in line.events:
            first = base + event.offset_ps // _PS_PER_NS
            last = base + (event.offset_ps + event.duration_ps) // _PS_PER_NS
            own.append(Event(events.get(event.metadata_id, ""), first, last, _stats(event.stats, stats)))
        kind = line.name.split("/")[0]  # TensorFlow's pools put a thread's number behind it
        names[kind] += 1
        found.append(Thread(kind if names[kind] == 1 else f"{kind}#{names[kind]}", tuple(_nested(own))))
    return tuple(found)


def _nested(events: list[Event]) -> list[Event]:
    outermost: list[Event] = []
    stack: list[Event] = []
    for event in sorted(events, key=lambda one: (one.start_ns, -one.end_ns)):
        while stack and stack[-1].end_ns <= event.start_ns:
            stack.pop()
        (stack[-1].inner if stack else outermost).append(event)
        stack.append(event)
    return outermost


def _names(entries: Any) -> dict[int, str]:
    return {entry.key: entry.value.name for entry in entries}


def _stats(stats: Any, names: Mapping[int, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stat in stats:
        name = names.get(stat.metadata_id, "")
        if stat.HasField("str_value"):
            found[name] = stat.str_value
        elif stat.HasField("ref_value"):
            found[name] = names.get(stat.ref_value, "")
        elif stat.HasField("int64_value"):
            found[name] = stat.int64_value
        elif stat.HasField("uint64_value"):
            found[name] = stat.uint64_value
    return found
