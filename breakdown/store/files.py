"""Small files of a saved run: read and written whole. A write is atomic: a reader sees the old file or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breakdown.errors import TraceError, UsageError


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file. Raises `UsageError` when it is not there, `TraceError` when it is broken.

    `what`: the folder that the file makes, for the message ("a saved cell").
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} is not {what}: it has no {path.name}. Give {_example(path.name)}.") from None
    except (OSError, ValueError) as error:
        raise TraceError(f"cannot read {path}: {error}. Restore the file, or measure again.") from error
    if not isinstance(value, dict):
        raise TraceError(f"{path} holds no JSON object. Restore the file, or measure again.")
    return value


def _example(name: str) -> str:
    return "a folder like results/quickstart" if name == "experiment.json" else "a folder like results/quickstart/<cell>"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object, readable by people. Raises `TraceError` when it cannot be written."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as new:
        new.write_text(text, "utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes its place when the block ends well, and goes away when it does not.

    Raises `TraceError` naming the file when writing fails (a full disk, a missing right).
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        os.replace(new, path)
    except OSError as error:
        raise TraceError(
            f"cannot write {path}: {error.strerror or error}. The file is as it was. Free some space."
        ) from error
    finally:
        new.unlink(missing_ok=True)
