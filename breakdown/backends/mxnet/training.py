"""One worker's training with gluon.Trainer, as its users write it, recorded from its main thread.

MXNet's calls only hand work to its engine: the spans here are what the main thread does, which is mostly to submit and,
where the script reads the loss, to sleep. What the engine does meanwhile is the native recorder's to tell. Nothing is added
that would make the script wait more than it does by itself: the loss is read once a step, after `Trainer.step`.
Runs in MXNet's environment: standard library, mxnet, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Mapping

import mxnet as mx

from breakdown.backends.mxnet.native_recorder import step_setter
from breakdown.backends.mxnet.networks import Task
from breakdown.clock.clocks import now_ns
from breakdown.model.stages import Op, Stage
from breakdown.record.api import Recorder

MOMENTUM = 0.9  # as in breakdown.ps.optim

OPTIMIZERS: Mapping[str, Any] = {
    "sgd": lambda rate: ("sgd", {"learning_rate": rate}),
    "momentum": lambda rate: ("sgd", {"learning_rate": rate, "momentum": MOMENTUM}),
    "adam": lambda rate: ("adam", {"learning_rate": rate}),
}


def trainer_of(cell: Mapping[str, Any], task: Task, store: Any) -> Any:
    """The gluon.Trainer that the cell describes. `store`: a kvstore, or None for a single node."""
    name, settings = OPTIMIZERS[cell["optimizer"]](cell["learning_rate"])
    if store is None:
        return mx.gluon.Trainer(task.net.collect_params(), name, settings, kvstore="local")
    compression = None
    if cell["compression"] != "none":
        compression = {"type": cell["compression"], "threshold": cell["compression_threshold"]}
        store.pushpull = functools.partial(_push_then_pull, store)
    return mx.gluon.Trainer(
        task.net.collect_params(),
        name,
        settings,
        kvstore=store,
        compression_params=compression,
        update_on_kvstore=cell["update_on"] == "server",
    )


def _push_then_pull(store: Any, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
    """As two calls, since MXNet's own combined one refuses compression."""
    store.push(key, value, priority=priority)
    store.pull(key, out=value if out is None else out, priority=priority)


def fetch_initial_parameters(trainer: Any) -> None:
    """Has the trainer do before the first step what it does by itself within it, and waits for it.

    MXNet 1.9.1's trainer asks for the initial parameters after the first backward pass, and nothing makes the first
    gradients wait for them. Where the workers update, the store then holds the sum of the gradients, and a worker that
    asked too late starts from that instead of the parameters (seen in one run of five). Where the server updates, the store
    always holds parameters.
    """
    trainer._init_kvstore()
    trainer._init_params()
    mx.nd.waitall()


def train(cell: Mapping[str, Any], task: Task, store: Any, recorder: Recorder) -> None:
    """Runs all steps of the cell. A step ends when its loss has been read."""
    trainer = trainer_of(cell, task, store)
    if store is not None and cell["update_on"] == "worker":
        fetch_initial_parameters(trainer)
    rank, workers = (store.rank, store.num_workers) if store is not None else (0, 1)
    batch_size, warmup = cell["batch_size"], cell["warmup_steps"]
    # In step with each other, all workers' gradients are summed: the mean is over the samples of all.
    samples_summed = batch_size * (1 if cell["kvstore"] == "dist_async" else workers)
    recorder.note("workload", describe(cell, task))
    recorder.note("parameter_names", parameter_names(trainer))
    main = recorder.thread("main")
    load, forward, backward, block = map(recorder.intern, (Op.LOAD, Op.FORWARD, Op.BACKWARD, Op.BLOCK))
    update = recorder.intern(Op.UPDATE if store is None else Op.SUBMIT)
    update_stage = Stage.COMPUTE if store is None else Stage.SERIALIZE
    tell_step = step_setter()
    for step in range(warmup + cell["steps"]):
        start = now_ns()
        tell_step(step)
        inputs, targets = task.batch(step, rank, workers, batch_size)
        loaded = now_ns()
        with mx.autograd.record():
            losses = task.loss(task.net(inputs), targets)
        computed = now_ns()
        losses.backward()
        differentiated = now_ns()
        trainer.step(samples_summed)
        submitted = now_ns()
        loss = float(losses.mean().asscalar())
        end = now_ns()
        main.span(Stage.INPUT, load, 0, step, 4 * (inputs.size + targets.size), start, loaded)
        main.span(Stage.COMPUTE, forward, 0, step, 0, loaded, computed)
        main.span(Stage.COMPUTE, backward, 0, step, 0, computed, differentiated)
        main.span(update_stage, update, 0, step, 0, differentiated, submitted)
        main.span(Stage.WAIT, block, 0, step, 0, submitted, end)
        recorder.step(step, start, end, batch_size, step < warmup, loss)
    mx.nd.waitall()  # the last pulls: a worker that left before would fail its peers


def parameter_names(trainer: Any) -> Dict[str, str]:
    """MXNet's number of each key of the store -> the parameter's name: "3" -> "fc2.weight"."""
    return {str(number): _name(parameter.name) for number, parameter in enumerate(trainer._params)}


def describe(cell: Mapping[str, Any], task: Task) -> Dict[str, Any]:
    """What is known of the workload, for the run's notes."""
    parameters = {_name(name): list(parameter.shape) for name, parameter in task.net.collect_params().items()}
    return {
        "name": cell["workload"],
        "batch_size": cell["batch_size"],
        "parameters": parameters,
        "parameter_bytes": sum(4 * parameter.data().size for parameter in task.net.collect_params().values()),
    }


def _name(gluon_name: str) -> str:
    """As torch names it: "fc1_weight" -> "fc1.weight"."""
    layer, _, kind = gluon_name.rpartition("_")
    return f"{layer}.{kind}" if layer else kind
