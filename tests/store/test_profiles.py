"""Profiles made by hand, imported: where each microsecond goes, and what is said of broken and foreign files."""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from profile_messages import (
    BEGIN_NS,
    MS,
    US,
    WEIGHT_BYTES,
    Event,
    local_step,
    node,
    recv,
    run_metadata,
    timeline_of,
    xspace,
)

from breakdown.analysis.account import account
from breakdown.analysis.critical_path import walk
from breakdown.errors import UsageError
from breakdown.model.identity import NO_REQUEST, Node, Role
from breakdown.runner.imports import CELL, import_profile, role
from breakdown.store.check import check
from breakdown.store.tables import Tables, load

GIVEN: dict[Path, Node] = {}


def imported(tmp: Path, *paths: Path, roles: dict[Path, Node] = GIVEN, warmup_steps: int = 0) -> Tables:
    import_profile(paths, tmp / "out", warmup_steps, None, roles)
    return load(tmp / "out" / CELL)


def exposed_us(tables: Tables) -> dict[tuple[str, str, str], int]:
    """(stage, op, place) -> us of all steps."""
    assert check(tables) == []
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    for one in walk(tables).itertuples():
        found[str(one.stage), str(one.op), str(one.place)] += (one.end_ns - one.start_ns) // US
    return dict(found)


def warnings(tables: Tables) -> str:
    return "\n".join(account(tables).finding.warnings)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_step_of_run_metadata(tmp_path: Path) -> None:
    tables = imported(tmp_path, write(tmp_path / "step", run_metadata().SerializeToString()))
    assert tables.steps[["start_ns", "end_ns"]].to_numpy().tolist() == [[BEGIN_NS, BEGIN_NS + MS]]
    assert exposed_us(tables) == {
        ("pull", "handover", "server-0"): 100,  # until the server began
        ("pull", "handover", "worker-0"): 10,  # from the weight being read to its sending, for which the worker waits
        ("aggregate", "NoOp", "server-0"): 10,
        ("aggregate", "handover", "server-0"): 10 + 50,  # until the variable's handle ran; until a thread took the update
        ("aggregate", "VarHandleOp", "server-0"): 5,
        ("aggregate", "ReadVariableOp", "server-0"): 15,
        ("pull", "transfer", "worker-0"): 150,
        ("compute", "handover", "worker-0"): 10,
        ("compute", "forward", "worker-0"): 190,
        ("compute", "backward", "worker-0"): 100,
        ("push", "handover", "server-0"): 20,
        ("push", "transfer", "server-0"): 280,
        ("aggregate", "update", "server-0"): 50,
    }
    moved = tables.messages[["verb", "sender_role", "receiver_role", "key", "size_bytes"]].astype({"size_bytes": int})
    assert sorted(map(tuple, moved.to_numpy().tolist())) == [
        ("pull", "server", "worker", "w", WEIGHT_BYTES),
        ("push", "worker", "server", "w", WEIGHT_BYTES),
    ]
    assert "does not name the hosts" in warnings(tables)


def test_each_worker_counts_its_own_steps(tmp_path: Path) -> None:
    for worker, shift_us in ((0, 0), (1, 300), (0, 1100), (1, 1400), (0, 2200)):
        write(tmp_path / "in" / f"{worker}-{shift_us}.pb", run_metadata(worker, shift_us).SerializeToString())
    tables = imported(tmp_path, tmp_path / "in", warmup_steps=1)
    assert tables.steps[["rank", "step", "warm_up"]].to_numpy().tolist() == [
        [0, 0, True], [0, 1, False], [0, 2, False], [1, 0, True], [1, 1, False],
    ]  # fmt: skip
    exposed_us(tables)


def test_a_chief_that_trains_is_the_first_worker(tmp_path: Path) -> None:
    for worker, shift_us in ((0, 0), (1, 300)):
        content = run_metadata(worker, shift_us).SerializeToString()
        chief = run_metadata(0, 700 + shift_us)
        for device in chief.step_stats.dev_stats:
            device.device = device.device.replace(b"worker", b"chief")
            for one in device.node_stats:
                one.timeline_label = one.timeline_label.replace(b"worker", b"chief")
        write(tmp_path / "in" / f"{worker}.pb", content)
        if worker == 0:
            write(tmp_path / "in" / "chief.pb", chief.SerializeToString())
    tables = imported(tmp_path, tmp_path / "in")
    exposed_us(tables)
    starts = tables.steps.set_index("rank")["start_ns"]
    assert ((starts - BEGIN_NS) // US).to_dict() == {0: 700, 1: 0, 2: 300}


def test_a_lost_record_leaves_its_time_unexplained(tmp_path: Path) -> None:
    metadata = run_metadata(without=("gradients/MatMul_grad/MatMul_1",))
    tables = imported(tmp_path, write(tmp_path / "step", metadata.SerializeToString()))
    found = exposed_us(tables)
    assert found["other", "unexplained", "server-0"] == 920 - 125  # from what is known to be needed until it could run
    assert "did not record how 1 tensors came, in 1 of 1 steps" in warnings(tables)


def test_a_timeline_tells_what_run_metadata_tells_but_the_tensors(tmp_path: Path) -> None:
    path = write(tmp_path / "timeline.json", json.dumps(timeline_of(run_metadata())).encode())
    tables = imported(tmp_path, path)
    found = exposed_us(tables)
    assert found["pull", "transfer", "worker-0"] == 150
    assert found["push", "transfer", "server-0"] == 280
    assert found["compute", "backward", "worker-0"] == 100
    assert sum(found.values()) == 1000
    assert len(tables.messages) == 0


def test_a_packed_timeline_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "timeline.json.gz", gzip.compress(json.dumps(timeline_of(run_metadata())).encode()))
    assert len(imported(tmp_path, path).steps) == 1


@pytest.mark.parametrize("ahead_us", [5_000, -5_000])
def test_clocks_that_differ_are_brought_together_with_their_bound(tmp_path: Path, ahead_us: int) -> None:
    """Between tensors that left and came back lie at least 400 us of a step, so half of that is the bound, and not less."""
    for shift_us in (0, 1100, 2200):
        metadata = run_metadata(0, shift_us, ahead_us)
        if ahead_us < 0:  # the beginning of a sending is the sender's, but not after the end
            worker = metadata.step_stats.dev_stats[0].node_stats[1]
            worker.all_start_micros += ahead_us
            worker.all_end_rel_micros -= ahead_us
        write(tmp_path / "in" / f"{shift_us}.pb", metadata.SerializeToString())
    tables = imported(tmp_path, tmp_path / "in")
    exposed_us(tables)
    entry = tables.clock["runs"]["0"]
    assert entry["reference"] == "server-0"
    assert entry["nodes"]["worker-0"]["offset_ns"] == 0
    bound_ns = entry["nodes"]["worker-0"]["bound_ns"]
    assert bound_ns > 0
    moved = BEGIN_NS + ahead_us * US
    assert abs(int(tables.steps["start_ns"].min()) - moved) <= bound_ns
    assert "moved by" in warnings(tables)
    assert "right to within" in warnings(tables)


def merged(*steps: dict[str, list[Event]]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for one in steps:
        for thread, events in one.items():
            found[thread] += events
    return found


def test_a_process_of_its_own(tmp_path: Path) -> None:
    lines = merged(local_step(1000, 0), local_step(1200, 1))
    path = write(tmp_path / "plugins/profile/now/machine.xplane.pb", xspace(lines).SerializeToString())
    tables = imported(tmp_path, tmp_path)
    assert tables.steps["start_ns"].tolist() == [BEGIN_NS + 1000 * US, BEGIN_NS + 1200 * US]
    assert exposed_us(tables) == {
        ("serialize", "submit", "worker-0"): 2 * (20 + 20),  # until the function was handed over; from its end
        ("compute", "handover", "worker-0"): 2 * 10,
        ("compute", "forward", "worker-0"): 2 * 30,
        ("compute", "backward", "worker-0"): 2 * 20,
    }
    assert "calls of __inference_train_step_1" in warnings(tables)
    assert path.exists()


def test_marked_steps_count_as_marked(tmp_path: Path) -> None:
    lines = merged(local_step(1000, 0, marked=True), local_step(1200, 1, marked=True))
    tables = imported(tmp_path, write(tmp_path / "machine.xplane.pb", xspace(lines).SerializeToString()))
    found = exposed_us(tables)
    assert sum(found.values()) == 2 * 120
    assert found["other", "python", "worker-0"] == 2 * 20


def graph_run(number: int) -> tuple[dict[str, list[Event]], dict[str, list[Event]]]:
    """What a worker and a server did in one run of a graph: pull, multiply, push, update."""
    at = number * 1000
    recv = {"name": "w/read/_4", "kernel_type": "_Recv", "step_id": number}
    push = {"name": "g/_6", "kernel_type": "_Recv", "step_id": number}
    worker, server = "/job:worker/replica:0/task:0/device:CPU:0", "/job:ps/replica:0/task:0/device:CPU:0"
    to_worker = {"from": "w/read", "key": f"{server};1;{worker};edge_1_w/read;0:0"}
    to_server = {"from": "g", "key": f"{worker};2;{server};edge_2_g;0:0"}
    own: dict[str, list[Event]] = {
        "tf_Compute/1": [
            ("ExecutorState::Process", at, at + 20, {"id": number}),
            ("ExecutorState::ProcessAsync::Start", at, at + 20, recv),
            ("ExecutorState::Process", at + 110, at + 400, {"id": number}),
            ("g:MatMul", at + 110, at + 300, {}),
            ("g/_5:_Send", at + 300, at + 350, to_server),
        ],
        "grpc": [("ExecutorState::ProcessAsync::Done", at + 100, at + 105, recv)],
    }
    other: dict[str, list[Event]] = {
        "tf_Compute/9": [
            ("ExecutorState::Process", at + 30, at + 60, {"id": number}),
            ("w/read:ReadVariableOp", at + 30, at + 40, {}),
            ("w/read/_3:_Send", at + 40, at + 50, to_worker),
            ("ExecutorState::ProcessAsync::Start", at + 50, at + 55, push),
            ("ExecutorState::Process", at + 500, at + 600, {"id": number}),
            ("AssignSubVariableOp:AssignSubVariableOp", at + 500, at + 600, {}),
        ],
        "grpc": [("ExecutorState::ProcessAsync::Done", at + 480, at + 490, push)],
    }
    return own, other


def two_roles(folder: Path, server_host: str = "machine", server_begin_ns: int | None = BEGIN_NS) -> Path:
    runs = [graph_run(number) for number in (1, 2, 3)]
    worker, server = (merged(*(one[at] for one in runs)) for at in (0, 1))
    write(folder / "a.xplane.pb", xspace(worker).SerializeToString())
    write(folder / "b.xplane.pb", xspace(server, server_host, server_begin_ns).SerializeToString())
    return folder


def test_roles_are_told_by_the_tensors_that_they_sent(tmp_path: Path) -> None:
    tables = imported(tmp_path, two_roles(tmp_path / "in"))
    found = exposed_us(tables)
    assert set(tables.clock["runs"]["0"]["nodes"]) == {"server-0", "worker-0"}
    assert len(tables.steps) == 3
    assert found["pull", "transfer", "worker-0"] == 3 * 50  # from the end of the server's _Send
    assert found["compute", "forward", "worker-0"] == 3 * 190
    assert "its steps are its runs of a graph" in warnings(tables)


def test_another_hosts_clock_is_stated(tmp_path: Path) -> None:
    tables = imported(tmp_path, two_roles(tmp_path / "in", "another", BEGIN_NS + 7 * MS))
    exposed_us(tables)
    assert "to server-0's clock, which is right to within" in warnings(tables)


def test_times_from_the_start_of_a_profile_are_no_hosts_clock(tmp_path: Path) -> None:
    tables = imported(tmp_path, two_roles(tmp_path / "in", "machine", None))
    exposed_us(tables)
    assert "to server-0's clock, which is right to within" in warnings(tables)


def test_clocks_without_tensors_both_ways_stay_and_say_so(tmp_path: Path) -> None:
    folder = two_roles(tmp_path / "in", "another")
    own = merged(*(graph_run(number)[0] for number in (1, 2)))
    own["tf_Compute/1"] = [event for event in own["tf_Compute/1"] if not event[0].startswith("g")]
    path = write(folder / "a.xplane.pb", xspace(own).SerializeToString())
    tables = imported(tmp_path, folder, roles={path: Node(Role.WORKER, 0)})
    exposed_us(tables)
    assert tables.clock["runs"]["0"]["nodes"]["worker-0"]["offset_ns"] is None
    assert "worker-0 cannot be compared with server-0's: no tensors went both ways" in warnings(tables)


def test_a_role_that_is_not_told_must_be_given(tmp_path: Path) -> None:
    folder = two_roles(tmp_path / "in")
    path = write(folder / "c.xplane.pb", xspace(local_step(1000, 0)).SerializeToString())
    with pytest.raises(UsageError, match=r"c\.xplane\.pb does not tell which role.*--role worker-0="):
        imported(tmp_path, folder)
    tables = imported(tmp_path, folder, roles={path: Node(Role.WORKER, 1)})
    assert set(tables.steps["rank"]) == {0, 1}


def test_a_role_for_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of the files that were read"):
        imported(tmp_path, two_roles(tmp_path / "in"), roles={tmp_path / "x": Node(Role.WORKER, 1)})


def test_the_names_of_roles() -> None:
    assert role("worker-12") == Node(Role.WORKER, 12)
    for text in ("chief", "worker-", "worker-x", "ps-0"):
        with pytest.raises(UsageError, match=r"unknown role .* Known: worker-N, server-N, scheduler-0"):
            role(text)


def test_what_cannot_be_read_is_named_with_what_was_expected(tmp_path: Path) -> None:
    whole = xspace(local_step(1000, 0)).SerializeToString()
    metadata = run_metadata().SerializeToString()
    timeline = json.dumps(timeline_of(run_metadata())).encode()
    cases = {
        "a.xplane.pb": (whole[:-1], "cut off or damaged"),
        "b": (metadata[:-1], "cut off or damaged"),
        "c.json": (timeline[:-1], "JSON that is cut off or damaged"),
        "d.json": (b"{}", "no timeline of TensorFlow's"),
        "e.pb": (b"", "is empty"),
        "f.txt": (b"step 1, loss 0.5\n", "is no profile"),
        "g.json.gz": (gzip.compress(timeline)[:-9], "is packed, and cut off"),
        "h.pb": (xspace({}).planes[1].SerializeToString(), "holds no profile"),
    }
    for name, (content, says) in cases.items():
        path = write(tmp_path / name, content)
        with pytest.raises(UsageError, match=says) as found:
            imported(tmp_path, path)
        assert str(path) in str(found.value)
        assert "Expected an XPlane file" in str(found.value)
        assert "serialised RunMetadata" in str(found.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_profile(tmp_path: Path) -> None:
    write(tmp_path / "in" / "checkpoint", b"model_checkpoint_path: 'x'\n")
    with pytest.raises(UsageError, match=r"there is no profile in .*in\. Expected"):
        imported(tmp_path, tmp_path / "in")
    with pytest.raises(UsageError, match="there is no file or folder"):
        imported(tmp_path, tmp_path / "nowhere")


def test_a_broken_file_in_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "in" / "0.pb", run_metadata().SerializeToString())
    write(tmp_path / "in" / "1.pb", run_metadata(0, 1100).SerializeToString()[:-1])
    with pytest.raises(UsageError, match=r"1\.pb .*cut off"):
        imported(tmp_path, tmp_path / "in")


def test_two_kinds_two_profiles_or_one_twice(tmp_path: Path) -> None:
    xplane = write(tmp_path / "x" / "1" / "m.xplane.pb", xspace(local_step(1000, 0)).SerializeToString())
    metadata = write(tmp_path / "m.pb", run_metadata().SerializeToString())
    with pytest.raises(UsageError, match="Give the files of one kind"):
        imported(tmp_path, xplane, metadata)
    write(tmp_path / "x" / "2" / "m.xplane.pb", xspace(local_step(1000, 0)).SerializeToString())
    with pytest.raises(UsageError, match="is there 2 times"):
        imported(tmp_path, tmp_path / "x")
    with pytest.raises(UsageError, match="two steps of worker-0 overlap"):
        imported(tmp_path, metadata, metadata)


def test_a_profile_without_a_step(tmp_path: Path) -> None:
    idle: dict[str, list[Event]] = {"python": [("tf.constant", 0, 5, {})]}
    path = write(tmp_path / "m.xplane.pb", xspace(idle).SerializeToString())
    with pytest.raises(UsageError, match=r"--role worker-0="):
        imported(tmp_path, path)
    with pytest.raises(UsageError, match="holds no operation that worker-0 ran"):
        imported(tmp_path, path, roles={path: Node(Role.WORKER, 0)})


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path / "step.pb", run_metadata().SerializeToString())
    with pytest.raises(UsageError, match="--warmup-steps 1 leaves nothing"):
        imported(tmp_path, path, warmup_steps=1)
    with pytest.raises(UsageError, match="--role is for XPlane files"):
        imported(tmp_path, path, roles={path: Node(Role.WORKER, 0)})
    write(tmp_path / "out" / "mine", b"x")
    with pytest.raises(UsageError, match="is not empty"):
        imported(tmp_path, path)


def test_waiting_for_an_input_queue_is_input(tmp_path: Path) -> None:
    """The worker's matrix waits for a batch, for 60 us of which nothing else is done."""
    own, other = graph_run(1)
    taken = {"name": "batch", "kernel_type": "QueueDequeueManyV2", "step_id": 1}
    own["tf_Compute/1"] = [
        ("ExecutorState::Process", 1000, 1020, {"id": 1}),
        ("ExecutorState::ProcessAsync::Start", 1000, 1020, taken),
        ("ExecutorState::Process", 1110, 1400, {"id": 1}),
        *own["tf_Compute/1"][3:],
    ]
    own["grpc"] = [("ExecutorState::ProcessAsync::Done", 1100, 1105, taken)]
    for name, lines in (("a", own), ("b", other)):
        write(tmp_path / "in" / f"{name}.xplane.pb", xspace(lines).SerializeToString())
    found = exposed_us(imported(tmp_path, tmp_path / "in"))
    assert found["input", "load", "worker-0"] == 100
    assert not [stage for stage, _, _ in found if stage in ("wait", "other")]


@pytest.mark.parametrize(("kind", "stage"), [("MatMul", "input"), ("AssignAdd", "wait")])
def test_what_is_taken_from_a_queue_is_a_batch_where_something_is_computed_of_it(
    tmp_path: Path, kind: str, stage: str
) -> None:
    metadata, taken = run_metadata(), "QueueDequeueManyV2"
    worker = metadata.step_stats.dev_stats[0].node_stats
    end_us = MS // US  # of the step until then
    worker.extend([
        node("taken", taken, "queue", end_us, end_us + 200), node("used", kind, "taken", end_us + 200, end_us + 300)
    ])  # fmt: skip
    found = exposed_us(imported(tmp_path, write(tmp_path / "step", metadata.SerializeToString())))
    assert sum(us for (of, op, _), us in found.items() if of == stage and op in ("load", taken)) == 200


@pytest.mark.parametrize(("kind", "stage"), [("MatMul", "input"), ("AssignAdd", "wait")])
def test_what_a_server_takes_from_a_queue_is_a_batch_where_a_worker_computes_of_it(
    tmp_path: Path, kind: str, stage: str
) -> None:
    metadata, taken = run_metadata(), "QueueDequeueManyV2"
    own, server = metadata.step_stats.dev_stats
    end_us = MS // US  # of the step until then
    server.node_stats.append(node("taken", taken, "queue", end_us, end_us + 200))
    own.node_stats.extend([
        recv("taken", server.device, own.device, end_us + 220, end_us + 300, 4096),
        node("used", kind, "taken_S5", end_us + 300, end_us + 400),
    ])  # fmt: skip
    found = exposed_us(imported(tmp_path, write(tmp_path / "step", metadata.SerializeToString())))
    assert found[stage, "load" if stage == "input" else taken, "server-0"] == 200


@pytest.mark.parametrize("kind", ["Unstage", "ReaderReadUpToV2", "OrderedMapUnstage", "IteratorGetNext"])
def test_what_brings_a_batch_is_input_whatever_it_was_prepared_in(tmp_path: Path, kind: str) -> None:
    metadata, end_us = run_metadata(), MS // US
    metadata.step_stats.dev_stats[0].node_stats.extend([
        node("taken", kind, "area", end_us, end_us + 200), node("used", "MatMul", "taken", end_us + 200, end_us + 300)
    ])  # fmt: skip
    found = exposed_us(imported(tmp_path, write(tmp_path / "step", metadata.SerializeToString())))
    assert found["input", "load", "worker-0"] == 200


def timeline_events(*devices: str) -> list[dict[str, Any]]:
    """Of each device, three operations in a row, 90 us each."""
    named = [
        {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": f"{device} Compute"}}
        for pid, device in enumerate(devices)
    ]
    operations = (("x", "Const"), ("gradients/MatMul", "MatMul"), ("train/ApplyGradientDescent", "ApplyGradientDescent"))
    return named + [
        {"ph": "X", "name": kind, "pid": pid, "ts": 10**15 + 100 * at, "dur": 90, "args": {"name": name, "op": kind}}
        for pid in range(len(devices))
        for at, (name, kind) in enumerate(operations)
    ]


def timeline_file(path: Path, events: list[Any]) -> Path:
    return write(path, json.dumps({"traceEvents": events}).encode())


LOCAL = "/job:localhost/replica:0/task:0"


@pytest.mark.parametrize("device", ["/cpu:0", "/device:CPU:0", "/gpu:0", "/device:GPU:0", "/device:XLA_CPU:0"])
def test_devices_as_all_versions_of_tensorflow_name_them(tmp_path: Path, device: str) -> None:
    tables = imported(tmp_path, timeline_file(tmp_path / "t.json", timeline_events(LOCAL + device)))
    assert exposed_us(tables) == {
        ("compute", "forward", "worker-0"): 90,
        ("compute", "backward", "worker-0"): 90,
        ("compute", "update", "worker-0"): 90,
        ("compute", "handover", "worker-0"): 20,
    }


@pytest.mark.parametrize("form", ["timeline", "metadata"])
@pytest.mark.parametrize("gpu", ["/device:GPU:0", "/gpu:0", LOCAL + "/device:GPU:0"])
def test_a_gpus_kernels_count_once_and_are_named(tmp_path: Path, gpu: str, form: str) -> None:
    lanes = (f"{gpu}/stream:all", f"{gpu}/memcpy")
    if form == "timeline":
        tables = imported(tmp_path, timeline_file(tmp_path / "t", timeline_events(LOCAL + "/device:GPU:0", *lanes)))
        assert sum(exposed_us(tables).values()) == 290
    else:
        metadata = run_metadata()
        for lane in lanes:
            metadata.step_stats.dev_stats.add(
                device=lane.encode(), node_stats=metadata.step_stats.dev_stats[0].node_stats[-3:]
            )
        tables = imported(tmp_path, write(tmp_path / "t", metadata.SerializeToString()))
        assert sum(exposed_us(tables).values()) == 1000
    told = 9 + 1  # nine operations, and the server being told
    assert len(set(tables.spans["request_id"]) - {NO_REQUEST}) == (3 if form == "timeline" else told)
    assert f"6 records of {gpu}/memcpy, {gpu}/stream:all were left out" in warnings(tables)


def test_a_device_of_no_process_is_named_and_left_out(tmp_path: Path) -> None:
    path = timeline_file(tmp_path / "t.json", timeline_events(LOCAL + "/device:CPU:0", "/host:CPU"))
    assert "records of /host:CPU, whose name does not say its job and task, were left out, 3 in all" in warnings(
        imported(tmp_path, path)
    )
    alone = timeline_file(tmp_path / "alone.json", timeline_events("/host:CPU"))
    with pytest.raises(UsageError, match=r"alone\.json holds no operation of a worker\. The devices are /host:CPU"):
        imported(tmp_path / "2", alone)


BAD_TIMES = [float("inf"), float("nan"), 1e300, 10**30, -5, None, True, "90", []]


@pytest.mark.parametrize("name", ["ts", "dur"])
@pytest.mark.parametrize("value", BAD_TIMES, ids=str)
def test_an_event_without_a_true_time_is_left_out_and_counted(tmp_path: Path, name: str, value: object) -> None:
    events = timeline_events(LOCAL + "/cpu:0")
    events[2][name] = value
    tables = imported(tmp_path, timeline_file(tmp_path / "t.json", events))
    assert exposed_us(tables) == {
        ("compute", "forward", "worker-0"): 90,
        ("compute", "update", "worker-0"): 90,
        ("compute", "handover", "worker-0"): 110,
    }
    assert f"left out, 1 in all; the first is event 2 of {tmp_path}/t.json" in warnings(tables)


@pytest.mark.parametrize(
    "change",
    [{"args": []}, {"args": "x"}, {"args": {"name": 7}}, {"args": {"name": "x", "op": None}}, {"args": {"input0": [1]}}],
    ids=str,
)
def test_an_event_with_arguments_of_another_type_is_left_out_and_counted(tmp_path: Path, change: dict[str, Any]) -> None:
    events: list[Any] = timeline_events(LOCAL + "/cpu:0")
    events[2] |= change
    events += [7, None]
    found = warnings(imported(tmp_path, timeline_file(tmp_path / "t.json", events)))
    assert found.count("left out") == (1 if not isinstance(change["args"], dict) else 2)
    assert "the first is event 2 of" in found


def test_a_time_that_is_zero_beside_true_ones_is_left_out(tmp_path: Path) -> None:
    events = timeline_events(LOCAL + "/cpu:0")
    events[1]["ts"] = 0
    tables = imported(tmp_path, timeline_file(tmp_path / "t.json", events))
    assert sum(exposed_us(tables).values()) == 190
    assert "records that lie more than a day from the others of their process were left out, 1 in all" in warnings(tables)
    metadata = run_metadata()
    for field in ("all_start_nanos", "all_start_micros"):
        setattr(metadata.step_stats.dev_stats[0].node_stats[0], field, 0)
    tables = imported(tmp_path / "2", write(tmp_path / "m.pb", metadata.SerializeToString()))
    assert "more than a day from the others" in warnings(tables)


def test_times_from_zero_on_are_times(tmp_path: Path) -> None:
    events = timeline_events(LOCAL + "/cpu:0")
    for event in events[1:]:
        event["ts"] -= 10**15
    assert sum(exposed_us(imported(tmp_path, timeline_file(tmp_path / "t.json", events))).values()) == 290


def test_names_that_are_no_utf_8_are_shown_byte_by_byte(tmp_path: Path) -> None:
    metadata = run_metadata()
    one = metadata.step_stats.dev_stats[0].node_stats[2]
    one.node_name, one.timeline_label = b"conv\xff", b"conv\xff = MatMul(w)"
    tables = imported(tmp_path, write(tmp_path / "m.pb", metadata.SerializeToString()))
    assert "conv\\xff" in set(tables.spans["key"])
    content = json.dumps({"traceEvents": timeline_events(LOCAL + "/cpu:0")}).encode()
    for number, (name, shown) in enumerate(((b"a\xff", "a\\udcff"), (b"a\\ud800", "a\\ud800"))):
        path = write(tmp_path / f"{number}.json", content.replace(b"gradients/MatMul", name))
        assert shown in set(imported(tmp_path / str(number), path).spans["key"])
    step = local_step(1000, 0)
    space = xspace(step)
    space.planes[0].event_metadata[4].value.name = b"mat\xff:MatMul"
    assert len(imported(tmp_path / "x", write(tmp_path / "m.xplane.pb", space.SerializeToString())).steps) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"traceEvents": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"traceEvents": [], "traceEvents": []}', "it has 'traceEvents' twice"),
        (b'{"traceEvents": 7}', "no timeline of TensorFlow's"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + b"\xff" * 40, "is packed, and cut off or damaged"),
        (b'{"traceEvents": [' + b"9" * 5000 + b"]}", "JSON that is cut off or damaged"),
    ],
)
def test_files_that_are_no_timeline_are_refused_by_name(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says) as found:
        imported(tmp_path, write(tmp_path / "t.json", content))
    assert str(found.value).startswith(f"{tmp_path}/t.json is ")


def test_two_devices_of_one_number_are_refused(tmp_path: Path) -> None:
    events = timeline_events(LOCAL + "/cpu:0", LOCAL + "/gpu:0")
    events[1]["pid"] = 0
    with pytest.raises(UsageError, match=r"/cpu:0 and .*/gpu:0 have the number \(pid\) 0"):
        imported(tmp_path, timeline_file(tmp_path / "t.json", events))


def test_events_nested_a_thousand_deep(tmp_path: Path) -> None:
    lines = local_step(1000, 0)
    lines["deep"] = [("call", 1000 + at, 100_000 - at, {}) for at in range(5000)]
    assert len(imported(tmp_path, write(tmp_path / "m.xplane.pb", xspace(lines).SerializeToString())).steps) == 1


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, says in (("pipe", "neither a file nor a folder"), ("loop", "cannot read"), ("n" * 300, "cannot read")):
        with pytest.raises(UsageError, match=says):
            imported(tmp_path, tmp_path / name)


def test_a_role_beyond_all_ranks() -> None:
    for text in ("worker-65536", "worker-²", "worker-" + "9" * 5000):
        with pytest.raises(UsageError, match="unknown role"):
            role(text)
