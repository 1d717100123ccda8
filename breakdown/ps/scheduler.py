"""The scheduler: brings the roles together, holds barriers, notices the loss of a role, and ends last.

One thread a connection receives; all decisions are made by the main thread, from one queue of events.
"""

from __future__ import annotations

import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from breakdown.clock.clocks import now_ns
from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError, RunError, WireError
from breakdown.model.identity import Node, Role
from breakdown.ps import protocol
from breakdown.ps.plan import Plan
from breakdown.record.api import Recorder
from breakdown.wire.api import Connection, Kind, Listener
from breakdown.wire.registry import transport

JOIN_TIMEOUT_S = 120.0
"""From the scheduler's start until all roles have joined: a loaded machine imports torch once a role in this time."""

LAST_WORDS_S = 3.0
"""After a failure: at most so long for the others to read why, and to close."""

_POLL_S = 0.2


class _Event(NamedTuple):
    """A control message of a role, or its loss (`message` None, `error` says how)."""

    peer: _Peer
    message: dict[str, Any] | None
    error: str


class _Peer:
    """One connection. Its receiving thread answers pings; the main thread sends everything else."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.node: Node | None = None
        self.left = False  # nothing will come from it any more
        self._lock = threading.Lock()

    def send(self, sender: Node, kind: str, **fields: Any) -> None:
        """A peer that is gone is noticed by its receiving thread, so a failed send is no news."""
        with self._lock, contextlib.suppress(WireError):
            protocol.send_control(self.connection, sender, kind, **fields)

    def send_error(self, sender: Node, text: str) -> None:
        with self._lock, contextlib.suppress(WireError):
            protocol.send_error(self.connection, sender, text)


class Scheduler:
    """The state of a run: who joined, who waits where, who said goodbye."""

    def __init__(self, cell: Cell, node: Node, recorder: Recorder) -> None:
        self._node = node
        self._recorder = recorder
        self._workers = cell.workers
        self._servers = cell.servers
        self._join_timeout_s = min(JOIN_TIMEOUT_S, cell.timeout_s)
        self._expected = {Node(Role.SERVER, rank) for rank in range(cell.servers)}
        self._expected |= {Node(Role.WORKER, rank) for rank in range(cell.workers)}
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._joined: dict[Node, tuple[_Peer, dict[str, Any]]] = {}
        self._gone: set[Node] = set()
        self._barriers: dict[str, set[Node]] = {}
        self._peers: list[_Peer] = []
        self._closing = False

    def run(self, listener: Listener) -> None:
        """Serves until all roles said goodbye. Raises `RunError` with the first cause when the run failed."""
        accepting = threading.Thread(target=self._accept, args=(listener,), name="accept", daemon=True)
        accepting.start()
        try:
            self._join_all()
            while len(self._gone) < len(self._expected):
                self._on_event(self._events.get())
        except BreakdownError as error:
            self._tell_all(str(error))
            raise
        finally:
            self._closing = True
            listener.close()
            for peer in list(self._peers):
                peer.connection.close()
            accepting.join(LAST_WORDS_S)

    def _join_all(self) -> None:
        deadline = time.monotonic() + self._join_timeout_s
        while len(self._joined) < len(self._expected):
            try:
                self._on_event(self._events.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                missing = ", ".join(str(node) for node in sorted(self._expected - self._joined.keys()))
                raise RunError(f"{missing} did not join the run within {self._join_timeout_s:.0f} s") from None
        self._start()

    def _on_event(self, event: _Event) -> None:
        peer, message = event.peer, event.message
        if message is None:
            self._on_loss(peer, event.error)
        elif message["type"] == "join":
            self._on_join(peer, message)
        elif peer.node is None:
            raise WireError(f"a peer sent '{message['type']}' before it joined")
        elif message["type"] == "barrier":
            self._on_barrier(peer.node, str(message.get("name")))
        elif message["type"] == "bye":
            self._gone.add(peer.node)
        else:
            raise WireError(f"{peer.node} sent an unknown control message '{message['type']}'")

    def _on_join(self, peer: _Peer, message: dict[str, Any]) -> None:
        node = peer.node
        if node not in self._expected:
            raise WireError(f"{node} wants to join, but this run has {self._servers} servers and {self._workers} workers")
        if node in self._joined:
            raise WireError(f"{node} joined twice")
        self._joined[node] = (peer, message)

    def _start(self) -> None:
        """All are here: checks that the workers made the same plan; tells everybody, with the servers' addresses."""
        servers = [self._joined[Node(Role.SERVER, rank)][1].get("address") for rank in range(self._servers)]
        plans = [Plan.from_json(self._joined[Node(Role.WORKER, rank)][1].get("plan")) for rank in range(self._workers)]
        for rank, plan in enumerate(plans):
            if plan != plans[0]:
                raise RunError(f"worker-{rank} and worker-0 train different models: their shard plans differ")
        sizes = [[shard.name, shard.server, shard.nbytes] for shard in plans[0].shards]
        self._recorder.note("plan", {"digest": plans[0].digest, "keys": sizes})
        for peer, _ in self._joined.values():
            peer.send(self._node, "start", servers=servers, plan=plans[0].to_json())

    def _on_barrier(self, node: Node, name: str) -> None:
        waiting = self._barriers.setdefault(name, set())
        waiting.add(node)
        if len(waiting) == self._workers:
            del self._barriers[name]
            for member in waiting:
                self._joined[member][0].send(self._node, "release", name=name)

    def _on_loss(self, peer: _Peer, error: str) -> None:
        if peer.node is None or peer.node not in self._gone:
            raise RunError(error)

    def _tell_all(self, text: str) -> None:
        """Everybody still here learns why the run is over, then has a moment to close; who has left is not waited for."""
        for peer in list(self._peers):
            peer.send_error(self._node, text)
        deadline = time.monotonic() + LAST_WORDS_S
        while self._somebody_is_here() and time.monotonic() < deadline:
            with contextlib.suppress(Empty):
                self._events.get(timeout=_POLL_S)

    def _somebody_is_here(self) -> bool:
        named = (peer for peer in list(self._peers) if peer.node is not None)
        return any(not peer.left and peer.node not in self._gone for peer in named)

    def _accept(self, listener: Listener) -> None:
        while not self._closing:
            connection = listener.accept(_POLL_S)
            if connection is not None:
                peer = _Peer(connection)
                self._peers.append(peer)
                threading.Thread(target=self._receive, args=(peer,), name=f"peer-{len(self._peers)}", daemon=True).start()

    def _receive(self, peer: _Peer) -> None:
        """Answers pings at once; hands everything else to the main thread."""
        try:
            while True:
                received = peer.connection.recv(protocol.control_sink)
                if received is None:
                    raise WireError("it closed the connection before the end of the run")
                node = protocol.sender_of(received.header)
                if peer.node not in (None, node):
                    raise WireError(f"its frames name {node} as their sender")
                peer.node = node
                if received.header.kind == Kind.ERROR:
                    self._on_end(peer, protocol.read_error(received))
                    return
                message = protocol.read_control(received)
                if message["type"] == "ping":
                    peer.send(self._node, "pong", remote_ns=now_ns())
                else:
                    self._events.put(_Event(peer, message, ""))
        except WireError as error:
            who = str(peer.node) if peer.node is not None else "a peer that had not joined yet"
            self._on_end(peer, f"{who} was lost: {error}")

    def _on_end(self, peer: _Peer, error: str) -> None:
        peer.left = True
        self._events.put(_Event(peer, None, error))


def run_scheduler(cell: Cell, node: Node, rendezvous: str, token: str, recorder: Recorder) -> None:
    """The scheduler's process, to its end. Raises `WireError` when it cannot listen, `RunError` when the run failed."""
    listener = transport(rendezvous).listen(rendezvous, token)
    Scheduler(cell, node, recorder).run(listener)
