"""Each rule of a sound trace, kept and broken; on records and, the same, on tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from breakdown.model.identity import NO_REQUEST, Node, Role, request_id
from breakdown.model.invariants import violations
from breakdown.model.records import Direction, Message, Span, Step, Verb
from breakdown.model.stages import Op, Stage
from breakdown.store.check import check
from breakdown.store.tables import Tables

WORKER, SERVER = Node(Role.WORKER, 0), Node(Role.SERVER, 0)
PUSH = request_id(WORKER, 1)
PULL = request_id(WORKER, 2)


@dataclass(frozen=True)
class Trace:
    spans: tuple[Span, ...]
    messages: tuple[Message, ...]
    steps: tuple[Step, ...]


def message(verb: Verb, direction: Direction, request: int, sender: Node, receiver: Node, start_ns: int) -> Message:
    times = (start_ns, start_ns + 4, start_ns + 3, start_ns + 6)
    threads = ("send", "recv")
    return Message(0, request, verb, direction, sender, receiver, "w", 0, 8, *times, *threads)


SOUND = Trace(
    spans=(
        Span(0, WORKER, "main", 0, Stage.COMPUTE, Op.FORWARD, 0, 10, key="w"),
        Span(0, WORKER, "main", 0, Stage.WAIT, Op.BLOCK, 10, 60, key="w", cause_id=PULL),
        Span(0, WORKER, "send", 0, Stage.SERIALIZE, Op.QUEUE, 8, 22, request_id=PUSH),
        Span(0, SERVER, "recv", 0, Stage.AGGREGATE, Op.QUEUE, 12, 40, request_id=PUSH),
        Span(0, SERVER, "recv", 0, Stage.AGGREGATE, Op.SUM, 30, 40, request_id=PUSH),
    ),
    messages=(
        message(Verb.PUSH, Direction.REQUEST, PUSH, WORKER, SERVER, 10),
        message(Verb.PULL, Direction.REQUEST, PULL, WORKER, SERVER, 14),
        message(Verb.PULL, Direction.REPLY, PULL, SERVER, WORKER, 45),
    ),
    steps=(Step(0, 0, 0, 0, 60, 64), Step(0, 0, 1, 60, 90, 64), Step(0, 1, 0, 5, 60, 64)),
)


def with_span(place: int, **changes: object) -> Trace:
    spans = list(SOUND.spans)
    spans[place] = replace(spans[place], **changes)  # type: ignore[arg-type]
    return replace(SOUND, spans=tuple(spans))


def with_message(place: int, **changes: object) -> Trace:
    messages = list(SOUND.messages)
    messages[place] = replace(messages[place], **changes)  # type: ignore[arg-type]
    return replace(SOUND, messages=tuple(messages))


def with_steps(*steps: Step) -> Trace:
    return replace(SOUND, steps=steps)


BROKEN: Sequence[tuple[str, Trace, str, str]] = (
    ("span", with_span(4, end_ns=25), "ends 5 ns before it starts", "1 spans end before they start"),
    ("sending", with_message(2, send_end_ns=44), "sending .* ends 1 ns before", "1 sendings end before they start"),
    ("receiving", with_message(2, recv_end_ns=47), "receiving .* ends 1 ns before", "1 receivings end before they start"),
    ("step", with_steps(Step(0, 0, 0, 9, 8, 64)), "step 0 ends 1 ns before", "1 steps end before they start"),
    (
        "spans overlap",
        with_span(1, start_ns=9),
        "worker-0, thread main: .*forward w and .*block w overlap by 1 ns",
        "1 activities begin before the one before them in their thread ends; .*role worker",
    ),
    (
        "span and message overlap",
        with_span(4, start_ns=19),
        "server-0, thread recv: .*pull request .* overlap by 1 ns",
        "1 activities begin before .*role server",
    ),
    (
        "never received",
        with_message(0, recv_start_ns=None, recv_end_ns=None),
        "push request .* sent, but nobody recorded its receiving",
        "1 messages were sent, but nobody recorded their receiving",
    ),
    (
        "never sent",
        with_message(0, send_start_ns=None, send_end_ns=None),
        "push request .* received, but nobody recorded its sending",
        "1 messages were received, but nobody recorded their sending",
    ),
    ("early", with_message(2, recv_start_ns=44), "received 1 ns before it was sent", "1 messages were received before"),
    ("unasked", with_message(2, request_id=99), "answers a request that nobody sent", "1 replies answer a request that"),
    ("unknown request", with_span(4, request_id=99), "names the request 99, which", "1 spans name a request_id that nobody"),
    ("unknown cause", with_span(1, cause_id=99), "names the cause 99, which", "1 spans name a cause_id that nobody"),
    (
        "step twice",
        with_steps(Step(0, 0, 1, 0, 5, 64), Step(0, 0, 1, 5, 9, 64)),
        "worker-0: step 1 is recorded twice",
        "1 steps are recorded twice",
    ),
    (
        "steps overlap",
        with_steps(Step(0, 0, 1, 0, 5, 64), Step(0, 0, 2, 4, 9, 64)),
        "step 2 starts 1 ns before step 1 ends",
        "1 steps start before the one before them ends",
    ),
)


def tables(trace: Trace) -> Tables:
    def categories(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.astype({name: "category" for name in frame if not pd.api.types.is_numeric_dtype(frame[name])})

    spans = pd.DataFrame(
        [
            (s.run, s.node.role.label, s.node.rank, s.thread, s.op, s.start_ns, s.end_ns, s.request_id, s.cause_id)
            for s in trace.spans
        ],
        columns=["run", "role", "rank", "thread", "op", "start_ns", "end_ns", "request_id", "cause_id"],
    )
    times = ["send_start_ns", "send_end_ns", "recv_start_ns", "recv_end_ns"]
    messages = pd.DataFrame(
        [
            {
                "run": m.run,
                "request_id": m.request_id,
                "direction": m.direction.label,
                "sender_role": m.sender.role.label,
                "sender_rank": m.sender.rank,
                "sender_thread": m.sender_thread,
                "receiver_role": m.receiver.role.label,
                "receiver_rank": m.receiver.rank,
                "receiver_thread": m.receiver_thread,
                **{name: getattr(m, name) for name in times},
            }
            for m in trace.messages
        ]
    ).astype(dict.fromkeys(times, "Int64"))
    steps = pd.DataFrame(
        [(s.run, s.rank, s.step, s.start_ns, s.end_ns) for s in trace.steps],
        columns=["run", "rank", "step", "start_ns", "end_ns"],
    )
    return Tables(categories(spans), categories(messages), steps, {}, {})


def on_records(trace: Trace) -> list[str]:
    return violations(trace.spans, trace.messages, trace.steps)


def on_tables(trace: Trace) -> list[str]:
    return check(tables(trace))


@pytest.mark.parametrize("checked", [on_records, on_tables])
def test_a_sound_trace_breaks_no_rule(checked: Callable[[Trace], list[str]]) -> None:
    assert checked(SOUND) == []
    assert checked(Trace((), SOUND.messages, ())) == []


@pytest.mark.parametrize("checked", [on_records, on_tables])
def test_each_end_of_a_message_without_a_request_stands_for_itself(checked: Callable[[Trace], list[str]]) -> None:
    joining = replace(SOUND.messages[0], request_id=NO_REQUEST, verb=Verb.CONTROL)
    sent = replace(joining, send_start_ns=70, send_end_ns=74, recv_start_ns=None, recv_end_ns=None)
    received = replace(joining, send_start_ns=None, send_end_ns=None, recv_start_ns=80, recv_end_ns=81)
    assert checked(replace(SOUND, messages=(*SOUND.messages, sent, received))) == []


@pytest.mark.parametrize(
    ("trace", "text"), [(trace, text) for _, trace, text, _ in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_a_broken_rule_is_one_sentence(trace: Trace, text: str) -> None:
    (sentence,) = on_records(trace)
    assert pd.Series([sentence]).str.contains(text).all(), sentence


@pytest.mark.parametrize(
    ("trace", "text"), [(trace, text) for _, trace, _, text in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_a_broken_rule_is_one_sentence_on_tables_too(trace: Trace, text: str) -> None:
    (sentence,) = on_tables(trace)
    assert pd.Series([sentence]).str.contains(text).all(), sentence
