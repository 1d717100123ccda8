"""`breakdown doctor`: what works on this machine."""

from __future__ import annotations

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON, for a program.")
def command(as_json: bool) -> None:
    """Try what works on this machine, and say how to get the rest.

    Tries cores, memory, root, network namespaces (makes and deletes one), iproute2 with tbf and netem, compilers,
    frameworks (imports them), py-spy's right to attach (attaches to a process of its own), and clocks. Ends with 0 whatever
    it finds: not everything is needed for everything.
    """
    import json
    from dataclasses import asdict

    from breakdown.runner.doctor import checks

    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks()], indent=2))
        return

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    marks = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "-"}
    table = Table("", "works", "found", "remedy", box=None, pad_edge=False)
    console = Console()
    with console.status("trying"):
        for check in checks():
            table.add_row(check.name, marks[check.ok], escape(check.found), escape(check.remedy))
    console.print(table)
