"""What sampling found, as frozen dataclasses. Shares are of a thread's time; a difference of 0.05 is 5 points."""

from __future__ import annotations

from dataclasses import dataclass

from breakdown.model.identity import Node
from breakdown.model.stages import Stage


@dataclass(frozen=True)
class Share:
    """One activity of one thread. `stage` None: asleep, or waiting for a message. `traced` None: not compared."""

    stage: Stage | None
    op: str  # "" where operations are not told apart
    sampled: float
    traced: float | None

    @property
    def difference(self) -> float | None:
        return None if self.traced is None else self.sampled - self.traced


@dataclass(frozen=True)
class ThreadSamples:
    """One thread in the measured steps. Its shares add up to 1 on both sides."""

    name: str  # as in the trace; else as py-spy calls it; else its number
    sampled_ns: int
    shares: tuple[Share, ...]  # biggest first

    @property
    def compared(self) -> bool:
        return all(share.traced is not None for share in self.shares)


@dataclass(frozen=True)
class Frame:
    """One box of a flame graph: a function called by the box below it. `stage` None: of several stages."""

    name: str
    depth: int  # 0: a thread
    start_ns: int  # from the left
    width_ns: int
    stage: Stage | None


@dataclass(frozen=True)
class StackTime:
    """A stack that a thread was seen in, for how long, and what that is. `stage` None: asleep."""

    thread: str
    stage: Stage | None
    op: str
    stack: str
    time_ns: int


@dataclass(frozen=True)
class RoleSamples:
    """One process, over all repetitions."""

    node: Node
    rate_hz: int
    threads: tuple[ThreadSamples, ...]  # busiest first
    stacks: tuple[StackTime, ...]  # longest first
    flame: tuple[Frame, ...]  # time awake only

    @property
    def awake_ns(self) -> int:
        return sum(frame.width_ns for frame in self.flame if frame.depth == 0)

    @property
    def farthest(self) -> tuple[ThreadSamples, Share] | None:
        """Where sampling and tracing differ most; None where nothing could be compared."""
        found = [(thread, share) for thread in self.threads for share in thread.shares if share.difference is not None]
        return max(found, key=lambda pair: abs(pair[1].difference or 0.0), default=None)
