"""`breakdown report`: a saved result as a page and figures."""

from __future__ import annotations

from pathlib import Path

import click

from breakdown.cli import options


@click.command("report")
@options.RESULT
def command(result: Path) -> None:
    """Write a saved result's page and figures.

    Writes report.html (one file, works offline), plots/ (SVG and PNG) and summary.parquet into RESULT, the folder of an
    experiment (results/quickstart) or of one of its cells.
    """
    from breakdown.cli.bar import bar
    from breakdown.cli.outputs import write
    from breakdown.cli.results import read
    from breakdown.store.lock import held, root_of

    with bar("report") as watch:
        found = read(result, watch)
        with held(root_of(result)):
            written = write(found, watch)
    for path in written:
        click.echo(f"wrote {path}")
