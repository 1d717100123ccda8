"""A role's connection to the scheduler: joining, barriers, clock pings, and the news that the run is over."""

from __future__ import annotations

import contextlib
import threading
from queue import SimpleQueue
from typing import Any

from breakdown.clock.clocks import now_ns
from breakdown.errors import BreakdownError, RunError, WireError
from breakdown.model.identity import Node
from breakdown.ps import protocol
from breakdown.ps.failure import Failure
from breakdown.record.api import Recorder
from breakdown.wire.api import Kind
from breakdown.wire.registry import transport

CONNECT_TIMEOUT_S = 60.0
"""For the peer to start listening. Importing torch on a busy machine takes some ten seconds."""

PINGS = 8
"""A bunch of clock pings: the fastest of them bounds the offset best."""


class SchedulerLink:
    """One role's side. `ask` methods are for the main thread; a thread of its own listens."""

    def __init__(self, node: Node, rendezvous: str, token: str, recorder: Recorder, failure: Failure) -> None:
        """Connects. Raises `WireError` when no scheduler listens at `rendezvous` in time."""
        self._node = node
        self._recorder = recorder
        self._failure = failure
        self._leaving = False
        self._answers: SimpleQueue[tuple[dict[str, Any], int] | None] = SimpleQueue()
        self._connection = transport(rendezvous).connect(rendezvous, token, CONNECT_TIMEOUT_S)
        failure.on_failure(lambda: self._answers.put(None))
        self._listener = threading.Thread(target=self._listen, name="scheduler-link", daemon=True)
        self._listener.start()

    def join(self, **fields: Any) -> dict[str, Any]:
        """Says who we are, measures the clocks, and waits for all others. Gives the start message."""
        self.ping()
        return self._ask("start", "join", **fields)[0]

    def barrier(self, name: str) -> None:
        """Returns when all workers have come to the barrier of this name."""
        self._ask("release", "barrier", name=name)

    def ping(self) -> None:
        """Notes clock readings on both sides of the connection, for `clock.offset`."""
        samples = []
        for _ in range(PINGS):
            sent_ns = now_ns()
            answer, received_ns = self._ask("pong", "ping")
            samples.append([sent_ns, answer["remote_ns"], received_ns])
        self._recorder.note("clock", {"reference": "scheduler-0", "pings": samples})

    def leave(self) -> None:
        """The orderly end: last clock pings, goodbye, close."""
        self.ping()
        self._leaving = True
        protocol.send_control(self._connection, self._node, "bye")
        self._connection.close()
        self._listener.join(CONNECT_TIMEOUT_S)

    def report(self, error: BaseException) -> None:
        """Tells the scheduler that this role failed, unless it told us; then closes. Never raises."""
        self._leaving = True
        if not self._failure.told:
            text = str(error) if isinstance(error, BreakdownError) else f"{type(error).__name__}: {error}"
            named = text if text.startswith(f"{self._node}") else f"{self._node} failed: {text}"
            with contextlib.suppress(WireError):
                protocol.send_error(self._connection, self._node, named)
        self._connection.close()

    def _ask(self, expected: str, kind: str, **fields: Any) -> tuple[dict[str, Any], int]:
        """Sends a message and gives its answer with the time of arrival. Raises the failure if the run ends meanwhile."""
        self._failure.check()
        protocol.send_control(self._connection, self._node, kind, **fields)
        answer = self._answers.get()
        self._failure.check()
        if answer is None or answer[0]["type"] != expected:
            raise WireError(f"{self._node}: the scheduler answered '{kind}' with {answer}, not with '{expected}'")
        return answer

    def _listen(self) -> None:
        while True:
            try:
                received = self._connection.recv(protocol.control_sink)
                if received is None:
                    raise WireError("it closed the connection")
                if received.header.kind == Kind.ERROR:
                    self._failure.set(RunError(protocol.read_error(received)), told=True)
                    return
                self._answers.put((protocol.read_control(received), received.last_byte_ns))
            except WireError as error:
                if not self._leaving:
                    self._failure.set(RunError(f"{self._node} lost the scheduler before the end of the run: {error}"))
                return
