"""A peer in a process of its own, to be killed: `wire_peer.py ADDRESS TOKEN MODE`.

`between`: sends two frames, says so, waits. `within`: says so and sends a frame that nobody can take at once.
`reading`: reads frames for ever, says so after the first.
"""

from __future__ import annotations

import sys
import time

from wire_pairs import BIG, push

from breakdown.wire.registry import transport


def main(address: str, token: str, mode: str) -> None:
    connection = transport(address).connect(address, token, 10.0)
    if mode == "between":
        connection.send(push(3, 0), [b"abc"])
        connection.send(push(3, 1), [b"abc"])
        print("ready", flush=True)
        time.sleep(60)
    elif mode == "within":
        payload = bytes(BIG)
        print("ready", flush=True)
        connection.send(push(BIG), [payload])
    else:
        connection.recv()
        print("ready", flush=True)
        while True:
            connection.recv()


main(*sys.argv[1:])
