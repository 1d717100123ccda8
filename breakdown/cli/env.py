"""`breakdown env`: the environments that frameworks run in."""

from __future__ import annotations

import click


@click.group("env")
def command() -> None:
    """Make the environments that frameworks run in, for they cannot live beside this tool.

    They lie in envs/ under this Python's prefix, or in the folder that BREAKDOWN_ENVS names.
    """


@command.command("create")
@click.argument("name", metavar="NAME")
@click.option("--python", default="", metavar="PATH", help="The Python to make it with. Default: this one.")
def create(name: str, python: str) -> None:
    """Make an environment, or what of it is out of date.

    NAME is the framework's: mxnet or tensorflow. Downloads its packages, and compiles the recorder that is loaded into it.
    Does nothing when the environment is up to date; with --python it is made anew.
    """
    from rich.console import Console

    from breakdown.launch import environments

    console = Console()
    with console.status("") as status:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                click.echo(text)

        found = environments.create(name, say, python)
    click.echo(f"{found.name} {found.version} is ready in {found.path}")
