"""One configuration that can be measured, and the names that its fields may take.

A cell is flat, so that every field can be an axis of a matrix and be set from the command line. `config.validate` checks
it; `config.matrix` expands an experiment file into cells; `config.identity` gives a cell its stable id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OptionValue = int | float | str | bool

BACKENDS = ("single", "torch_ps", "mxnet", "tensorflow")
CONSISTENCIES = ("bsp", "async", "ssp")
OPTIMIZERS = ("sgd", "momentum", "adam")
UPDATE_PLACES = ("server", "worker")
SHARDINGS = ("round_robin", "balanced", "split")
PUSH_MOMENTS = ("ready", "end")
PRIORITIES = ("fifo", "layer")
COMPRESSIONS = ("none", "fp16", "2bit")
TRANSPORTS = ("tcp", "zmq", "grpc", "inproc")
KVSTORES = ("local", "dist_sync", "dist_async", "dist_device_sync", "p3store_dist")
TF_MODES = ("local", "graph", "strategy")
SERIALIZERS = ("raw", "pickle", "protobuf")


@dataclass(frozen=True)
class Cell:
    """One configuration. Field names are the keys of an experiment file; units stand in the names."""

    # what is trained
    workload: str = "mlp"
    workload_options: Mapping[str, OptionValue] = field(default_factory=dict)
    batch_size: int = 64  # samples a worker and step
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    seed: int = 0
    steps: int = 50  # measured steps, after the warm-up
    warmup_steps: int = 5
    # by whom
    backend: str = "torch_ps"
    workers: int = 1
    servers: int = 1
    # the parameter server's ways
    consistency: str = "bsp"
    staleness: int = 0  # ssp: how many steps the fastest worker may lead the slowest
    update_on: str = "server"
    sharding: str = "balanced"
    split_bound_bytes: int = 4_000_000  # sharding split, and mxnet: keys above it are cut over all servers
    server_threads: int = 1  # handler threads a server, each owning some shards; tensorflow: operations at a time
    push_when: str = "ready"  # as soon as a gradient is ready, or all at the end of backward
    priority: str = "fifo"
    bucket_bytes: int = 0  # keys are fused into messages of up to this size; 0: one message a key
    compression: str = "none"
    compression_threshold: float = 0.5  # 2bit: values beyond +-threshold are sent as +-threshold
    transport: str = "tcp"
    serializer: str = "raw"
    port: int = 0  # of the scheduler; 0: a free one
    kvstore: str = "dist_sync"  # backend mxnet: its name of the store; it says the consistency, local is the single node
    tf_mode: str = "graph"  # backend tensorflow: tf.compat.v1 servers, ParameterServerStrategy, or the single node
    # on what
    cores_per_worker: int = 1  # 0: all cores, not pinned. Also the number of compute threads
    server_cores: int = 0  # cores pinned for each server; 0: not pinned, shares what there is
    # how it is observed
    record: bool = True
    trace_every: int = 5  # backend tensorflow: every n-th step is traced; the others count for the speed alone
    timeout_s: float = 300.0  # of one repetition

    @property
    def total_steps(self) -> int:
        return self.warmup_steps + self.steps


@dataclass(frozen=True)
class Experiment:
    """A named list of cells, and how often each is measured. Repetitions are interleaved, round by round."""

    name: str
    description: str
    repetitions: int
    cells: tuple[Cell, ...]
    source: str = ""  # path of the file that it was read from
