"""`breakdown export`: a cell's trace for another program."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["perfetto"]),
    required=True,
    help="perfetto: a trace for ui.perfetto.dev, with flows from push to aggregate to pull.",
)
@click.option("--output", type=click.Path(path_type=Path), help="The file to write. Default: RUN/trace.perfetto.")
def command(run: Path, kind: str, output: Path | None) -> None:
    """Write a saved result in another program's format.

    RUN is the folder of one cell, for example results/quickstart/CELL.
    """
    from breakdown.cli.results import cell_tables
    from breakdown.report import perfetto

    path = output or run / f"trace.{kind}"
    perfetto.write(cell_tables(run), path)
    click.echo(f"wrote {path}")
