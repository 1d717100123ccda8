"""Small files of a saved run: read and written whole. A write is atomic: a reader sees the old file or the new one."""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from breakdown.errors import TraceError, UsageError, cannot_write
from breakdown.store.shape import problem


def read_json(path: Path, content: Any) -> dict[str, Any]:
    """The JSON object in a file, which is as `content` says (see `store.shape`).

    Raises `TraceError` that names the key, what is there and what was wanted; also where there is no such file.
    """
    return checked(path, parse_json(path), content)


def parse_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, whatever is in it. Raises `TraceError` where there is none."""
    try:
        value = json.loads(path.read_text("utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise TraceError(f"{path.parent} has no {path.name}. {_REMEDY}") from None
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}. {_REMEDY}") from error
    except (ValueError, RecursionError) as error:
        raise TraceError(f"cannot read {path}: {error}. {_REMEDY}") from error
    if not isinstance(value, dict):
        raise TraceError(f"{path} holds no JSON object. {_REMEDY}")
    return value


def checked(path: Path, value: dict[str, Any], content: Any) -> dict[str, Any]:
    """The value. Raises `TraceError` where it is not as `content` says."""
    found = problem(value, content)
    if found:
        raise TraceError(f"{path}: {found}. {_REMEDY}")
    return value


_REMEDY = "Restore the file, or remove its folder and measure again."


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object, readable by people. Raises `TraceError` when it cannot be written."""
    text = whole(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    with replacing(path) as new:
        new.write_text(text, "utf-8")


def whole(text: str) -> str:
    """The text as UTF-8 can hold it: bytes of a path that are not UTF-8 are replaced by a sign for what is not known."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes its place when the block ends well, and goes away when it does not.

    What is no file but can be written to (a pipe, a device) is written to as it is, and a link stays one. Raises
    `TraceError` naming the file when writing fails (a full disk, a missing right).
    """
    new = None
    try:
        target = _target(path)
        if target is None:
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        # as short as can be: the name itself may be as long as the file system allows
        new = target.with_name(f".{zlib.crc32(os.fsencode(target.name)):08x}.{os.getpid()}.new")
        yield new
        os.replace(new, target)
    except OSError as error:
        raise TraceError(cannot_write(path, error, "The file is as it was." if os.path.exists(path) else "")) from error
    finally:
        if new is not None:
            with suppress(OSError):
                new.unlink(missing_ok=True)


def _target(path: Path) -> Path | None:
    """The file that is to be replaced, behind all links; None where it cannot be. Raises `OSError`."""
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        target = Path(os.path.realpath(path))
        _check_way(target)
        return target
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(os.path.realpath(path)) if stat.S_ISREG(kind) else None


def check_folder(folder: Path) -> None:
    """Raises `UsageError` where this folder cannot be written to, or made. Nothing is made, so not all can be foreseen."""
    try:
        if not os.path.isdir(folder):
            _check_way(folder)
        elif not os.access(folder, os.W_OK | os.X_OK):
            _refused(folder)
    except OSError as error:
        raise UsageError(cannot_write(folder, error)) from error


def _check_way(path: Path) -> None:
    """Whether all that is not there yet can be made in the nearest folder that is. Raises `OSError` where it cannot."""
    for one in (path, *path.parents):
        try:
            kind = os.stat(one).st_mode
        except FileNotFoundError:
            if os.path.islink(one):
                raise
            continue
        if not stat.S_ISDIR(kind):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(one, os.W_OK | os.X_OK):
            _refused(one)
        if any(len(os.fsencode(name)) > os.pathconf(one, "PC_NAME_MAX") for name in path.relative_to(one).parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _refused(folder: Path) -> None:
    number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    raise OSError(number, os.strerror(number))
