"""Joins the two halves of each message, recorded by two processes, on (request id, direction)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from breakdown.model.identity import NO_REQUEST, Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.store.arrow import nullable, table
from breakdown.store.decode import Ints, Rows, Vocabulary

_SHARED = ("verb", "direction", "key", "step", "size_bytes", "request_id")  # what both halves say
NO_STEP = -1
"""The step of a half whose recorder did not know it: then the other half's counts. So does its key, if it is empty."""
NOTHING = np.iinfo(np.int64).min  # equals no value of a column
_OWN = ("start_ns", "end_ns", "thread", "node", "peer")  # what each says for itself


def message_table(
    sent: Sequence[tuple[Node, Rows]], received: Sequence[tuple[Node, Rows]], run: int, vocabulary: Vocabulary
) -> tuple[pa.Table, tuple[str, ...]]:
    """One row a message, ordered by its sending, and warnings. An end that nobody recorded is null.

    Where a request id was used twice in one direction, the k-th sending goes with the k-th receiving. Messages of no request
    (id 0) are never joined.
    """
    out, into = _halves(sent), _halves(received)
    first, second, reused = _places(out, into)
    count = 1 + int(max(first.max(initial=-1), second.max(initial=-1)))
    no_thread = no_key = vocabulary.codes([""])[0]

    def spread(place: Ints, values: Ints, filling: int = 0) -> Ints:
        column = np.full(count, filling, dtype=np.int64)
        column[place] = values
        return column

    sender = {name: spread(first, out[name], no_thread if name == "thread" else 0) for name in (*_SHARED, *_OWN)}
    receiver = {name: spread(second, into[name], no_thread if name == "thread" else 0) for name in (*_SHARED, *_OWN)}
    is_sent = spread(first, np.ones_like(first)).astype(bool)
    is_received = spread(second, np.ones_like(second)).astype(bool)
    unknown = {"step": NO_STEP, "key": no_key}
    told = {name: is_sent & (sender[name] != unknown.get(name, NOTHING)) for name in _SHARED}
    shared = {name: np.where(told[name] | ~is_received, sender[name], receiver[name]) for name in _SHARED}
    sender_node = np.where(is_sent, sender["node"], receiver["peer"])
    receiver_node = np.where(is_received, receiver["node"], sender["peer"])

    roles = vocabulary.codes(role.label for role in Role)
    columns = {
        "run": np.full(count, run),
        "request_id": shared["request_id"],
        "verb": vocabulary.codes(verb.label for verb in Verb)[shared["verb"]],
        "direction": vocabulary.codes(direction.label for direction in Direction)[shared["direction"]],
        "sender_role": roles[sender_node >> 16],
        "sender_rank": sender_node & 0xFFFF,
        "sender_thread": sender["thread"],
        "receiver_role": roles[receiver_node >> 16],
        "receiver_rank": receiver_node & 0xFFFF,
        "receiver_thread": receiver["thread"],
        "key": shared["key"],
        "step": shared["step"],
        "size_bytes": shared["size_bytes"],
    }
    texts = ("verb", "direction", "sender_role", "sender_thread", "receiver_role", "receiver_thread", "key")
    order = np.argsort(np.where(is_sent, sender["start_ns"], receiver["start_ns"]), kind="stable")
    ordered = {name: values[order] for name, values in columns.items()}
    ends = {
        "send_start_ns": (sender["start_ns"], is_sent),
        "send_end_ns": (sender["end_ns"], is_sent),
        "recv_start_ns": (receiver["start_ns"], is_received),
        "recv_end_ns": (receiver["end_ns"], is_received),
    }
    found = table(
        "messages",
        {name: vocabulary.column(values) if name in texts else values for name, values in ordered.items()}
        | {name: nullable(times[order], ~there[order]) for name, (times, there) in ends.items()},
    )
    both = is_sent & is_received
    differ = np.zeros(count, dtype=bool)
    for name in ("verb", "key", "step", "size_bytes"):
        differ |= told[name] & (sender[name] != receiver[name]) & (receiver[name] != unknown.get(name, NOTHING))
    alone = ~both & (shared["request_id"] != NO_REQUEST)
    return found, _warnings(int(alone.sum()), int((both & differ).sum()), reused, count)


def _halves(parts: Sequence[tuple[Node, Rows]]) -> Mapping[str, Ints]:
    """The halves of all processes, one behind the other."""
    columns: dict[str, Ints] = {}
    for name in (*_SHARED, *_OWN):
        pieces = [np.full(rows.count, node.code) if name == "node" else rows.columns[name] for node, rows in parts]
        columns[name] = np.concatenate([np.empty(0, dtype=np.int64), *pieces])
    return columns


def _places(out: Mapping[str, Ints], into: Mapping[str, Ints]) -> tuple[Ints, Ints, int]:
    """The number of the message that each half belongs to, from 0, and how many halves reused a request id."""
    keys = np.concatenate([half["request_id"] * len(Direction) + half["direction"] for half in (out, into)])
    loose = np.concatenate([half["request_id"] == NO_REQUEST for half in (out, into)])
    ordinals = np.concatenate([_ordinals(half) for half in (out, into)])
    reused = int(np.count_nonzero(ordinals[~loose]))
    numbers = np.unique(keys, return_inverse=True)[1]
    pairs = numbers * (1 + ordinals.max(initial=0)) + ordinals
    pairs[loose] = -1 - np.arange(int(loose.sum()))
    places = np.unique(pairs, return_inverse=True)[1]
    split = len(out["request_id"])
    return places[:split], places[split:], reused


def _ordinals(half: Mapping[str, Ints]) -> Ints:
    """0 for the first half of its request and direction in time, 1 for the second, ..."""
    keys = half["request_id"] * len(Direction) + half["direction"]
    order = np.lexsort((half["start_ns"], keys))
    ordered = keys[order]
    ordinals = np.empty(len(keys), dtype=np.int64)
    ordinals[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered, side="left")
    return ordinals


def _warnings(alone: int, differ: int, reused: int, count: int) -> tuple[str, ...]:
    said: list[str] = []
    if alone:
        said.append(f"{alone} of {count} messages were recorded at one end only")
    if differ:
        said.append(f"{differ} of {count} messages have another key, step or size at the receiver than at the sender")
    if reused:
        said.append(f"{reused} message ends use a request id again; they were joined in order of time")
    return tuple(said)
