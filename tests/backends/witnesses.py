"""What checks a real run's trace against witnesses that know nothing of it: the kernel, a program's own clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from breakdown.store.folder import ExperimentFolder
from breakdown.store.tables import Tables, load

PER_CENT = 0.01
"""How far a witness may be from the trace."""

HEADERS_BYTES = 14 + 20 + 32
"""Of a packet on the loopback interface, as the kernel counts it: Ethernet, IP, TCP with time stamps."""

SEGMENT_BYTES = 65536 - (HEADERS_BYTES - 14)
"""What a packet on the loopback interface has room for."""


@dataclass(frozen=True)
class Counted:
    """What programs gave to the kernel, as the kernel's counters of the loopback interface tell: between these two.

    TCP sends again what it takes for lost, on the loopback interface when an answer is late because its reader has no core.
    The kernel counts these segments, not their bytes.
    """

    least: float
    most: float

    def within(self, share: float) -> Counted:
        """Wider by this share, for what the witness sees and the trace cannot."""
        return Counted(self.least * (1 - share), self.most * (1 + share))

    def __contains__(self, size_bytes: int) -> bool:
        return self.least <= size_bytes <= self.most


TIMEOUT_S = 110


def breakdown(folder: Path, *arguments: object, around: tuple[str, ...] = (), **env: str) -> str:
    """Runs the command line to its end; what it printed. Whatever it started ends with it, also where it takes too long."""
    command = [*around, sys.executable, "-W", "ignore", "-m", "breakdown.cli", *map(str, arguments)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said
    return said


def experiment(folder: Path, cell: str) -> Path:
    """An experiment file with one cell, measured once."""
    path = folder / "trial.yaml"
    path.write_text(f"name: trial\nrepetitions: 1\ninclude:\n  - {{{cell}}}\n")
    return path


def only_cell(output: Path) -> Tables:
    """The tables of an experiment's one cell."""
    experiment = ExperimentFolder(output)
    (name,) = experiment.read()["cells"]
    return load(experiment.path / name)


def counted_and_traced_bytes(folder: Path, cell: str) -> tuple[Counted, int, Tables]:
    """What the kernel counted on a loopback on which only this cell ran, what the trace has, and the cell's tables."""
    network = own_network()
    said = breakdown(folder, "run", experiment(folder, cell), "--output", folder / "out", around=network)
    tables = only_cell(folder / "out")
    return counted_bytes(said), int(tables.messages["size_bytes"].sum()), tables


def own_network() -> tuple[str, ...]:
    """What runs a command in a network namespace that ends with it, and prints its interfaces' counters at the end."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare (util-linux) and ip (iproute2)")
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, timeout=10, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")
    return (*unshare, "sh", "-c", 'ip link set lo up && "$@" && cat /proc/net/dev /proc/net/snmp', "sh")


def counted_bytes(said: str) -> Counted:
    """What the loopback interface carried, packets' headers left out, from what `own_network` printed."""
    lines = [line.split() for line in said.splitlines()]
    (interface,) = (line for line in lines if line[:1] == ["lo:"])
    names, values = (line for line in lines if line[:1] == ["Tcp:"])
    carried = int(interface[1]) - int(interface[2]) * HEADERS_BYTES
    again = int(values[names.index("RetransSegs")])
    return Counted(carried - again * SEGMENT_BYTES, carried)
