"""Hooks for a user's own MXNet program: what is called from its main thread, told to a `watcher`.

`hook` is called when the program has imported mxnet (`backends.injection`). Nothing is hooked in a scheduler or server:
there the native recorder sees all. Runs in the user's environment: standard library and breakdown's errors, model, clock and
record only.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Dict, List, Set

from breakdown.backends import injection
from breakdown.backends.mxnet.native_recorder import step_setter, stop
from breakdown.backends.mxnet.watcher import Finder, Watcher
from breakdown.backends.watcher import BETWEEN, What
from breakdown.backends.wrapping import Call, Hooks, Observation
from breakdown.model.stages import Op, Stage
from breakdown.record import marker
from breakdown.record.ending import at_the_end


def hook(mx: Any) -> None:
    """Hooks a worker's program, or a single node's, which has just imported mxnet."""
    if os.environ.get("DMLC_ROLE", "worker") != "worker":
        return
    watcher = Watcher(injection.traces(), injection.warmup_steps(), step_setter())
    if os.environ.get("MXNET_ENGINE_TYPE") != "NaiveEngine":
        watcher.note("hands_over", True)
    hooks = Hooks(watcher.warn)
    at_the_end(hooks.guarded(watcher.close, "the program's end"), hooks.guarded(stop, "os._exit"))
    marker.listen(hooks.guarded(functools.partial(watcher.ends_step, Finder.MARK), "a mark of a step"))
    install(mx, watcher, hooks)


def install(mx: Any, watcher: Watcher, hooks: Hooks) -> None:
    """Has the watcher told of what is called from the main thread."""
    _Observers(mx, watcher, hooks).install()


_LOAD, _FORWARD, _BACKWARD = (Stage.INPUT, Op.LOAD), (Stage.COMPUTE, Op.FORWARD), (Stage.COMPUTE, Op.BACKWARD)
_SUBMIT, _METRIC, _BLOCK = (Stage.SERIALIZE, "submit"), (Stage.COMPUTE, "metric"), (Stage.WAIT, Op.BLOCK)


class _Observers:
    """Told of calls of MXNet's methods, and tell the watcher."""

    def __init__(self, mx: Any, watcher: Watcher, hooks: Hooks) -> None:
        self._mx = mx
        self._watcher = watcher
        self._hooks = hooks
        self._metrics: Set[Any] = set()  # whose `update` is watched
        self._names: Dict[str, str] = {}  # a parameter's number in the store -> its name

    def install(self) -> None:
        """Where two observers watch one method, the later stands around the earlier."""
        mx, trainer, module, watch = self._mx, self._mx.gluon.Trainer, self._mx.mod.Module, self._hooks.watch
        watch(mx.autograd._RecordingStateScope, "__enter__", self._record_begins)
        watch(mx.autograd._RecordingStateScope, "__exit__", self._record_ends)
        self._span(mx.nd.NDArray, "backward", _BACKWARD)
        watch(mx.nd.NDArray, "backward", self._sees_loss)
        self._span(mx.autograd, "backward", _BACKWARD)
        self._span(mx.io.DataIter, "__next__", _LOAD)
        watch(mx.gluon.data.DataLoader, "__iter__", self._loads)
        self._span(mx.gluon.utils, "split_and_load", _LOAD)
        for one in list(vars(mx.metric).values()):
            if isinstance(one, type) and issubclass(one, mx.metric.EvalMetric):
                self._metric(one)
        watch(mx.metric.EvalMetric, "__init__", lambda call: self._metric(type(call.owner)))
        for name in ("asnumpy", "wait_to_read"):
            watch(mx.nd.NDArray, name, self._reads)
        watch(mx.nd, "waitall", self._reads)
        for name in ("step", "allreduce_grads", "update"):
            self._span(trainer, name, _SUBMIT)
        for name in ("step", "update"):
            watch(trainer, name, self._trainer_steps)
        self._span(module, "forward", _FORWARD)
        watch(module, "forward", self._sees_batch)
        self._span(module, "backward", _BACKWARD)
        self._span(module, "update", _SUBMIT)
        watch(module, "update", self._module_steps)
        store = mx.kvstore.KVStore
        watch(store, "__init__", self._store_is_made)
        for name in ("init", "broadcast"):
            self._span(store, name, _SUBMIT)
            watch(store, name, self._sees_keys)
        for name in ("push", "pull", "pushpull"):
            watch(store, name, functools.partial(self._store_is_called, "push" in name))

    def _span(self, owner: Any, name: str, what: What) -> None:
        """Each call of the method by the main thread is a span."""
        self._hooks.watch(owner, name, functools.partial(self._spans, what))

    def _spans(self, what: What, call: Call) -> Observation:
        if not self._watcher.enter(*what, between=BETWEEN):
            return
        try:
            yield
        finally:
            self._watcher.leave()

    def _reads(self, call: Call) -> Observation:
        """The program waits for a result. What the native recorder sees of it is its sleep."""
        if self._watcher.inside:
            return
        yield from self._spans(_BLOCK, call)

    def _metric(self, kind: Any) -> None:
        """Each kind of metric has an `update` of its own, the program's kinds too."""
        for one in kind.__mro__:
            if "update" in vars(one) and one not in self._metrics:
                self._metrics.add(one)
                self._span(one, "update", _METRIC)

    def _record_begins(self, call: Call) -> None:
        """`with autograd.record():` is the forward pass."""
        scope = call.owner
        scope._breakdown = bool(scope._enter_is_record) and self._watcher.enter(*_FORWARD, between=BETWEEN)

    def _record_ends(self, call: Call) -> None:
        if getattr(call.owner, "_breakdown", False):
            self._watcher.leave()

    def _loads(self, call: Call) -> Observation:
        """A loader's iterator: each batch that is taken from it is a span."""
        batches = yield
        return self._hooks.iterator(batches, functools.partial(self._spans, _LOAD), "DataLoader.__next__")

    def _store_is_made(self, call: Call) -> Observation:
        yield
        store = call.owner
        self._watcher.note("kvstore", store.type)
        if "dist" in store.type:
            self._watcher.rank = store.rank

    def _store_is_called(self, pushes: bool, call: Call) -> Observation:
        """Calls that the program makes itself can bound steps; those within Trainer.step or Module.update do not."""
        watcher = self._watcher
        if watcher.inside or not watcher.enter(*_SUBMIT, between=BETWEEN):
            return
        try:
            if pushes:
                watcher.pushes(_listed(call["key"]))
            yield
        finally:
            watcher.leave()
            watcher.store_returns()

    def _sees_keys(self, call: Call) -> None:
        """MXNet numbers keys that are texts in the order in which it first hears of them."""
        known = set(self._names.values())
        for one in _listed(call["key"]):
            if isinstance(one, str) and one not in known:
                self._names[str(len(self._names))] = one
                self._watcher.note("parameter_names", self._names)

    def _sees_loss(self, call: Call) -> None:
        """A loss for each sample tells how many there are."""
        shape = call.owner.shape  # its `size` and `ndim` are not there in a sparse array
        if self._watcher.watches and len(shape) and max(shape) > 1:
            self._watcher.has_samples(shape[0])

    def _sees_batch(self, call: Call) -> None:
        data = getattr(call["data_batch"], "data", None)
        if self._watcher.watches and data:
            self._watcher.has_samples(data[0].shape[0])

    def _trainer_steps(self, call: Call) -> Observation:
        if not self._watcher.watches:
            return
        batch_size = call["batch_size"]  # now: behind the call it would take time that no span explains
        yield
        if not self._names:
            self._names = {str(number): parameter.name for number, parameter in enumerate(call.owner._params)}
            self._watcher.note("parameter_names", self._names)
        self._watcher.ends_step(Finder.TRAINER, batch_size, who=id(call.owner))

    def _module_steps(self, call: Call) -> Observation:
        yield
        if self._watcher.watches:
            self._watcher.ends_step(Finder.TRAINER)


def _listed(key: Any) -> List[Any]:
    return list(key) if isinstance(key, (list, tuple)) else [key]
