"""How a TCP socket is set up for frames, with what was measured for each choice."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

LOOPBACK_CONGESTION_CONTROL = b"reno"
"""Every Linux kernel has it, and any user may choose it."""


def tune(sock: socket.socket) -> None:
    """Sets a connected socket's options.

    A small frame must not wait for the acknowledgement of the last one. On loopback, where nothing can be congested, a
    pacing congestion control (`bbr`, where it is the system's default) spends clearly more processor time on each byte:
    there the plain one is chosen. Over a real link the system's choice stands. The buffers' sizes are left to the
    kernel, which grows them: fixed sizes from 1 MiB up were no faster (loopback, 1 MB frames), 512 KiB was 20 % slower.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):  # the peer is gone already, which its next use tells, or the kernel has no reno
        if ipaddress.ip_address(sock.getpeername()[0]).is_loopback:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, LOOPBACK_CONGESTION_CONTROL)
