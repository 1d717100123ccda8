"""The terminal, file or pipe that the tool writes to, whatever it can show and however long it is there.

What its encoding lacks is shown by something near, and bytes of a path that are no text as they are. Where it takes no more
(a full disk, a reader that has gone), the work goes on without it: what is measured must not be lost for what is shown.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

NEAR = {"–": "-", "—": "-", "−": "-", "→": ">", "×": "x", "•": "*", "·": ".", "…": "~", "µ": "u", "≤": "<", "≥": ">"}
"""One sign for one sign, so that tables stay aligned."""


class Outlet:
    """A stream that never raises `OSError`. `error`: the first; from then on, all goes to nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    @property
    def encoding(self) -> str:
        return self.stream.encoding

    @property
    def errors(self) -> str | None:
        return self.stream.errors

    def isatty(self) -> bool:
        return self.error is None and self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        if self.error is None:
            try:
                return self.stream.write(text)
            except OSError as error:
                self._end(error)
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._end(error)

    def flushed(self) -> OSError | None:
        """Why not all was taken; None where it was."""
        self.flush()
        return self.error

    def _end(self, error: OSError) -> None:
        """What the stream still holds would be tried again as Python ends, and fail again: it goes to nowhere."""
        self.error = error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
            self.stream.flush()


@contextmanager
def outlets() -> Iterator[tuple[Outlet | None, Outlet | None]]:
    """Standard output and standard error as outlets, for the block; None for one that was closed before the tool started."""
    _fill()
    codecs.register_error("breakdown.near", near)
    before = sys.stdout, sys.stderr
    made = _outlet(sys.stdout), _outlet(sys.stderr)
    sys.stdout, sys.stderr = made
    try:
        yield made
    finally:
        for one in made:
            if one is not None:
                one.flush()
        sys.stdout, sys.stderr = before


def is_reader_gone(error: OSError) -> bool:
    """Whether nobody reads any more, as behind `| head`, which is no fault."""
    return error.errno == errno.EPIPE


def near(error: UnicodeError) -> tuple[str | bytes, int]:
    """Stands in for what an encoding lacks (see `codecs.register_error`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    if all("\udc80" <= sign <= "\udcff" for sign in signs):  # bytes of a path, as Python keeps them
        return bytes(ord(sign) - 0xDC00 for sign in signs), error.end
    return "".join(map(_near, signs)), error.end


def _near(sign: str) -> str:
    import unicodedata

    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return NEAR.get(sign) or plain[:1] or "?"


def _outlet(stream: Any) -> Outlet | None:
    if stream is None:
        return None
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="breakdown.near")
    return Outlet(stream)


def _fill() -> None:
    """Opens what is closed of the first three descriptors: else a trace or a table gets the number, and what is printed."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return
        os.set_inheritable(number, True)
