"""`breakdown compare`: two cells side by side."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("compare")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
def command(a: Path, b: Path) -> None:
    """Put two saved results side by side.

    A and B are folders of cells, for example results/quickstart/CELL. Prints what differs in their configuration, both
    speeds, and by how much the step and each of its stages differ, with intervals.
    """
    from rich.console import Console

    from breakdown.analysis.compare import compare
    from breakdown.cli.results import cell_tables
    from breakdown.report.console import print_comparison

    print_comparison(compare(cell_tables(a), cell_tables(b)), Console())
