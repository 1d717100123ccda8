"""`breakdown plan`: what `run` would start."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import click

from breakdown.cli import options


@click.command("plan")
@options.EXPERIMENT
@click.option("--output", type=click.Path(path_type=Path), help="As for run. Default: results/NAME.")
@options.RESUME
@options.FRESH
@options.SAMPLE
@options.SAMPLE_RATE
@options.SET
def command(
    experiment: Path,
    output: Path | None,
    resume: bool,
    fresh: bool,
    sample: bool,
    sample_rate: int,
    overrides: tuple[str, ...],
) -> None:
    """Show what `run` would start, and start nothing.

    Prints every cell of EXPERIMENT.yaml with its processes, their cores, environment, command and log. Ports that are
    picked (port: 0) differ from run to run. What `run` would refuse is refused in the same words; that results are there
    already, behind the plan.
    """
    from breakdown.config.experiment import load
    from breakdown.config.identity import cell_id, labels
    from breakdown.config.override import parse_all
    from breakdown.launch.plan import describe
    from breakdown.runner.output import check_output
    from breakdown.runner.plan import check, check_machine, free_ports, prepare
    from breakdown.store import lock
    from breakdown.store.folder import ExperimentFolder

    existing = options.existing(resume, fresh)
    found = load(experiment, parse_all(overrides), check)
    folder = ExperimentFolder(output or Path("results") / found.name)
    lock.check(folder.path)
    check_machine(found.cells, folder.path)
    available = sorted(os.sched_getaffinity(0))
    ports = cache(free_ports)  # one cell runs after another, so they may all have the same
    rate_hz = sample_rate if sample else None
    count = len(found.cells)
    click.echo(f"{found.name}: {count} cell{'s' if count > 1 else ''}, {found.repetitions} repetitions each, round by round")
    for cell, label in zip(found.cells, labels(found.cells), strict=True):
        name = cell_id(cell)
        prepared = prepare(cell, name, 0, folder.cell(name), available, rate_hz, ports)
        click.echo(f"\n{label}\n{describe(prepared.plan)}")
    check_output(found, folder.path, existing)
