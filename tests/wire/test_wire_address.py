"""Addresses and the registry of transports."""

from __future__ import annotations

import socket

import pytest
from wire_pairs import NETWORKED, TIMEOUT_S, TOKEN, in_thread

from breakdown.errors import ConfigError, WireError
from breakdown.wire.address import Address, parse
from breakdown.wire.registry import TRANSPORTS, transport


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://127.0.0.1:5000", Address("tcp", "127.0.0.1", 5000)),
        ("zmq://[::1]:0", Address("zmq", "::1", 0)),
        ("grpc://host.example:65535", Address("grpc", "host.example", 65535)),
        ("inproc://any name", Address("inproc", "any name", 0)),
    ],
)
def test_an_address_reads_and_writes(text: str, address: Address) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1:5000", "://x:1", "tcp://host", "tcp://:5", "tcp://h:", "tcp://h:-1", "tcp://h:65536", "tcp://h:٣"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(WireError, match=r"127\.0\.0\.1:5000"):
        parse(text)


def test_an_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tcp'") as error:
        transport("tpc://127.0.0.1:0")
    assert all(scheme in str(error.value) for scheme in TRANSPORTS)


@pytest.mark.parametrize("scheme", NETWORKED)
def test_an_address_of_another_machine_cannot_be_listened_on(scheme: str) -> None:
    with pytest.raises(WireError, match=r"192\.0\.2\.1.*not an address of this machine"):
        transport(f"{scheme}://192.0.2.1:0").listen(f"{scheme}://192.0.2.1:0", TOKEN)


@pytest.mark.parametrize("scheme", NETWORKED)
def test_an_unknown_host(scheme: str) -> None:
    address = f"{scheme}://no-such-host.invalid:1"
    with pytest.raises(WireError, match="no-such-host"):
        transport(address).listen(address, TOKEN)
    with pytest.raises(WireError, match="Check the host name"):
        transport(address).connect(address, TOKEN, 1.0)


@pytest.mark.parametrize("scheme", NETWORKED)
def test_only_the_given_address_is_bound(scheme: str) -> None:
    listener = transport(f"{scheme}://127.0.0.1:0").listen(f"{scheme}://127.0.0.1:0", TOKEN)
    port = parse(listener.address).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=2.0)
    listener.close()


@pytest.mark.parametrize("scheme", NETWORKED)
@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_names_and_ipv6(scheme: str, host: str) -> None:
    if host == "[::1]" and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    listener = transport(f"{scheme}://{host}:0").listen(f"{scheme}://{host}:0", TOKEN)
    assert listener.address.startswith(f"{scheme}://{host}:")
    accepted = in_thread(lambda: listener.accept(TIMEOUT_S))
    client = transport(listener.address).connect(listener.address, TOKEN, TIMEOUT_S)
    accepted.result(TIMEOUT_S).close()
    client.close()
    listener.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
