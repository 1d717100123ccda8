"""The events of an XPlane file: one process as TensorFlow's profiler saw it, in nested events by thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from breakdown.store.profiles.readable import FAR_TIME, LATEST_NS, LONGEST_NS, NO_TIME, LeftOut, is_stretch, middle, text

HOST_PLANE, TASK_PLANE = "/host:CPU", "Task Environment"
START_STAT = "profile_start_time"
SEND_KEY = "key"
"""Of a `_Send`: its rendezvous key, which begins with the device that sends: the process itself."""

STEP_NUMBER, NUMBER, STEP_ID = "step_num", "id", "step_id"
NAME, KIND, SENT, FUNCTION_NAME, IS_FUNCTION = "name", "kernel_type", "from", "eager_op", "is_func"
_KNOWN = (STEP_NUMBER, NUMBER, STEP_ID, NAME, KIND, SENT, FUNCTION_NAME, IS_FUNCTION, SEND_KEY, START_STAT)
"""What events say of themselves that is read; they may say more."""

_PS_PER_NS = 1000
_NOTHING: Mapping[str, Any] = {}


@dataclass(eq=False, slots=True)
class Event:
    """One event, with those that lie within it."""

    name: str
    start_ns: int
    end_ns: int
    stats: Mapping[str, Any]
    inner: list[Event] = field(default_factory=list)

    def all(self) -> Iterator[Event]:
        """This one and all within it."""
        open_ = [self]
        while open_:
            one = open_.pop()
            yield one
            if one.inner:
                open_.extend(reversed(one.inner))

    def number(self, stat: str) -> int:
        """What it says of itself by this name; 0 where it says nothing, or no number."""
        value = self.stats.get(stat, 0)
        return value if isinstance(value, int) else 0


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


def read(path: str, space: Any, left_out: LeftOut) -> Process:
    """The process in a parsed XSpace."""
    start_ns = 0
    for plane in space.planes:
        if text(plane.name) == TASK_PLANE:
            told = _stats(plane.stats, _names(plane.stat_metadata), _known(plane)).get(START_STAT, 0)
            start_ns = told if isinstance(told, int) and 0 <= told < LATEST_NS else start_ns
    lines: list[tuple[str, list[Event]]] = []
    for plane in space.planes:
        if text(plane.name) == HOST_PLANE:
            lines += _lines(path, plane, start_ns, left_out)
    devices = tuple(sorted({name for plane in space.planes if (name := text(plane.name)).startswith("/device:")}))
    host = text(space.hostnames[0]) if space.hostnames else None
    return Process(path, host, _threads(_near(path, lines, left_out)), start_ns > 0, devices)


def _lines(path: str, plane: Any, start_ns: int, left_out: LeftOut) -> Iterator[tuple[str, list[Event]]]:
    """The events of each thread as they stand there."""
    names, texts, known = _names(plane.event_metadata), _names(plane.stat_metadata), _known(plane)
    for line in plane.lines:
        base_ns = start_ns + line.timestamp_ns
        own = []
        for event in line.events:
            offset_ps, stats = event.offset_ps, event.stats
            first_ns = base_ns + offset_ps // _PS_PER_NS
            last_ns = base_ns + (offset_ps + event.duration_ps) // _PS_PER_NS
            name = names.get(event.metadata_id, "")
            if is_stretch(first_ns, last_ns):
                own.append(Event(name, first_ns, last_ns, _stats(stats, texts, known) if stats else _NOTHING))
            else:
                left_out.add(NO_TIME, f"{name!r} of thread {text(line.name)!r} in {path}")
        yield text(line.name), own


def _near(path: str, lines: list[tuple[str, list[Event]]], left_out: LeftOut) -> list[tuple[str, list[Event]]]:
    """Without what cannot be of the same profile."""
    starts = [event.start_ns for _, own in lines for event in own]
    if not starts or max(event.end_ns for _, own in lines for event in own) - min(starts) <= LONGEST_NS:
        return lines
    at_ns = middle(starts)
    near = []
    for name, own in lines:
        kept = [one for one in own if abs(one.start_ns - at_ns) <= LONGEST_NS and abs(one.end_ns - at_ns) <= LONGEST_NS]
        if len(kept) < len(own):
            left_out.add(FAR_TIME, f"of thread {name!r} in {path}", len(own) - len(kept))
        near.append((name, kept))
    return near


def _threads(lines: list[tuple[str, list[Event]]]) -> tuple[Thread, ...]:
    found = []
    names: Counter[str] = Counter()
    for name, own in lines:
        kind = name.split("/")[0]  # TensorFlow's pools put a thread's number behind it
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
    return {entry.key: text(entry.value.name) for entry in entries}


def _known(plane: Any) -> dict[int, str]:
    """By their numbers, what is read of what events say of themselves."""
    return {number: name for number, name in _names(plane.stat_metadata).items() if name in _KNOWN}


def _stats(stats: Any, texts: Mapping[int, str], known: Mapping[int, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stat in stats:
        name = known.get(stat.metadata_id)
        if name is None:
            continue
        if stat.HasField("str_value"):
            found[name] = text(stat.str_value)
        elif stat.HasField("ref_value"):
            found[name] = texts.get(stat.ref_value, "")
        elif stat.HasField("int64_value"):
            found[name] = stat.int64_value
        elif stat.HasField("uint64_value"):
            found[name] = stat.uint64_value
    return found
