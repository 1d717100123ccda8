"""What a program that is recorded calls. `recorder.Recorder` writes a trace file; `null.NullRecorder` does nothing.

Hot-path rules: a `ThreadRecorder` is used by the one thread that it was made for; names become integers once, up front
(`intern`); a record is packed to bytes and appended to a list of that thread, with no lock. Nothing here raises into the
caller: what could not be written is reported by `Recorder.close` and in the process's log.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Stage

NOT_MEASURED = -1
"""On the hot path, the integer that stands for None."""

THREAD_NOTE = "thread_id"
"""The note [name, id] by which a recorder tells which of the system's threads writes under a name. One may have several."""


class ThreadRecorder(Protocol):
    """The records of one thread. `op` and `key` are integers from `Recorder.intern`."""

    def span(
        self,
        stage: Stage,
        op: int,
        key: int,
        step: int,
        size_bytes: int,
        start_ns: int,
        end_ns: int,
        request_id: int = NO_REQUEST,
        cause_id: int = NO_REQUEST,
        cpu_ns: int = NOT_MEASURED,
    ) -> None:
        """One finished span."""

    def sent(
        self,
        verb: Verb,
        direction: Direction,
        key: int,
        step: int,
        size_bytes: int,
        request_id: int,
        peer: int,
        start_ns: int,
        end_ns: int,
    ) -> None:
        """The sending half of a message: the call that hands it to the system, from start to return. `peer`: Node.code."""

    def received(
        self,
        verb: Verb,
        direction: Direction,
        key: int,
        step: int,
        size_bytes: int,
        request_id: int,
        peer: int,
        start_ns: int,
        end_ns: int,
    ) -> None:
        """The receiving half: `start_ns` is the arrival of the first byte, `end_ns` of the last. `peer`: Node.code."""


class Recorder(Protocol):
    """The records of one process."""

    @property
    def enabled(self) -> bool:
        """False for the null recorder: what is costly to gather for a record only (thread CPU time) can be left out."""

    def intern(self, text: str) -> int:
        """A stable small integer for an op or a key. Any thread, any time; the empty string is 0."""

    def thread(self, name: str) -> ThreadRecorder:
        """A new buffer for the calling thread, under a name that is unique in this process ("main", "send-server-0")."""

    def step(
        self,
        step: int,
        start_ns: int,
        end_ns: int,
        samples: int,
        warm_up: bool = False,
        loss: Optional[float] = None,
    ) -> None:
        """One finished step of this worker's main thread."""

    def note(self, name: str, value: Any) -> None:
        """One fact beside the records (clock pings, the shard plan, a warning); `value` must be JSON."""

    def close(self) -> None:
        """Writes what is left and ends the flusher. Raises `RecordError` if records were lost; never hangs."""
