"""How fast the parameter server moves bytes: push all keys, pull all keys, no training.

One server and 1 or 2 workers, each a process, on loopback. These take turns in one run: this PS, where the server sends
back the sum (as MXNet's kvstore does without an optimizer); this PS with SGD on the server; a bare socket program that
moves the same bytes in the same pattern (each key goes back when all workers' copies have come; nothing is summed); with two
workers the same program with the sum, which every PS has to do; and, with `--mxnet-python`, MXNet's dist_sync kvstore. A
sample is the mean of a few rounds back to back, from the first worker's start to the last worker's end. Goodput counts each
payload byte once: keys * bytes * workers * 2 a round.

All processes are started afresh a few times, because a start decides more than a round does: how often MXNet's messages get
new memory from the kernel, a page fault every 4 KiB, differs from start to start by up to a factor of two.

    python benchmarks/ps_rounds.py [--mxnet-python PATH] [--out results/benchmarks/ps_rounds.json]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time only where they are needed: the MXNet worker has neither
    from common import Claim

KEYS = 20
KEY_BYTES = 1 << 20
START_TIMEOUT_S = 120
BOUNDS = {"bare socket": 0.8, "MXNet dist_sync": 3.0}
"""The least that this PS's goodput has to be, as a multiple of a contestant's."""


# --- this PS ---------------------------------------------------------------------------------------------------------


def ps_role(role: str, rank: int, workers: int, address: str, token: str, update_on: str) -> None:
    """One role of the PS. A worker runs rounds on request (`serve_rounds`)."""
    import torch

    from breakdown.config.cell import Cell
    from breakdown.model.identity import Node, Role
    from breakdown.ps.failure import Failure
    from breakdown.ps.link import SchedulerLink
    from breakdown.ps.plan import ParameterSpec, make_plan
    from breakdown.ps.scheduler import run_scheduler
    from breakdown.ps.server import run_server
    from breakdown.ps.worker import Client
    from breakdown.record.null import NullRecorder
    from breakdown.wire.registry import transport

    torch.set_num_threads(1)
    recorder = NullRecorder()
    cell = Cell(workers=workers, update_on=update_on, learning_rate=0.0)
    node = Node(Role[role.upper()], rank)
    if node.role == Role.SCHEDULER:
        run_scheduler(cell, node, address, token, recorder)
        return
    if node.role == Role.SERVER:
        run_server(cell, node, address, token, recorder)
        return
    failure = Failure()
    link = SchedulerLink(node, address, token, recorder, failure)
    plan = make_plan([ParameterSpec(f"key-{key}", KEY_BYTES // 4, 4) for key in range(KEYS)], servers=1)
    start = link.join(plan=plan.to_json())
    connections = [transport(server).connect(server, token, START_TIMEOUT_S) for server in start["servers"]]
    client = Client(cell, node, plan, connections, recorder, failure)
    main = recorder.thread("main")
    values = [[torch.full((KEY_BYTES // 4,), float(rank + 1))] for _ in range(KEYS)]
    places = [[torch.zeros(KEY_BYTES // 4)] for _ in range(KEYS)]

    def finish(keys: Sequence[int]) -> None:
        for key in reversed(keys):
            client.wait(key, main)

    keys = range(KEYS)
    for key in keys:
        if rank == 0:
            client.push(key, -1, places[key])
        client.pull(key, -1, places[key])
    finish(keys)
    step = 0

    def one_round() -> None:
        nonlocal step
        for key in keys:
            client.push_pull(key, step, values[key], places[key])
        finish(keys)
        step += 1

    serve_rounds(one_round)
    expected = workers * (workers + 1) / 2 if update_on == "worker" else 0.0
    if any(float(place[0][0]) != expected or float(place[0][-1]) != expected for place in places):
        raise SystemExit(f"worker-{rank} got wrong values")
    link.barrier("end")
    client.close()
    link.leave()


# --- the bare socket -------------------------------------------------------------------------------------------------


def bare_server(workers: int, port: int, sums: bool) -> None:
    """Receives every key from every worker; sends a key back to all when all copies have come (if it `sums`, their sum)."""
    import numpy as np

    from breakdown.wire.tuning import tune  # the same kernel work for each byte

    with socket.create_server(("127.0.0.1", port)) as listener:
        socks = [listener.accept()[0] for _ in range(workers)]
    buffers = [[memoryview(bytearray(KEY_BYTES)) for _ in range(KEYS)] for _ in range(workers)]
    values = [[np.frombuffer(buffer, dtype=np.float32) for buffer in of_worker] for of_worker in buffers]
    outboxes: list[SimpleQueue[int | None]] = [SimpleQueue() for _ in range(workers)]
    counts = [0] * KEYS
    lock = threading.Lock()

    def receive(worker: int) -> None:
        while True:
            for key in range(KEYS):
                if not recv_all(socks[worker], buffers[worker][key]):
                    outboxes[worker].put(None)
                    return
                with lock:
                    counts[key] += 1
                    complete = counts[key] == workers
                    counts[key] %= workers
                if complete:
                    for other in values[1:] if sums else ():
                        np.add(values[0][key], other[key], out=values[0][key])
                    for outbox in outboxes:
                        outbox.put(key)

    def send(worker: int) -> None:
        while (key := outboxes[worker].get()) is not None:
            socks[worker].sendall(buffers[0][key])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers) for work in (receive, send)]
    for sock in socks:
        tune(sock)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bare_worker(port: int) -> None:
    """Sends all keys while it receives all answers."""
    sock = connect(port)
    values = [memoryview(bytearray(b"\1" * KEY_BYTES)) for _ in range(KEYS)]
    places = [memoryview(bytearray(KEY_BYTES)) for _ in range(KEYS)]
    go: SimpleQueue[bool] = SimpleQueue()

    def send() -> None:
        while go.get():
            for value in values:
                sock.sendall(value)

    sender = threading.Thread(target=send)
    sender.start()

    def one_round() -> None:
        go.put(True)
        for place in places:
            recv_all(sock, place)

    serve_rounds(one_round)
    go.put(False)
    sender.join()
    sock.close()


def recv_all(sock: socket.socket, view: memoryview) -> bool:
    """Fills `view`; False when the peer closed."""
    done = 0
    while done < len(view):
        count = sock.recv_into(view[done:])
        if not count:
            return False
        done += count
    return True


def connect(port: int) -> socket.socket:
    from breakdown.wire.tuning import tune

    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        tune(sock)
        return sock


# --- MXNet (runs in its own environment: standard library and mxnet only) --------------------------------------------


def mxnet_worker() -> None:
    import mxnet as mx  # type: ignore[import-not-found, unused-ignore]

    store = mx.kv.create("dist_sync")
    keys = list(range(KEYS))
    values = [mx.nd.ones((KEY_BYTES // 4,)) * (store.rank + 1) for _ in keys]
    places = [mx.nd.zeros((KEY_BYTES // 4,)) for _ in keys]
    store.init(keys, places)
    mx.nd.waitall()

    def one_round() -> None:
        store.push(keys, values)
        store.pull(keys, out=places)
        mx.nd.waitall()

    one_round()
    expected = store.num_workers * (store.num_workers + 1) / 2
    if any(float(place[0].asscalar()) != expected for place in places):
        raise SystemExit("an MXNet worker got wrong values")
    for value in values:
        value[:] = 0  # a pull overwrites the pushed array too, so ones would grow with every round
    mx.nd.waitall()
    serve_rounds(one_round)


# --- rounds on request -----------------------------------------------------------------------------------------------


def serve_rounds(one_round: Any) -> None:
    """For each line `N` on standard input runs N rounds and prints start and end in monotonic ns. Ends with the input."""
    print("ready", flush=True)
    for line in sys.stdin:
        start_ns = time.monotonic_ns()
        for _ in range(int(line)):
            one_round()
        print(start_ns, time.monotonic_ns(), flush=True)


class Contestant:
    """The processes of one system. `sample` runs rounds on all its workers at once."""

    def __init__(
        self, name: str, helpers: Sequence[subprocess.Popen[str]], workers: Sequence[subprocess.Popen[str]]
    ) -> None:
        self.name = name
        self._helpers = helpers
        self._workers = workers
        self.samples_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.page_faults: list[float] = []

    def measure(self, rounds: int) -> None:
        """One sample of time, and of the CPU time and the page faults of all processes."""
        cpu_s, faults = self._used()
        self.samples_ms.append(self.sample(rounds))
        cpu_after_s, faults_after = self._used()
        self.cpu_ms.append((cpu_after_s - cpu_s) / rounds * 1e3)
        self.page_faults.append((faults_after - faults) / rounds)

    def extend(self, other: Contestant) -> None:
        """Takes over the samples of another start of the same system."""
        self.samples_ms += other.samples_ms
        self.cpu_ms += other.cpu_ms
        self.page_faults += other.page_faults

    def _used(self) -> tuple[float, int]:
        """Of all processes so far: user and system time in seconds (ticks of 10 ms), and minor page faults."""
        ticks = faults = 0
        for process in (*self._workers, *self._helpers):
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            faults += int(fields[7])
        return ticks / os.sysconf("SC_CLK_TCK"), faults

    def wait_ready(self) -> None:
        for worker in self._workers:
            if self._line(worker) != "ready":
                raise SystemExit(f"{self.name}: a worker did not start")

    def sample(self, rounds: int) -> float:
        """Milliseconds a round."""
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{rounds}\n")
            worker.stdin.flush()
        times = [tuple(map(int, self._line(worker).split())) for worker in self._workers]
        return (max(end for _, end in times) - min(start for start, _ in times)) / rounds / 1e6

    def _line(self, worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        line = worker.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{self.name}: a worker ended early (exit code {worker.wait()})")
        return line

    def end(self) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.close()
        for process in (*self._workers, *self._helpers):
            try:
                code = process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise SystemExit(f"{self.name}: process {process.args} did not end") from None
            if code:
                raise SystemExit(f"{self.name}: process {process.args} ended with {code}")

    def kill(self) -> None:
        for process in (*self._workers, *self._helpers):
            if process.poll() is None:
                process.kill()
                process.wait()


def spawn(python: str, *arguments: str, env: dict[str, str] | None = None, code: str | None = None) -> subprocess.Popen[str]:
    argv = [python, "-c", code] if code else [python, str(Path(__file__).resolve()), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def start_ps(workers: int, update_on: str) -> Contestant:
    common = (str(workers), f"tcp://127.0.0.1:{free_port()}", secrets.token_hex(16), update_on)
    helpers = [spawn(sys.executable, "role", "ps", role, "0", *common) for role in ("scheduler", "server")]
    members = [spawn(sys.executable, "role", "ps", "worker", str(rank), *common) for rank in range(workers)]
    return Contestant("breakdown" if update_on == "worker" else "breakdown, sgd on the server", helpers, members)


def start_bare(workers: int, sums: bool) -> Contestant:
    port = str(free_port())
    server = spawn(sys.executable, "role", "bare-server", str(workers), port, "sum" if sums else "")
    members = [spawn(sys.executable, "role", "bare-worker", port) for _ in range(workers)]
    return Contestant("bare socket and sum" if sums else "bare socket", [server], members)


def start_mxnet(workers: int, python: str) -> Contestant:
    env = {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(free_port()),
        "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": str(workers),
        "PYTHONWARNINGS": "ignore",
    }
    helpers = [spawn(python, env={**env, "DMLC_ROLE": role}, code="import mxnet") for role in ("scheduler", "server")]
    members = [spawn(python, "role", "mxnet-worker", env={**env, "DMLC_ROLE": "worker"}) for _ in range(workers)]
    return Contestant("MXNet dist_sync", helpers, members)


# --- the comparison --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def contestants(workers: int, mxnet_python: str | None) -> Iterator[list[Contestant]]:
    running = [start_ps(workers, "worker"), start_ps(workers, "server"), start_bare(workers, sums=False)]
    if workers > 1:
        running.append(start_bare(workers, sums=True))
    if mxnet_python:
        running.append(start_mxnet(workers, mxnet_python))
    try:
        for contestant in running:
            contestant.wait_ready()
        yield running
        for contestant in running:
            contestant.end()
    finally:
        for contestant in running:
            contestant.kill()


def compare(workers: int, starts: int, samples: int, rounds: int, mxnet_python: str | None) -> list[Contestant]:
    """The contestants with the interleaved samples of all starts."""
    found: list[Contestant] = []
    for _ in range(starts):
        with contestants(workers, mxnet_python) as running:
            for contestant in running:
                contestant.sample(rounds)  # warm up
            for _ in range(samples):
                for contestant in running:
                    contestant.measure(rounds)
        for earlier, contestant in zip(found, running, strict=False):
            earlier.extend(contestant)
        found = found or running
    return found


def tell(workers: int, running: Sequence[Contestant]) -> tuple[dict[str, Any], list[Claim]]:
    """What the file holds of this number of workers, and the claims. A goodput ratio is that of the times, upside down."""
    from common import Claim, measured

    ours = running[0]
    rows, claims = {}, []
    print(f"{workers} worker(s), {KEYS} keys of {KEY_BYTES / 1e6:.1f} MB, push all + pull all")
    for contestant in running:
        time_ms = measured(contestant.samples_ms)
        ratio = measured([other / own for other, own in zip(contestant.samples_ms, ours.samples_ms, strict=True)])
        cpu_ms, faults = statistics.mean(contestant.cpu_ms), statistics.mean(contestant.page_faults)
        print(
            f"  {contestant.name:28s} {time_ms} ms a round, CPU {cpu_ms:.2f} ms, {faults:,.0f} faults; ours / this {ratio}"
        )
        rows[contestant.name] = {
            "round_ms": asdict(time_ms),
            "goodput_ratio": asdict(ratio),
            "cpu_ms_a_round": cpu_ms,
            "page_faults_a_round": faults,
            "samples_ms": [round(sample, 4) for sample in contestant.samples_ms],
        }
        if contestant.name in BOUNDS:
            what = f"goodput of push all + pull all over that of {contestant.name}, {workers} worker{'s' * (workers > 1)}"
            claims.append(Claim(what, "", ratio, at_least=BOUNDS[contestant.name]))
    return {"workers": workers, "rows": rows}, claims


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--starts", type=int, default=3, help="times that all processes are started afresh")
    parser.add_argument("--samples", type=int, default=7, help="a start")
    parser.add_argument("--rounds", type=int, default=5, help="rounds back to back in a sample")
    parser.add_argument("--mxnet-python", help="a Python with mxnet 1.9.1; without it MXNet is left out")
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/ps_rounds.json")
    options = parser.parse_args()
    from common import finish, load_average

    load_before = load_average()
    results, claims = [], []
    for workers in options.workers:
        found, held = tell(workers, compare(workers, options.starts, options.samples, options.rounds, options.mxnet_python))
        results.append(found)
        claims += held
    detail = {
        "keys": KEYS,
        "key_bytes": KEY_BYTES,
        "starts": options.starts,
        "samples_a_start": options.samples,
        "rounds_a_sample": options.rounds,
        "system_congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "results": results,
    }
    return finish("ps_rounds", claims, detail, load_before, options.out)


def role_main(name: str, arguments: Sequence[str]) -> None:
    if name == "ps":
        role, rank, workers, address, token, update_on = arguments
        ps_role(role, int(rank), int(workers), address, token, update_on)
    elif name == "bare-server":
        bare_server(int(arguments[0]), int(arguments[1]), arguments[2] == "sum")
    elif name == "bare-worker":
        bare_worker(int(arguments[0]))
    else:
        mxnet_worker()


if __name__ == "__main__":
    if sys.argv[1:2] == ["role"]:
        role_main(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
