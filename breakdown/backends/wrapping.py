"""The guard around every hook: puts watched functions in the place of a framework's, and never raises into the program.

An observer is a function that is told of a call before it happens. To be told of its end too, it is written as a generator
that yields once, where the call happens: it goes on there with what the call returned, or is closed where the call raised
(so `finally` is reached in any case). What it returns, unless None, takes the place of the call's result.

    def observe(call: Call) -> Observation:
        watcher.enter(...)
        try:
            result = yield
        finally:
            watcher.leave()

Whatever an observer raises is said once for each hook, and the program notices nothing: the real function is called
exactly once, with exactly what the program gave it, and returns or raises what it does without us.
Runs in the user's environment: standard library only.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from typing import Any, Callable, Dict, Generator, Iterator, Optional, Set, Tuple

Observation = Generator[None, Any, Any]
"""What an observer is that goes on behind the call."""

Warn = Callable[[str], None]
"""Tells the user something."""

_signature = functools.lru_cache(maxsize=256)(inspect.signature)


class Call:
    """A call as the program makes it."""

    __slots__ = ("_bound", "_real", "args", "named")

    def __init__(self, real: Callable[..., Any], args: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        self._real = real
        self._bound: Optional[inspect.BoundArguments] = None
        self.args = args
        self.named = named

    @property
    def owner(self) -> Any:
        """The object whose method it is."""
        return self.args[0]

    def __getitem__(self, name: str) -> Any:
        """The argument of this name of the framework's own; its default where the program gives none."""
        if self._bound is None:
            self._bound = _signature(self._real).bind(*self.args, **self.named)
            self._bound.apply_defaults()
        return self._bound.arguments[name]


Observer = Callable[[Call], Optional[Observation]]
"""Told of each call of a hooked function."""


class Hooks:
    """Puts watched functions in the place of others, and says once for each what failed in watching it."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._failed: Set[str] = set()

    def watch(self, owner: Any, name: str, observe: Observer) -> None:
        """From here on `observe` is told of each call of this method. Raises `AttributeError` where there is none."""
        setattr(owner, name, self.watched(getattr(owner, name), observe, f"{owner.__name__}.{name}"))

    def watched(self, real: Callable[..., Any], observe: Observer, name: str) -> Callable[..., Any]:
        """A function like this one, of whose calls `observe` is told. `name`: for what is said where that fails."""

        @functools.wraps(real)
        def watched(*args: Any, **named: Any) -> Any:
            observation = self._begin(observe, Call(real, args, named), name)
            if observation is None:
                return real(*args, **named)
            try:
                result = real(*args, **named)
            except BaseException:
                self._abandon(observation, name)
                raise
            return self._end(observation, result, name)

        return watched

    def iterator(self, real: Iterator[Any], observe: Observer, name: str) -> Iterator[Any]:
        """An iterator like this one, of each of whose steps `observe` is told."""
        return _WatchedIterator(real, self.watched(real.__next__, observe, name))

    def guarded(self, function: Callable[..., None], name: str) -> Callable[..., None]:
        """A function of ours that the program calls, or that is called for it: what it raises goes no further."""

        def guarded(*args: Any, **named: Any) -> None:
            try:
                function(*args, **named)
            except Exception as error:
                self._say(name, error)

        return guarded

    def _begin(self, observe: Observer, call: Call, name: str) -> Optional[Observation]:
        """The observation, stopped where the call happens; None where it ended before that."""
        try:
            observation = observe(call)
            if observation is not None:
                next(observation)
            return observation
        except StopIteration:
            return None
        except Exception as error:
            self._say(name, error)
            return None

    def _end(self, observation: Observation, result: Any, name: str) -> Any:
        """What the program gets as the call's result."""
        try:
            observation.send(result)
        except StopIteration as stop:
            return result if stop.value is None else stop.value
        except Exception as error:
            self._say(name, error)
        return result

    def _abandon(self, observation: Observation, name: str) -> None:
        try:
            observation.close()
        except Exception as error:
            self._say(name, error)

    def _say(self, name: str, error: Exception) -> None:
        if name in self._failed:
            return
        self._failed.add(name)
        with suppress(Exception):
            self._warn(f"{name} could not be watched, so the result lacks what that would have told: {error!r}")


class _WatchedIterator:
    def __init__(self, real: Iterator[Any], take: Callable[[], Any]) -> None:
        self._real = real
        self._take = take

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._take()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
