"""Hand-made raw rows of TensorFlow's native recorder, and what was converted from them as plain records."""

from __future__ import annotations

from typing import Any

from breakdown.model.records import Direction, Message, Span, Verb
from breakdown.model.stages import Stage
from breakdown.record.layout import Kind
from breakdown.store.decode import Vocabulary
from breakdown.store.tensorflow.convert import rows_of
from breakdown.store.tensorflow.raw import Activity, Half, Process

Time = tuple[int, int]


def did(kind: str, name: str, start: int, end: int, number: int, thread: str = "tf_Compute", **more: int) -> Activity:
    """A row of a thread."""
    return Activity(kind, name, number, thread, start, end, more.get("cause", 0), more.get("size", 0))


def halves(
    what: str, number: int, stream: int, size: int, reply: int, *times: Time, ends: tuple[int, int]
) -> tuple[list[Half], list[Half]]:
    """(the client's, the server's) halves of a call: request sent, received, reply sent, received."""
    asked, got, answered, had = times
    client, server = ends
    request = (Direction.REQUEST, what, number, size, stream)
    answer = (Direction.REPLY, "", 0, reply, stream)
    return (
        [Half(True, *request, client, *asked), Half(False, *answer, client, *had)],
        [Half(False, *request, server, *got), Half(True, *answer, server, *answered)],
    )


def converted(processes: list[Process]) -> tuple[list[Span], list[Message]]:
    """All spans and messages, times as they were recorded."""
    vocabulary = Vocabulary()
    by_node = rows_of(processes, vocabulary)
    texts = list(vocabulary._codes)
    spans: list[Span] = []
    ends: dict[tuple[int, int], dict[str, Any]] = {}
    for node, kinds in by_node.items():
        table = kinds[Kind.SPAN].columns
        for at in range(kinds[Kind.SPAN].count):
            one = {name: int(values[at]) for name, values in table.items()}
            spans.append(
                Span(0, node, texts[one["thread"]], one["step"], Stage(one["stage"]), texts[one["op"]], one["start_ns"],
                     one["end_ns"], texts[one["key"]], one["size_bytes"], one["request_id"], one["cause_id"])
            )  # fmt: skip
        for kind in (Kind.SENT, Kind.RECEIVED):
            table = kinds[kind].columns
            for at in range(kinds[kind].count):
                one = {name: int(values[at]) for name, values in table.items()}
                end = ends.setdefault((one["request_id"], one["direction"]), one)
                end[kind.name] = (node, texts[one["thread"]], one["start_ns"], one["end_ns"])
    messages = [
        Message(0, one["request_id"], Verb(one["verb"]), Direction(one["direction"]), one["SENT"][0], one["RECEIVED"][0],
                texts[one["key"]], one["step"], one["size_bytes"], *one["SENT"][2:], *one["RECEIVED"][2:], one["SENT"][1],
                one["RECEIVED"][1])
        for one in ends.values()
    ]  # fmt: skip
    return spans, messages


def only(spans: list[Span], **wanted: object) -> Span:
    """The one span of which all this holds."""
    (found,) = [span for span in spans if all(getattr(span, name) == value for name, value in wanted.items())]
    return found
