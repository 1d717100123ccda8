"""Unfolds chains, spans that follow each other without a gap, into the rows of these spans.

A chain is what the main thread of a worker did from one reading of its thread's time to the next: one record, because each
record costs the training time.
"""

from __future__ import annotations

import numpy as np

from breakdown.model.identity import NO_REQUEST
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import CHAIN_HEAD, CHAIN_LINK, COLUMNS, USED, Kind, link_parts
from breakdown.record.tracefile import Block
from breakdown.store.decode import Ints


def spans(block: Block) -> Block:
    """The spans of a block of chains, in their order. A chain that is cut off at the end of the file is left out."""
    words = np.frombuffer(block.rows, dtype="<i8")
    places = _places(words)
    head = {name: words[places + at] for at, name in enumerate(CHAIN_HEAD)}
    links = head["links"]
    chain = np.repeat(np.arange(len(places)), links)  # of each link
    nth = np.arange(len(chain)) - (np.cumsum(links) - links)[chain]  # its place in its chain
    at = places[chain] + len(CHAIN_HEAD) + nth * len(CHAIN_LINK)
    what, end_ns = (words[at + place] for place in range(len(CHAIN_LINK)))
    start_ns = np.where(nth == 0, head["start_ns"][chain], np.roll(end_ns, 1))
    columns = dict(zip(("stage", "op", "key"), link_parts(what), strict=True)) | {
        "step": head["step"][chain],
        "size_bytes": np.where(nth == 0, head["size_bytes"][chain], 0),
        "start_ns": start_ns,
        "end_ns": end_ns,
        "request_id": np.full_like(what, NO_REQUEST),
        "cause_id": np.full_like(what, NO_REQUEST),
        **{name: _shares(head[name], end_ns - start_ns, chain) for name in USED},
    }
    rows = np.stack([columns[name] for name in COLUMNS[Kind.SPAN]], axis=1).astype("<i8")
    return Block(Kind.SPAN, block.thread, len(rows), memoryview(rows.tobytes()))


def _places(words: Ints) -> Ints:
    """Where each whole chain starts."""
    places, at = [], 0
    while at < len(words):
        end = at + len(CHAIN_HEAD) + int(words[at]) * len(CHAIN_LINK)
        if end > len(words):
            break
        places.append(at)
        at = end
    return np.array(places, dtype=np.int64)


def _shares(of_chain_ns: Ints, duration_ns: Ints, chain: Ints) -> Ints:
    """Each link's part of its chain's time, in proportion to its duration, and never more than that."""
    whole_ns = np.bincount(chain, weights=duration_ns, minlength=len(of_chain_ns))
    share = np.minimum(of_chain_ns / np.maximum(whole_ns, 1), 1.0)[chain]
    return np.where(of_chain_ns[chain] == NOT_MEASURED, NOT_MEASURED, (duration_ns * share).astype(np.int64))
