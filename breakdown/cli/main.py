"""The `breakdown` command. A command's module is imported when it is called, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

import click

import breakdown
from breakdown.cli import terminal
from breakdown.errors import GONE, BreakdownError, UsageError, reason, remedy
from breakdown.launch import signals

COMMANDS = {
    "run": ("breakdown.cli.run", "Measure an experiment, then explain it."),
    "plan": ("breakdown.cli.plan", "Show what `run` would start, and start nothing."),
    "explain": ("breakdown.cli.explain", "Print why a saved result is as fast as it is."),
    "report": ("breakdown.cli.report", "Write a saved result's page and figures."),
    "compare": ("breakdown.cli.compare", "Put two saved results side by side."),
    "export": ("breakdown.cli.export", "Write a saved result in another program's format."),
    "trace": ("breakdown.cli.trace", "Record a training of your own, then explain it."),
    "collect": ("breakdown.cli.collect", "Bring in what was recorded when the tool was killed, then explain it."),
    "import": ("breakdown.cli.import_", "Make a result of a profile that TensorFlow wrote, then explain it."),
    "env": ("breakdown.cli.env", "Make the environments that frameworks run in."),
    "doctor": ("breakdown.cli.doctor", "Try what works on this machine, and say how to get the rest."),
}
"""Command -> module, which holds it under the name `command`, and its line in the list of commands."""


class LazyGroup(click.Group):
    """A group that knows its commands by name, and imports one when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table above: no command is imported for the list of all."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"unknown command '{args[0]}'.{hint} Known: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, but what could not be shown is told at the end, and where all else went well, the exit code is 1."""
        with terminal.outlets() as (out, _):
            try:
                return super().main(*args, **kwargs)
            except SystemExit as ended:
                error = out.flushed() if out is not None else None
                if error is None:
                    raise
                if not terminal.is_reader_gone(error):
                    _say(f"cannot write to standard output: {reason(error)}. {remedy(error)}")
                sys.exit(ended.code or 1)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, but what the toolkit or the system can explain is one message on stderr, never a traceback."""
        try:
            with signals.raising():
                _be_somewhere()
                return super().invoke(ctx)
        except BreakdownError as error:
            _end(str(error), error.exit_code)
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            _end(f"{where}{reason(error)}. {remedy(error)}", 1)
        except KeyboardInterrupt:  # click would answer "Aborted!"
            _end("interrupted", 1)


def _be_somewhere() -> None:
    """Raises `UsageError` where the working directory is gone: nothing that is started there works."""
    try:
        os.getcwd()
    except OSError:
        raise UsageError(GONE) from None


def _say(message: str) -> None:
    click.echo(f"breakdown: {message}", err=True)


def _end(message: str, code: int) -> NoReturn:
    _say(message)
    sys.exit(code)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a run failed, 2 wrong usage. Of trace, where it did its work: the command's own.",
)
@click.version_option(breakdown.__version__, prog_name="breakdown")
def cli() -> None:
    """Why is parameter-server training slower than one machine? Every nanosecond of a step, accounted for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry of the `breakdown` script."""
    try:
        cli.main(args=list(arguments) if arguments is not None else None, prog_name="breakdown")
    finally:
        signals.ignore()
