"""From a cell to the processes of one repetition: places, port, token, and what each process is told."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import breakdown
from breakdown.backends.api import Home, Start
from breakdown.config.cell import Cell
from breakdown.errors import RunError, cannot_write
from breakdown.launch import environments, sampling
from breakdown.launch.plan import ProcessPlan, RunPlan
from breakdown.model.identity import Role
from breakdown.runner import disk
from breakdown.runner.implementation import backend
from breakdown.runner.place import Place, place
from breakdown.store.folder import CellFolder
from breakdown.workloads import names as workloads

HOST = "127.0.0.1"

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Prepared:
    """A plan, and the spec files that its processes will read: path -> content. Nothing is written yet."""

    plan: RunPlan
    specs: Mapping[Path, Mapping[str, Any]]
    sample_rate_hz: int | None = None  # None: nothing is sampled


def write_specs(specs: Mapping[Path, Mapping[str, Any]]) -> None:
    """They hold the run's token, so only the owner may read them. Raises `RunError` when they cannot be written."""
    for path, content in specs.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(content, file)
        except OSError as error:
            raise RunError(cannot_write(path, error)) from error


def remove_specs(raw_dir: Path) -> None:
    """After the repetition; a folder that holds no trace goes too."""
    for path in raw_dir.glob("*.json"):
        path.unlink()
    with suppress(OSError):  # traces are in it
        raw_dir.rmdir()
        raw_dir.parent.rmdir()


def check(cell: Cell) -> None:
    """What only the upper rooms know about a cell: its workload, options and backend. Raises `ConfigError`."""
    workloads.complete(cell.workload, cell.workload_options)
    backend(cell.backend).check(cell)


def check_machine(cells: Iterable[Cell], output: Path) -> None:
    """What this machine lacks before anything starts: the environments of the cells' backends, room for the results.

    Raises `EnvironmentMissingError`, and `RunError` for a disk that is full.
    """
    for name in sorted({cell.backend for cell in cells}):
        home_of(backend(name).environment)
    disk.check(output)


def prepare(
    cell: Cell,
    cell_id: str,
    run: int,
    folder: CellFolder,
    available: Sequence[int],
    sample_rate_hz: int | None = None,
    ports: Callable[[int, int], Sequence[int]] | None = None,
) -> Prepared:
    """Plans repetition `run`. `available`: the cores of the machine. `sample_rate_hz`: how often py-spy looks; None: not.
    `ports` picks them; None: `free_ports`.

    Raises `RunError` when the cell's port is taken, `EnvironmentMissingError` when the backend's environment is not there.
    """
    implementation = backend(cell.backend)
    home = home_of(implementation.environment)
    placement = place(implementation.nodes(cell), cell, available)
    nodes = [one.node for one in placement.places]
    needs_rendezvous = any(node.role is Role.SCHEDULER for node in nodes)
    scheduler_port, *free = (ports or free_ports)(cell.port, len(nodes)) if len(nodes) > 1 else (0, 0)
    port_of = dict(zip(nodes, free, strict=True))
    rendezvous = f"{cell.transport}://{HOST}:{scheduler_port}" if needs_rendezvous else ""
    shared = {
        "cell": vars(cell),
        "workload_options": workloads.complete(cell.workload, cell.workload_options),
        "run": run,
        "rendezvous": rendezvous,
        "token": secrets.token_hex(16),
    }
    sampled = sample_rate_hz is not None and cell.record
    traces, logs = folder.raw_dir(run), folder.log_dir(run)
    processes = []
    specs: dict[Path, Mapping[str, Any]] = {}
    for one in placement.places:
        name = str(one.node)
        path = traces / f"{name}.json"
        specs[path] = {
            **shared,
            "role": one.node.role.label,
            "rank": one.node.rank,
            "threads": one.threads,
            "trace": f"{traces}/{name}.trace",
        }
        start = Start(
            cell=cell,
            run=run,
            node=one.node,
            spec=path,
            traces=traces,
            host=HOST,
            scheduler_port=scheduler_port if needs_rendezvous else 0,
            port=port_of[one.node],
            threads=one.threads,
            home=home,
            ports=port_of if len(nodes) > 1 else {},
        )
        command = implementation.command(start)
        env = {**_environment(one), **command.env, **({sampling.VARIABLE: "1"} if sampled else {})}
        processes.append(ProcessPlan(one.node, command.argv, env, one.cores, logs / f"{name}.log", command.serves))
    notes = (*placement.notes, *_sampling_notes(cell, sample_rate_hz))
    plan = RunPlan(cell_id, run, tuple(processes), cell.timeout_s, notes)
    return Prepared(plan, specs, sample_rate_hz if sampled else None)


def _sampling_notes(cell: Cell, sample_rate_hz: int | None) -> tuple[str, ...]:
    """What a plan says of sampling."""
    if sample_rate_hz is None:
        return ()
    if not cell.record:
        return ("not sampled: record is false, and samples are put beside what was recorded",)
    py_spy = sampling.program()
    if py_spy is None:
        return ("not sampled: py-spy is not installed (pip install py-spy)",)
    started = sampling.command(py_spy, "PID", sample_rate_hz, Path("ROLE.json"))
    return (f"sampled, each role once it records: {shlex.join(started)}",)


def home_of(environment: str | None) -> Home:
    """Where the roles of a backend run. Raises `EnvironmentMissingError` with the command that makes the environment."""
    if environment is None:
        return Home(Path(sys.executable), Path(breakdown.__file__).parents[1])
    found = environments.find(environment)
    return Home(found.python, found.home, found.library)


def _environment(one: Place) -> dict[str, str]:
    """What every role process is given."""
    threads = {variable: str(one.threads) for variable in THREAD_VARIABLES}
    return {**threads, "PYTHONFAULTHANDLER": "1"}  # a crash in native code leaves its stack in the log


def free_ports(wanted: int, others: int) -> list[int]:
    """The wanted port (0: a free one), and `others` further free ones, ascending. Raises `RunError` when it is taken."""
    with ExitStack() as held:
        first, *rest = (_bound(port, held) for port in (wanted, *[0] * others))
        return [first, *sorted(rest)]


def _bound(wanted: int, held: ExitStack) -> int:
    probe = held.enter_context(socket.socket())
    # A port in TIME_WAIT from the last repetition is free for us; one that somebody listens on is not.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, wanted))
    except OSError as error:
        raise RunError(
            f"port {wanted} on {HOST} cannot be used: {error.strerror}. "
            "End the program that holds it, or set port: 0 to take a free one."
        ) from error
    return int(probe.getsockname()[1])
