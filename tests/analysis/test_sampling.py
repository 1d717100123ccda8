"""Sampling beside tracing, on hand-worked stacks and a run of a second."""

from __future__ import annotations

import pandas as pd
import pytest

from breakdown.analysis.sampling.compare import sampled_roles
from breakdown.analysis.sampling.findings import RoleSamples, Share, StackTime
from breakdown.analysis.sampling.flame import flame
from breakdown.analysis.sampling.stackmap import ASLEEP, UNKNOWN, Activity, activity
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.store.tables import Tables

MS = 1_000_000
ENGINE = "std::thread (libstdc++.so);mxnet::engine::ThreadedEngine::ExecuteOprBlock (libmxnet.so)"
CUSTOMER = "ps::Customer::Receiving (libmxnet.so);ps::KVServer<char>::Process (libmxnet.so)"
EVENTS = "grpc_event_engine::experimental::PosixEndpointImpl"
EXECUTOR = (
    "tensorflow::ExecutorState<tensorflow::SimplePropagatorState>::Process (x);tensorflow::ThreadPoolDevice::Compute (x)"
)
FUTEX = "absl::lts_20250814::synchronization_internal::FutexWaiter"
SLEEPS = "pthread_cond_wait (libc.so.6);? (libc.so.6)"


@pytest.mark.parametrize(
    ("stack", "role", "expected"),
    [
        (f"{ENGINE};mxnet::ndarray::Plus (libmxnet.so)", Role.SERVER, Activity(Stage.AGGREGATE, Op.SUM)),
        (f"{ENGINE};SGDMomUpdate (libmxnet.so)", Role.SERVER, Activity(Stage.AGGREGATE, Op.UPDATE)),
        (f"{ENGINE};FullyConnectedCompute (libmxnet.so)", Role.WORKER, Activity(Stage.COMPUTE)),
        (f"{ENGINE};mxnet::kvstore::KVStoreDist::Push_ (x);ps::Van::Send (x)", Role.WORKER, Activity(Stage.PUSH, "send")),
        (f"{CUSTOMER};DefaultStorageResponse (x);memcpy (y)", Role.SERVER, Activity(Stage.SERIALIZE, Op.ENCODE)),
        ("zmq::epoll_t::loop (x);zmq::tcp_write (x);send (libc.so.6)", Role.SERVER, Activity(Stage.PULL, "send")),
        ("zmq::epoll_t::loop (x);zmq::tcp_read (x);recv (libc.so.6)", Role.SERVER, Activity(Stage.PUSH, "receive")),
        ("zmq::epoll_t::loop (x);epoll_wait (libc.so.6)", Role.SERVER, ASLEEP),
        (f"{CUSTOMER};mxnet::kvstore::Executor::Exec (x);{SLEEPS}", Role.SERVER, ASLEEP),
        (f"{EVENTS}::HandleRead (x);EventEnginePosixInterface::RecvMsg (x);recvmsg (y)", Role.WORKER,
         Activity(Stage.PULL, "receive")),
        (f"{EVENTS}::TcpFlush (x);EventEnginePosixInterface::SendMsg (x);sendmsg (y)", Role.SERVER,
         Activity(Stage.PULL, "send")),
        (f"{EXECUTOR};tensorflow::SendOp::Compute (x);memcpy (y)", Role.WORKER, Activity(Stage.PUSH, "send")),
        (f"{EXECUTOR};tensorflow::ApplyGradientDescentOp<Eigen::ThreadPoolDevice, float>::Compute (x)", Role.SERVER,
         Activity(Stage.AGGREGATE, Op.UPDATE)),
        (f"{EXECUTOR};tensorflow::ConditionalAccumulatorBaseApplyGradientOp::Compute (x)", Role.SERVER,
         Activity(Stage.AGGREGATE, Op.SUM)),
        (f"{EXECUTOR};tensorflow::MatMulOp<Eigen::ThreadPoolDevice, float, false>::Compute (x);dnnl::sgemm (y)", Role.WORKER,
         Activity(Stage.COMPUTE)),
        ("grpc_cq_next (x);tensorflow::TensorResponse::ParseFast (x);memcpy (y)", Role.WORKER,
         Activity(Stage.SERIALIZE, Op.DECODE)),
        ("tensorflow::GrpcWorker::GrpcRecvTensorAsync (x);tensorflow::grpc::EncodeTensorToByteBuffer (x)", Role.SERVER,
         Activity(Stage.SERIALIZE, Op.ENCODE)),
        (f"run (tensorflow/python/client/session.py);tensorflow::LocalMaster::RunStep (x);{FUTEX}::Wait (x);syscall (y)",
         Role.WORKER, ASLEEP),
        (f"tsl::thread::EigenEnvironment (x);{FUTEX}::Post (x);syscall (libc.so.6)", Role.WORKER, UNKNOWN),
        ("train (breakdown/backends/loop.py);backward (torch/_tensor.py);sgemm (libtorch_cpu.so)", Role.WORKER,
         Activity(Stage.COMPUTE, Op.BACKWARD)),
        ("Handler.run (breakdown/ps/handler.py);ShardState._sum (breakdown/ps/state.py)", Role.SERVER,
         Activity(Stage.AGGREGATE, Op.SUM)),
        ("Client._send (breakdown/ps/worker.py);Client._encoded (breakdown/ps/worker.py)", Role.WORKER,
         Activity(Stage.SERIALIZE, Op.ENCODE)),
        ("Client._receive (breakdown/ps/worker.py);TcpConnection._read (breakdown/wire/tcp_stream.py);recv (libc.so.6)",
         Role.WORKER, ASLEEP),
        ("? (?)", Role.WORKER, Activity(Stage.COMPUTE)),
        ("? (?)", Role.SERVER, UNKNOWN),
        ("sgemm_kernel_PRESCOTT (libopenblas.so.0)", Role.WORKER, Activity(Stage.COMPUTE)),
        ("? (libopenblas64_p-r0-742d56dc.3.20.so);dgemm_itcopy_HASWELL (libopenblas64_p-r0-742d56dc.3.20.so)", Role.WORKER,
         Activity(Stage.COMPUTE)),
        ("mkl_blas_avx512_sgemm_kernel_0 (libmkl_avx512.so.2)", Role.WORKER, Activity(Stage.COMPUTE)),
        ("sgemm_kernel_SKYLAKEX (libmxnet.so)", Role.WORKER, Activity(Stage.COMPUTE)),
        ("sgemm_kernel_PRESCOTT (libopenblas.so.0)", Role.SERVER, UNKNOWN),
        ("gather (train.py);cblas_sgemm (libopenblas.so.0);sgemm_kernel_PRESCOTT (libopenblas.so.0)", Role.WORKER, UNKNOWN),
        ("gc_collect_main (libpython3.11.so.1.0)", Role.WORKER, UNKNOWN),
    ],
)  # fmt: skip
def test_a_stack_belongs_to_a_stage(stack: str, role: Role, expected: Activity) -> None:
    assert activity(stack, role) == expected


def test_waiting_for_pythons_lock_is_time_of_the_work_that_needs_it() -> None:
    waits = "train (breakdown/backends/loop.py);backward (torch/_tensor.py);pthread_cond_timedwait (libc.so.6);? (libc.so.6)"
    assert activity(waits, Role.WORKER) == Activity(Stage.COMPUTE, Op.BACKWARD)


def spans(*rows: tuple[str, str, str, int, int]) -> pd.DataFrame:
    """(thread, stage, op, start, end) in ms, of server 0."""
    return pd.DataFrame(
        [(0, "server", 0, thread, stage, op, start * MS, end * MS) for thread, stage, op, start, end in rows],
        columns=["run", "role", "rank", "thread", "stage", "op", "start_ns", "end_ns"],
    )


def run_of_a_second(samples: list[tuple[int, str, str, int, int]], failed: bool = False) -> Tables:
    """Server 0: its engine sums for 200 ms, updates for 300 ms, and sends for 100 ms; its io thread has two lanes."""
    recorded = spans(
        ("engine", "aggregate", "sum", 0, 200),
        ("engine", "aggregate", "queue", 0, 900),
        ("engine", "aggregate", "update", 500, 750),
        ("engine", "aggregate", "python-lock", 750, 800),
        ("engine", "aggregate", "await", 800, 900),
        ("engine", "aggregate", "sum", 1000, 5000),  # after the measured steps
    )
    messages = pd.DataFrame(
        [(0, "push", "server", 0, "engine", 900 * MS, 1000 * MS)],
        columns=["run", "verb", "sender_role", "sender_rank", "sender_thread", "send_start_ns", "send_end_ns"],
    )
    steps = pd.DataFrame(
        [(0, 0, 0, -500 * MS, 0, True), (0, 0, 1, 0, 1000 * MS, False)],
        columns=["run", "rank", "step", "start_ns", "end_ns", "warm_up"],
    )
    seen = pd.DataFrame(
        [(0, "server", 0, *row[:2], row[2], row[3] * MS, row[4] * MS) for row in samples],
        columns=["run", "role", "rank", "thread_id", "thread", "stack", "start_ns", "end_ns"],
    )
    notes = [["thread_id", ["engine", 7]], ["thread_id", ["engine/python-lock", 7]]]
    notes += [["thread_id", ["send-worker-0", 8]], ["thread_id", ["recv-worker-0", 8]], ["plan", {}]]
    status = {"run": 0, "status": "failed" if failed else "done", "sample_rate_hz": 50}
    return Tables(recorded, messages, steps, {"runs": [status]}, {}, (), {"0": {"server-0": notes}}, seen)


SUM, UPDATE = f"{ENGINE};mxnet::ndarray::Plus (x)", f"{ENGINE};SGDUpdate (x)"
SAMPLES = [
    (7, "", SUM, -100, 250),
    (7, "", SLEEPS, 250, 500),
    (7, "", UPDATE, 500, 820),
    (7, "", SLEEPS, 820, 980),
    (7, "", "nobody (knows)", 980, 1200),
    (8, "", "zmq::tcp_write (x)", 0, 1000),
    (9, "flusher", SLEEPS, 0, 1000),
]


@pytest.fixture
def role() -> RoleSamples:
    (found,) = sampled_roles(run_of_a_second(SAMPLES))
    return found


def test_the_same_thread_and_the_same_stretch_are_compared(role: RoleSamples) -> None:
    assert (role.node, role.rate_hz) == (Node(Role.SERVER, 0), 50)
    engine = next(thread for thread in role.threads if thread.name == "engine")
    assert engine.sampled_ns == 1000 * MS
    assert {(s.stage, s.op): (s.sampled, s.traced) for s in engine.shares} == {
        (Stage.AGGREGATE, Op.SUM): (0.25, 0.2),
        (Stage.AGGREGATE, Op.UPDATE): (0.32, 0.3),
        (None, ""): (pytest.approx(0.41), 0.4),
        (Stage.OTHER, ""): (0.02, 0.0),
        (Stage.PUSH, ""): (0.0, 0.1),
    }


def test_where_only_some_steps_were_traced_both_sides_count_in_those_alone() -> None:
    """Steps of 10 ms, of which the first and third were traced; sampled throughout, and asleep only in the second."""
    steps = pd.DataFrame({"run": 0, "rank": 0, "step": range(3), "warm_up": False})
    steps["start_ns"], steps["end_ns"] = steps["step"] * 10 * MS, (steps["step"] + 1) * 10 * MS
    seen = [(f"{ENGINE};mxnet::ndarray::Plus (x)", 0, 10), (SLEEPS, 10, 20), (f"{ENGINE};SGDMomUpdate (x)", 20, 30)]
    samples = pd.DataFrame(
        [(0, "server", 0, "", 7, stack, start * MS, end * MS) for stack, start, end in seen],
        columns=["run", "role", "rank", "thread", "thread_id", "stack", "start_ns", "end_ns"],
    )
    recorded = spans(("engine", "aggregate", Op.SUM, 0, 10), ("engine", "aggregate", Op.UPDATE, 20, 24))
    rule = ["traced_steps", {"every": 2, "first": 0}]
    notes = {"0": {"server-0": [["thread_id", ["engine", 7]], rule], "worker-0": [rule]}}
    columns = ["run", "sender_role", "sender_rank", "sender_thread", "verb", "send_start_ns", "send_end_ns"]
    tables = Tables(recorded, pd.DataFrame(columns=columns), steps, {"runs": [{"run": 0}]}, {}, (), notes, samples)
    ((thread,),) = (role.threads for role in sampled_roles(tables))
    assert thread.sampled_ns == 20 * MS
    assert {(share.op, share.sampled, share.traced) for share in thread.shares} == {
        (Op.SUM, 0.5, 0.5), (Op.UPDATE, 0.5, 0.2), ("", 0.0, 0.3),
    }  # fmt: skip


def test_shares_add_up(role: RoleSamples) -> None:
    for thread in role.threads:
        assert sum(share.sampled for share in thread.shares) == pytest.approx(1)
        if thread.compared:
            assert sum(share.traced or 0.0 for share in thread.shares) == pytest.approx(1)


def test_a_thread_of_several_connections_and_one_that_records_nothing_are_not_compared(role: RoleSamples) -> None:
    names = {thread.name: thread for thread in role.threads}
    assert set(names) == {"engine", "io (8)", "flusher"}
    assert names["io (8)"].shares == (Share(Stage.PULL, "", 1.0, None),)
    assert names["flusher"].shares == (Share(None, "", 1.0, None),)


def test_the_farthest_is_named(role: RoleSamples) -> None:
    assert role.farthest is not None
    thread, share = role.farthest
    assert (thread.name, share.stage, share.difference) == ("engine", Stage.PUSH, pytest.approx(-0.1))


def test_a_failed_repetition_and_a_run_without_samples_say_nothing() -> None:
    assert sampled_roles(run_of_a_second(SAMPLES, failed=True)) == ()
    assert sampled_roles(run_of_a_second([])) == ()


def test_flames_stand_on_threads_and_leave_out_sleep_and_shared_frames() -> None:
    stacks = (
        StackTime("main", Stage.COMPUTE, "", "start (a);run (a);forward (b)", 60),
        StackTime("main", Stage.PUSH, "send", "start (a);run (a);? (c);send (b)", 30),
        StackTime("main", None, "", "start (a);wait (b)", 500),
        StackTime("io", Stage.PULL, "", "? (?)", 10),
    )
    boxes = [(box.name, box.depth, box.start_ns, box.width_ns, box.stage) for box in flame(stacks)]
    assert boxes == [
        ("main", 0, 0, 90, None),
        ("run (a)", 1, 0, 90, None),
        ("forward (b)", 2, 0, 60, Stage.COMPUTE),
        ("send (b)", 2, 60, 30, Stage.PUSH),
        ("io", 0, 90, 10, Stage.PULL),
        ("? (?)", 1, 90, 10, Stage.PULL),
    ]
