"""What the documents say is true: measured blocks are up to date, files exist, layers and commands are the real ones."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from breakdown.cli.main import COMMANDS
from breakdown.workloads.names import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_measured_blocks_show_what_stands_in_results() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "readme.py", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "CHANGELOG.md"])
def test_every_link_leads_to_a_file(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_every_command_is_named_and_every_named_command_exists() -> None:
    named = set(re.findall(r"^breakdown (\w+)", README, flags=re.MULTILINE))
    assert named == set(COMMANDS)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE))
    assert named
    assert named <= targets


def test_every_workload_is_named() -> None:
    assert [workload.name for workload in WORKLOADS if f"`{workload.name}`" not in README] == []


def test_the_house_in_the_architecture_is_the_one_that_is_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "\n".join(f"    {layer}" for layer in layers) in ARCHITECTURE


def test_a_stale_block_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import readme

    stale = README.replace("<!-- end verdict -->", "typed in by hand\n<!-- end verdict -->")
    assert readme.renewed(stale) != stale
    assert readme.renewed(stale) == readme.renewed(README)
