"""`breakdown trace`: record a training of one's own."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import click

from breakdown.cli import options


@click.command("trace")
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the result. Default: results/trace-TIME.")
@click.option("--warmup-steps", type=click.IntRange(0), default=5, show_default=True, help="First steps that do not count.")
@click.option(
    "--trace-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of TensorFlow: trace every N-th step behind the warm-up. The others count for the speed alone.",
)
@options.SAMPLE
@options.SAMPLE_RATE
@click.argument("framework", metavar="FRAMEWORK")
@click.argument("arguments", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, required=True)
def command(
    output: Path | None,
    warmup_steps: int,
    trace_every: int,
    sample: bool,
    sample_rate: int,
    framework: str,
    arguments: tuple[str, ...],
) -> None:
    """Record a training of your own, then explain it.

    Runs COMMAND, a script that knows nothing of this tool, with the recorder loaded into each process that it starts:
    scheduler, servers and workers. FRAMEWORK is mxnet or tensorflow. Afterwards prints the tables and the verdict. What was
    recorded until a crash, Ctrl-C, SIGTERM or SIGHUP is kept, and each of these ends all that COMMAND started. Ends with
    COMMAND's own exit code, 128 + n where signal n ended it. For example:

    \b
      breakdown trace mxnet -- python train.py --kv-store dist_sync
      breakdown trace mxnet -- bash launch.sh
      breakdown trace tensorflow -- python train.py
    """
    from rich.console import Console

    from breakdown.cli.run import explain
    from breakdown.errors import BreakdownError, CommandError, RunError
    from breakdown.runner.trace import trace
    from breakdown.store.lock import held

    folder = output or Path("results") / time.strftime("trace-%Y%m%d-%H%M%S")
    rate_hz = sample_rate if sample else None
    with held(folder) as lock:
        traced = trace(framework, arguments, folder, warmup_steps, trace_every, _say, rate_hz, kept=[lock])
        problems = [traced.problem] if traced.problem else []
        try:
            explain(traced.output, Console())
        except BreakdownError as error:
            if not problems:
                raise
            problems.append(str(error))
        except KeyboardInterrupt:
            if not problems:
                raise
            problems.append(f"Interrupted before all of it was explained: `breakdown report {traced.output}` does that.")
    if traced.steps and not traced.measured_steps:
        problems.append(
            f"none of its {traced.steps} steps counts: the first {warmup_steps} of each worker are warm-up. Train for more, "
            f"or trace again with fewer, such as --warmup-steps {min(1, traced.steps - 1)}."
        )
    if traced.exit_code:
        raise CommandError("\n".join(problems), traced.exit_code)
    if problems:
        raise RunError("\n".join(problems))


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        click.echo(f"breakdown: {text}", err=True)
