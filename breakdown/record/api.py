"""What a program that is recorded calls. `recorder.Recorder` writes a trace file; `null.NullRecorder` does nothing.

Hot-path rules: a `ThreadRecorder` is used by the one thread that it was made for; names become integers once, up front
(`intern`); a record is packed to bytes and appended to a list of that thread, with no lock. Nothing here raises into the
caller: what could not be written is reported by `Recorder.close` and in the process's log.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol, Sequence

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Stage

NOT_MEASURED = -1
"""On the hot path, the integer that stands for None."""

THREAD_NOTE = "thread_id"
"""The note [name, id] by which a recorder tells which of the system's threads writes under a name. One may have several."""

STEPS_NOTE = "traced_steps"
"""The note by which a node says that what lies within a step was recorded in some alone: {"every": n, "first": step}."""


class ThreadRecorder(Protocol):
    """The records of one thread. `op` and `key` are integers from `Recorder.intern`.

    `span`, `sent` and `received` record one thing each. `chain` records many spans at once; the last three all that was done
    for a frame at one place of the parameter server: one call instead of up to six. `store` unfolds it to what the others
    record.
    """

    ident: int
    """Its number in this process, from 1."""

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
        runnable_ns: int = NOT_MEASURED,
    ) -> None:
        """One finished span. `cpu_ns`, `runnable_ns`: what became of its thread's time, see `clock.thread_time`."""

    def chain(
        self, step: int, size_bytes: int, start_ns: int, cpu_ns: int, runnable_ns: int, links: Sequence[int], /
    ) -> None:
        """Spans that follow each other without a gap, from `start_ns` on. `links` holds for each two integers: what it is
        (`layout.link_word`) and its end. The first has `size_bytes`; they share `cpu_ns` and
        `runnable_ns` in proportion to their length.
        """

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
        /,
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
        /,
    ) -> None:
        """The receiving half: `start_ns` is the arrival of the first byte, `end_ns` of the last. `peer`: Node.code."""

    def asked(
        self,
        key: int,
        step: int,
        size_bytes: int,
        push_id: int,
        pull_id: int,
        peer: int,
        queued_ns: int,
        taken_ns: int,
        start_ns: int,
        end_ns: int,
        /,
    ) -> None:
        """A frame that a worker sends: queued until it is taken, then sent. It holds a push, a pull (NO_REQUEST: it does
        not), or both: then the pull is queued until the sending starts, which is all that its sending takes.
        """

    def served(
        self,
        op: int,
        key: int,
        step: int,
        size_bytes: int,
        push_id: int,
        pull_id: int,
        peer: int,
        receiver: int,
        first_byte_ns: int,
        last_byte_ns: int,
        taken_ns: int,
        start_ns: int,
        end_ns: int,
        work_bytes: int,
        cpu_ns: int,
        runnable_ns: int,
        updated_ns: int,
        update_cpu_ns: int,
        update_runnable_ns: int,
        /,
    ) -> None:
        """A push at the server, and the pull behind it if there is one: received by the thread `receiver` (its `ident`),
        queued until a handler takes them, and the first work for the push (`op`, on so many bytes), from `start_ns` on.
        Right behind it an update, until `updated_ns` (NOT_MEASURED: there is none).
        """

    def replied(
        self,
        key: int,
        step: int,
        size_bytes: int,
        pull_id: int,
        peer: int,
        cause_id: int,
        held_ns: int,
        queued_ns: int,
        taken_ns: int,
        start_ns: int,
        end_ns: int,
        /,
    ) -> None:
        """The answer to a pull at the server: held from `held_ns` (NOT_MEASURED: it was not) until the push `cause_id`
        released it, at `queued_ns`; then queued until it is taken, and sent.
        """


class Recorder(Protocol):
    """The records of one process."""

    @property
    def enabled(self) -> bool:
        """False for the null recorder: what is costly to gather for a record only (a thread's time) can be left out."""

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
