"""The recorder that does nothing: what a program is given when recording is off. Same calls, no memory, no file."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Stage
from breakdown.record.api import NOT_MEASURED


class NullThreadRecorder:
    """Forgets everything."""

    __slots__ = ()

    ident = 0

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
        """Does nothing."""

    def chain(
        self, step: int, size_bytes: int, start_ns: int, cpu_ns: int, runnable_ns: int, links: Sequence[int], /
    ) -> None:
        """Does nothing."""

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
        """Does nothing."""

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
        """Does nothing."""

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
        """Does nothing."""

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
        """Does nothing."""

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
        """Does nothing."""


class NullRecorder:
    """Satisfies `api.Recorder`. All threads share one stateless `NullThreadRecorder`."""

    enabled = False

    def __init__(self) -> None:
        self._thread = NullThreadRecorder()

    def intern(self, text: str) -> int:
        """0 for every text: nothing is kept."""
        return 0

    def thread(self, name: str) -> NullThreadRecorder:
        return self._thread

    def step(
        self,
        step: int,
        start_ns: int,
        end_ns: int,
        samples: int,
        warm_up: bool = False,
        loss: Optional[float] = None,
    ) -> None:
        """Does nothing."""

    def note(self, name: str, value: Any) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""
