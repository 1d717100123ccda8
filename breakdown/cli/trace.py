"""`breakdown trace`: record a training of one's own."""

from __future__ import annotations

import time
from pathlib import Path

import click

from breakdown.cli import options


@click.command("trace")
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the result. Default: results/trace-TIME.")
@click.option("--warmup-steps", type=click.IntRange(0), default=5, show_default=True, help="First steps that do not count.")
@options.SAMPLE
@options.SAMPLE_RATE
@click.argument("framework", metavar="FRAMEWORK")
@click.argument("arguments", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, required=True)
def command(
    output: Path | None,
    warmup_steps: int,
    sample: bool,
    sample_rate: int,
    framework: str,
    arguments: tuple[str, ...],
) -> None:
    """Record a training of your own, then explain it.

    Runs COMMAND, a script that knows nothing of this tool, with the recorder loaded into each process that it starts:
    scheduler, servers and workers. FRAMEWORK is mxnet or tensorflow. Afterwards prints the tables and the verdict. What was
    recorded until a crash or Ctrl-C is kept. For example:

    \b
      breakdown trace mxnet -- python train.py --kv-store dist_sync
      breakdown trace mxnet -- bash launch.sh
      breakdown trace tensorflow -- python train.py
    """
    from rich.console import Console

    from breakdown.cli.run import explain
    from breakdown.errors import RunError
    from breakdown.runner.trace import trace

    folder = output or Path("results") / time.strftime("trace-%Y%m%d-%H%M%S")
    rate_hz = sample_rate if sample else None
    traced = trace(framework, arguments, folder, warmup_steps, lambda text: click.echo(text, err=True), rate_hz)
    explain(traced.output, Console())
    if traced.problem:
        raise RunError(f"{traced.problem}. What was recorded until then is in {traced.output}.")
