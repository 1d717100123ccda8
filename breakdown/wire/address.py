"""Addresses: `scheme://host:port`, and `inproc://name`."""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple

from breakdown.errors import WireError


class Address(NamedTuple):
    """The parts of an address. `host` has no brackets, also for IPv6; `port` is 0 for inproc and for "any free one"."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        if self.scheme == "inproc":
            return f"inproc://{self.host}"
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """`host:port`, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def with_port(self, port: int) -> Address:
        return self._replace(port=port)


def parse(text: str) -> Address:
    """Reads an address. Raises `WireError` when it is not one."""
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme:
        raise WireError(f"'{text}' is not an address. Write scheme://host:port, for example tcp://127.0.0.1:5000.")
    if scheme == "inproc":
        return Address(scheme, rest, 0)
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise WireError(f"address '{text}' needs a host and a port from 0 to 65535, for example {scheme}://127.0.0.1:5000.")
    return Address(scheme, host.removeprefix("[").removesuffix("]"), int(port))


def resolve(address: Address) -> tuple[socket.AddressFamily, Address]:
    """The address with its host name replaced by a number. Raises OSError (`socket.gaierror`) for an unknown host."""
    family, _, _, _, name = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    return family, address._replace(host=str(name[0]))


def check_free(address: Address) -> Address:
    """The address in numbers, after an attempt to bind it. Raises the `WireError` of `cannot_listen`.

    For libraries that report a failure to bind poorly, or not at all.
    """
    try:
        family, numeric = resolve(address)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((numeric.host, numeric.port))
            probe.listen(1)
    except OSError as error:
        raise cannot_listen(address, error.errno, error.strerror or str(error)) from None
    return numeric


def unknown_host(address: Address, error: socket.gaierror) -> WireError:
    return WireError(f"cannot connect to {address}: {error.strerror}. Check the host name.")


def cannot_listen(address: Address, error_number: int | None, reason: str) -> WireError:
    """The one wording for an address that cannot be bound, with the remedy for its cause."""
    if error_number == errno.EADDRINUSE:
        remedy = "Another process uses this port: choose another one, or port 0 for a free one."
    elif error_number == errno.EADDRNOTAVAIL:
        remedy = "This host is not an address of this machine: use one that `ip address` shows."
    elif error_number == errno.EACCES:
        remedy = "Ports below 1024 need root: choose a higher one, or port 0 for a free one."
    else:
        remedy = "Check the host name and the port."
    if error_number is not None and not reason:
        reason = os.strerror(error_number)
    return WireError(f"cannot listen on {address}: {reason}. {remedy}")
