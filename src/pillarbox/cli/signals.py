"""The signals of a process that serves, and the beat that shows that it lives.

SIGTERM and SIGINT stop it. SIGHUP has two meanings: a terminal that is closed ends what was started
in it, and a server without a terminal reads its files again. What the parent of workers does:
fork.py.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

from pillarbox.cli.fork import Child, end_by
from pillarbox.cli.notify import notify, notify_reloading, watchdog_seconds
from pillarbox.cli.options import Listening
from pillarbox.handler import Follows

__all__ = ["followed", "hear_signals", "keep_beating", "take_hangup", "tell_what_is_read"]

log = logging.getLogger("pillarbox")

SIGHUP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none


def take_hangup() -> bool:
    """Tell whether SIGHUP is to read files again; until that is possible it does nothing.

    It is where standard input is no terminal, and where whoever started us has SIGHUP ignored, as
    nohup does: we are to outlive the terminal.
    """
    if SIGHUP is None:
        return False
    if signal.getsignal(SIGHUP) != signal.SIG_IGN and _has_terminal():
        return False
    signal.signal(SIGHUP, lambda *_: None)  # SIG_IGN would be what our children begin with
    return True


def _has_terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def followed(listening: Listening) -> list[Follows]:
    """List what SIGHUP reads again."""
    sources = (listening.certificates, listening.logins)
    return [one for one in sources if isinstance(one, Follows) and one.is_followed]


def tell_what_is_read(listening: Listening) -> None:
    """Log that SIGHUP has come, once for all processes; they log what they read."""
    if followed(listening):
        log.info("SIGHUP: reading files again")
    else:
        log.info("SIGHUP: nothing to read again, there are no --tls-cert and no --auth-file")


def hear_signals(
    stop: asyncio.Event, listening: Listening, child: Child | None, *, rereads: bool
) -> None:
    """Stop at the first signal; at a second one, end at once. Read files again at SIGHUP.

    A child stops at however many SIGTERM, for systemd sends one to each process and the parent one
    more; its end at once is the parent's SIGKILL. It stops as well when the parent is gone.

    Args:
        stop: Set when it is time to stop.
        listening: What the common options say.
        child: Ourselves, if we have a parent.
        rereads: Whether SIGHUP reads files again; it stops us otherwise.
    """
    loop = asyncio.get_running_loop()

    def hear(number: int) -> None:
        # Two SIGHUP are no haste: a shell and the kernel both tell of a terminal that is closed.
        if stop.is_set() and child is None and number != SIGHUP:
            end_by(number)
        stop.set()

    def read_again(_number: int) -> None:
        if child is None:
            notify_reloading()
            tell_what_is_read(listening)
        for one in followed(listening):
            one.reload()
        if child is None:
            notify("READY=1")
        else:
            child.tell_ready()

    _hear(loop, signal.SIGTERM, hear)
    if child is None:
        _hear(loop, signal.SIGINT, hear)
    else:
        loop.add_reader(child.lifeline, _hear_no_more, loop, child, stop)
    if SIGHUP is not None and rereads:
        _hear(loop, SIGHUP, read_again)
    elif SIGHUP is not None and child is None:
        _hear(loop, SIGHUP, hear)


def _hear(loop: asyncio.AbstractEventLoop, number: int, hear: Callable[[int], None]) -> None:
    try:
        loop.add_signal_handler(number, hear, number)
    except NotImplementedError:  # on Windows
        signal.signal(number, lambda number, _: loop.call_soon_threadsafe(hear, number))


def _hear_no_more(loop: asyncio.AbstractEventLoop, child: Child, stop: asyncio.Event) -> None:
    loop.remove_reader(child.lifeline)
    stop.set()


def keep_beating(child: Child | None) -> None:
    """Tell systemd, or the parent that does, again and again that the event loop turns."""
    if child is not None:
        seconds, beat = child.watchdog_seconds, child.tell_alive
    else:
        watchdog = watchdog_seconds()
        seconds = None if watchdog is None else watchdog / 4
        beat = _tell_systemd
    if seconds is not None:
        _beat(asyncio.get_running_loop(), seconds, beat)


def _tell_systemd() -> None:
    notify("WATCHDOG=1")


def _beat(loop: asyncio.AbstractEventLoop, seconds: float, beat: Callable[[], None]) -> None:
    beat()
    loop.call_later(seconds, _beat, loop, seconds, beat)
