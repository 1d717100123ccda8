"""`key=value` from the command line: one field of every cell, one option of the workload, or the repetitions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from breakdown.config.validate import FIELDS, OPTIONS, OPTIONS_PREFIX, normal
from breakdown.config.yaml_lines import scalar
from breakdown.errors import ConfigError, unknown_name

REPETITIONS = "repetitions"


def parse(text: str) -> tuple[str, Any]:
    """`steps=20` -> ("steps", 20); `workload_options.hidden=512` sets one option. Raises `ConfigError` that names `text`."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"'{text}' is not of the form key=value, for example steps=20.")
    if key == OPTIONS:
        raise ConfigError(f"'{text}': set one option, for example {OPTIONS_PREFIX}hidden=512.")
    if key not in FIELDS and key != REPETITIONS and not key.startswith(OPTIONS_PREFIX):
        raise unknown_name("key", key, (*FIELDS, REPETITIONS), f"'{text}'")
    try:
        parsed = scalar(value.strip())
        return key, parsed if key == REPETITIONS else normal(key, parsed)
    except ConfigError as error:
        raise ConfigError(f"'{text}': {error}") from None


def parse_all(texts: Iterable[str]) -> dict[str, Any]:
    """All of them, by key; a key given twice is an error, as in a file. Raises `ConfigError`."""
    found: dict[str, Any] = {}
    for text in texts:
        key, value = parse(text)
        if key in found:
            raise ConfigError(f"'{key}' is set twice.")
        found[key] = value
    return found
