"""Graph mode: between-graph replication over tf.compat.v1 servers, as its users write it.

Variables live on the parameter servers, and each worker has a graph of its own in a MonitoredTrainingSession. Asynchronous
workers update by themselves; in step with each other they use SyncReplicasOptimizer, whose chief is worker 0.
Runs in TensorFlow's environment: standard library, tensorflow, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping

import tensorflow as tf

from breakdown.backends.tensorflow import tracing
from breakdown.backends.tensorflow.cluster import config, start_server, v1
from breakdown.backends.tensorflow.networks import Task
from breakdown.backends.tensorflow.placement import graph_placement, partitioner
from breakdown.clock.clocks import now_ns
from breakdown.model.stages import Op, Stage
from breakdown.record.api import Recorder

RUN = "session.run"
"""The operation of the call that holds all of a step but the taking of its batch."""

MOMENTUM = 0.9  # as in breakdown.ps.optim

OPTIMIZERS: Mapping[str, Callable[[float], Any]] = {
    "sgd": v1.train.GradientDescentOptimizer,
    "momentum": lambda rate: v1.train.MomentumOptimizer(rate, MOMENTUM),
    "adam": v1.train.AdamOptimizer,
}

POLL_S = 0.1
"""How often a worker looks whether worker 0 has initialised the variables. TensorFlow's default is 30 s."""

START_S = 120
"""How long it looks."""


def train(cell: Mapping[str, Any], task: Task, rank: int, threads: int, recorder: Recorder) -> None:
    """Runs all steps of worker `rank`. A step is one `session.run`, which gives the loss beside the update."""
    v1.disable_eager_execution()
    settings = config(threads, threads)
    # A worker talks to the servers alone, so it need not wait for the other workers to be there.
    settings.device_filters.extend(["/job:ps", f"/job:worker/task:{rank}"])
    server = start_server(settings)
    with v1.device(graph_placement(cell, rank)):
        graph = Graph(cell, task, rank)
    creator = (v1.train.ChiefSessionCreator if rank == 0 else Follower)(graph.scaffold, server.target, settings)
    hooks = [*graph.hooks, End()]
    with v1.train.MonitoredSession(creator, hooks) as session:
        _run(cell, task, rank, session, graph, recorder)


class End(v1.train.SessionRunHook):  # type: ignore[misc]  # tensorflow has no types here
    """Ends the thread of worker 0 that waits for the next step's gradients, for there will be none.

    TensorFlow would wait for that thread for 120 s. This must be the last of the hooks.
    """

    def after_create_session(self, session: Any, coord: Any) -> None:
        self._coordinator = coord

    def end(self, session: Any) -> None:
        self._coordinator.request_stop()
        session.close()


class Follower(v1.train.SessionCreator):  # type: ignore[misc]  # tensorflow has no types here
    """Makes the session of a worker that worker 0 initialises the variables for."""

    def __init__(self, scaffold: Any, master: str, settings: Any) -> None:
        self._scaffold, self._master, self._settings = scaffold, master, settings

    def create_session(self) -> Any:
        """Waits for worker 0. Raises `DeadlineExceededError`."""
        self._scaffold.finalize()
        manager = v1.train.SessionManager(
            local_init_op=self._scaffold.local_init_op,
            ready_op=self._scaffold.ready_op,
            ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
            graph=v1.get_default_graph(),
            recovery_wait_secs=POLL_S,
        )
        return manager.wait_for_session(self._master, config=self._settings, max_wait_secs=START_S)


class Graph:
    """What a worker computes: `feeds` for the batch, `fetches` for a step, and what MonitoredSession needs besides."""

    def __init__(self, cell: Mapping[str, Any], task: Task, rank: int) -> None:
        self.inputs = v1.placeholder(task.inputs.dtype, (None, *task.inputs.shape[1:]))
        self.targets = v1.placeholder(task.targets.dtype, (None, *task.targets.shape[1:]))
        self.hooks: List[Any] = []
        cut = partitioner(cell)
        variables = {
            parameter.name: v1.get_variable(
                parameter.name, parameter.shape, initializer=_initializer(task, number), partitioner=cut
            )
            for number, parameter in enumerate(task.parameters)
        }
        values = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
        loss = task.loss(values, self.inputs, self.targets)
        step = v1.train.get_or_create_global_step()
        optimizer = OPTIMIZERS[cell["optimizer"]](cell["learning_rate"])
        if cell["consistency"] == "bsp":
            optimizer = v1.train.SyncReplicasOptimizer(optimizer, cell["workers"], cell["workers"])
            # Without tokens to begin with: with them a worker would run a step ahead, and its gradients be dropped as stale.
            self.hooks.append(optimizer.make_session_run_hook(is_chief=rank == 0, num_tokens=0))
        update = optimizer.minimize(loss, step)
        self.fetches = {"loss": loss, "update": update}
        self.scaffold = v1.train.Scaffold()


def _initializer(task: Task, number: int) -> Callable[..., Any]:
    def value(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        return task.first_value(number, shape, partition_info.var_offset if partition_info is not None else None)

    return value


def _run(cell: Mapping[str, Any], task: Task, rank: int, session: Any, graph: Graph, recorder: Recorder) -> None:
    batch_size, workers, warmup = cell["batch_size"], cell["workers"], cell["warmup_steps"]
    main = recorder.thread("main")
    load, run = map(recorder.intern, (Op.LOAD, RUN))
    for step in range(warmup + cell["steps"]):
        start = now_ns()
        tracing.step(step, rank)
        inputs, targets = task.batch(step, rank, workers, batch_size)
        loaded = now_ns()
        found = session.run(graph.fetches, {graph.inputs: inputs, graph.targets: targets})
        end = now_ns()
        main.span(Stage.INPUT, load, 0, step, inputs.nbytes + targets.nbytes, start, loaded)
        main.span(Stage.OTHER, run, 0, step, 0, loaded, end)
        recorder.step(step, start, end, batch_size, step < warmup, float(found["loss"]))
