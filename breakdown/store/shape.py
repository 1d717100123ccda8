"""What must stand in a saved JSON file, said by types: checked when the file is read, so whoever reads it can trust it.

`TypedDict` says an object's keys, of which those that are `NotRequired` may be missing; a key that is not named may hold
whatever is plain. Known besides: `dict[K, V]`, `list[T]`, `tuple[A, B]` (a list of so many), `Literal`, `T | None`, `bool`,
`int` (64 bits), `float` (finite), `str` (which UTF-8 can hold), `Any` (plain). `Annotated` adds a `Limit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

MOST_DEEP = 20
"""So deep may values be nested of which nothing but that they are plain is said."""

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Limit:
    """What a value must be beyond its type. `words`: the whole of it, for the message ("a whole number from 0")."""

    words: str
    holds: Callable[[Any], bool]


def problem(value: Any, wanted: Any, key: str = "") -> str | None:
    """What is wrong with a value: the first key that is not as wanted, what is there, and what was wanted. None: nothing."""
    base, *limits = get_args(wanted) if get_origin(wanted) is Annotated else (wanted,)
    found = _of_type(value, base, key, _words(wanted))
    if found is None and not all(limit.holds(value) for limit in limits):
        return _wrong(value, key, _words(wanted))
    return found


def _of_type(value: Any, wanted: Any, key: str, words: str) -> str | None:
    origin, parts = get_origin(wanted), get_args(wanted)
    wrong = _wrong(value, key, words)
    if origin in (Union, UnionType):
        if value is None and NoneType in parts:
            return None
        (other,) = (part for part in parts if part is not NoneType)
        if _is_container(other) and isinstance(value, dict | list):
            return problem(value, other, key)
        return wrong if problem(value, other, key) else None
    if origin is Literal:
        return None if isinstance(value, str) and value in parts else wrong
    if is_typeddict(wanted):
        return _of_keys(value, wanted, key) if isinstance(value, dict) else wrong
    if origin is dict:
        return _of_dict(value, parts[0], parts[1], key) if isinstance(value, dict) else wrong
    if origin is list:
        inner = [*parts] * len(value) if isinstance(value, list) else None
    elif origin is tuple:
        inner = [*parts] if isinstance(value, list) and len(value) == len(parts) else None
    else:
        return None if _is_simple(value, wanted) else wrong
    if inner is None:
        return wrong
    return _first(problem(one, part, f"{key}[{n}]") for n, (one, part) in enumerate(zip(value, inner, strict=True)))


def _of_keys(value: Mapping[str, Any], wanted: Any, key: str) -> str | None:
    named = _keys(wanted)
    for name, (kind, required) in named.items():
        if name not in value and required:
            return f"{_under(key, name)} is missing; it must be {_words(kind)}"
    return _first(problem(inner, named.get(name, (Any, False))[0], _under(key, name)) for name, inner in value.items())


def _of_dict(value: Mapping[str, Any], keys: Any, values: Any, key: str) -> str | None:
    for name, inner in value.items():
        if problem(name, keys):
            return f"{key or 'the file'} has the key {_shown(name)}, which is not {_words(keys)}"
        found = problem(inner, values, _under(key, name))
        if found:
            return found
    return None


def _first(problems: Any) -> str | None:
    return next((found for found in problems if found), None)


@cache
def _keys(wanted: Any) -> Mapping[str, tuple[Any, bool]]:
    """Of a TypedDict: each key's type, and whether it must be there."""
    hints = get_type_hints(wanted, include_extras=True)
    optional = {name for name, kind in hints.items() if get_origin(kind) is NotRequired}
    return {name: (get_args(kind)[0] if name in optional else kind, name not in optional) for name, kind in hints.items()}


def _is_container(wanted: Any) -> bool:
    return is_typeddict(wanted) or get_origin(wanted) in (dict, list, tuple)


def _is_simple(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return _is_plain(value, MOST_DEEP)
    if wanted is bool:
        return isinstance(value, bool)
    if wanted is int:
        return _is_whole(value)
    if wanted is float:
        return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
    if wanted is str:
        return isinstance(value, str) and _is_text(value)
    raise TypeError(f"no rule says what {wanted} is")


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_text(key) and _is_plain(inner, depth - 1) for key, inner in value.items())
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(inner, depth - 1) for inner in value)
    return value is None or any(_is_simple(value, kind) for kind in (bool, float, str))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _is_text(value: str) -> bool:
    """Half of a character, which JSON can write, is none: nothing can print it."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _wrong(value: Any, key: str, words: str) -> str:
    return f"{key or 'the file'} is {_shown(value)}, not {words}"


def _under(key: str, name: str) -> str:
    shown = name if name.isidentifier() and name.isascii() else ascii(name)
    return f"{key}.{shown}" if key and shown == name else f"{key}[{shown}]" if key else shown


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        what = "an object" if isinstance(value, dict) else "a list"
        return f"{what} of {len(value)}" if value else f"an empty {what.split()[1]}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _words(wanted: Any) -> str:
    origin, parts = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return " and ".join(limit.words for limit in parts[1:])
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in (Union, UnionType):
        return " or ".join(map(_words, parts))
    if is_typeddict(wanted) or origin is dict:
        return "an object"
    if origin is tuple:
        return f"a list of {len(parts)}"
    simple = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}
    plain = f"finite numbers, texts, lists and objects, nested at most {MOST_DEEP} deep"
    return "a list" if origin is list else simple.get(wanted, plain)
