"""Telling systemd how we are (sd_notify(3), `Type=notify`); nothing where it did not ask."""

from __future__ import annotations

import contextlib
import os
import socket
import time

__all__ = ["notify", "notify_reloading", "watchdog_seconds"]


def notify(state: str) -> None:
    """Send `READY=1` or the like to the socket that `$NOTIFY_SOCKET` names."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    # "@" stands for the NUL of an abstract socket. A manager that went away is no reason to end.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        sock.sendall(state.encode())


def notify_reloading() -> None:
    """Say that files are read again; `notify("READY=1")` when that is done."""
    # By this time `Type=notify-reload` knows that it is the answer to its own SIGHUP.
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """Tell after which silence systemd takes us for dead (`WatchdogSec=`); `None` for never."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    process = os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6 if process in ("", str(os.getpid())) else None
