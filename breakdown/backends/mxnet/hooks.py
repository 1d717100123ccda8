"""Hooks for a user's own MXNet program: what is called from its main thread, told to a `watcher`.

`hook` is called when the program has imported mxnet (`backends.injection`). Nothing is hooked in a scheduler or server:
there the native recorder sees all. Runs in the user's environment: standard library and breakdown's errors, model, clock and
record only.
"""

from __future__ import annotations

import atexit
import functools
import os
from typing import Any, Callable, Iterator, List, Optional

from breakdown.backends import injection
from breakdown.backends.mxnet.native_recorder import step_setter
from breakdown.backends.mxnet.watcher import Finder, Watcher
from breakdown.model.stages import Op, Stage
from breakdown.record import marker


def hook(mx: Any) -> None:
    """Hooks a worker's program, or a single node's, which has just imported mxnet."""
    if os.environ.get("DMLC_ROLE", "worker") != "worker":
        return
    watcher = Watcher(injection.traces(), injection.warmup_steps(), step_setter())
    atexit.register(watcher.close)
    marker.listen(functools.partial(watcher.ends_step, Finder.MARK))
    _Hooks(mx, watcher).install()


class _Hooks:
    """Replaces methods of MXNet's classes by ones that tell the watcher."""

    def __init__(self, mx: Any, watcher: Watcher) -> None:
        self._mx = mx
        self._watcher = watcher
        self._load, self._forward = (Stage.INPUT, Op.LOAD), (Stage.COMPUTE, Op.FORWARD)
        self._backward, self._submit = (Stage.COMPUTE, Op.BACKWARD), (Stage.SERIALIZE, "submit")
        self._metric = (Stage.COMPUTE, "metric")
        self._names: dict[str, str] = {}  # a parameter's number in the store -> its name

    def install(self) -> None:
        mx, trainer, module = self._mx, self._mx.gluon.Trainer, self._mx.mod.Module
        self._hook_scope(mx.autograd._RecordingStateScope)
        self._wrap(mx.nd.NDArray, "backward", self._backward, before=self._sees_loss)
        self._wrap(mx.autograd, "backward", self._backward)
        self._wrap(mx.io.DataIter, "__next__", self._load)
        self._hook_loader(mx.gluon.data.DataLoader)
        self._wrap(mx.gluon.utils, "split_and_load", self._load)
        self._hook_metrics(mx.metric)
        self._wrap(trainer, "step", self._submit, after=self._trainer_steps)
        self._wrap(trainer, "allreduce_grads", self._submit)
        self._wrap(trainer, "update", self._submit, after=self._trainer_steps)
        self._wrap(module, "forward", self._forward, before=self._sees_batch)
        self._wrap(module, "backward", self._backward)
        self._wrap(module, "update", self._submit, after=lambda *_: self._watcher.ends_step(Finder.TRAINER))
        self._hook_store(mx.kvstore.KVStore)

    def _wrap(
        self,
        owner: Any,
        name: str,
        what: Any,
        before: Optional[Callable[..., None]] = None,
        after: Optional[Callable[..., None]] = None,
    ) -> None:
        """`before` and `after` get the call's arguments."""
        real, watcher = getattr(owner, name), self._watcher

        @functools.wraps(real)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if not watcher.enter(*what):
                return real(*args, **kwargs)
            try:
                if before is not None:
                    before(*args, **kwargs)
                result = real(*args, **kwargs)
            finally:
                watcher.leave()
            if after is not None:
                after(*args, **kwargs)
            return result

        setattr(owner, name, watched)

    def _hook_scope(self, scope: Any) -> None:
        """`with autograd.record():` is the forward pass."""
        enter, leave, watcher, what = scope.__enter__, scope.__exit__, self._watcher, self._forward

        def entered(self: Any) -> Any:
            self._breakdown = bool(self._enter_is_record) and watcher.enter(*what)
            return enter(self)

        def left(self: Any, *error: Any) -> Any:
            if self._breakdown:
                watcher.leave()
            return leave(self, *error)

        scope.__enter__, scope.__exit__ = entered, left

    def _hook_loader(self, loader: Any) -> None:
        real, watcher, what = loader.__iter__, self._watcher, self._load

        def timed(self: Any) -> Iterator[Any]:
            batches = real(self)
            while True:
                entered = watcher.enter(*what)
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                finally:
                    if entered:
                        watcher.leave()
                yield batch

        loader.__iter__ = timed

    def _hook_metrics(self, metrics: Any) -> None:
        """Every kind of metric has an `update` of its own."""
        for one in list(vars(metrics).values()):
            if isinstance(one, type) and issubclass(one, metrics.EvalMetric) and "update" in vars(one):
                self._wrap(one, "update", self._metric)

    def _hook_store(self, store: Any) -> None:
        init = store.__init__
        watcher = self._watcher

        def made(self: Any, handle: Any) -> None:
            init(self, handle)
            watcher.note("kvstore", self.type)
            if "dist" in self.type:
                watcher.rank = self.rank

        store.__init__ = made
        for name in ("init", "broadcast"):
            self._wrap(store, name, self._submit, before=self._sees_keys)
        for name in ("push", "pull", "pushpull"):
            self._hook_store_call(store, name, pushes="push" in name)

    def _hook_store_call(self, store: Any, name: str, pushes: bool) -> None:
        """Calls that the program makes itself can bound steps; those within Trainer.step or Module.update do not."""
        real, watcher, what = getattr(store, name), self._watcher, self._submit

        @functools.wraps(real)
        def watched(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
            if watcher.inside or not watcher.enter(*what):
                return real(self, key, *args, **kwargs)
            try:
                if pushes:
                    watcher.pushes(_listed(key))
                return real(self, key, *args, **kwargs)
            finally:
                watcher.leave()
                watcher.store_returns()

        setattr(store, name, watched)

    def _sees_keys(self, store: Any, key: Any, *_: Any, **__: Any) -> None:
        """MXNet numbers keys that are texts in the order in which it first hears of them."""
        known = set(self._names.values())
        for one in _listed(key):
            if isinstance(one, str) and one not in known:
                self._names[str(len(self._names))] = one
                self._watcher.note("parameter_names", self._names)

    def _sees_loss(self, loss: Any, *_: Any, **__: Any) -> None:
        """A loss for each sample tells how many there are."""
        if loss.ndim and loss.size > 1:
            self._watcher.has_samples(loss.shape[0])

    def _sees_batch(self, module: Any, batch: Any, *_: Any, **__: Any) -> None:
        data = getattr(batch, "data", None)
        if data:
            self._watcher.has_samples(data[0].shape[0])

    def _trainer_steps(self, trainer: Any, batch_size: int, *_: Any, **__: Any) -> None:
        if not self._names:
            self._names = {str(number): parameter.name for number, parameter in enumerate(trainer._params)}
            self._watcher.note("parameter_names", self._names)
        self._watcher.ends_step(Finder.TRAINER, batch_size)


def _listed(key: Any) -> List[Any]:
    return list(key) if isinstance(key, (list, tuple)) else [key]
