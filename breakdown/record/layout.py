"""The bytes of a trace file: what the recorder writes and `tracefile` reads. All integers are little-endian.

A file is `MAGIC`, then blocks to its end. A block is a head (`HEAD`: mark, kind, thread, count, crc, check) and its payload,
padded with zero bytes to a multiple of 8, so that rows stay aligned for whoever maps the file. The crc (CRC-32) covers the
head's fields before it and the payload without padding.

| kind | thread | count | payload |
|---|---|---|---|
| META | 0 | bytes | JSON object: run, role, rank, pid, kernel_id, clock, start_ns, cost; always the first block |
| THREAD | its id | bytes | UTF-8 name of the thread |
| NAMES | 0 | bytes | JSON list of texts; their ids follow on from those before. Id 0 is the empty text and never written |
| SPAN, SENT, RECEIVED, STEP | its id | rows | int64 rows, columns as in `COLUMNS` |
| NOTE | 0 | bytes | JSON list [name, value] |
| END | 0 | bytes | JSON object {"lost": records that are not in the file}; absent when the process died |
| ASKED, SERVED, REPLIED | its id | rows | as above: all that was done for a frame at one place, see `api` |
| CHAIN | its id | words | int64 words: chain after chain, each `CHAIN_HEAD` and then its links, of `CHAIN_LINK` |

Names and threads are written before the rows that use them. What the last four kinds stand for, in spans and halves of
messages, is unfolded by `store.requests` and `store.chains`.
"""

from __future__ import annotations

import enum
import zlib
from functools import lru_cache
from struct import Struct
from typing import Any, Dict, Tuple, TypeVar, Union

_Word = TypeVar("_Word", bound=Any)

MAGIC = b"BRKDWN03"
"""The last two digits are the version of this layout."""

MARK = b"blk\n"
HEAD = Struct("<4sIIIII")
ALIGNMENT = 8


class Kind(enum.IntEnum):
    """What a block holds. Add at the end, never renumber."""

    META = 1
    THREAD = 2
    NAMES = 3
    SPAN = 4
    SENT = 5
    RECEIVED = 6
    STEP = 7
    NOTE = 8
    END = 9
    ASKED = 10
    SERVED = 11
    REPLIED = 12
    CHAIN = 13


_MESSAGE_COLUMNS = ("verb", "direction", "key", "step", "size_bytes", "request_id", "peer", "start_ns", "end_ns")

COLUMNS: Dict[Kind, Tuple[str, ...]] = {
    Kind.SPAN: (
        "stage",
        "op",
        "key",
        "step",
        "size_bytes",
        "start_ns",
        "end_ns",
        "request_id",
        "cause_id",
        "cpu_ns",
        "runnable_ns",
    ),
    Kind.SENT: _MESSAGE_COLUMNS,
    Kind.RECEIVED: _MESSAGE_COLUMNS,
    Kind.ASKED: (
        "key",
        "step",
        "size_bytes",
        "push_id",
        "pull_id",
        "peer",
        "queued_ns",
        "taken_ns",
        "start_ns",
        "end_ns",
    ),
    Kind.SERVED: (
        "op",
        "key",
        "step",
        "size_bytes",
        "push_id",
        "pull_id",
        "peer",
        "receiver",
        "first_byte_ns",
        "last_byte_ns",
        "taken_ns",
        "start_ns",
        "end_ns",
        "work_bytes",
        "cpu_ns",
        "runnable_ns",
        "updated_ns",
        "update_cpu_ns",
        "update_runnable_ns",
    ),
    Kind.REPLIED: (
        "key",
        "step",
        "size_bytes",
        "pull_id",
        "peer",
        "cause_id",
        "held_ns",
        "queued_ns",
        "taken_ns",
        "start_ns",
        "end_ns",
    ),
    # `loss_bits`: the IEEE 754 double's own 64 bits, so that no digit is lost; only meant where `has_loss` is 1.
    Kind.STEP: ("step", "start_ns", "end_ns", "samples", "warm_up", "has_loss", "loss_bits"),
    Kind.CHAIN: ("word",),
}
"""The columns of a row, each one int64. `op` and `key` are ids of NAMES; -1 in a time stands for not measured."""

USED = ("cpu_ns", "runnable_ns")
"""Of a span: what became of its thread's time, see `clock.thread_time`."""

CHAIN_HEAD = ("links", "step", "size_bytes", "start_ns", "cpu_ns", "runnable_ns")
CHAIN_LINK = ("what", "end_ns")
"""The words of a chain, see `api`. `links`: how many follow; `what`: from `link_word`."""

ROW_BYTES: Dict[Kind, int] = {kind: 8 * len(columns) for kind, columns in COLUMNS.items()}

_ID_BITS = 28
"""Of an op's and a key's id in a link."""

_DOUBLE = Struct("<d")
_INT64 = Struct("<q")


def row_struct(kind: Kind) -> Struct:
    """Packs one row of this kind."""
    return words_struct(len(COLUMNS[kind]))


@lru_cache(maxsize=None)
def words_struct(count: int) -> Struct:
    """Packs so many words."""
    return Struct("<%dq" % count)


def link_word(stage: int, op: int, key: int) -> int:
    """What a link's span is, in one word; `link_parts` takes it apart again."""
    return (stage << 2 * _ID_BITS) | (op << _ID_BITS) | key


def link_parts(what: _Word) -> Tuple[_Word, _Word, _Word]:
    """Stage, op, key: of one word, or of an array of words."""
    mask = (1 << _ID_BITS) - 1
    return what >> 2 * _ID_BITS, what >> _ID_BITS & mask, what & mask


def payload_bytes(kind: Kind, count: int) -> int:
    """The size of a block's payload without padding."""
    return count * ROW_BYTES.get(kind, 1)


def padding_bytes(size: int) -> int:
    """How many zero bytes follow a payload of this size."""
    return -size % ALIGNMENT


def checksum(kind: int, thread: int, count: int, payload: Union[bytes, memoryview]) -> int:
    """The crc of a block."""
    return zlib.crc32(payload, _fields_crc(kind, thread, count))


def head(kind: int, thread: int, count: int, payload: bytes) -> bytes:
    """The head of a block with this payload."""
    return HEAD.pack(MARK, kind, thread, count, checksum(kind, thread, count, payload), head_check(kind, thread, count))


def head_check(kind: int, thread: int, count: int) -> int:
    """Guards the count of a block whose payload is cut off, where the crc cannot tell. Never 0, which stands for none."""
    return _fields_crc(kind, thread, count) or 1


def loss_to_bits(loss: float) -> int:
    """A double's bits as an int64; `bits_to_loss` gives back the same double, NaN payloads included."""
    bits: int = _INT64.unpack(_DOUBLE.pack(loss))[0]
    return bits


def bits_to_loss(bits: int) -> float:
    """The inverse of `loss_to_bits`."""
    loss: float = _DOUBLE.unpack(_INT64.pack(bits))[0]
    return loss


def _fields_crc(kind: int, thread: int, count: int) -> int:
    """Of a head's fields before its crc: what both the crc and the check start from."""
    return zlib.crc32(HEAD.pack(MARK, kind, thread, count, 0, 0))
