"""What each transport and serialiser costs, against a bare socket: goodput between two processes over loopback.

    python benchmarks/transport.py [--rounds 9] [--only bare,tcp-raw] [--out results/benchmarks/transport.json]

An exchange is the traffic of one PS step without overlap: `frames` frames of `frame_bytes` go to the peer process, then the
same number comes back. Both ends keep one buffer a frame, allocated and touched beforehand. `bare` is a blocking socket with
`sendall` and `recv_into`, without headers. Goodput counts payload bytes of both directions; encode and decode are inside
the time. CPU time is that of both processes, all threads: what a transport takes from the computation beside it, and the
steadier figure on a busy machine. Every round measures every variant once, in rotating order; a round's sample is the median
of its exchanges; the file holds every sample, medians with 95 % intervals, and the paired ratio to `bare`.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from common import Claim, Measured, finish, load_average, measured

from breakdown.wire.api import Connection, Header, Kind
from breakdown.wire.registry import transport
from breakdown.wire.serialise import serialiser
from breakdown.wire.tuning import tune

TRANSPORTS = ("tcp", "zmq", "grpc")
SERIALISERS = ("raw", "pickle", "protobuf")
VARIANTS = ("bare", *(f"{scheme}-{name}" for scheme in TRANSPORTS for name in SERIALISERS))
GOAL_TCP_RAW_OF_BARE = 0.8
TOKEN = "benchmark"
START_TIMEOUT_S = 20.0


class Stream(ABC):
    """One end: sends all its buffers, or fills them all."""

    def __init__(self, buffers: list[memoryview]) -> None:
        self.buffers = buffers

    @abstractmethod
    def send_all(self) -> None: ...

    @abstractmethod
    def recv_all(self) -> bool:
        """False when the peer closed."""

    @abstractmethod
    def close(self) -> None: ...


class BareStream(Stream):
    def __init__(self, buffers: list[memoryview], sock: socket.socket) -> None:
        super().__init__(buffers)
        tune(sock)  # the same kernel work for each byte
        self._socket = sock

    def send_all(self) -> None:
        for buffer in self.buffers:
            self._socket.sendall(buffer)

    def recv_all(self) -> bool:
        for buffer in self.buffers:
            done = 0
            while done < len(buffer):
                count = self._socket.recv_into(buffer[done:])
                if count == 0:
                    return False
                done += count
        return True

    def close(self) -> None:
        self._socket.close()


class WireStream(Stream):
    def __init__(self, buffers: list[memoryview], connection: Connection, codec: str) -> None:
        super().__init__(buffers)
        self._connection = connection
        self._codec = serialiser(codec)

    def send_all(self) -> None:
        for key, buffer in enumerate(self.buffers):
            payload = self._codec.encode([buffer], "float32")
            header = Header(Kind.PUSH, 0, 0, key, 0, key, sum(len(part) for part in payload))
            self._connection.send(header, payload)

    def recv_all(self) -> bool:
        sink = (lambda header: [self.buffers[header.key]]) if self._codec.passthrough else None
        for buffer in self.buffers:
            received = self._connection.recv(sink)
            if received is None:
                return False
            if not self._codec.passthrough:
                self._codec.decode(received.payload, [buffer], "float32")
        return True

    def close(self) -> None:
        self._connection.close()


def new_buffers(frames: int, frame_bytes: int, fill: int) -> list[memoryview]:
    return [memoryview(bytearray([fill]) * frame_bytes) for _ in range(frames)]


def serve(variant: str, frames: int, frame_bytes: int) -> None:
    """The peer process: prints its address, then returns each exchange until its peer closes."""
    buffers = new_buffers(frames, frame_bytes, 0)
    stream: Stream
    if variant == "bare":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            stream = BareStream(buffers, listener.accept()[0])
    else:
        scheme, _, codec = variant.partition("-")
        wire_listener = transport(f"{scheme}://127.0.0.1:0").listen(f"{scheme}://127.0.0.1:0", TOKEN)
        print(wire_listener.address, flush=True)
        connection = wire_listener.accept(START_TIMEOUT_S)
        wire_listener.close()
        if connection is None:
            raise SystemExit("no peer connected")
        stream = WireStream(buffers, connection, codec)
    while stream.recv_all():
        stream.send_all()
    stream.close()


class Variant:
    """One variant's peer process and this end of the connection."""

    def __init__(self, name: str, frames: int, frame_bytes: int) -> None:
        command = [sys.executable, __file__, "--serve", name, "--frames", str(frames), "--frame-bytes", str(frame_bytes)]
        self._peer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._peer.stdout is not None
        address = self._peer.stdout.readline().strip()
        self._sent = new_buffers(frames, frame_bytes, 0xA5)
        self._back = new_buffers(frames, frame_bytes, 0)
        if name == "bare":
            self._stream: Stream = BareStream(self._sent, socket.create_connection(("127.0.0.1", int(address))))
        else:
            connection = transport(address).connect(address, TOKEN, START_TIMEOUT_S)
            self._stream = WireStream(self._sent, connection, name.partition("-")[2])
        for _ in range(3):  # socket buffers grow, pages are touched
            self.exchange_s()

    def cpu_s(self) -> float:
        """CPU time that both processes have used, all threads together."""
        tasks = Path(f"/proc/{self._peer.pid}/task").glob("*/schedstat")
        return time.process_time() + sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def exchange_s(self) -> float:
        self._stream.buffers = self._sent
        start = time.perf_counter()
        self._stream.send_all()
        self._stream.buffers = self._back
        if not self._stream.recv_all():
            raise RuntimeError("the peer process closed")
        elapsed = time.perf_counter() - start
        if self._back[-1] != self._sent[-1]:
            raise RuntimeError("what came back differs from what was sent")
        return elapsed

    def close(self) -> None:
        self._stream.close()
        try:
            self._peer.wait(10)
        except subprocess.TimeoutExpired:
            self._peer.kill()
            self._peer.wait()
        assert self._peer.stdout is not None
        self._peer.stdout.close()


@dataclass
class Samples:
    """Of one variant, one a round."""

    goodput_mb_s: list[float] = field(default_factory=list)
    cpu_s_per_gb: list[float] = field(default_factory=list)


def measure(names: list[str], rounds: int, exchanges: int, frames: int, frame_bytes: int) -> dict[str, Samples]:
    variants: dict[str, Variant] = {}
    samples = {name: Samples() for name in names}
    size = 2 * frames * frame_bytes
    try:
        for name in names:
            variants[name] = Variant(name, frames, frame_bytes)
        for index in range(rounds):
            shift = index % len(names)
            for name in names[shift:] + names[:shift]:
                cpu_before = variants[name].cpu_s()
                elapsed = statistics.median(variants[name].exchange_s() for _ in range(exchanges))
                samples[name].goodput_mb_s.append(size / elapsed / 1e6)
                samples[name].cpu_s_per_gb.append((variants[name].cpu_s() - cpu_before) / (exchanges * size / 1e9))
    finally:
        for variant in variants.values():
            variant.close()
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--exchanges", type=int, default=5, help="a round's sample is the median of this many")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--frame-bytes", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(VARIANTS), help="comma-separated; bare and tcp-raw are always measured")
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/transport.json")
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.frames, options.frame_bytes)
        return 0
    names = [name for name in VARIANTS if name in ("bare", "tcp-raw", *options.only.split(","))]
    load_before = load_average()
    samples = measure(names, options.rounds, options.exchanges, options.frames, options.frame_bytes)
    variants: dict[str, dict[str, Measured]] = {}
    for name, values in samples.items():
        pairs = zip(values.goodput_mb_s, samples["bare"].goodput_mb_s, strict=True)
        variants[name] = {
            "goodput_mb_s": measured(values.goodput_mb_s),
            "share_of_bare": measured([value / bare for value, bare in pairs]),
            "cpu_s_per_gb": measured(values.cpu_s_per_gb),
        }
        print(f"{name:14}", "  ".join(f"{column} {value}" for column, value in variants[name].items()))
    claims = [
        Claim(
            "goodput of the tcp transport over that of a bare socket",
            "",
            variants["tcp-raw"]["share_of_bare"],
            at_least=GOAL_TCP_RAW_OF_BARE,
        )
    ]
    detail = {
        "what": "goodput of 2 processes over loopback, payload bytes of both directions, encode and decode inside",
        "unit": "MB/s (1e6 bytes)",
        "rounds": options.rounds,
        "exchanges_a_round": options.exchanges,
        "frames": options.frames,
        "frame_bytes": options.frame_bytes,
        "other_versions": {name: version(name) for name in ("pyzmq", "grpcio", "protobuf")},
        "tcp_memory": {name: Path(f"/proc/sys/net/ipv4/{name}").read_text().split() for name in ("tcp_rmem", "tcp_wmem")},
        "variants": {name: {column: asdict(value) for column, value in found.items()} for name, found in variants.items()},
        "samples": {name: asdict(values) for name, values in samples.items()},
    }
    return finish("transport", claims, detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
