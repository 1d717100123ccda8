"""Watches a torch module: cuts its steps into spans, and tells when each gradient is complete.

Spans of one pass are contiguous: each reaches from the previous boundary to the next. Forward, a boundary is the end of a
module that owns parameters (key: its first parameter); backward, the moment when a parameter's gradient is complete (key:
that parameter). What follows the last boundary of a pass gets a span with key "". Without recording, the forward pass is
left alone and no clock is read.

A boundary lies just behind a matrix product that has filled the caches with other things, so that every line of code there
costs several times what it costs in a tight loop. So it only notes the time, beside an integer made once. What was noted is
recorded as one chain, once in `TIME_INTERVAL_NS` and at the end of backward. And a module's `forward` is wrapped, since
torch's own forward hooks lead every call of the module along a path that costs three times as much as the note.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from breakdown.clock.clocks import now_ns
from breakdown.clock.thread_time import NOTHING_KNOWN, ThreadTime, spent, thread_time
from breakdown.errors import BreakdownError
from breakdown.model.stages import Op, Stage
from breakdown.record.api import Recorder, ThreadRecorder
from breakdown.record.layout import link_word

TIME_INTERVAL_NS = 4_000_000
"""About a scheduler's time slice: a thread that loses its core loses it for so long. The thread's time is read at the first
boundary after it. So a longer span has its own; shorter ones share what was read over all of them, in proportion to their
length."""

GradientReady = Callable[[int, int], None]
"""(index of the parameter, step). Its gradient is in `.grad` and final."""


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are trained, each once and under its first name, in the model's order."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


class StepInstrument:
    """Watches one model in one thread. Each step calls `begin`, `loaded`, `start_backward` and `finish_backward`.

    `gradient_ready` hears of each trainable parameter exactly once a step: inside backward when its gradient is complete,
    or in `finish_backward` when this step's loss did not depend on it. Then its gradient is zero, so that every worker
    pushes the same keys in each step.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[tuple[str, nn.Parameter]],
        recorder: Recorder,
        main: ThreadRecorder,
        gradient_ready: GradientReady,
    ) -> None:
        self._parameters = parameters
        self._gradient_ready = gradient_ready
        self._missing = set(range(len(parameters)))  # whose gradient this step still lacks
        self._step = -1
        self._recording = recorder.enabled
        self._main = main
        load, self._forward, self._backward = map(recorder.intern, (Op.LOAD, Op.FORWARD, Op.BACKWARD))
        self._load_link = link_word(Stage.INPUT, load, 0)
        self._last_forward_link = link_word(Stage.COMPUTE, self._forward, 0)
        self._last_backward_link = link_word(Stage.COMPUTE, self._backward, 0)
        self._noted: list[int] = []  # the links of a chain (`record.api`) that is not yet recorded
        self._recorded_ns = 0  # the boundary up to which all is recorded
        self._due_ns = 0  # the time from which on a boundary records what is noted
        self._recorded_time = NOTHING_KNOWN  # what had become of the thread's time there
        self._input_bytes = 0  # of this step's batch, until it is recorded
        self._handles: list[RemovableHandle] = []
        self._wrapped: list[tuple[nn.Module, Any]] = []  # and the `forward` that the module itself had, if any
        for index, (name, parameter) in enumerate(parameters):
            hook = self._gradient_hook(index, recorder.intern(name))
            self._handles.append(parameter.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
        if self._recording:
            self._watch_forward(model, recorder)

    def begin(self, step: int, start_ns: int) -> None:
        """A step has begun: the batch is taken."""
        self._step = step
        if self._recording:
            self._recorded_ns, self._due_ns, self._recorded_time = start_ns, start_ns + TIME_INTERVAL_NS, thread_time()

    def loaded(self, size_bytes: int) -> None:
        """The batch is there; the forward pass follows."""
        if self._recording:
            self._input_bytes = size_bytes
            self._note(self._load_link)

    def start_backward(self) -> None:
        """The loss is computed; backward follows."""
        if self._recording:
            self._note(self._last_forward_link)

    def finish_backward(self) -> None:
        """Backward has returned. Afterwards all spans up to here are recorded."""
        if self._missing:
            for index in sorted(self._missing):
                parameter = self._parameters[index][1]
                parameter.grad = torch.zeros_like(parameter)
                self._gradient_ready(index, self._step)
        self._missing.update(range(len(self._parameters)))
        if self._recording:
            now_time = thread_time()  # before the last boundary, so that this work lies in a span and not behind it
            self._noted += self._last_backward_link, now_ns()
            self._record(now_time)

    def close(self) -> None:
        """Leaves the model as it was, and records what an error has left noted."""
        for handle in self._handles:
            handle.remove()
        for module, own_forward in self._wrapped:
            del module.forward
            if own_forward is not None:
                module.forward = own_forward
        self._record(thread_time())

    def _note(self, what: int) -> None:
        """Ends a span here, and starts the next. The two closures below do the same without a call."""
        now = now_ns()
        self._noted.extend((what, now))
        if now > self._due_ns:
            self._record(thread_time())

    def _record(self, now_time: ThreadTime) -> None:
        """Records what is noted. `now_time`: of this thread, read just now."""
        if not self._noted:
            return
        end = self._noted[-1]
        cpu_ns, runnable_ns = spent(self._recorded_time, now_time)
        # The clocks are read one after the other, so a busy thread can seem to have used a little more than there was.
        cpu_ns = min(cpu_ns, end - self._recorded_ns)
        self._main.chain(self._step, self._input_bytes, self._recorded_ns, cpu_ns, runnable_ns, self._noted)
        self._noted.clear()
        self._input_bytes = 0
        self._recorded_ns, self._due_ns, self._recorded_time = end, end + TIME_INTERVAL_NS, now_time

    def _watch_forward(self, model: nn.Module, recorder: Recorder) -> None:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for module in model.modules():
            own = next(module.parameters(recurse=False), None)
            if own is not None:
                self._wrapped.append((module, vars(module).get("forward")))
                # An attribute of this one module, in front of its class's method.
                module.forward = self._timed(module.forward, recorder.intern(names[id(own)]))

    def _timed(self, forward: Callable[..., Any], key: int) -> Callable[..., Any]:
        note, what, clock = self._noted.extend, link_word(Stage.COMPUTE, self._forward, key), now_ns

        @functools.wraps(forward)
        def timed(*args: Any, **kwargs: Any) -> Any:
            outputs = forward(*args, **kwargs)
            now = clock()
            note((what, now))
            if now > self._due_ns:
                self._record(thread_time())
            return outputs

        return timed

    def _gradient_hook(self, index: int, key: int) -> Callable[[torch.Tensor], None]:
        missing, ready = self._missing, self._gradient_ready
        note = self._noted.extend if self._recording else None
        what, clock = link_word(Stage.COMPUTE, self._backward, key), now_ns

        def gradient_done(_: torch.Tensor) -> None:
            try:
                missing.remove(index)
            except KeyError:
                raise BreakdownError(
                    f"the gradient of '{self._parameters[index][0]}' was added to a second time in step {self._step}, "
                    "after it had been handed on as complete. Call backward once a step, without re-entrant checkpointing."
                ) from None
            if note is not None:
                now = clock()
                note((what, now))
                if now > self._due_ns:
                    self._record(thread_time())
            ready(index, self._step)

        return gradient_done
