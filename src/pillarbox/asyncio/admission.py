"""Who is let in: connections are counted, in all and for each client, and those too many refused.

server.py asks for each connection; who is a proxy, or may say XCLIENT, is decided here as well.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from pillarbox.log import peer_text
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.xclient import UNKNOWN_ADDRESS

if TYPE_CHECKING:
    import asyncio

    from pillarbox.asyncio.connection import Connection
    from pillarbox.asyncio.journal import Journal
    from pillarbox.config import Config

__all__ = ["Admission"]

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections; try again later")
TOO_MANY_FROM_YOU = Reply(421, "4.7.0", "Too many connections from your address")

# RFC 4291 §2.5.4, RFC 6177 §2: whoever has one IPv6 address has all of its /64, for nothing.
IPV6_CLIENT_BITS = 64


class Admission:
    """Lets connections in, up to the limits of a server.

    Args:
        config: The limits, and who may speak for others.
        journal: What is refused is counted and told here.
    """

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._connections: set[Connection] = set()
        self._nameless: set[Connection] = set()  # whose PROXY header is due
        self._per_client: Counter[str] = Counter()

    def __len__(self) -> int:
        """Count those who are in."""
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """Go through those who are in, whatever becomes of them meanwhile."""
        return iter(tuple(self._connections))

    @property
    def everyone(self) -> tuple[Connection, ...]:
        """Those who are in, and those of whom nobody knows yet who they are."""
        return (*self._connections, *self._nameless)

    @property
    def clients(self) -> int:
        """How many clients are in, however many connections each has."""
        return len(self._per_client)

    def expects_proxy(self, transport: asyncio.BaseTransport) -> bool:
        """Tell whether the peer is a proxy, which says first for whom it stands."""
        networks = self._config.proxy_networks
        peername = transport.get_extra_info("peername") if networks else None
        return isinstance(peername, tuple) and _is_in(peername[0], networks)

    def await_proxy_header(self, connection: Connection) -> None:
        """Keep a connection in mind that is not counted yet: nobody knows whose it is."""
        self._nameless.add(connection)

    def may_say_xclient(self, connection: Connection) -> bool:
        """Tell whether the client may say for whom it stands."""
        networks = self._config.xclient_networks
        return bool(networks) and _is_in(_host(connection), networks)

    def admit(self, connection: Connection) -> Reply | None:
        """Count a new connection; give the reply that sends it away where it is one too many."""
        self._nameless.discard(connection)
        client = _client(_host(connection))
        counters = self._journal.counters
        counters.connections += 1
        if len(self._connections) >= self._config.max_connections:
            counters.refused_full += 1
            return self._refuse(connection, TOO_MANY_CONNECTIONS)
        if self._is_full_for(client):
            return self._refuse_client(connection)
        connection.client = client
        self._per_client[client] += 1
        self._connections.add(connection)
        return None

    def readmit(self, connection: Connection) -> Reply | None:
        """Count a connection for the client that XCLIENT names; `admit()` counted the front server.

        Whether it may say XCLIENT stays as it is: it is the same server that speaks.
        """
        client = _client(_host(connection))
        text = "connection from %s stands for %s by XCLIENT"
        before = connection.client or "nobody known"
        self._journal.tell(connection, "XCLIENT", text, before, peer_text(connection.peer))
        if client == connection.client:
            return None
        if self._is_full_for(client):
            return self._refuse_client(connection)
        self._uncount(connection.client or "")
        connection.client = client
        self._per_client[client] += 1
        return None

    def forget(self, connection: Connection) -> bool:
        """Take a connection that is over out of the count; tell whether it was in."""
        self._nameless.discard(connection)
        if connection not in self._connections:
            return False
        self._connections.discard(connection)
        self._uncount(connection.client or "")
        return True

    def _is_full_for(self, client: str) -> bool:
        return bool(client) and self._per_client[client] >= self._config.max_connections_per_ip

    def _uncount(self, client: str) -> None:
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]

    def _refuse_client(self, connection: Connection) -> Reply:
        self._journal.counters.refused_per_ip += 1
        return self._refuse(connection, TOO_MANY_FROM_YOU)

    def _refuse(self, connection: Connection, reply: Reply) -> Reply:
        self._journal.tell(
            connection,
            "connections refused",
            "connection from %s refused: %s",
            peer_text(connection.peer),
            reply,
        )
        return reply


def _host(connection: Connection) -> str:
    """Give the address of the peer; empty where there is none."""
    peer = connection.peer
    return peer[0] if isinstance(peer, tuple) and peer[0] != UNKNOWN_ADDRESS else ""


def _client(host: str) -> str:
    """Give whom an address is counted for: itself, or the network of an IPv6 address."""
    if ":" not in host:
        return host
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_CLIENT_BITS), strict=False))
    return str(address)


def _is_in(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    if not host:
        return False
    address = _address(host)
    return any(address in network for network in networks)


def _address(host: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped  # a proxy may write it so, and it is not a /64 of one client's
    return address
