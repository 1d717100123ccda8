"""`breakdown explain`: a saved result on the console."""

from __future__ import annotations

from pathlib import Path

import click

from breakdown.cli import options


@click.command("explain")
@options.RESULT
def command(result: Path) -> None:
    """Print why a saved result is as fast as it is.

    RESULT is the folder of an experiment (results/quickstart) or of one of its cells. Prints samples/s, speedup and
    efficiency, the stages of a step, the way from the single node's step to the distributed one, the keys that cost most,
    and the verdict.
    """
    from rich.console import Console

    from breakdown.cli.results import read
    from breakdown.report.console import print_finding

    print_finding(read(result).finding, Console())
