"""Writes the README's measured blocks anew from results/ (`make readme`); with --check, tells whether they are up to date.

A block stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Nothing in a block is typed in: the verdict comes from
results/quickstart, the claims from results/benchmarks.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from breakdown.cli.results import read
from breakdown.report.console import print_finding

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
QUICKSTART = ROOT / "results" / "quickstart"
BENCHMARKS = ROOT / "results" / "benchmarks"


def verdict() -> str:
    """What `breakdown explain results/quickstart` prints."""
    text = StringIO()
    print_finding(read(QUICKSTART).finding, Console(file=text))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(["```text", *lines, "```"])


def machine() -> str:
    """On what and with what results/quickstart was measured."""
    finding = read(QUICKSTART).finding
    facts, versions = finding.machine, finding.versions
    return (
        f"Measured on {facts['cores']} cores of an {facts['cpu_model']}, {facts['memory_bytes'] / 2**30:.0f} GiB, "
        f"{facts['system']} {facts['kernel']}, Python {versions['python']}, torch {versions['torch']}."
    )


def claims() -> str:
    """A row for each claim of each benchmark."""
    rows = ["| claim | measured: median [95 % interval] | bound | holds |", "|---|---|---|---|"]
    for path in sorted(BENCHMARKS.glob("*.json")):
        rows += [_row(claim, path) for claim in json.loads(path.read_text())["claims"]]
    return "\n".join(rows)


def transports() -> str:
    """What each transport and serialiser costs: a row a variant."""
    found = json.loads((BENCHMARKS / "transport.json").read_text())["variants"]
    rows = ["| transport, serialiser | goodput, MB/s | of a bare socket | CPU, s/GB |", "|---|---|---|---|"]
    for name, columns in found.items():
        goodput, share, cpu = (columns[column] for column in ("goodput_mb_s", "share_of_bare", "cpu_s_per_gb"))
        rows.append(
            f"| {name.replace('-', ', ')} | {goodput['median']:,.0f} [{goodput['low']:,.0f}, {goodput['high']:,.0f}] "
            f"| {share['median']:.0%} | {cpu['median']:.2f} |"
        )
    return "\n".join(rows)


def _row(claim: dict[str, Any], path: Path) -> str:
    value, unit = claim["value"], claim["unit"]
    shown = f"{value['median']:,.3g} {unit} [{value['low']:,.3g}, {value['high']:,.3g}]"
    bound = f"≤ {claim['at_most']:g}" if claim["at_most"] is not None else f"≥ {claim['at_least']:g}"
    holds = "yes" if claim["holds"] else "**no**"
    return f"| [{claim['what']}](results/benchmarks/{path.name}) | {shown} | {bound} | {holds} |"


BLOCKS: dict[str, Callable[[], str]] = {"verdict": verdict, "machine": machine, "claims": claims, "transports": transports}


def renewed(text: str) -> str:
    """The README's text with every block written anew. Raises KeyError for a block that nobody knows."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n{BLOCKS[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (?P<name>\w+) -->.*?<!-- end (?P=name) -->", block, text, flags=re.DOTALL)


def main() -> int:
    before = README.read_text()
    after = renewed(before)
    if "--check" in sys.argv[1:]:
        if after != before:
            print("README.md does not show what stands in results/. Write it anew: make readme")
        return int(after != before)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
