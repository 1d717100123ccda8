"""The tables of a saved run: columns with units in their names, and the format version.

Contract
- Times: integer ns, `*_ns`, raw monotonic clock of the node that recorded them; alignment makes new columns' values in a
  new table and keeps the file as it was. Sizes: bytes, `*_bytes`.
- Ordering: rows by (run, role, rank, thread), then end_ns; messages by (run, send_start_ns); steps by (run, rank, step).
- Null means not measured. 0 means measured zero. `request_id` 0 means no request.
- `run` is the repetition, counted from 0. `step` counts from 0, warm-up steps included; -1 is outside any step.
- Text columns are dictionary-encoded; `stage`, `verb`, `direction` and roles hold the labels of `breakdown.model`.
"""

from __future__ import annotations

from typing import Dict

FORMAT_VERSION = 2

ADDED_COLUMNS = frozenset({"runnable_ns"})
"""What files of format 1 lack. It is not known of what they hold: null."""

SPAN_COLUMNS: Dict[str, str] = {
    "run": "int32",
    "role": "text",
    "rank": "int32",
    "thread": "text",
    "step": "int32",
    "stage": "text",
    "op": "text",
    "key": "text",
    "size_bytes": "int64",
    "start_ns": "int64",
    "end_ns": "int64",
    "cpu_ns": "int64?",
    "runnable_ns": "int64?",
    "request_id": "int64",
    "cause_id": "int64",
}

MESSAGE_COLUMNS: Dict[str, str] = {
    "run": "int32",
    "request_id": "int64",
    "verb": "text",
    "direction": "text",
    "sender_role": "text",
    "sender_rank": "int32",
    "sender_thread": "text",
    "receiver_role": "text",
    "receiver_rank": "int32",
    "receiver_thread": "text",
    "key": "text",
    "step": "int32",
    "size_bytes": "int64",
    "send_start_ns": "int64?",
    "send_end_ns": "int64?",
    "recv_start_ns": "int64?",
    "recv_end_ns": "int64?",
}

SAMPLE_COLUMNS: Dict[str, str] = {
    "run": "int32",
    "role": "text",
    "rank": "int32",
    "thread": "text",  # as the sampler calls it; "" for a thread that is not Python's own
    "thread_id": "int64",
    "stack": "text",  # frames from the outermost to the innermost, parted by ";"
    "start_ns": "int64",
    "end_ns": "int64",
}
"""What a sampler saw, where a run was sampled: from one sample to the next that saw another stack. Optional."""

STEP_COLUMNS: Dict[str, str] = {
    "run": "int32",
    "rank": "int32",
    "thread": "text",
    "step": "int32",
    "start_ns": "int64",
    "end_ns": "int64",
    "samples": "int64",
    "warm_up": "bool",
    "loss": "double?",
}
