"""How a number is written. Verdict, console, page and figures write through these, so they agree to the last digit.

Nothing here decides what a number is; it only turns one that a finding holds into text. `None` is written as `NOT_MEASURED`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from breakdown.analysis.findings import CellFinding, Cost, Interval, Queued

NOT_MEASURED = "–"
"""Stands for None: not measured, or too few repetitions for an interval. A measured zero is written 0."""

NS_PER_MS = 1_000_000
NS_PER_US = 1_000
MINUS = "−"


def number(value: float, decimals: int) -> str:
    """A number with thousands separators and a true minus sign. What rounds to zero has no sign."""
    text = f"{abs(value):,.{decimals}f}"
    negative = value < 0 and any(digit in text for digit in "123456789")
    return MINUS + text if negative else text


def integer(value: int | None) -> str:
    return NOT_MEASURED if value is None else number(value, 0)


def _ms_decimals(ms: float) -> int:
    return 2 if abs(ms) < 100 else 1 if abs(ms) < 10_000 else 0


def ms(ns: float | None) -> str:
    """Milliseconds without the unit: 2 decimals below 100 ms, 1 above. A time that is not zero never reads as zero."""
    if ns is None:
        return NOT_MEASURED
    value = ns / NS_PER_MS
    if ns != 0 and abs(value) < 0.005:
        return "<0.01" if ns > 0 else f">{MINUS}0.01"
    return "0" if ns == 0 else number(value, _ms_decimals(value))


def ms_unit(ns: float | None) -> str:
    return NOT_MEASURED if ns is None else f"{ms(ns)} ms"


def signed_ms(ns: float) -> str:
    """Milliseconds of a change: +1.20, −0.35, 0."""
    text = ms(ns)
    return f"+{text}" if ns > 0 and text[0] not in "<>" else text


def duration(ns: int) -> str:
    """One duration with the unit that suits it: ns, µs or ms."""
    if ns < NS_PER_US:
        return f"{ns} ns"
    return f"{number(ns / NS_PER_US, 1)} µs" if ns < NS_PER_MS else ms_unit(ns)


def joined(below_ns: int) -> str:
    """What is said of a timeline that is too full to show each of its pieces."""
    return f"What took less than {duration(below_ns)} is drawn together with its neighbours."


def percent(share: float | None) -> str:
    """A share (0.123) as a percentage (12.3 %)."""
    return NOT_MEASURED if share is None else f"{number(share * 100, 1)} %"


def points(difference: float | None) -> str:
    """A difference of shares (0.012) in points: +1.2."""
    if difference is None:
        return NOT_MEASURED
    text = number(difference * 100, 1)
    return f"+{text}" if difference > 0 and text != "0.0" else text


def rate(samples_per_s: float | None) -> str:
    """Samples a second, without the unit."""
    if samples_per_s is None:
        return NOT_MEASURED
    return number(samples_per_s, 0 if abs(samples_per_s) >= 100 else 1)


def ratio(value: float | None) -> str:
    """A speedup: 1.62×."""
    return NOT_MEASURED if value is None else f"{number(value, 2)}×"


def ratio_bound(value: float) -> str:
    """A speedup inside an interval, where the sign stands before the bracket already: 1.62."""
    return number(value, 2)


def size(count: int | None) -> str:
    """Bytes with a decimal unit: 999 B, 4.0 MB."""
    if count is None:
        return NOT_MEASURED
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{number(value, 0 if unit == 'B' else 1)} {unit}"
        value /= 1000
    return f"{number(value, 1)} TB"


def interval(bounds: Interval | None, write: Callable[[float], str]) -> str:
    """A 95 % interval in brackets, each bound as `write` writes it; `[–]` where there were too few repetitions."""
    if bounds is None or bounds.low is None or bounds.high is None:
        return f"[{NOT_MEASURED}]"
    return f"[{write(bounds.low)}, {write(bounds.high)}]"


def cost(found: Cost) -> str:
    """COST: the smallest tested number of workers that beats the single node."""
    return f"none up to {counted(found.tested, 'worker')}" if found.workers is None else counted(found.workers, "worker")


def counted(count: int, noun: str) -> str:
    """1 worker, 2 workers."""
    return f"{integer(count)} {noun}{'' if count == 1 else 's'}"


def plain(value: Any) -> str:
    """A value of a configuration or of the machine's description, as a person reads it."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(inner) for inner in value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def words(name: str) -> str:
    """A field's name as words: `samples_per_s` is `samples per s`."""
    return name.replace("_", " ")


@dataclass(frozen=True)
class Behind:
    """What requests queued behind for longest: an operation, for all its keys together, and the time."""

    text: str
    ns: int


def queued_behind(queued: Sequence[Queued]) -> Behind | None:
    """`update of fc1.weight`, or `update of fc1.weight and 3 other keys`, the longest first. None where nothing queued."""
    if not queued:
        return None
    by_op: Counter[str] = Counter()
    for found in queued:
        by_op[found.op] += found.ns
    op, ns = by_op.most_common(1)[0]
    keys = list(dict.fromkeys(found.key for found in queued if found.op == op))
    of_key = f" of {keys[0]}" if keys[0] else ""
    others = f" and {counted(len(keys) - 1, 'other key')}" if len(keys) > 1 else ""
    return Behind(f"{op}{of_key}{others}", ns)


def notes(cells: Sequence[CellFinding]) -> list[tuple[str, str]]:
    """What was noted of cells, each note once: the labels of those that it is of, and the note."""
    of_note: dict[str, list[str]] = {}
    for cell in cells:
        for note in cell.notes:
            of_note.setdefault(note, []).append(cell.label)
    return [(", ".join(labels), note) for note, labels in of_note.items()]


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; the middle goes, since the ends of a key tell most (`encoder.…attn.weight[0:1000]`)."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def operation_name(op: str) -> str:
    """An operation in the place of a key. Of several operators that are run as one ("[a,b,c]") the ends are named."""
    parts = op[1:-1].split(",") if op.startswith("[") else [op]
    return f"({op})" if len(parts) == 1 else f"({parts[0]} … {parts[-1]}, {len(parts)} operators)"


def key_name(key: str) -> str:
    """A key; the empty one is work that belongs to no key."""
    return key or "(no key)"
