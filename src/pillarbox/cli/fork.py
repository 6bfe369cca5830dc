"""Processes that serve, and the parent that holds their sockets and looks after them.

The parent has no event loop and no thread: it forks, and waits for signals, for children to get
ready and for children to end. When those are due: workers.py and reload.py.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import NoReturn

from pillarbox.cli.listeners import close_listeners, each_once

__all__ = ["Child", "Ended", "Parent", "end_by"]

# Beyond what a child itself gives its transactions.
GRACE_SECONDS = 5.0


def end_by(number: int) -> NoReturn:
    """End at once, as the signal does by itself."""
    _flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container survives its own signals


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@dataclass(frozen=True, slots=True)
class Child:
    """A forked process, as it sees itself.

    Attributes:
        number: Which of the children, from 0.
        sockets: What it listens on.
        lifeline: Can be read (the end of it) once the parent is gone.
    """

    number: int
    sockets: list[socket.socket]
    lifeline: int
    _ready: int

    def tell_ready(self) -> None:
        """Let the parent know that clients can come."""
        os.write(self._ready, b"!")
        os.close(self._ready)


@dataclass(slots=True)
class _Process:
    """A child, as its parent sees it."""

    pid: int
    ready: int
    lifeline: int
    started_at: float
    is_ready: bool = False

    def close(self) -> None:
        for fd in (self.ready, self.lifeline):
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that ended.

    Attributes:
        number: Which of the children, from 0.
        pid: What its process was.
        status: Its exit status; that of a signal is negative.
        was_ready: Whether it ever took mail.
        after_seconds: How long it lived.
    """

    number: int
    pid: int
    status: int
    was_ready: bool
    after_seconds: float

    def __str__(self) -> str:
        """Say how it ended, for a log line."""
        if self.status < 0:
            return f"process {self.pid} was ended by {signal.Signals(-self.status).name}"
        return f"process {self.pid} ended with status {self.status}"


@dataclass(slots=True)
class Parent:
    """The process that forks.

    Args:
        per_child: The sockets of each child. They stay open here, so that clients wait instead of
            being refused while a child is started again.
    """

    per_child: list[list[socket.socket]]
    signals: list[int] = field(default_factory=list)
    """The signals that asked us to stop."""
    _processes: dict[int, _Process] = field(default_factory=dict)
    _wake: tuple[int, int] = (-1, -1)

    def __post_init__(self) -> None:
        """Have signals wake us up instead of ending us."""
        self._wake = os.pipe()
        for fd in self._wake:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    @property
    def numbers(self) -> set[int]:
        """The children that there are."""
        return set(self._processes)

    @property
    def are_ready(self) -> bool:
        """Whether all children that there are take mail."""
        return all(process.is_ready for process in self._processes.values())

    def fork(self, number: int) -> Child | None:
        """Start the child of this number; in the child give what it needs, in the parent `None`.

        The child goes on from here, under the frames of the caller: it returns from them and ends
        as any program does.
        """
        _flush()  # or each child writes it once more
        told_ready, ready = os.pipe()
        lifeline, held = os.pipe()
        # A signal between fork() and the child's own handling of it would be lost.
        block = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, block)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(told_ready)
                os.close(held)
                self._become_child(number)
                return Child(number, self.per_child[number], lifeline, ready)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(ready)
        os.close(lifeline)
        self._processes[number] = _Process(pid, told_ready, held, time.monotonic())
        return None

    def _become_child(self, number: int) -> None:
        """Let go of everything that is the parent's or a brother's."""
        signal.set_wakeup_fd(-1)
        for default in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(default, signal.SIG_DFL)
        # Ctrl-C goes to the whole group; the parent passes it on as SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for fd in self._wake:
            os.close(fd)
        for process in self._processes.values():
            process.close()
        mine = self.per_child[number]
        close_listeners(sock for sock in each_once(self.per_child) if sock not in mine)

    def wait(self, seconds: float | None = None) -> list[Ended]:
        """Wait until something happens, and give the children that ended."""
        waiting = {p.ready: p for p in self._processes.values() if not p.is_ready}
        readable, _, _ = select.select([self._wake[0], *waiting], [], [], seconds)
        for fd in readable:
            if fd == self._wake[0]:
                self.signals += [n for n in os.read(fd, 4096) if n != signal.SIGCHLD]
            elif os.read(fd, 1):
                waiting[fd].is_ready = True
        return self._reap(block=False)

    def _reap(self, *, block: bool) -> list[Ended]:
        ended = []
        for number, process in tuple(self._processes.items()):
            pid, status = os.waitpid(process.pid, 0 if block else os.WNOHANG)
            if pid:
                lived = time.monotonic() - process.started_at
                code = os.waitstatus_to_exitcode(status)
                ended.append(Ended(number, pid, code, process.is_ready, lived))
                process.close()
                del self._processes[number]
        return ended

    def stop_children(self, drain_seconds: float) -> None:
        """Let all children finish; those that take too long, or a second signal, end at once."""
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + drain_seconds + GRACE_SECONDS
        while self._processes:
            left = deadline - time.monotonic()
            if left <= 0 or len(self.signals) > 1:
                self._send(signal.SIGKILL)
                self._reap(block=True)
            else:
                self.wait(left)

    def stop(self, drain_seconds: float) -> None:
        """End all children and close what they listened on."""
        # Ours first: as long as they are open, clients are let in.
        close_listeners(each_once(self.per_child), forever=True)
        self.stop_children(drain_seconds)
        if len(self.signals) > 1:
            end_by(self.signals[-1])

    def _send(self, number: int) -> None:
        for process in self._processes.values():
            os.kill(process.pid, number)
