"""py-spy's files, read on hand-written events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from breakdown.model.identity import Node, Role
from breakdown.store import arrow, samples
from breakdown.store.folder import CellFolder

SERVER = Node(Role.SERVER, 1)


def event(phase: str, name: str, at_us: int, tid: int = 5, file: str = "") -> dict[str, Any]:
    return {"ph": phase, "name": name, "ts": at_us, "tid": tid, "args": {"filename": file, "line": None}}


EVENTS = [
    event("B", "thread (77): MainThread", 10),
    event("B", "run", 10, file="/usr/lib/python3.11/threading.py"),
    event("B", "thread (78)", 12, tid=6),
    event("B", "work", 20, file="/x/site-packages/pkg/mod.py"),
    event("B", "0x7f00aa", 20, file="/usr/lib/libc.so.6"),
    event("E", "0x7f00aa", 25, file="/usr/lib/libc.so.6"),
    event("E", "work", 40),
    event("E", "run", 50),
    event("E", "thread (77): MainThread", 50),
    event("E", "thread (78)", 60, tid=6),
]


def test_a_row_lasts_from_one_stack_to_the_next() -> None:
    assert list(samples.stretches(EVENTS)) == [
        (77, "MainThread", "run (threading.py)", 10, 20),
        (77, "MainThread", "run (threading.py);work (pkg/mod.py);? (libc.so.6)", 20, 25),
        (77, "MainThread", "run (threading.py);work (pkg/mod.py)", 25, 40),
        (77, "MainThread", "run (threading.py)", 40, 50),
        (78, "", "", 12, 60),
    ]


def test_a_frame_is_named_by_its_package() -> None:
    assert samples.frame_text("a;b", "/home/me/breakdown/ps/server.py") == "a,b (breakdown/ps/server.py)"
    assert samples.frame_text("f", "/venv/lib/python3.11/site-packages/torch/_tensor.py") == "f (torch/_tensor.py)"
    assert samples.frame_text("ps::Van::Send", "/a/b/libmxnet.so") == "ps::Van::Send (libmxnet.so)"
    assert samples.frame_text("process 5", "") == "process 5"


def test_files_become_rows_and_go_away(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    folder.sample_dir(3).mkdir(parents=True)
    good, bad = folder.sample_dir(3) / "server-1.json", folder.sample_dir(3) / "worker-0.json"
    good.write_text(json.dumps(EVENTS))
    bad.write_text("[{")
    sampled = [samples.Sampled(SERVER, good, 1_000_000), samples.Sampled(Node(Role.WORKER, 0), bad, 0)]
    (warning,) = samples.collect(folder, 3, sampled)
    assert warning.startswith(f"worker-0: the samples in {bad} cannot be read")
    rows = arrow.read(folder.table("samples"), "samples").to_pylist()
    assert len(rows) == 5
    assert rows[0] == {
        "run": 3, "role": "server", "rank": 1, "thread": "MainThread", "thread_id": 77, "stack": "run (threading.py)",
        "start_ns": 1_010_000, "end_ns": 1_020_000,
    }  # fmt: skip
    assert not folder.sample_dir(3).parent.exists()
