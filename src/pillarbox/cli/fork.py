"""Processes that serve, and the parent that holds their sockets and looks after them.

The parent has no event loop and no thread: it forks, and waits for signals, for what children tell
and for children to end. When those are due: workers.py and reload.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from pillarbox.cli.listeners import close_listeners, each_once
from pillarbox.cli.notify import notify, notify_reloading, watchdog_seconds

__all__ = ["Child", "Ended", "Parent", "end_by"]

_NAMES = ("SIGTERM", "SIGINT", "SIGCHLD", "SIGHUP")
HEARD = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
READY = b"!"
ALIVE = b"."
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
        watchdog_seconds: How often it is to tell that it lives; `None` for never.
    """

    number: int
    sockets: list[socket.socket]
    lifeline: int
    watchdog_seconds: float | None
    _telling: int

    def tell_ready(self) -> None:
        """Let the parent know that clients can come, or that files were read again."""
        self._tell(READY)

    def tell_alive(self) -> None:
        """Let the parent know that the event loop still turns."""
        self._tell(ALIVE)

    def _tell(self, what: bytes) -> None:
        # The parent may be gone, which the lifeline tells; or not read, as while it is stopped.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._telling, what)


@dataclass(slots=True)
class _Process:
    """A child, as its parent sees it."""

    pid: int
    told: int
    lifeline: int
    started_at: float
    heard_at: float = 0.0
    is_ready: bool = False
    is_rereading: bool = False
    is_silent: bool = False

    def hear(self) -> None:
        """Read what it tells."""
        told = os.read(self.told, 4096)
        self.heard_at = time.monotonic()
        self.is_silent = not told  # it ends
        if READY in told:
            self.is_ready = True
            self.is_rereading = False

    def close(self) -> None:
        for fd in (self.told, self.lifeline):
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
        read_again: What SIGHUP does here, after which children are told to do the same; without it
            SIGHUP stops us.
    """

    per_child: list[list[socket.socket]]
    read_again: Callable[[], None] | None = None
    signals: list[int] = field(default_factory=list)
    """The signals that asked us to stop."""
    _processes: dict[int, _Process] = field(default_factory=dict)
    _wake: tuple[int, int] = (-1, -1)
    _is_rereading: bool = False
    _watchdog: float | None = field(default_factory=watchdog_seconds)
    _watched_at: float = 0.0

    def __post_init__(self) -> None:
        """Have signals wake us up instead of ending us."""
        self._wake = os.pipe()
        for fd in self._wake:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in HEARD:
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
        told, telling = os.pipe()
        lifeline, held = os.pipe()
        # A signal between fork() and the child's own handling of it would be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(told)
                os.close(held)
                os.set_blocking(telling, False)
                self._become_child(number)
                often = self._watchdog / 4 if self._watchdog is not None else None
                return Child(number, self.per_child[number], lifeline, often, telling)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(telling)
        os.close(lifeline)
        self._processes[number] = _Process(pid, told, held, time.monotonic())
        return None

    def _become_child(self, number: int) -> None:
        """Let go of everything that is the parent's or a brother's."""
        signal.set_wakeup_fd(-1)
        for default in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(default, signal.SIG_DFL)
        # Ctrl-C goes to the whole group; the parent passes it on as SIGTERM. A terminal that is
        # closed tells the whole group as well; where SIGHUP means more, the child hears it later.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for fd in self._wake:
            os.close(fd)
        for process in self._processes.values():
            process.close()
        mine = self.per_child[number]
        close_listeners([sock for sock in each_once(self.per_child) if sock not in mine])

    def wait(self, seconds: float | None = None) -> list[Ended]:
        """Wait until something happens, and give the children that ended."""
        if self._watchdog is not None:
            due = max(0.0, self._watched_at + self._watchdog / 4 - time.monotonic())
            seconds = due if seconds is None else min(due, seconds)
        talking = {p.told: p for p in self._processes.values() if not p.is_silent}
        readable, _, _ = select.select([self._wake[0], *talking], [], [], seconds)
        for fd in readable:
            if fd == self._wake[0]:
                for number in os.read(fd, 4096):
                    self._hear(number)
            else:
                talking[fd].hear()
        ended = self._reap(block=False)
        if self._is_rereading and not any(p.is_rereading for p in self._processes.values()):
            self._is_rereading = False
            notify("READY=1")
        self._feed_watchdog()
        return ended

    def _hear(self, number: int) -> None:
        """Take a signal for what it means."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self.signals.append(number)
        elif number != signal.SIGHUP or self.signals:
            return  # two SIGHUP are no haste: a shell and the kernel both tell of a closed terminal
        elif self.read_again is None:
            self.signals.append(number)
        else:
            notify_reloading()
            self.read_again()
            for process in self._processes.values():
                process.is_rereading = True
            self._is_rereading = True
            self._send(number)

    def _feed_watchdog(self) -> None:
        """Tell systemd that all is well, unless a child that was ready is silent for long."""
        if self._watchdog is None:
            return
        now = time.monotonic()
        if now < self._watched_at + self._watchdog / 4:
            return
        self._watched_at = now
        ready = [process for process in self._processes.values() if process.is_ready]
        if all(now - process.heard_at < self._watchdog / 2 for process in ready):
            notify("WATCHDOG=1")

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
