"""Finds the transport for an address by its scheme. A transport's library is imported on first use only."""

from __future__ import annotations

from importlib import import_module

from breakdown.errors import unknown_name
from breakdown.wire.address import parse
from breakdown.wire.api import Transport

TRANSPORTS = {
    "tcp": ("breakdown.wire.tcp", "TcpTransport"),
    "zmq": ("breakdown.wire.zmq", "ZmqTransport"),
    "grpc": ("breakdown.wire.grpc", "GrpcTransport"),
    "inproc": ("breakdown.wire.inproc", "InprocTransport"),
}
"""Scheme -> module and class."""


def transport(address: str) -> Transport:
    """The transport that serves an address such as `tcp://127.0.0.1:0`.

    Raises `WireError` for text that is no address and `ConfigError`, which lists the known ones, for an unknown scheme.
    """
    scheme = parse(address).scheme
    if scheme not in TRANSPORTS:
        raise unknown_name("transport", scheme, TRANSPORTS, where=f"address '{address}'")
    module, name = TRANSPORTS[scheme]
    found: type[Transport] = getattr(import_module(module), name)
    return found()
