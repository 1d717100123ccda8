"""What is read from a profile, whatever its kind: steps, and what each process did for them. Times are ns of its clock."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from breakdown.errors import UsageError
from breakdown.model.identity import Node
from breakdown.model.stages import Stage
from breakdown.store.tensorflow.graphs import RECEIVE, SEND

Watch = Callable[[str, int, int], None]
"""Is told how far a long import is: what it does, how much of it is done, of how much."""


@dataclass(eq=False, slots=True)
class Operation:
    """One run of one operation. An asynchronous one returns at `end_ns`, and is done later."""

    name: str
    kind: str
    thread: str  # "": the profile does not say
    start_ns: int
    end_ns: int
    done_ns: int
    needs: tuple[str, ...] | None = None  # names of those that it waits for; None: the profile does not say
    ready_ns: int | None = None  # when it could run; None: the profile does not say
    tensor: str = ""  # what a `_Send` or `_Recv` passes on: the name of the operation that makes it
    peer: Node | None = None  # of a `_Recv`: who sends
    size_bytes: int | None = None  # of a `_Recv`; None: the profile does not say
    sent_ns: int | None = None  # of a `_Recv`: when the sender began to send, where the profile says so

    @property
    def receives(self) -> bool:
        return self.kind == RECEIVE

    @property
    def sends(self) -> bool:
        return self.kind == SEND


@dataclass(eq=False)
class Part:
    """What one process did for one step. `told_ns`: from when to when it was told to; None: the profile does not say."""

    node: Node
    operations: list[Operation] = field(default_factory=list)
    told_ns: tuple[int, int] | None = None

    @property
    def start_ns(self) -> int:
        # the beginning of a sending is another process's
        return min(one.start_ns if one.sent_ns is None else one.done_ns for one in self.operations)

    @property
    def done_ns(self) -> int:
        return max(one.done_ns for one in self.operations)


@dataclass(frozen=True)
class Work:
    """What a thread did beside operations."""

    thread: str
    start_ns: int
    end_ns: int
    stage: Stage
    op: str
    key: str = ""


@dataclass(eq=False)
class Step:
    """One step of a worker. Its main thread is within `calls` of TensorFlow, and these have `runs` of a graph.

    A run is (asked, woken): in between the main thread sleeps until the operations are done. What lies within no call is the
    program's own. Where a profile shows operations alone there is no call, and the step is one run: see `settle`.
    """

    worker: Node
    start_ns: int
    end_ns: int
    calls: list[tuple[int, int]]
    runs: list[tuple[int, int]]
    call_op: str = ""
    parts: dict[Node, Part] = field(default_factory=dict)


@dataclass(eq=False)
class Profile:
    """All that was read. `hosts`: the machine of each process, None where the profile does not name it."""

    steps: list[Step]
    hosts: Mapping[Node, str | None]
    beside: dict[Node, list[Work]] = field(default_factory=dict)  # what belongs to no step
    remarks: tuple[str, ...] = ()

    @property
    def nodes(self) -> list[Node]:
        return sorted(self.hosts)


def received_name(tensor: str) -> str:
    """What a `_Recv` of this tensor is called; of "": of one that the profile does not name."""
    return f"{RECEIVE} {tensor}"


_UNNAMED = received_name("")


def lost(one: Operation, names: Container[str]) -> list[str]:
    """The tensors that an operation received without a record of their coming, though the profile names tensors.

    `names`: of all operations of its part.
    """
    wanted = _received(one.needs) if one.needs else ()
    return [name for name in wanted if name not in names] if wanted and _UNNAMED not in names else []


@lru_cache(maxsize=1 << 16)
def _received(needs: tuple[str, ...]) -> tuple[str, ...]:
    """Those of these operations that receive a tensor."""
    return tuple(name for name in needs if name.startswith(_UNNAMED))


def settle(profile: Profile) -> None:
    """Gives steps of operations alone their bounds: from the worker's first operation to the last of any process.

    To be called when all times are of one clock. Raises `UsageError` where steps of a worker overlap.
    """
    for step in profile.steps:
        if not step.calls:
            step.start_ns = step.parts[step.worker].start_ns
            step.end_ns = max(step.start_ns, *(part.done_ns for part in step.parts.values()))
    profile.steps.sort(key=lambda step: (step.worker, step.start_ns))
    for first, second in pairwise(profile.steps):
        if first.worker == second.worker and second.start_ns < first.end_ns:
            if first.calls or second.start_ns < first.parts[first.worker].done_ns:
                raise UsageError(
                    f"two steps of {first.worker} overlap by {first.end_ns - second.start_ns} ns: they are no steps of one "
                    "training, or the same one twice. Give the files of one training, each once."
                )
            first.end_ns = second.start_ns  # a server was still at work for it
    for step in profile.steps:
        if not step.calls:
            step.runs = [(step.start_ns, step.end_ns)]
