"""A port of the tests is theirs: a server can have it, and no other process is given it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.ports import port

GIVEN = """
import socket
from support.ports import port

with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as few:
    few.write("40000 40019")
mine, given = port(), []
try:
    while True:
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        given.append(other)
except OSError:  # no port is left
    ports = {other.getsockname()[1] for other in given}
assert len(ports) > 10 and mine not in ports, (mine, ports)
"""


def test_a_server_listens_on_it_and_may_come_again() -> None:
    mine = port()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", mine)), socket.create_connection(("127.0.0.1", mine)):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", mine))


def test_nobody_else_is_given_it() -> None:
    """In a network of its own, with 20 ports: all are asked for."""
    apart = ["unshare", "--net", "--"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network of its own needs unshare and the right to it")
    program = [sys.executable, "-c", GIVEN]
    done = subprocess.run([*apart, *program], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
