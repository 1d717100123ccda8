"""What a program tells the native recorder that is loaded into it; without one, nothing. Standard library only."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Optional


def step_setter() -> Callable[[int], None]:
    """A function to call with the number of each step as it begins."""
    setter = _function("breakdown_step")
    if setter is None:
        return lambda step: None
    setter.argtypes = [ctypes.c_int64]

    def tell(step: int) -> None:
        setter(step)

    return tell


def stop() -> None:
    """Ends the recording with a last flush: for who leaves the process past its exit handlers."""
    stopper = _function("breakdown_stop")
    if stopper is not None:
        stopper()


def _function(name: str) -> Optional[Any]:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function.restype = None
    return function
