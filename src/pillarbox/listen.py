"""Where to listen: `HOST:PORT` and `unix:/path` as values, and the sockets bound to them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import Any

from pillarbox.config import ConfigError

__all__ = [
    "ListenAddress",
    "open_sockets",
    "open_unix_socket",
    "plain_address",
    "socket_address",
]


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and port, or the path of a UNIX socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read `127.0.0.1:25`, `[::1]:25`, `localhost:0` or `unix:/path`.

        Raises:
            ConfigError: It is none of these.
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path:
                raise ConfigError("'unix:' has no path; write 'unix:/run/pillarbox.sock'")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            digits = text.lstrip(":")
            port = digits if digits.isascii() and digits.isdigit() else "25"
            raise ConfigError(
                f"{text!r} has no host or no port; write '127.0.0.1:{port}' for this machine only,"
                f" or '[::]:{port}' for every interface"
            )
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ConfigError(f"{text!r}: the port is a number from 0 to 65535, 0 for a free one")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ConfigError(f"{text!r}: an IPv6 address stands in brackets: '[{host}]:{port}'")
        return cls(host=host, port=int(port))

    def open(self, *, reuse_port: bool = False) -> list[socket.socket]:
        """Bind what this stands for; several sockets where a name has several addresses.

        Raises:
            OSError: It is taken, not this machine's, or not allowed.
        """
        if self.path is not None:
            return [open_unix_socket(self.path)]
        return open_sockets(self.host, self.port, reuse_port=reuse_port)


def open_sockets(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Bind a TCP socket for each address of `host`; all get the same port.

    Raises:
        OSError: One cannot be bound; none is left open then.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, kind, _proto, _name, address in dict.fromkeys(found):
            # asyncio sets TCP_NODELAY only where the protocol is named; without it replies wait
            # 40 ms for the client's delayed ACK.
            sock = socket.socket(family, kind, socket.IPPROTO_TCP)
            sockets.append(sock)
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # "::" is every interface, IPv4 too; any other address is just itself.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
            try:
                sock.bind((address[0], port, *address[2:]))
            except OSError as error:
                # A container's "localhost" names ::1 though it has no IPv6: one is enough.
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                absent = error
                sockets.pop().close()
            else:
                port = port or sock.getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def open_unix_socket(path: str) -> socket.socket:
    """Bind a UNIX socket; one that nobody listens on any more is replaced.

    Raises:
        OSError: The path is in use, is another kind of file, or cannot be written.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no UNIX sockets; use a port")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
                os.unlink(path)
        sock.bind(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        return True


def socket_address(sock: socket.socket) -> tuple[str, int] | str:
    """Tell what a bound socket listens on: `(host, port)`, or a path."""
    return plain_address(sock.getsockname())


def plain_address(address: Any) -> tuple[str, int] | str:
    """Make `(host, port)` or a path of what the system calls an end of a connection."""
    if isinstance(address, tuple):
        return address[0], address[1]
    if isinstance(address, bytes):  # an abstract one, written as systemd and ss(8) do
        return "@" + address[1:].decode(errors="backslashreplace")
    return address or ""
