"""The tables of a run as parallel integer arrays: the spans first, then one wire row for each message.

A wire reaches from the start of sending to the end of receiving; where only one half was recorded, it is that half. Times
are ns of the run's aligned clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breakdown.analysis.codes import MISSING, NONE, Ints, Long, Names, compact, integers, labels
from breakdown.model.identity import NO_REQUEST, OPERATION, Node, Role, node_of
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage

if TYPE_CHECKING:
    from breakdown.store.tables import Tables

ROLES: Final = {role.label: int(role) for role in Role}
STAGES: Final = {stage.label: int(stage) for stage in Stage}
VERBS: Final = {verb.label: int(verb) for verb in Verb}
DIRECTIONS: Final = {direction.label: int(direction) for direction in Direction}
_STAGE_OF_VERB: Final = np.array([int(Verb(number).stage) for number in range(len(Verb))], dtype=np.int8)
_REQUEST_COUNTER_BITS: Final = 40  # see model.identity.request_id
_NODES: Final = len(Role) << 16

AT_ASKER, AT_SERVER, AT_ANSWERED = 0, 1, 2
"""The legs of a request: at the worker that asks, at the server, and back at the worker."""


@dataclass(frozen=True)
class Rows:
    """Parallel arrays, one entry a row; some have one entry a wire (row number - `spans`) or a request code instead."""

    spans: int  # rows below this number are spans, the others wires
    start_ns: Long
    end_ns: Long
    cpu_ns: Long  # MISSING: not measured
    runnable_ns: Long  # ready to run, without a core; MISSING: not measured
    size_bytes: Long
    stage: Ints
    op: Ints  # index of ops
    key: Ints  # index of keys
    place: Ints  # index of places: the process that did it; a wire's sender
    run: Ints
    step: Ints
    thread: Ints  # index of threads; NONE for a wire
    request: Ints  # code of a request, NONE where there is none
    cause: Ints
    leg_start: Ints  # at which leg of its request a row starts and ends
    leg_end: Ints
    halves: tuple[Half, Half]  # sent, received
    receiver: Ints  # by wire: index of places
    verb: Ints  # by wire
    direction: Ints  # by wire
    requester: Ints  # by request: index of places, NONE for a node that cannot be
    request_run: Ints  # by request
    operation: NDArray[np.bool_]  # by request: whether it is an operation of a node, which has no message
    ops: tuple[str, ...]
    keys: tuple[str, ...]
    places: tuple[Node, ...]
    threads: tuple[tuple[int, int, str], ...]  # (run, index of places, name)


@dataclass(frozen=True)
class Half:
    """One half of every message, as activity of a thread: parallel arrays, one entry a wire. MISSING: not recorded."""

    start_ns: Long
    end_ns: Long
    thread: Ints

    @property
    def known(self) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = (self.start_ns != MISSING) & (self.end_ns != MISSING)
        return known


def read(tables: Tables) -> Rows:
    """The rows of a saved run. Raises `TraceError` at labels that the model does not know."""
    spans, messages = tables.spans, tables.messages
    ops = Names("", Op.WIRE, Op.HANDOVER, Op.UNEXPLAINED, Op.BLOCK, Op.QUEUE, Op.HOLD, Op.DECODE, Op.SUM)
    keys = Names("")
    node = _node_codes(spans, "role", "rank")
    sender = _node_codes(messages, "sender_role", "sender_rank")
    receiver = _node_codes(messages, "receiver_role", "receiver_rank")
    span_run, message_run = spans["run"].to_numpy(), messages["run"].to_numpy()
    (request, cause, asked), requesters, request_run, operation = _requests(
        (span_run, integers(spans["request_id"])), (span_run, integers(spans["cause_id"])),
        (message_run, integers(messages["request_id"])),
    )  # fmt: skip
    workers = Node(Role.WORKER, 0).code + tables.steps["rank"].to_numpy()
    place_of, places = _places(node, sender, receiver, requesters, workers)
    place, receiver_place, sender_place = place_of[node], place_of[receiver], place_of[sender]
    names = Names("")
    (thread, sent_thread, received_thread), threads = _threads(
        names,
        (span_run, place, names.of(spans["thread"])),
        (message_run, sender_place, names.of(messages["sender_thread"])),
        (message_run, receiver_place, names.of(messages["receiver_thread"])),
    )
    sent = Half(integers(messages["send_start_ns"]), integers(messages["send_end_ns"]), sent_thread)
    received = Half(integers(messages["recv_start_ns"]), integers(messages["recv_end_ns"]), received_thread)
    verb, direction = labels(messages["verb"], VERBS), labels(messages["direction"], DIRECTIONS)
    wire_end = np.where(received.known, received.end_ns, np.where(sent.known, sent.end_ns, 0))
    wire_start = np.where(sent.known, sent.start_ns, np.where(received.known, received.start_ns, wire_end))
    op = ops.of(spans["op"])
    far = direction == int(Direction.REPLY)
    servers = np.full(len(requesters) + 1, NONE, dtype=place.dtype)  # by request: where it is carried out
    servers[asked[~far]] = receiver_place[~far]
    servers[NONE] = NONE  # the last entry
    at_server = np.where(servers[request] == NONE, node >> 16 != int(Role.WORKER), place == servers[request])
    leg = _legs_of_spans(at_server, (op == ops.code(Op.DECODE)) | (op == ops.code(Op.BLOCK)))
    if operation.any():  # their records are all of one place, whatever they are called
        of_operation = np.append(operation, False)
        leg[of_operation[request] | of_operation[cause] & (op == ops.code(Op.BLOCK))] = AT_ASKER
    wires = len(messages)
    end_ns = np.concatenate((integers(spans["end_ns"]), wire_end))
    return Rows(
        spans=len(spans),
        start_ns=np.minimum(np.concatenate((integers(spans["start_ns"]), wire_start)), end_ns),
        end_ns=end_ns,
        cpu_ns=np.concatenate((integers(spans["cpu_ns"]), np.full(wires, MISSING))),
        runnable_ns=np.concatenate((integers(spans["runnable_ns"]), np.full(wires, MISSING))),
        size_bytes=np.concatenate((integers(spans["size_bytes"]), integers(messages["size_bytes"]))),
        stage=np.concatenate((labels(spans["stage"], STAGES), _STAGE_OF_VERB[verb])),
        op=np.concatenate((op, np.full(wires, ops.code(Op.WIRE), dtype=np.int32))),
        key=np.concatenate((keys.of(spans["key"]), keys.of(messages["key"]))),
        place=np.concatenate((place, sender_place)),
        run=np.concatenate((span_run, message_run)),
        step=np.concatenate((spans["step"].to_numpy(), messages["step"].to_numpy())),
        thread=np.concatenate((thread, np.full(wires, NONE, dtype=np.int32))),
        request=np.concatenate((request, asked)),
        cause=np.concatenate((cause, np.full(wires, NONE, dtype=np.int32))),
        leg_start=np.concatenate((leg, np.where(sent.known, far, far + 1).astype(np.int8))),
        leg_end=np.concatenate((leg, np.where(received.known, far + 1, far).astype(np.int8))),
        halves=(sent, received),
        receiver=receiver_place,
        verb=verb,
        direction=direction,
        requester=place_of[requesters],
        request_run=request_run,
        operation=operation,
        ops=ops.texts,
        keys=keys.texts,
        places=places,
        threads=threads,
    )


def _node_codes(table: pd.DataFrame, role: str, rank: str) -> Ints:
    return (labels(table[role], ROLES).astype(np.int32) << 16) | table[rank].to_numpy().astype(np.int32)


def _legs_of_spans(at_server: NDArray[np.bool_], of_answer: NDArray[np.bool_]) -> Ints:
    """A worker's decoding and sleeping belong to the answer, all else that it does to the asking."""
    return np.where(at_server, AT_SERVER, np.where(of_answer, AT_ANSWERED, AT_ASKER)).astype(np.int8)


def _requests(*columns: tuple[Ints, Long]) -> tuple[list[Ints], Ints, Ints, NDArray[np.bool_]]:
    """Codes of the requests in columns of (run, request id); by code the node code that made it, the run, and what it is."""
    asked = [ids > NO_REQUEST for _, ids in columns]
    ids = np.concatenate([column[1][mask] for column, mask in zip(columns, asked, strict=True)])
    runs = np.concatenate([column[0][mask] for column, mask in zip(columns, asked, strict=True)])
    asker = ids >> _REQUEST_COUNTER_BITS
    askers, asker_code = compact((runs.astype(np.int64) << 24) | asker)  # an id below 2**63 has a node below 2**23
    counter = ids & ((1 << _REQUEST_COUNTER_BITS) - 1)
    span = int(counter.max()) + 1 if len(counter) else 1
    distinct, code = compact(asker_code.astype(np.int64) * span + counter)
    made_by = askers[distinct // span]
    node = made_by & 0xFFFFFF
    out: list[Ints] = []
    used = 0
    for mask in asked:
        column = np.full(len(mask), NONE, dtype=np.int32)
        count = int(np.count_nonzero(mask))
        column[mask] = code[used : used + count]
        used += count
        out.append(column)
    operation: NDArray[np.bool_] = distinct % span & OPERATION == OPERATION
    return out, np.where(node < _NODES, node, _NODES), made_by >> 24, operation


def _places(*nodes: Ints) -> tuple[Ints, tuple[Node, ...]]:
    """A table from node code to place, and the places. The table's last entry, for a node that cannot be, is NONE."""
    present = np.zeros(_NODES + 1, dtype=bool)
    for codes in nodes:
        present[codes] = True
    present[_NODES] = False
    table = np.full(_NODES + 1, NONE, dtype=np.int16)
    found = np.flatnonzero(present)
    table[found] = np.arange(len(found), dtype=np.int16)
    return table, tuple(node_of(int(code)) for code in found)


def _threads(names: Names, *columns: tuple[Ints, Ints, Ints]) -> tuple[list[Ints], tuple[tuple[int, int, str], ...]]:
    """Codes of the threads in columns of (run, place, name), and what each code stands for."""
    texts = names.texts
    place_count = 1 + max((int(place.max()) for _, place, _ in columns if len(place)), default=0)
    words = [(run.astype(np.int64) * place_count + place) * len(texts) + name for run, place, name in columns]
    distinct, code = compact(np.concatenate(words))
    node, name = distinct // len(texts), distinct % len(texts)
    known = [(int(n) // place_count, int(n) % place_count, texts[int(t)]) for n, t in zip(node, name, strict=True)]
    return np.split(code, np.cumsum([len(word) for word in words])[:-1]), tuple(known)
