"""Runs a user's own command, with variables that make it record, and sees to all processes that inherit them.

The command keeps the terminal: its input, its output, and Ctrl-C reach it as without this tool. A process belongs to it when
the folder for the traces stands in its environment, however it was started. Whatever ends this tool ends them: a signal that
can be handled ends them here, and a guardian does where this process is killed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from breakdown.errors import UsageError
from breakdown.launch import guardian, signals
from breakdown.launch.guardian import send
from breakdown.launch.outcome import how
from breakdown.launch.watch import Ended, Watch

CTRL_C_GRACE_S, GRACE_S = 4.0, 4.0
"""From Ctrl-C to SIGTERM, and from that to SIGKILL: time to flush a trace. In sum well below 10 s."""

GIVE_UP_S = 2.0
"""A process that SIGKILL does not end by then hangs in the kernel."""

LOOK_S = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Followed:
    """How the command ended: its exit code (negative: the signal), and each process that it started.

    `asked_by`: the signal that asked this tool to end; None: none did. `ended_here`: ids of those that were told to end
    here.
    """

    exit_code: int
    asked_by: int | None = None
    processes: tuple[Ended, ...] = ()
    ended_here: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Eyes:
    """What is known of a process by its id. `serves`: it only serves the others. `node`: its role and rank, if any."""

    serves: Callable[[int], bool] = lambda pid: False
    node: Callable[[int], str | None] = lambda pid: None


def follow(
    command: Sequence[str], env: Mapping[str, str], mark: str, say: Say, eyes: Eyes = Eyes(), kept: Sequence[int] = ()
) -> Followed:
    """Runs the command to its end, and waits for all that it started; a signal or a failure ends what is left of that.

    `mark`: the variable in `env` by which its processes are known. Processes that only serve are ended once the others have
    ended. `kept`: descriptors that stay open until all has ended, should this process be killed. Raises `UsageError` when
    the command cannot be started.
    """
    watch = Watch(mark, env[mark])
    try:
        with signals.noted() as asked, _guarded(mark, env[mark], kept):
            try:
                child = subprocess.Popen(command, env=env)
            except OSError as error:
                raise UsageError(
                    f"cannot start {command[0]}: {error.strerror}. Give the command as in a shell, behind --."
                ) from error
            watch.add(child.pid)
            return _Following(child, watch, asked, say, eyes).to_the_end()
    finally:
        watch.close()


@dataclass
class _Following:
    """One command on its way. `_means`: the signals by which it is being ended, the next one first; None: it is not."""

    child: subprocess.Popen[bytes]
    watch: Watch
    asked: signals.Asked
    say: Say
    eyes: Eyes
    ended: list[Ended] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    waits: bool = False
    heard: int = 0
    sends: int | None = None
    harder_at: float = 0.0

    def to_the_end(self) -> Followed:
        while self.child.poll() is None or self.watch.running:
            self._decide()
            if self.sends == signal.SIGKILL and time.monotonic() > self.harder_at:
                break
            self._note(self.watch.wait(LOOK_S, self.asked.fileno()))
            self.asked.calm()
            self.watch.look()
        send(guardian.marked(*self.watch.mark), signal.SIGKILL)  # one that was started in the last moment
        code = self.child.poll()
        by = self.asked.by[0] if self.asked.by else None
        code = -signal.SIGKILL if code is None else code
        return Followed(code, by, tuple(self.ended), frozenset(self.told))

    def _decide(self) -> None:
        """Whether to wait, to begin ending what runs, or to go on with a harder means."""
        news, self.heard = len(self.asked.by) > self.heard, len(self.asked.by)
        late = time.monotonic() > self.harder_at
        if self.sends is None:
            if news and self.asked.by[0] == signal.SIGINT:
                self._end_by(0, CTRL_C_GRACE_S)  # the terminal has told it already
            elif news or self._has_nothing_left_to_do():
                self._end_by(signal.SIGTERM, GRACE_S)
        elif self.sends == 0 and (news or late):
            self._end_by(signal.SIGTERM, GRACE_S)
        elif self.sends == signal.SIGTERM and (news or late):
            self._end_by(signal.SIGKILL, GIVE_UP_S)
        elif self.sends == signal.SIGTERM:
            self._tell(self.watch.running - self.told)
        elif self.sends == signal.SIGKILL:
            self._tell(self.watch.running)

    def _has_nothing_left_to_do(self) -> bool:
        """The command has failed, or all but those that only serve have ended."""
        code = self.child.poll()
        if code is None:
            return False
        left = [pid for pid in self.watch.running if pid != self.child.pid and not self.eyes.serves(pid)]
        if code == 0 and left and not self.waits:
            self.waits = True
            names = ", ".join(f"process {pid}" for pid in sorted(left))
            self.say(f"the command has ended; waiting for what it started: {names}. Ctrl-C ends them.")
        return code != 0 or not left

    def _end_by(self, number: int, grace_s: float) -> None:
        self.sends, self.harder_at = number, time.monotonic() + grace_s
        self.watch.look()
        if number:
            self._tell(self.watch.running)
        else:
            self.told |= self.watch.running

    def _tell(self, pids: set[int]) -> None:
        assert self.sends
        send(pids, self.sends)
        self.told |= pids

    def _note(self, ended: Sequence[Ended]) -> None:
        for one in ended:
            if one.pid == self.child.pid:
                one = replace(one, code=self.child.wait())
            self.ended.append(one)
            if not one.code or self.sends is not None or self.child.poll() is not None:
                continue
            if one.code == -signal.SIGTERM and self.eyes.serves(one.pid):
                continue  # such a process has no other end
            node = self.eyes.node(one.pid)
            if node is not None:
                self.say(
                    f"{node} (process {one.pid}) {how(one.code)}, and the command goes on. If the others now wait for it, "
                    "Ctrl-C ends them; what they recorded is kept."
                )


@contextmanager
def _guarded(mark: str, value: str, kept: Sequence[int]) -> Iterator[None]:
    argv = [sys.executable, "-I", "-S", str(Path(guardian.__file__)), mark, value]
    with subprocess.Popen(  # it is waited for
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=kept,
        cwd="/",
    ) as process:
        try:
            yield
        finally:
            assert process.stdin is not None
            with suppress(OSError):  # somebody has ended it
                process.stdin.write(guardian.DISMISSED)
                process.stdin.flush()


def inheritors(mark: str, value: str) -> list[int]:
    """The ids of the processes that have the mark."""
    return sorted(guardian.marked(mark, value))
