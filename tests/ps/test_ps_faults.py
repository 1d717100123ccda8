"""What a scheduler and a server do with peers that break the protocol or go away: a clear end for everybody, no hang."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError, RunError, WireError
from breakdown.model.identity import Node, Role, request_id
from breakdown.ps import protocol, scheduler
from breakdown.ps.failure import Failure
from breakdown.ps.link import SchedulerLink
from breakdown.ps.plan import ParameterSpec, make_plan
from breakdown.ps.scheduler import run_scheduler
from breakdown.ps.server import listening_address, run_server
from breakdown.ps.worker import Client
from breakdown.record.null import NullRecorder
from breakdown.wire.api import Connection, Header, Kind, Received
from breakdown.wire.registry import transport

SCHEDULER, SERVER, WORKER = Node(Role.SCHEDULER, 0), Node(Role.SERVER, 0), Node(Role.WORKER, 0)
PLAN = make_plan([ParameterSpec("a", 10, 4), ParameterSpec("b", 20, 4)], servers=1)
TOKEN = "token"
END_S = 10
"""For both roles to end. They wait for events alone, so this is no measure of anything: it ends a test that hangs."""

_names = itertools.count()


@pytest.fixture(autouse=True)
def nobody_is_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that waits for a peer which has left hangs, in these tests."""
    monkeypatch.setattr(scheduler, "LAST_WORDS_S", 100 * END_S)


class Met(NullRecorder):
    """Knows when its role has met the scheduler: it notes the clocks then."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = threading.Event()

    def note(self, name: str, value: object) -> None:
        self.scheduler.set()


class Run:
    """A real scheduler and server in threads; the test plays the workers."""

    def __init__(self, workers: int = 1, scheme: str = "inproc", servers: int = 1) -> None:
        self.cell = Cell(workers=workers, servers=servers, transport=scheme, timeout_s=20)
        self.address = f"inproc://faults-{next(_names)}"
        self.errors: dict[Node, BreakdownError] = {}
        met = Met()
        self._threads = [self._start(SCHEDULER, run_scheduler, NullRecorder()), self._start(SERVER, run_server, met)]
        assert met.scheduler.wait(END_S)

    def _start(self, node: Node, role: Callable[..., None], recorder: NullRecorder) -> threading.Thread:
        def work() -> None:
            try:
                role(self.cell, node, self.address, TOKEN, recorder)
            except BreakdownError as error:
                self.errors[node] = error

        thread = threading.Thread(target=work, name=str(node), daemon=True)
        thread.start()
        return thread

    def link(self, node: Node = WORKER, failure: Failure | None = None) -> SchedulerLink:
        """A worker's, which leaves when it is told that the run failed, as a worker does."""
        failure = failure or Failure()
        link = SchedulerLink(node, self.address, TOKEN, NullRecorder(), failure)
        failure.on_failure(lambda: link.report(RunError("told")))
        return link

    def wait(self) -> dict[Node, BreakdownError]:
        """What the roles ended with, once both have ended."""
        deadline = time.monotonic() + END_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"{thread.name} hangs"
        return self.errors


@pytest.fixture
def greeted() -> Iterator[tuple[Run, Connection]]:
    """A run in which worker 0 has joined, and its connection to the server after the hello."""
    run = Run()
    start = run.link().join(plan=PLAN.to_json())
    connection = transport(start["servers"][0]).connect(start["servers"][0], TOKEN, END_S)
    protocol.send_control(connection, WORKER, "hello", plan=PLAN.digest)
    yield run, connection
    connection.close()


def frame(
    kind: Kind = Kind.PUSH, key: int = 0, step: int = 0, size: int = 40, flags: int = 0, sender: int = WORKER.code
) -> Header:
    return Header(kind, flags, sender, key, step, request_id(WORKER, 1), size)


def test_the_same_frames_are_fine_when_they_keep_the_protocol(greeted: tuple[Run, Connection]) -> None:
    """So that the refusals below are not for another reason."""
    _run, connection = greeted
    for step in (-1, 0):
        connection.send(frame(step=step), [bytes(40)])
        connection.send(frame(Kind.PULL, step=step, size=0))
        received = connection.recv()
        assert received is not None
        assert received.header.kind == Kind.PULL_REPLY
        assert received.header.step == step
        assert b"".join(received.payload) == bytes(40)
    connection.send(frame(Kind.PUSH_PULL, step=1), [bytes(40)])
    received = connection.recv()
    assert received is not None
    assert received.header.kind == Kind.PULL_REPLY
    assert received.header.request_id == request_id(WORKER, 2), "the pull's id is the one after the push's"


BAD_FRAMES = [
    (frame(key=2), "key 2, which is not on this server"),
    (frame(step=-1, size=44), "a: a frame of 44 bytes came for a key of 10 values, which takes 40"),
    (frame(size=8), "a: a frame of 8 bytes"),
    (frame(flags=1), "encoded as 0x1"),
    (frame(step=0), "a: worker-0 pushed step 0 before the initial parameters were set"),
    (frame(Kind.PULL, step=0, size=0), "asks for step 0, but pushed only up to step -1"),
    (frame(Kind.PULL, size=4), "a pull of a carries 4 bytes"),
    (frame(Kind.PULL_REPLY), "may not send frames of kind 3"),
    (frame(Kind.PUSH_PULL, size=8), "a: a frame of 8 bytes"),
    (frame(Kind.PUSH_PULL, step=0), "a: worker-0 pushed step 0 before the initial parameters were set"),
    (frame(sender=SERVER.code), "names another sender"),
    (frame(Kind.ERROR), "unknown control message"),
]


@pytest.mark.parametrize(("header", "reason"), BAD_FRAMES, ids=[reason for _, reason in BAD_FRAMES])
def test_a_bad_frame_is_answered_with_its_reason_and_ends_the_run(
    greeted: tuple[Run, Connection], header: Header, reason: str
) -> None:
    run, connection = greeted
    connection.send(header, [bytes(header.size_bytes)])
    received = connection.recv()
    assert received is not None
    assert received.header.kind == Kind.ERROR
    assert reason in protocol.read_error(received)
    errors = run.wait()
    assert "server-0 refused a frame of worker-0" in str(errors[SERVER])
    assert reason in str(errors[SCHEDULER])


@pytest.mark.parametrize(
    ("sender", "message", "reason"),
    [
        (Node(Role.WORKER, 1), {"type": "hello", "plan": PLAN.digest}, "worker-1 opened a connection"),
        (Node(Role.SERVER, 0), {"type": "hello", "plan": PLAN.digest}, "only this run's workers"),
        (WORKER, {"type": "bye"}, "with 'bye'"),
        (WORKER, {"type": "hello", "plan": "another"}, "another shard plan"),
    ],
)
def test_a_wrong_hello_is_refused(sender: Node, message: dict[str, Any], reason: str) -> None:
    run = Run()
    start = run.link().join(plan=PLAN.to_json())
    connection = transport(start["servers"][0]).connect(start["servers"][0], TOKEN, END_S)
    protocol.send_control(connection, sender, message.pop("type"), **message)
    received = connection.recv()
    assert received is not None
    assert reason in protocol.read_error(received)
    assert reason in str(run.wait()[SERVER])


def test_a_worker_that_goes_without_goodbye_is_named_by_all(greeted: tuple[Run, Connection]) -> None:
    run, connection = greeted
    connection.close()
    errors = run.wait()
    assert "server-0 lost worker-0" in str(errors[SERVER])
    assert "server-0 lost worker-0" in str(errors[SCHEDULER])


def test_the_scheduler_tells_everybody_who_was_lost() -> None:
    run = Run(workers=2)
    failures = [Failure(), Failure()]
    links = [run.link(Node(Role.WORKER, rank), failures[rank]) for rank in range(2)]
    joins = [threading.Thread(target=link.join, kwargs={"plan": PLAN.to_json()}, daemon=True) for link in links]
    for join in joins:
        join.start()
    for join in joins:
        join.join(END_S)
    links[1].report(ValueError("the disk is full"))
    errors = run.wait()
    for error in (errors[SCHEDULER], errors[SERVER], failures[0].error):
        assert "worker-1 failed: ValueError: the disk is full" in str(error)
    with pytest.raises(RunError, match="worker-1 failed"):
        links[0].barrier("end")


def test_workers_with_different_models_do_not_start() -> None:
    run = Run(workers=2)
    other = make_plan([ParameterSpec("a", 11, 4)], servers=1)

    def join_other() -> None:
        with pytest.raises(RunError, match="different models"):
            run.link(Node(Role.WORKER, 1)).join(plan=other.to_json())

    second = threading.Thread(target=join_other, daemon=True)
    second.start()
    with pytest.raises(RunError, match="worker-1 and worker-0 train different models"):
        run.link().join(plan=PLAN.to_json())
    second.join(END_S)
    assert "different models" in str(run.wait()[SCHEDULER])


def test_a_role_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "JOIN_TIMEOUT_S", 0.5)
    run = Run(workers=2)
    with pytest.raises(RunError, match=r"worker-1 did not join the run within"):
        run.link().join(plan=PLAN.to_json())
    assert "worker-1 did not join" in str(run.wait()[SCHEDULER])


def test_a_role_that_is_told_and_does_not_leave_is_waited_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LAST_WORDS_S", 0.1)
    run = Run(workers=2)
    staying = SchedulerLink(WORKER, run.address, TOKEN, NullRecorder(), Failure())
    run.link(Node(Role.WORKER, 1)).report(ValueError("the disk is full"))
    assert "the disk is full" in str(run.wait()[SCHEDULER])
    staying.report(RunError("told"))


@pytest.mark.parametrize("node", [Node(Role.WORKER, 1), Node(Role.SERVER, 3), SERVER], ids=str)
def test_a_role_that_is_not_of_this_run_cannot_join(node: Node) -> None:
    run = Run()
    with pytest.raises(RunError, match=rf"{node} (wants to join|joined twice)"):
        run.link(node).join(address="inproc://x")
    run.wait()


@pytest.mark.parametrize("payload", [b"not json", b"[1]", b'{"kind": 1}'])
def test_control_frames_that_are_none_end_the_run(payload: bytes) -> None:
    run = Run()
    connection = transport(run.address).connect(run.address, TOKEN, END_S)
    connection.send(Header(Kind.CONTROL, 0, WORKER.code, 0, 0, 0, len(payload)), [payload])
    assert "worker-0 sent a control frame" in str(run.wait()[SCHEDULER])


def test_a_control_frame_above_the_limit_is_refused_before_it_is_read() -> None:
    header = Header(Kind.CONTROL, 0, WORKER.code, 0, 0, 0, protocol.CONTROL_LIMIT_BYTES + 1)
    with pytest.raises(WireError, match="worker-0 announced"):
        protocol.control_sink(header)
    with pytest.raises(WireError, match="sender that does not exist"):
        protocol.control_sink(header._replace(sender=99 << 16))


def test_control_messages_survive_the_way() -> None:
    payload = json.dumps({"type": "start", "servers": ["tcp://h:1"]}).encode()
    received = Received(Header(Kind.CONTROL, 0, 0, 0, 0, 0, len(payload)), [memoryview(payload)], 0, 0)
    assert protocol.read_control(received)["servers"] == ["tcp://h:1"]


def test_an_answer_that_nobody_asked_for_ends_the_worker() -> None:
    listener = transport("inproc://liar").listen("inproc://liar", TOKEN)
    near = transport("inproc://liar").connect("inproc://liar", TOKEN, END_S)
    far = listener.accept(END_S)
    assert far is not None
    failure = Failure()
    client = Client(Cell(), WORKER, PLAN, [near], NullRecorder(), failure)
    place = [torch.zeros(10)]
    client.pull(0, -1, place)
    far.send(Header(Kind.PULL_REPLY, 0, SERVER.code, 0, -1, 12345, 40), [bytes(40)])
    with pytest.raises(RunError, match="worker-0 lost server-0: it sent an answer for key 0 that nobody asked for"):
        client.wait(0, NullRecorder().thread("main"))
    client.close()
    far.close()
    listener.close()


def test_a_server_listens_on_the_address_that_reaches_the_scheduler_only() -> None:
    assert listening_address("tcp", "tcp://127.0.0.1:4000", SERVER) == "tcp://127.0.0.1:0"
    assert listening_address("zmq", "tcp://127.0.0.1:4000", SERVER) == "zmq://127.0.0.1:0"
    assert listening_address("inproc", "inproc://meet", SERVER) == "inproc://meet-server-0"
