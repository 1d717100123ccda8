"""A server's process: its threads, from the listening socket to the orderly end.

One receiver and one sender a worker, and handlers that each own some keys and so need no locks. They hand over through
queues without timeouts; a thread that works on memory or sits in the kernel holds no interpreter lock.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial

from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError, RunError, WireError
from breakdown.model.identity import Node
from breakdown.ps import protocol
from breakdown.ps.failure import Failure
from breakdown.ps.handler import Handler
from breakdown.ps.intake import Intake, RefusedError, greet
from breakdown.ps.link import SchedulerLink
from breakdown.ps.plan import Plan
from breakdown.ps.replies import ReplySender
from breakdown.ps.serving import Shared
from breakdown.record.api import Recorder
from breakdown.wire.address import parse
from breakdown.wire.api import Connection, Listener
from breakdown.wire.registry import transport

JOIN_BOUND_S = 3.0
"""For the threads of this process to end once their connections are closed and their queues ended."""

_POLL_S = 0.2


class Server:
    """The threads of one server around what they share."""

    def __init__(self, shared: Shared, failure: Failure) -> None:
        self._shared = shared
        self._failure = failure
        self._connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()  # for the two below
        self._known: set[int] = set()  # ranks of the workers that said hello
        self._left = 0  # how many workers said goodbye
        self._over = threading.Event()  # all workers left, or this server failed

    def run(self, listener: Listener) -> None:
        """Serves until every worker said goodbye. Raises the first error of any thread."""
        self._failure.on_failure(self._over.set)
        for index, inbox in enumerate(self._shared.inboxes):
            self._spawn(f"handle-{index}", Handler(index, inbox, self._shared).run)
        try:
            while len(self._connections) < self._shared.workers and not self._over.is_set():
                connection = listener.accept(_POLL_S)
                if connection is not None:
                    self._connections.append(connection)
                    self._spawn(f"recv-{len(self._connections)}", partial(self._serve, connection))
            self._over.wait()
        finally:
            self._end()
        self._failure.check()

    def _serve(self, connection: Connection) -> None:
        """The receiving thread of one worker; starts its sending thread."""
        try:
            worker = greet(connection, self._shared)
            with self._lock:
                if worker in self._known:
                    raise WireError(f"worker-{worker} said hello twice")
                self._known.add(worker)
        except WireError as error:
            with contextlib.suppress(WireError):
                protocol.send_error(connection, self._shared.node, f"{self._shared.node} refused a connection: {error}")
            raise
        self._spawn(f"send-worker-{worker}", partial(self._reply, connection, worker))
        try:
            Intake(connection, worker, self._shared).run()
        except RefusedError as error:
            self._shared.reject(worker, error)
            return
        except WireError as error:
            self._lost(worker, error)
            return
        with self._lock:
            self._left += 1
            if self._left == self._shared.workers:
                self._over.set()

    def _reply(self, connection: Connection, worker: int) -> None:
        """The sending thread of one worker."""
        try:
            ReplySender(connection, worker, self._shared).run()
        except RefusedError:
            raise
        except WireError as error:
            self._lost(worker, error)

    def _lost(self, worker: int, error: WireError) -> None:
        self._failure.suspect(RunError(f"{self._shared.node} lost worker-{worker}: {error}"))

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BreakdownError as error:
            self._failure.set(error)
        except Exception as error:
            self._failure.set(RunError(f"{self._shared.node}: thread {threading.current_thread().name} failed: {error!r}"))
            raise

    def _end(self) -> None:
        """Ends all threads: their queues end, and after a failure the closed connections wake those in the kernel."""
        for box in self._shared.replies:
            box.end()
        for inbox in self._shared.inboxes:
            inbox.put(None)
        if self._failure.error is not None:
            self._close()
        for thread in list(self._threads):
            thread.join(JOIN_BOUND_S)
        self._close()

    def _close(self) -> None:
        for connection in self._connections:
            connection.close()


def listening_address(scheme: str, rendezvous: str, node: Node) -> str:
    """Where a server listens: on the address of this machine that reaches the scheduler, at a free port."""
    meeting = parse(rendezvous)
    if scheme == "inproc":
        return f"inproc://{meeting.host}-{node}"
    family = socket.AF_INET6 if ":" in meeting.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((meeting.host, meeting.port or 1))  # sends nothing: the kernel only picks the route
        except OSError as error:
            raise WireError(f"{node}: no route to the scheduler at {rendezvous}: {error.strerror}") from error
        return str(meeting._replace(scheme=scheme, host=probe.getsockname()[0], port=0))


def run_server(cell: Cell, node: Node, rendezvous: str, token: str, recorder: Recorder) -> None:
    """A server's process, to its end. Raises `WireError` or `RunError` with the first cause when the run failed."""
    failure = Failure()
    address = listening_address(cell.transport, rendezvous, node)
    listener = transport(address).listen(address, token)
    try:
        link = SchedulerLink(node, rendezvous, token, recorder, failure)
        try:
            start = link.join(address=listener.address)
            Server(Shared(cell, node, Plan.from_json(start["plan"]), recorder), failure).run(listener)
            link.leave()
        except BaseException as error:
            link.report(error)
            raise
    finally:
        listener.close()
