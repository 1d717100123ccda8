"""Which stack belongs to which stage. This is data: to teach it a framework, add rules.

A stack is its frames from the outermost to the innermost, parted by ";", each `name (file)`. First it is asked whether the
thread sleeps: that is so when its innermost named frame waits for something, or when it waits to receive. Otherwise the
first rule whose pattern is found in the stack decides, of those for its role. A stack that no rule knows is `other`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from breakdown.model.identity import Role
from breakdown.model.stages import Op, Stage

UNNAMED = "? ("
"""How a frame begins whose function is not known (`store.samples.frame_text`)."""

OUT, IN = "out", "in"
"""The stage is that of a message that the process sends, or is sent: push or pull, by its role."""

_WIRE = {(Role.WORKER, OUT): Stage.PUSH, (Role.WORKER, IN): Stage.PULL, (Role.SERVER, OUT): Stage.PULL}
_WIRE[Role.SERVER, IN] = Stage.PUSH


@dataclass(frozen=True)
class Activity:
    """What a thread is at. `stage` None: it sleeps."""

    stage: Stage | None
    op: str = ""


ASLEEP = Activity(None)
UNKNOWN = Activity(Stage.OTHER)


@dataclass(frozen=True)
class Rule:
    """`pattern` is searched in the whole stack; ";.*" between two frames means: further in. `roles` None: all."""

    pattern: str
    stage: Stage | str
    op: str = ""
    roles: tuple[Role, ...] | None = None


_SERVER, _WORKER = (Role.SERVER,), (Role.WORKER,)

SLEEPING = re.compile(
    r"(?:pthread_cond_(?:timed)?wait|epoll_wait|poll|p?select|futex\w*|sem_(?:timed|clock)?wait\w*|(?:clock_)?nanosleep"
    r"|sigtimedwait|sigwait\w*|accept4?|PyThread_acquire_lock_timed|pthread_join|wait4|waitid) \("
)
"""The innermost named frame of a thread that waits."""

RECEIVING = re.compile(
    r"_queue_SimpleQueue_get|TcpConnection\._read \(|sock_recv|zmq::mailbox_t::recv|_SingleThreadedRendezvous"
    r"|FutexWaiter::Wait"
)
"""Waiting for a job, or for a message. Reading one that arrives looks the same from outside, so it counts as asleep too."""

INTERPRETER_LOCK = re.compile(r"pthread_cond_timedwait \([^;]*\)(?:;\? \([^;]*\))*$")
"""Python waits for its lock with a time limit. The time goes to what the thread was about, as it does in a trace."""

BLAS_ALONE = r"^[^;]*\(lib(?:\w*blas|mkl|dnnl|blis|atlas)[^;]*\)|^\w*ge(?:mm|mv)\w* \("
"""Outermost is already a library's function for linear algebra. Such kernels are written in assembler, one for each kind of
processor, many without the tables by which their callers are found: which of them are seen alone depends on the machine."""

MXNET = (
    Rule(r"zmq::(?:stream_engine_t::out_event|tcp_write)", OUT, "send"),
    Rule(r"zmq::(?:stream_engine_t::in_event|tcp_read)", IN, "receive"),
    Rule(r"ps::Van::Receiving", IN, "receive"),
    Rule(r"ps::Van::Send|ps::ZMQVan::SendMsg|ps::KVWorker<char>::Send", OUT, "send"),
    Rule(r"ExecuteOprBlock.*(?:ndarray::Plus|CopyFromTo|ElementwiseSum)", Stage.AGGREGATE, Op.SUM, _SERVER),
    Rule(r"ExecuteOprBlock.*GradientCompression", Stage.SERIALIZE, Op.DECODE, _SERVER),
    Rule(r"ExecuteOprBlock", Stage.AGGREGATE, Op.UPDATE, _SERVER),
    Rule(r"DefaultStorageResponse|RowSparsePullResponse", Stage.SERIALIZE, Op.ENCODE, _SERVER),
    Rule(r"KVStoreDist::RunServer.*(?:ApplyUpdates|updater_handle)", Stage.AGGREGATE, Op.UPDATE, _SERVER),
    Rule(r"KVStoreDist::RunServer|ps::KVServer<char>::Process|ps::Customer::Receiving", Stage.AGGREGATE, "handle", _SERVER),
    Rule(r"ps::KVWorker<char>::Process|ps::Customer::Receiving", Stage.SERIALIZE, Op.DECODE, _WORKER),
    Rule(r"ExecuteOprBlock.*(?:KVStoreDist|P3StoreDist|GradientCompression|CopyFromTo)", Stage.SERIALIZE, "", _WORKER),
    Rule(r"ExecuteOprBlock", Stage.COMPUTE, "", _WORKER),
    Rule(r"^\? \(\?\)$", Stage.COMPUTE, "", _WORKER),  # code made at run time (oneDNN's): nobody knows its callers
    Rule(BLAS_ALONE, Stage.COMPUTE, "", _WORKER),
    Rule(r"mxnet/kvstore/", Stage.SERIALIZE, Op.SUBMIT, _WORKER),
    Rule(r"SyncCopyFromCPU|mxnet/io/|gluon/data/|\bbatch \(breakdown/backends/mxnet/", Stage.INPUT, Op.LOAD, _WORKER),
    Rule(r"mxnet/gluon/trainer.py|mxnet/optimizer/", Stage.COMPUTE, Op.UPDATE, _WORKER),
    Rule(r"MXAutogradBackward|mxnet/autograd.py", Stage.COMPUTE, Op.BACKWARD, _WORKER),
    Rule(
        r"mxnet/(?:gluon|ndarray|symbol|module)|<string>|MXInvokeCachedOp|MXImperativeInvoke",
        Stage.COMPUTE,
        "",
        _WORKER,
    ),
)

TENSORFLOW = (
    Rule(r"tensorflow::TensorResponse::Parse", Stage.SERIALIZE, Op.DECODE),
    Rule(r"EncodeTensorToByteBuffer", Stage.SERIALIZE, Op.ENCODE),
    Rule(r"SendMsg \(|PosixEndpointImpl::(?:TcpFlush|Write|HandleWrite)|tensorflow::SendOp::Compute", OUT, "send"),
    Rule(r"RecvMsg \(|PosixEndpointImpl::(?:TcpDoRead|HandleRead)", IN, "receive"),
    Rule(r"tensorflow::\S*Accumulator\S*ApplyGradient", Stage.AGGREGATE, Op.SUM, _SERVER),
    Rule(
        r"tensorflow::(?:\S*Apply(?:GradientDescent|Momentum|Adam)|Assign\w*VariableOp)", Stage.AGGREGATE, Op.UPDATE, _SERVER
    ),
    Rule(r"tensorflow::\S*Accumulator\S*TakeGradient", Stage.AGGREGATE, "", _SERVER),
    Rule(r"tensorflow::\S*::Compute\b|Eigen::(?:ThreadPoolDevice|internal)|ExecutorState", Stage.AGGREGATE, "", _SERVER),
    Rule(r"tensorflow::(?:grpc::|GrpcWorker|WorkerSession|GraphMgr)", Stage.AGGREGATE, "handle", _SERVER),
    Rule(r"tensorflow::\S*::Compute\b|Eigen::(?:ThreadPoolDevice|internal)|dnnl::", Stage.COMPUTE, "", _WORKER),
    Rule(r"ExecutorState|PropagatorState", Stage.COMPUTE, "", _WORKER),
    Rule(
        r"tensorflow::(?:Master|LocalMaster|GrpcSession|GrpcWorker|GraphMgr|DirectSession)",
        Stage.SERIALIZE,
        Op.SUBMIT,
        _WORKER,
    ),
    Rule(r"grpc_core::|grpc_event_engine::|grpc_cq_|tensorflow::Grpc", Stage.SERIALIZE, "grpc"),
    Rule(r"\bbatch \(breakdown/backends/tensorflow/", Stage.INPUT, Op.LOAD, _WORKER),
    Rule(r"tensorflow/python/(?:client|training)/", Stage.SERIALIZE, Op.SUBMIT, _WORKER),
    Rule(r"tensorflow/python/eager/|keras/src/|tensorflow::(?:Eager|Kernel)", Stage.COMPUTE, "", _WORKER),
)
"""What gRPC does beside moving bytes is `serialize`: it packs and unpacks calls."""

TORCH_PS = (
    Rule(r"breakdown/(?:ps/codec|ps/compress|wire/serialise|wire/tensor_proto).*\.py", Stage.SERIALIZE),
    Rule(r"Client\._encoded", Stage.SERIALIZE, Op.ENCODE),
    Rule(r"FramedConnection\.send|\b_write \(breakdown/wire/|zmq_line.py.*send|grpc_stream.py.*send", OUT, "send"),
    Rule(r"ShardState\._update|breakdown/ps/optim.py", Stage.AGGREGATE, Op.UPDATE, _SERVER),
    Rule(r"ShardState\._sum", Stage.AGGREGATE, Op.SUM, _SERVER),
    Rule(r"breakdown/ps/(?:handler|state|consistency).py", Stage.AGGREGATE, "handle", _SERVER),
    Rule(r"breakdown/ps/replies.py", OUT, "send", _SERVER),
    Rule(r"breakdown/ps/intake.py", IN, "receive", _SERVER),
    Rule(r"Client\._send\b|Client\._send_job", OUT, "send", _WORKER),
    Rule(r"Client\._receive\b|Client\._on_reply", IN, "receive", _WORKER),
    Rule(r"\b(?:batch|take) \(breakdown/workloads/", Stage.INPUT, Op.LOAD, _WORKER),
)

TORCH = (
    Rule(r"torch/optim/|breakdown/ps/optim.py|LocalUpdate\.finish_step", Stage.COMPUTE, Op.UPDATE, _WORKER),
    Rule(r"torch/autograd/|torch::autograd|torch/_tensor.py", Stage.COMPUTE, Op.BACKWARD, _WORKER),
    Rule(
        r"torch/nn/|at::native|libtorch_|breakdown/workloads/|breakdown/backends/instrument.py", Stage.COMPUTE, "", _WORKER
    ),
)

RULES = (*MXNET, *TENSORFLOW, *TORCH_PS, *TORCH)


@lru_cache(maxsize=65_536)
def activity(stack: str, role: Role) -> Activity:
    """What a thread of this role with this stack is at."""
    if _sleeps(stack):
        return ASLEEP
    for pattern, rule in _COMPILED[role]:
        if pattern.search(stack):
            stage = _WIRE.get((role, rule.stage), Stage.OTHER) if isinstance(rule.stage, str) else rule.stage
            return Activity(stage, rule.op)
    return UNKNOWN


def _sleeps(stack: str) -> bool:
    if RECEIVING.search(stack):
        return True
    if INTERPRETER_LOCK.search(stack) and "std::condition_variable" not in stack:
        return False
    named = [frame for frame in stack.split(";")[-4:] if not frame.startswith(UNNAMED)]
    return bool(named) and SLEEPING.match(named[-1]) is not None


_COMPILED = {
    role: tuple((re.compile(rule.pattern), rule) for rule in RULES if rule.roles is None or role in rule.roles)
    for role in Role
}
