"""The configuration of a server: one frozen value, checked once, units in the names.

What SMTP itself needs of it becomes an `Offer` (protocol/extension.py); the driver takes the rest.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

from pillarbox.protocol.extension import Offer

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
        max_connections: The most connections at once; a further one gets 421. Each idle one costs
            some 3 KiB, each that sends a large message some 0.5 MiB.
        max_connections_per_ip: The same for one client address, so that no single one can keep all
            others out.
        idle_timeout_seconds: How long a client may be silent. RFC 5321 §4.5.3.2 wants 300.
        drain_seconds: How long `Server.close()` lets open transactions go on.
        max_errors: See `Offer`.
        accept_bare_newlines: See `Offer`.

    Raises:
        ConfigError: A value cannot work.
    """

    hostname: str = field(default_factory=machine_hostname)
    max_message_bytes: int = 33_554_432
    max_recipients: int = 1000
    max_connections: int = 1000
    max_connections_per_ip: int = 100
    idle_timeout_seconds: float = 300.0
    drain_seconds: float = 30.0
    max_errors: int = 100
    accept_bare_newlines: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("max_connections", "max_connections_per_ip"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; the least is 1")
        if self.drain_seconds < 0:
            raise ConfigError("drain_seconds is negative; 0 waits for nobody")
        self.offer()

    def offer(self) -> Offer:
        """Make what the protocol needs to know."""
        try:
            return Offer(
                hostname=self.hostname,
                max_message_bytes=self.max_message_bytes,
                max_recipients=self.max_recipients,
                max_errors=self.max_errors,
                idle_timeout_seconds=self.idle_timeout_seconds,
                accept_bare_newlines=self.accept_bare_newlines,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
