"""Raw traces for tests, written by the real recorder (or its writer, where another kernel must be played)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.saved import content_of

from breakdown.model.identity import Node, Role, request_id
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import Kind, row_struct
from breakdown.record.recorder import FileRecorder
from breakdown.record.writer import TraceWriter
from breakdown.store.folder import CellFolder

SCHEDULER, SERVER = Node(Role.SCHEDULER, 0), Node(Role.SERVER, 0)
WORKERS = (Node(Role.WORKER, 0), Node(Role.WORKER, 1))


def cell(path: Path, runs: Iterable[int] = (0,)) -> CellFolder:
    """A saved cell without tables."""
    folder = CellFolder(path)
    folder.write(content_of(path.name, runs))
    return folder


def open_recorder(folder: CellFolder, run: int, node: Node) -> FileRecorder:
    folder.raw_dir(run).mkdir(parents=True, exist_ok=True)
    return FileRecorder(str(folder.raw_file(run, node)), run, node)


def record_worker(folder: CellFolder, run: int, node: Node, begin_ns: int = 1000) -> None:
    """A step that pushes one key and pulls it."""
    recorder = open_recorder(folder, run, node)
    main, send, recv = (recorder.thread(name) for name in ("main", "send-server-0", "recv-server-0"))
    key, forward, block = (recorder.intern(text) for text in ("fc1.weight", Op.FORWARD, Op.BLOCK))
    push, pull = request_id(node, 1), request_id(node, 2)
    main.span(Stage.COMPUTE, forward, key, 0, 0, begin_ns, begin_ns + 100, cpu_ns=0, runnable_ns=40)
    main.span(Stage.WAIT, block, key, 0, 0, begin_ns + 100, begin_ns + 400, cause_id=pull)
    send.sent(Verb.PUSH, Direction.REQUEST, key, 0, 4096, push, SERVER.code, begin_ns + 110, begin_ns + 150)
    send.sent(Verb.PULL, Direction.REQUEST, key, 0, 0, pull, SERVER.code, begin_ns + 150, begin_ns + 155)
    recv.received(Verb.PULL, Direction.REPLY, key, 0, 4096, pull, SERVER.code, begin_ns + 350, begin_ns + 390)
    recorder.step(0, begin_ns, begin_ns + 400, 64, warm_up=True, loss=0.5)
    recorder.note("plan", [1])
    recorder.close()


def record_server(folder: CellFolder, run: int, workers: Iterable[Node], begin_ns: int = 1000) -> None:
    """The other end of `record_worker`, one thread a worker."""
    recorder = open_recorder(folder, run, SERVER)
    total, key = recorder.intern(Op.SUM), recorder.intern("fc1.weight")
    for node in workers:
        thread = recorder.thread(f"recv-worker-{node.rank}")
        push, pull = request_id(node, 1), request_id(node, 2)
        thread.received(Verb.PUSH, Direction.REQUEST, key, 0, 4096, push, node.code, begin_ns + 120, begin_ns + 170)
        thread.received(Verb.PULL, Direction.REQUEST, key, 0, 0, pull, node.code, begin_ns + 171, begin_ns + 172)
        thread.span(Stage.AGGREGATE, total, key, 0, 4096, begin_ns + 180, begin_ns + 280, request_id=push)
        thread.sent(Verb.PULL, Direction.REPLY, key, 0, 4096, pull, node.code, begin_ns + 340, begin_ns + 370)
    recorder.close()


def write_trace(
    folder: CellFolder,
    node: Node,
    kernel: str,
    rows: Iterable[tuple[Kind, tuple[int, ...]]],
    notes: Iterable[tuple[str, Any]] = (),
    run: int = 0,
) -> None:
    """A trace of one thread "main" as a process on the given kernel would write it."""
    folder.raw_dir(run).mkdir(parents=True, exist_ok=True)
    writer = TraceWriter(str(folder.raw_file(run, node)))
    meta = {"role": node.role.label, "rank": node.rank, "kernel_id": kernel, "cost_ns_per_span": 250.0}
    writer.json(Kind.META, meta)
    writer.json(Kind.NAMES, ["op"])
    writer.text(Kind.THREAD, 1, "main")
    for note in notes:
        writer.json(Kind.NOTE, note)
    for kind, row in rows:
        writer.rows(kind, 0 if kind == Kind.STEP else 1, [row_struct(kind).pack(*row)])
    writer.json(Kind.END, {"lost": 0})
    writer.close()
