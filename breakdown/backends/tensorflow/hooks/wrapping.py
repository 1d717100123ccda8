"""Puts functions of ours in the place of methods of TensorFlow's classes."""

from __future__ import annotations

import functools
from typing import Any, Callable

Around = Callable[..., Any]
"""Called with the real method, then its arguments."""


def wrap(owner: Any, name: str, around: Around) -> None:
    """From here on a call of the method calls `around(real, self, ...)`. Raises `AttributeError` where there is none."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(real, self, *args, **kwargs)

    setattr(owner, name, watched)


def before(owner: Any, name: str, tell: Callable[..., None]) -> None:
    """From here on `tell` is called with the method's arguments, before it is."""

    def around(real: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        tell(self, *args, **kwargs)
        return real(self, *args, **kwargs)

    wrap(owner, name, around)
