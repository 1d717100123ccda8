"""`breakdown collect`: traces that a killed tool left behind."""

from __future__ import annotations

from pathlib import Path

import click

from breakdown.cli import options


@click.command("collect")
@options.RESULT
def command(result: Path) -> None:
    """Bring in what was recorded when the tool was killed, then explain it.

    RESULT is a folder that `run` or `trace` wrote. The raw traces that are left in it go into its tables, and are removed.
    A repetition of `run` that did not end stays a failed one; `run --resume` measures another.
    """
    from rich.console import Console

    from breakdown.cli.results import must_be_result
    from breakdown.cli.run import explain
    from breakdown.runner.left import collect_left
    from breakdown.store.lock import held, root_of

    must_be_result(result)
    with held(root_of(result)):
        brought = collect_left(result)
        for one in brought:
            click.echo(f"collected repetition {one.run} of {one.cell_id}")
        if brought:
            explain(result, Console())
        else:
            click.echo(f"Nothing is left to collect in {result}: all that was recorded is in its tables.")
