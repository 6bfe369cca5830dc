"""Telling systemd how we are (sd_notify(3), `Type=notify`); nothing where it did not ask."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify"]


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
