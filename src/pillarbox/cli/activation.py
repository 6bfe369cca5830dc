"""Sockets that systemd listens on and hands over (sd_listen_fds(3)), so that none is ever closed.

Clients wait in the socket while the server starts or is started again, and the server needs no
right to a port below 1024.
"""

from __future__ import annotations

import os
import socket

from pillarbox.cli.errors import Failure
from pillarbox.cli.listeners import InheritedSocket

__all__ = ["inherited_sockets"]

FIRST_DESCRIPTOR = 3
TLS_NAME = "smtps"
"""What `FileDescriptorName=` says of a socket where TLS begins at once."""

Sockets = tuple[InheritedSocket, ...]


def inherited_sockets() -> tuple[Sockets, Sockets]:
    """Take over what was passed to this process: the plain sockets, and those named smtps.

    The environment variables are removed, so that no child of ours takes the sockets for its own.

    Raises:
        Failure: One is no socket that listens.
    """
    variables = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
    process, count, names, _ = (os.environ.pop(name, "") for name in variables)
    if process != str(os.getpid()):
        return (), ()
    if not (count.isascii() and count.isdigit()):
        raise Failure(f"LISTEN_FDS={count} is no number; let systemd set it, by a socket unit")
    plain: list[InheritedSocket] = []
    tls: list[InheritedSocket] = []
    named = dict(enumerate(names.split(":"), FIRST_DESCRIPTOR))
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)):
        name = named.get(descriptor, "")
        (tls if name == TLS_NAME else plain).append(_take(descriptor, name))
    return tuple(plain), tuple(tls)


def _take(descriptor: int, name: str) -> InheritedSocket:
    refused = Failure(
        f"socket {descriptor} ({name or 'without a name'}) that systemd passed is no stream socket"
        " that listens; write ListenStream= in the socket unit, and Accept=no"
    )
    try:
        os.set_inheritable(descriptor, False)
        sock = InheritedSocket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        raise refused from None
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if sock.type != socket.SOCK_STREAM or sock.family not in families or not listens:
        raise refused
    return sock
