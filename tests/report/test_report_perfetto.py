"""The exported trace, read back with Perfetto's own message definitions, by the rules of its trace processor."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema
from simulated import Trace, message_rows, rows, simulate

from breakdown.errors import UsageError
from breakdown.model.stages import REQUEST_OPS, Op
from breakdown.report import perfetto, trackevents
from breakdown.store.tables import Tables

Begin, End, Instant = (getattr(schema.TrackEvent, f"TYPE_{kind}") for kind in ("SLICE_BEGIN", "SLICE_END", "INSTANT"))


@dataclass
class ReadSlice:
    process: str
    track: str
    name: str
    category: str
    start: int
    end: int
    arguments: dict[str, Any]


@dataclass
class ReadTrace:
    """Slices and flows, as the trace processor makes them: a flow joins each slice with the next one of the same id, and
    runs from the one that starts first. A moment is a slice without length."""

    processes: dict[int, str] = field(default_factory=dict)
    threads: dict[int, tuple[str, str]] = field(default_factory=dict)  # thread tracks: process and thread
    tracks: dict[int, tuple[str, str]] = field(default_factory=dict)  # all tracks below processes
    slices: list[ReadSlice] = field(default_factory=list)
    flows: set[tuple[int, int]] = field(default_factory=set)  # indices of slices


def read(path: Path) -> ReadTrace:
    trace, out = schema.Trace(), ReadTrace()
    trace.ParseFromString(path.read_bytes())
    assert trace.packet[0].sequence_flags == schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    open_slices: dict[int, list[int]] = {}
    last_of_flow: dict[int, int] = {}
    before = 0
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == trackevents.SEQUENCE
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            if track.HasField("process"):
                assert track.process.pid not in out.processes
                out.processes[track.uuid] = track.process.process_name
                continue
            name = track.thread.thread_name if track.HasField("thread") else track.name
            out.tracks[track.uuid] = (out.processes[track.parent_uuid], name)
            if track.HasField("thread"):
                assert track.thread.pid == track.parent_uuid
                out.threads[track.uuid] = out.tracks[track.uuid]
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        assert packet.timestamp >= before, "events stand in the order of time"
        before = packet.timestamp
        stack = open_slices.setdefault(event.track_uuid, [])
        if event.type in (Begin, Instant):
            assert not stack, "slices of one track do not overlap"
            arguments = {a.name: a.int_value if a.HasField("int_value") else a.string_value for a in event.debug_annotations}
            process, name = out.tracks[event.track_uuid]
            out.slices.append(ReadSlice(process, name, event.name, event.categories[0], packet.timestamp, -1, arguments))
            current = len(out.slices) - 1
            if event.type == Begin:
                stack.append(current)
            else:
                out.slices[current].end = packet.timestamp
        else:
            assert event.type == End
            current = stack.pop()
            out.slices[current].end = packet.timestamp
        for flow in event.flow_ids:
            if flow in last_of_flow:
                assert event.type != End
                out.flows.add((last_of_flow[flow], current))
            last_of_flow[flow] = current
    assert not any(open_slices.values()), "each slice ends"
    return out


def tables(trace: Trace) -> Tables:
    spans = pd.DataFrame(rows(trace.spans)).astype(
        {"cpu_ns": "Int64", "runnable_ns": "Int64", "stage": "category", "op": "category"}
    )
    messages = pd.DataFrame(message_rows(trace.messages)).astype({"recv_start_ns": "Int64", "recv_end_ns": "Int64"})
    return Tables(spans, messages, pd.DataFrame(), {}, {})


@pytest.fixture
def trace() -> Trace:
    return simulate()


@pytest.fixture
def found(trace: Trace, tmp_path: Path) -> ReadTrace:
    return read(perfetto.write(tables(trace), tmp_path / "run.perfetto-trace"))


def test_processes_and_threads_are_those_of_the_run(trace: Trace, found: ReadTrace) -> None:
    assert list(found.processes.values()) == ["worker-0", "worker-1", "server-0"]
    recorded = {(str(span.node), span.thread) for span in trace.spans if span.op not in REQUEST_OPS}
    recorded |= {(str(m.sender), m.sender_thread) for m in trace.messages}
    recorded |= {(str(m.receiver), m.receiver_thread) for m in trace.messages}
    assert set(found.threads.values()) == recorded
    assert {name for process, name in found.tracks.values() if (process, name) not in recorded} == {perfetto.REQUESTS}


def test_each_span_is_one_slice_with_its_times_and_arguments(trace: Trace, found: ReadTrace) -> None:
    wanted = sorted(
        (
            str(span.node),
            perfetto.REQUESTS if span.op in REQUEST_OPS else span.thread,
            f"{span.op} {span.key}".strip(),
            span.stage.label,
            span.start_ns,
            span.end_ns,
            span.key,
            span.step,
            span.size_bytes,
            span.request_id,
        )
        for span in trace.spans
    )
    got = sorted(
        (
            s.process,
            s.track,
            s.name,
            s.category,
            s.start,
            s.end,
            s.arguments.get("key", ""),
            s.arguments["step"],
            s.arguments["size_bytes"],
            s.arguments.get("request_id", 0),
        )
        for s in found.slices
        if not s.name.startswith(("send ", "receive ", "woken "))
    )
    assert got == wanted


def test_each_message_is_a_slice_at_both_ends(trace: Trace, found: ReadTrace) -> None:
    wanted = set()
    for m in trace.messages:
        what = f"{m.verb.label} {m.direction.label} {m.key}"
        wanted.add((str(m.sender), m.sender_thread, f"send {what}", m.send_start_ns, m.send_end_ns))
        wanted.add((str(m.receiver), m.receiver_thread, f"receive {what}", m.recv_start_ns, m.recv_end_ns))
    halves = [s for s in found.slices if s.name.startswith(("send ", "receive "))]
    assert len(halves) == 2 * len(trace.messages)
    assert {(s.process, s.track, s.name, s.start, s.end) for s in halves} == wanted


def one(found: ReadTrace, process: str, name: str, step: int = 0) -> int:
    hits = [
        index
        for index, s in enumerate(found.slices)
        if s.process == process and s.name == name and s.arguments["step"] == step
    ]
    assert len(hits) == 1, (process, name, hits)
    return hits[0]


def reachable(found: ReadTrace, start: int) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for source, target in found.flows:
            if source == here and target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


@pytest.mark.parametrize("worker", ["worker-0", "worker-1"])
@pytest.mark.parametrize("step", [0, 1])
def test_flows_lead_from_push_over_aggregate_to_pull(found: ReadTrace, worker: str, step: int) -> None:
    key = "fc1.weight"
    push = one(found, worker, f"send push request {key}", step)
    seen = {(found.slices[i].process, found.slices[i].name.removesuffix(f" {key}")) for i in reachable(found, push)}
    expected = {
        (worker, "send push request"),
        ("server-0", "receive push request"),
        ("server-0", "decode"),
        ("server-0", "sum"),
        ("server-0", "update"),
        ("server-0", "send pull reply"),
        (worker, "receive pull reply"),
        (worker, "decode"),
    }
    assert expected <= seen
    assert ("server-0", "update") in {
        (found.slices[a].process, found.slices[a].name.removesuffix(f" {key}"))
        for a, b in found.flows
        if found.slices[b].name == f"encode {key}" and found.slices[b].process == "server-0"
    }, "the reply's encode follows straight from the update that released it"


def test_the_wait_that_a_reply_ends_is_the_end_of_its_flow(trace: Trace, found: ReadTrace) -> None:
    blocks = [span for span in trace.spans if span.op == Op.BLOCK]
    assert blocks
    for span in blocks:
        (woken,) = [
            index
            for index, s in enumerate(found.slices)
            if (s.process, s.track, s.name, s.start) == (str(span.node), span.thread, f"woken {span.key}", span.end_ns)
        ]
        decode = next(
            index
            for index, s in enumerate(found.slices)
            if s.process == str(span.node) and s.name == f"decode {span.key}" and s.arguments["request_id"] == span.cause_id
        )
        assert (decode, woken) in found.flows
        assert not [target for source, target in found.flows if source == woken], "nothing follows from a wait"


def test_flows_of_two_repetitions_do_not_mix(trace: Trace, tmp_path: Path) -> None:
    both = tables(trace)
    later = tables(simulate(origin=900_000_000))
    spans = pd.concat([both.spans.astype(object), later.spans.astype(object).assign(run=1)])
    messages = pd.concat([both.messages, later.messages.assign(run=1)])
    joined = Tables(spans, messages, pd.DataFrame(), {}, {})
    found = read(perfetto.write(joined, tmp_path / "both"))
    assert set(found.processes.values()) == {
        f"{node}, repetition {run}" for node in ("worker-0", "worker-1", "server-0") for run in (0, 1)
    }
    for source, target in found.flows:
        assert found.slices[source].process[-1] == found.slices[target].process[-1]
    only = read(perfetto.write(joined, tmp_path / "one", run=1))
    assert set(only.processes.values()) == {"worker-0", "worker-1", "server-0"}
    assert min(s.start for s in only.slices) == 900_000_000
    with pytest.raises(UsageError, match=r"no repetition 7 to export\. Recorded repetitions: 0, 1"):
        perfetto.write(joined, tmp_path / "none", run=7)


def test_a_half_that_was_not_recorded_has_no_slice(trace: Trace, tmp_path: Path) -> None:
    lost = tables(trace)
    lost.messages.loc[0, ["recv_start_ns", "recv_end_ns"]] = pd.NA
    found = read(perfetto.write(lost, tmp_path / "lost"))
    assert len([s for s in found.slices if s.name.startswith("receive ")]) == len(trace.messages) - 1


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63 - 1, 2**64 - 1])
def test_varints_agree_with_protobuf(value: int) -> None:
    packet = schema.TracePacket()
    packet.ParseFromString(trackevents.number(trackevents.PACKET_TIMESTAMP, value))
    assert packet.timestamp == value


def test_negative_arguments_survive() -> None:
    found = schema.Trace()
    found.ParseFromString(trackevents.slice_begin(1, 5, "n", "c", {"step": -1}, ()))
    assert found.packet[0].track_event.debug_annotations[0].int_value == -1


FLOWS = """
select a.name as source, a.ts as source_ns, b.name as target, b.ts as target_ns
from flow join slice a on slice_out = a.id join slice b on slice_in = b.id
"""

PUSH_TO_PULL = """
with recursive reached(id) as (
  select id from slice where name = 'send push request conv1.weight'
  union select slice_in from flow join reached on slice_out = reached.id
)
select distinct name from reached join slice using (id)
"""


@pytest.mark.skipif(shutil.which("trace_processor_shell") is None, reason="trace_processor_shell is not on the PATH")
def test_the_trace_processor_itself_answers_queries(trace: Trace, tmp_path: Path) -> None:
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    path = perfetto.write(tables(trace), tmp_path / "run.perfetto-trace")
    mine = read(path)
    config = TraceProcessorConfig(bin_path=shutil.which("trace_processor_shell"))
    processor = TraceProcessor(trace=str(path), config=config)

    def query(text: str) -> list[tuple[Any, ...]]:
        return [tuple(row.__dict__.values()) for row in processor.query(text)]

    try:
        assert query("select name, value from stats where severity = 'error' and value > 0") == []
        assert set(query("select name from process where pid > 0")) == {("worker-0",), ("worker-1",), ("server-0",)}
        found = query("select name, ts, ts + dur from slice")
        assert sorted(found) == sorted((one.name, one.start, one.end) for one in mine.slices)
        arrows = query(FLOWS)
        ends = [(mine.slices[source], mine.slices[target]) for source, target in mine.flows]
        assert sorted(arrows) == sorted((a.name, a.start, b.name, b.start) for a, b in ends)
        passed = {name for (name,) in query(PUSH_TO_PULL)}
        steps = ("receive push request", "sum", "update", "send pull reply", "receive pull reply", "decode", "woken")
        assert {f"{step} conv1.weight" for step in steps} <= passed
    finally:
        processor.close()
