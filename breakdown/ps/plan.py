"""Sharding: from the model's parameters to wire keys, each owned by one server.

Pure and deterministic: every worker computes the same plan from the same cell. A wire key (`Shard`) covers one or more
stretches of parameters. Key ids count up in model order, so a smaller id is a layer that the next forward pass needs
earlier: the per-layer priority is the key id itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from breakdown.errors import WireError, unknown_name


class ParameterSpec(NamedTuple):
    """What the plan knows of a parameter. `itemsize` is the bytes of one element."""

    name: str
    numel: int
    itemsize: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.itemsize


class Part(NamedTuple):
    """Elements [start, stop) of the flattened parameter number `parameter` in model order."""

    parameter: int
    start: int
    stop: int

    @property
    def numel(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Shard:
    """One wire key. Its elements are those of `parts`, one after the other."""

    key: int
    name: str
    server: int
    parts: tuple[Part, ...]
    itemsize: int

    @property
    def numel(self) -> int:
        return sum(part.numel for part in self.parts)

    @property
    def nbytes(self) -> int:
        return self.numel * self.itemsize


@dataclass(frozen=True)
class Plan:
    """All wire keys of a run; `shards[i].key == i`. Every element of every parameter is in exactly one of them."""

    servers: int
    shards: tuple[Shard, ...]

    def of_server(self, server: int) -> tuple[Shard, ...]:
        return tuple(shard for shard in self.shards if shard.server == server)

    def to_json(self) -> dict[str, Any]:
        rows = [[shard.name, shard.server, shard.itemsize, [list(part) for part in shard.parts]] for shard in self.shards]
        return {"servers": self.servers, "shards": rows}

    @property
    def digest(self) -> str:
        """A short text that is equal exactly when two plans are."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:16]

    @staticmethod
    def from_json(data: Any) -> Plan:
        """Raises `WireError` when `data` is not what `to_json` gave: it may come from a peer."""
        try:
            shards = tuple(
                Shard(key, str(name), int(server), tuple(Part(*map(int, part)) for part in parts), int(itemsize))
                for key, (name, server, itemsize, parts) in enumerate(data["shards"])
            )
            return Plan(int(data["servers"]), shards)
        except (KeyError, TypeError, ValueError) as error:
            raise WireError(
                f"a peer sent a shard plan that cannot be read ({error}); do all roles run one version?"
            ) from error


class _Piece(NamedTuple):
    """A wire key before it has an id: before fusion always one part."""

    name: str
    server: int
    parts: tuple[Part, ...]
    nbytes: int
    itemsize: int


def make_plan(
    parameters: Sequence[ParameterSpec],
    servers: int,
    sharding: str = "balanced",
    split_bound_bytes: int = 4_000_000,
    bucket_bytes: int = 0,
) -> Plan:
    """The plan for `parameters` in model order.

    `round_robin` gives parameter i to server i modulo `servers`. `balanced` gives each parameter, the biggest first, to the
    server that has the fewest bytes. `split` cuts a parameter of more than `split_bound_bytes` into one piece a server, and
    balances the rest. With `bucket_bytes`, keys of one server that follow each other in backward order share a message of up
    to that size (a bigger key stays alone). Parameters without elements have no key.
    """
    if sharding not in _SHARDINGS:
        raise unknown_name("sharding", sharding, _SHARDINGS)
    pieces = _SHARDINGS[sharding](parameters, servers, split_bound_bytes)
    if bucket_bytes > 0:
        pieces = _fuse(pieces, bucket_bytes)
    ordered = sorted(pieces, key=lambda piece: min(part[:2] for part in piece.parts))
    return Plan(servers, tuple(Shard(key, p.name, p.server, p.parts, p.itemsize) for key, p in enumerate(ordered)))


def _whole(parameters: Sequence[ParameterSpec], index: int, server: int) -> _Piece:
    spec = parameters[index]
    return _Piece(spec.name, server, (Part(index, 0, spec.numel),), spec.nbytes, spec.itemsize)


def _round_robin(parameters: Sequence[ParameterSpec], servers: int, _bound: int) -> list[_Piece]:
    return [_whole(parameters, index, index % servers) for index, spec in enumerate(parameters) if spec.numel]


def _balance(parameters: Sequence[ParameterSpec], indices: Iterable[int], load: list[int]) -> list[_Piece]:
    """Greedy size balance: the biggest first, each to the least loaded server. `load` is bytes a server, updated."""
    pieces = []
    for index in sorted(indices, key=lambda i: (-parameters[i].nbytes, i)):
        server = load.index(min(load))
        load[server] += parameters[index].nbytes
        pieces.append(_whole(parameters, index, server))
    return pieces


def _balanced(parameters: Sequence[ParameterSpec], servers: int, _bound: int) -> list[_Piece]:
    return _balance(parameters, (i for i, spec in enumerate(parameters) if spec.numel), [0] * servers)


def _split(parameters: Sequence[ParameterSpec], servers: int, bound: int) -> list[_Piece]:
    pieces: list[_Piece] = []
    load = [0] * servers
    small = []
    for index, spec in enumerate(parameters):
        count = min(servers, spec.numel)
        if spec.nbytes <= bound or count < 2:
            small.append(index)
            continue
        for server in range(count):
            start, stop = spec.numel * server // count, spec.numel * (server + 1) // count
            nbytes = (stop - start) * spec.itemsize
            load[server] += nbytes
            pieces.append(_Piece(f"{spec.name}[{start}:{stop}]", server, (Part(index, start, stop),), nbytes, spec.itemsize))
    return pieces + _balance(parameters, (i for i in small if parameters[i].numel), load)


_SHARDINGS: dict[str, Callable[[Sequence[ParameterSpec], int, int], list[_Piece]]] = {
    "round_robin": _round_robin,
    "balanced": _balanced,
    "split": _split,
}


def _fuse(pieces: Sequence[_Piece], bucket_bytes: int) -> list[_Piece]:
    """Joins pieces of one server that follow each other in backward order, up to `bucket_bytes` a bucket."""
    buckets: list[list[_Piece]] = []
    open_bucket: dict[int, list[_Piece]] = {}
    for piece in sorted(pieces, key=lambda piece: piece.parts[0][:2], reverse=True):
        bucket = open_bucket.get(piece.server)
        fits = bucket is not None and bucket[0].itemsize == piece.itemsize
        if bucket is None or not fits or sum(p.nbytes for p in bucket) + piece.nbytes > bucket_bytes:
            bucket = open_bucket[piece.server] = []
            buckets.append(bucket)
        bucket.append(piece)
    return [_joined(f"bucket-{number}", bucket) for number, bucket in enumerate(buckets)]


def _joined(name: str, bucket: Sequence[_Piece]) -> _Piece:
    if len(bucket) == 1:
        return bucket[0]
    parts = tuple(part for piece in bucket for part in piece.parts)
    return _Piece(name, bucket[0].server, parts, sum(piece.nbytes for piece in bucket), bucket[0].itemsize)
