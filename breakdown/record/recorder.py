"""The recorder that writes a trace file: hands out thread buffers, and empties them to disk every half second.

Only the flusher thread writes. A process that is killed loses what was recorded since the last flush, less than a second.
Not safe across `fork`: a child has the buffers but no flusher, so it must make a recorder of its own, with its own path.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from typing import Any, Dict, List, Optional

from breakdown.clock.clocks import CLOCK_NAME, now_ns
from breakdown.clock.kernel import kernel_id
from breakdown.errors import RecordError, remedy
from breakdown.model.identity import Node
from breakdown.record.api import THREAD_NOTE
from breakdown.record.cost import cost_ns_per_span
from breakdown.record.layout import Kind, loss_to_bits, row_struct
from breakdown.record.threads import FileThreadRecorder, Rows
from breakdown.record.writer import TraceWriter, reason

CLOSE_TIMEOUT_S = 10.0
"""How long `close` waits for the last flush. A disk that takes longer hangs; the program must still end."""

_PACK_STEP = row_struct(Kind.STEP).pack


class FileRecorder:
    """Satisfies `api.Recorder`. Makes the file at once, with all that is known of the run in its first block."""

    enabled = True

    def __init__(self, path: str, run: int, node: Node, flush_interval_s: float = 0.5) -> None:
        """Raises `RecordError` when the file cannot be created."""
        self._writer = TraceWriter(path)
        self._interval_s = flush_interval_s
        self._lock = threading.Lock()  # for names and threads; never taken by a record
        self._ids: Dict[str, int] = {"": 0}
        self._texts: List[str] = [""]
        self._texts_written = 1
        self._threads: List[FileThreadRecorder] = []
        self._threads_written = 0
        self._steps = Rows(Kind.STEP)
        self._notes: List[str] = []
        self._rejected: List[str] = []  # a reason for each record that could not be packed
        self._rejected_count = 0
        self._rejected_first = ""
        self._complete = False
        self._closed = False
        self._stop = threading.Event()
        self._writer.json(
            Kind.META,
            {
                "run": run,
                "role": node.role.label,
                "rank": node.rank,
                "pid": os.getpid(),
                "kernel_id": kernel_id(),
                "clock": CLOCK_NAME,
                "start_ns": now_ns(),
                "cost_ns_per_span": cost_ns_per_span(),
                "python": "{}.{}.{}".format(*sys.version_info[:3]),
            },
        )
        self._flusher = threading.Thread(target=self._flush_until_stopped, name="breakdown-recorder", daemon=True)
        self._flusher.start()

    def intern(self, text: str) -> int:
        """A stable small integer for an op or a key. Any thread, any time; the empty string is 0."""
        ident = self._ids.get(text)
        if ident is None:
            with self._lock:
                ident = self._ids.get(text)
                if ident is None:
                    ident = len(self._texts)
                    self._texts.append(text)
                    self._ids[text] = ident
        return ident

    def thread(self, name: str) -> FileThreadRecorder:
        """A new buffer for the calling thread. A name that is taken gets "#2", "#3", ... behind it."""
        with self._lock:
            taken = {thread.name for thread in self._threads}
            unique, count = name, 1
            while unique in taken:
                count += 1
                unique = f"{name}#{count}"
            thread = FileThreadRecorder(len(self._threads) + 1, unique, self._rejected.append)
            self._threads.append(thread)
        self.note(THREAD_NOTE, [unique, threading.get_native_id()])
        return thread

    def step(
        self,
        step: int,
        start_ns: int,
        end_ns: int,
        samples: int,
        warm_up: bool = False,
        loss: Optional[float] = None,
    ) -> None:
        """One finished step of this worker's main thread."""
        try:
            bits = 0 if loss is None else loss_to_bits(loss)
            self._steps.append(_PACK_STEP(step, start_ns, end_ns, samples, warm_up, loss is not None, bits))
        except struct.error as problem:
            self._rejected.append(f"step {step}: {problem}")

    def note(self, name: str, value: Any) -> None:
        """One fact beside the records. What JSON does not know is written as its text."""
        try:
            self._notes.append(json.dumps([name, value], default=str))
        except (TypeError, ValueError) as problem:
            self._rejected.append(f"note {name}: {problem}")

    def close(self) -> None:
        """Writes what is left and ends the flusher; safe to repeat. All threads should have stopped recording before.

        Raises `RecordError` naming the file, the reason and the number of records that are lost.
        """
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._flusher.join(CLOSE_TIMEOUT_S)
        writer = self._writer
        if not self._complete:
            raise RecordError(
                f"{writer.path}: the last records were not written within {CLOSE_TIMEOUT_S:.0f} s. What was written before "
                "can be read. Record to a local disk that answers."
            )
        if writer.failure is not None:
            raise RecordError(
                f"{writer.path}: {writer.lost} records were lost: {reason(writer.failure)}. What was written before can be "
                f"read. {remedy(writer.failure)} Then run again."
            ) from writer.failure
        if self._rejected_count:
            raise RecordError(
                f"{writer.path}: {self._rejected_count} records were lost: they hold a value that cannot be written "
                f"(first: {self._rejected_first}). All others can be read. Correct the call that records it."
            )

    def _flush_until_stopped(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._flush()
        self._flush()
        self._writer.json(Kind.END, {"lost": self._writer.lost + self._rejected_count})
        self._writer.close()
        self._complete = True

    def _flush(self) -> None:
        """Takes the rows first, then the names: whatever a taken row uses was interned before it was recorded."""
        threads = self._threads[:]
        taken = [(thread.ident, kind, rows) for thread in threads for kind, rows in thread.take()]
        taken.append((0, Kind.STEP, self._steps.take()))
        texts = self._texts[self._texts_written :]
        if texts:
            self._writer.json(Kind.NAMES, texts)
            self._texts_written += len(texts)
        for thread in threads[self._threads_written :]:
            self._writer.text(Kind.THREAD, thread.ident, thread.name)
        self._threads_written = len(threads)
        notes = self._notes[:]
        del self._notes[: len(notes)]
        for note in notes:
            self._writer.text(Kind.NOTE, 0, note)
        for ident, kind, rows in taken:
            self._writer.rows(kind, ident, rows)
        rejected = self._rejected[:]
        if rejected:
            del self._rejected[: len(rejected)]
            self._rejected_count += len(rejected)
            self._rejected_first = self._rejected_first or rejected[0]
