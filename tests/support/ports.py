"""Ports for what tests start: nobody else gets them.

A port that is found free, let go and used later can be given to another process meanwhile, as the near end of any
connection. One that stays bound, without listening, is given to nobody: the kernel only lets a server have it that asks for
this very port and, as this process does, for SO_REUSEADDR. All servers that tests start do: libzmq's, gRPC's, and those of
this package.
"""

from __future__ import annotations

import socket

_held: list[socket.socket] = []


def port() -> int:
    """A port of this machine that is the caller's until the tests end."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", 0))
    _held.append(one)
    return int(one.getsockname()[1])
