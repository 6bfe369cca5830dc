"""The configuration of a server: one frozen value, checked once, units in the names.

What SMTP itself needs of it becomes an `Offer` (protocol/extension.py); the driver takes the rest.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from pillarbox.protocol.address import MAX_LOCAL_PART_OCTETS
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.sasl import STANDARD_MECHANISMS, MechanismFactory

__all__ = ["Config", "ConfigError"]


class ConfigError(ValueError):
    """The configuration cannot work. The text says which value, why, and what to write instead."""


def machine_hostname() -> str:
    """Give this machine's name, made fit for a greeting.

    The name as the machine has it, without asking DNS: a look-up may take many seconds.
    """
    name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip("-.")
    return name or "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything about a server but its handler and its addresses.

    Args:
        hostname: The name in the greeting; the machine's where it is not given.
        max_message_bytes: See `Offer`; 0 is no limit.
        max_recipients: See `Offer`.
        max_local_part_octets: See `Offer`.
        max_connections: The most connections at once; a further one gets 421. Each idle one costs
            some 3 KiB, each that sends a large message some 0.5 MiB.
        max_connections_per_ip: The same for one client, so that no single one can keep all others
            out: an IPv4 address, or an IPv6 network of 64 bits, as everybody with IPv6 has one.
        idle_timeout_seconds: How long a client may be silent. RFC 5321 §4.5.3.2 wants 300.
        drain_seconds: How long `Server.close()` lets open transactions go on.
        max_errors: See `Offer`.
        accept_bare_newlines: See `Offer`.
        keeps_dialogue: Keep what both sides say, for `session.dialogue`. Messages are not in it,
            nor secrets; it takes some 10 KiB a connection.
        is_lmtp: See `Offer`.
        requires_tls: See `Offer`.
        requires_auth: See `Offer`.
        allows_plaintext_auth: See `Offer`. `None` allows it where there is no certificate, on
            whatever address: passwords that matter then cross the network to be read by others.
            Give a certificate, listen on this machine only, or write `False`.
        max_auth_failures: See `Offer`.
        auth_delay_seconds: How long the answer to a failed login is held back.
        handshake_timeout_seconds: How long a TLS handshake or a PROXY header may take.
        min_message_rate: The least octets a second of a message, after three minutes' grace
            (RFC 5321 §4.5.3.2.5): one that drips in holds a connection for days.
        max_session_seconds: The longest that a session may last. It ends between two transactions:
            one that is open has as long by itself for its commands, from MAIL on, and as long again
            for its message.
        max_memory_bytes: What all messages that are gathered for handlers may take at once, beyond
            which a client is told to try again. Streaming handlers do not count.
        proxy_networks: Peers that begin with a PROXY header, as all connections from them must.
        xclient_networks: Clients that may say by XCLIENT for whom they stand. Whoever connects from
            there can be anybody: list front servers alone.

    Raises:
        ConfigError: A value cannot work.
    """

    hostname: str = field(default_factory=machine_hostname)
    max_message_bytes: int = 33_554_432
    max_recipients: int = 1000
    max_local_part_octets: int = MAX_LOCAL_PART_OCTETS
    max_connections: int = 1000
    max_connections_per_ip: int = 100
    idle_timeout_seconds: float = 300.0
    drain_seconds: float = 30.0
    max_errors: int = 100
    accept_bare_newlines: bool = False
    keeps_dialogue: bool = False
    is_lmtp: bool = False
    requires_tls: bool = False
    requires_auth: bool = False
    allows_plaintext_auth: bool | None = None
    max_auth_failures: int = 3
    auth_delay_seconds: float = 1.0
    handshake_timeout_seconds: float = 30.0
    min_message_rate: float = 100.0
    max_session_seconds: float = 86_400.0
    max_memory_bytes: int = 268_435_456
    proxy_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    xclient_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("max_connections", "max_connections_per_ip"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; the least is 1")
        if self.drain_seconds < 0:
            raise ConfigError("drain_seconds is negative; 0 waits for nobody")
        for name in ("handshake_timeout_seconds", "max_session_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be more than 0")
        # Whether there are a certificate and logins is not known here: all else is checked now.
        self.offer(offers_tls=self.requires_tls, mechanisms=STANDARD_MECHANISMS)

    def offer(
        self, *, offers_tls: bool = False, mechanisms: Mapping[str, MechanismFactory] | None = None
    ) -> Offer:
        """Make what the protocol needs to know.

        Args:
            offers_tls: Whether there is a certificate.
            mechanisms: What clients can log in by.

        Raises:
            ConfigError: A value cannot work.
        """
        plaintext = self.allows_plaintext_auth
        try:
            return Offer(
                hostname=self.hostname,
                max_message_bytes=self.max_message_bytes,
                max_recipients=self.max_recipients,
                max_local_part_octets=self.max_local_part_octets,
                max_errors=self.max_errors,
                idle_timeout_seconds=self.idle_timeout_seconds,
                accept_bare_newlines=self.accept_bare_newlines,
                is_lmtp=self.is_lmtp,
                offers_tls=offers_tls,
                requires_tls=self.requires_tls,
                mechanisms=mechanisms or {},
                requires_auth=self.requires_auth,
                allows_plaintext_auth=not offers_tls if plaintext is None else plaintext,
                max_auth_failures=self.max_auth_failures,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
