"""The sockets of a server: bound before anything else starts, or one line about what to change."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence

from pillarbox.cli.errors import Failure
from pillarbox.listen import ListenAddress, socket_address

__all__ = [
    "InheritedSocket",
    "address_of",
    "cannot_listen",
    "close_listeners",
    "each_once",
    "is_local",
    "open_listeners",
    "remove_paths",
    "text_of",
    "url",
]


class InheritedSocket(socket.socket):
    """A socket that somebody else bound, who also looks after its path."""


def open_listeners(
    addresses: Iterable[ListenAddress], *, workers: int, option: str = "--listen"
) -> list[list[socket.socket]]:
    """Bind all addresses, and give each worker its sockets.

    TCP sockets are one for each worker, among which the kernel deals out the connections; a UNIX
    socket is one for all.

    Raises:
        Failure: One cannot be bound.
    """
    per_worker: list[list[socket.socket]] = [[] for _ in range(workers)]
    for address in addresses:
        if address.path is not None and not hasattr(socket, "AF_UNIX"):
            raise Failure("--listen unix: needs UNIX sockets, which this system lacks; use a port")
        try:
            opened = _open_for_one(address) if workers == 1 else _open_for_all(address, workers)
        except (OSError, ValueError) as error:
            for sockets in per_worker:
                close_listeners(sockets, forever=True)
            raise cannot_listen(address, error, option=option) from None
        for sockets, more in zip(per_worker, opened, strict=True):
            sockets += more
    return per_worker


def _open_for_one(address: ListenAddress) -> list[list[socket.socket]]:
    return [address.open()]


def _open_for_all(address: ListenAddress, workers: int) -> list[list[socket.socket]]:
    if address.path is not None:
        return [address.open()] * workers
    if not hasattr(socket, "SO_REUSEPORT"):
        raise Failure("--workers needs SO_REUSEPORT, which this system lacks; leave --workers out")
    # SO_REUSEPORT would let us in beside another program that set it, and each would get half
    # of the mail; so the port is tried without it first.
    first = address.open()
    port = first[0].getsockname()[1]
    close_listeners(first)
    same = ListenAddress(host=address.host, port=port)
    return [same.open(reuse_port=True) for _ in range(workers)]


def close_listeners(sockets: Sequence[socket.socket], *, forever: bool = False) -> None:
    """Close sockets; `forever` removes the paths of UNIX sockets as well."""
    if forever:
        remove_paths(sockets)
    for sock in sockets:
        sock.close()


def remove_paths(sockets: Iterable[socket.socket]) -> None:
    """Remove the paths of our own UNIX sockets, which a closed one has forgotten."""
    for sock in sockets:
        if sock.fileno() < 0 or isinstance(sock, InheritedSocket):
            continue
        path = address_of(sock).path
        if path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def url(sock: socket.socket, scheme: str = "smtp") -> str:
    """Tell what a socket listens on: `smtp://127.0.0.1:1025` or `unix:/path`."""
    address = address_of(sock)
    return text_of(address) if address.path is not None else f"{scheme}://{text_of(address)}"


def address_of(sock: socket.socket) -> ListenAddress:
    """Tell what a bound socket listens on."""
    match socket_address(sock):
        case (host, port):
            return ListenAddress(host=host, port=port)
        case path:
            return ListenAddress(path=str(path))


def is_local(sock: socket.socket) -> bool:
    """Tell whether only this machine's programs can connect."""
    address = address_of(sock)
    if address.path is not None:
        return True
    host = ipaddress.ip_address(address.host.partition("%")[0])
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return (mapped or host).is_loopback


def cannot_listen(address: ListenAddress, error: Exception, *, option: str = "--listen") -> Failure:
    """Say why an address cannot be listened on, and what to do."""
    remedy = _tcp_remedy(address, error) if address.path is None else _unix_remedy(error)
    return Failure(f"{option} {text_of(address)}: {remedy}")


def text_of(address: ListenAddress) -> str:
    """Write an address as `--listen` takes it."""
    if address.path is not None:
        return f"unix:{address.path}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _tcp_remedy(address: ListenAddress, error: Exception) -> str:
    if isinstance(error, (socket.gaierror, ValueError)):
        return f"no such host is known; write an address, such as 127.0.0.1:{address.port}"
    match _number(error):
        case errno.EADDRINUSE:
            return "another program listens there; stop it or choose another port, 0 for a free one"
        case errno.EACCES | errno.EPERM:
            return (
                "not allowed; ports below 1024 are for root and holders of CAP_NET_BIND_SERVICE,"
                " others choose a port above"
            )
        case errno.EADDRNOTAVAIL:
            return (
                "this machine has no such address; write one that it has,"
                f" or '[::]:{address.port}' for every interface"
            )
        case _:
            return f"{_text(error)}; choose another address"


def _unix_remedy(error: Exception) -> str:
    match _number(error):
        case errno.EADDRINUSE:
            return "another program listens there, or it is no socket; remove it or choose another"
        case errno.ENOENT | errno.ENOTDIR:
            return "there is no such folder; make it"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "not allowed; choose a folder that you may write to"
        case _:
            return f"{_text(error)}; choose another path"


def _number(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _text(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def each_once(per_worker: Iterable[Iterable[socket.socket]]) -> list[socket.socket]:
    """Give the sockets of all workers, those that are shared once."""
    return list(dict.fromkeys(sock for sockets in per_worker for sock in sockets))
