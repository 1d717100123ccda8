"""`breakdown run`: measure an experiment, then explain it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from breakdown.cli import options

if TYPE_CHECKING:
    from rich.console import Console


@click.command("run")
@options.EXPERIMENT
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the results. Default: results/NAME.")
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
    """Measure an experiment, then explain it.

    Runs every cell of EXPERIMENT.yaml, round by round, as often as the file says. A cell that fails does not stop the
    others; its log is named. At the end prints the tables and the verdict, and writes summary.parquet, report.html and
    plots/ beside the cells. Exit code 1 if a repetition failed.
    """
    from rich.console import Console

    from breakdown.cli.progress import Progress
    from breakdown.config.experiment import load
    from breakdown.config.override import parse_all
    from breakdown.errors import RunError
    from breakdown.runner import matrix
    from breakdown.runner.plan import check
    from breakdown.store.lock import held

    existing = options.existing(resume, fresh)
    found = load(experiment, parse_all(overrides), check)
    console = Console()
    folder = output or Path("results") / found.name
    with held(folder):
        outcome = matrix.run(found, folder, existing, Progress(console), sample_rate if sample else None)
        if not any(cell.record for cell in found.cells):
            click.echo(
                "Nothing was recorded (record: false), so there is nothing to explain. Wall times are in each cell.json."
            )
        elif outcome.done:
            explain(outcome.output, console)
    if outcome.failures:
        count = len(outcome.failures)
        raise RunError(f"{count} repetition{'s' if count > 1 else ''} failed:\n" + "\n".join(outcome.failures))


def explain(output: Path, console: Console) -> None:
    """Prints the finding and writes the files."""
    from breakdown.cli.bar import bar
    from breakdown.cli.outputs import write
    from breakdown.cli.results import read
    from breakdown.report.console import print_finding

    with bar("explain") as watch:
        result = read(output, watch)
    print_finding(result.finding, console)
    with bar("report") as watch:
        written = write(result, watch)
    for path in written:
        click.echo(f"wrote {path}")
