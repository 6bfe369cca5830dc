"""What DNS says, in few words: mail exchangers and addresses; `DnsResolver` asks by dnspython.

Rules are mx.py's. `SystemResolver` asks the system for addresses (its hosts file, its search
domains), as a next hop's name wants it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "DnsResolver",
    "LookupFailed",
    "MailExchanger",
    "NoSuchName",
    "Resolver",
    "SystemResolver",
]

# A name server that is silent for so long is so for all who wait for it.
LIFETIME_SECONDS = 20.0


class NoSuchName(Exception):
    """There is no such name, says who has to know."""


class LookupFailed(Exception):
    """Nobody could say; the text tells why."""


@dataclass(frozen=True, slots=True)
class MailExchanger:
    """An MX record: the lower the preference, the better; `.` takes no mail (RFC 7505)."""

    preference: int
    host: str


class Resolver(Protocol):
    """What routing asks of DNS."""

    async def mail_exchangers(self, domain: str) -> Sequence[MailExchanger]:
        """Give the MX records of a name, in any order; none where it has none.

        Raises:
            NoSuchName: There is no such name.
            LookupFailed: Nobody could say.
        """
        ...

    async def addresses(self, host: str) -> Sequence[str]:
        """Give the addresses of a name, the better first; none where it has none.

        Raises:
            NoSuchName: There is no such name.
            LookupFailed: Nobody could say.
        """
        ...


class DnsResolver:
    """Asks name servers by dnspython: those of the system, where no others are given.

    Args:
        nameservers: Their addresses.
        port: Their port.
        lifetime_seconds: How long to ask.

    Raises:
        ImportError: dnspython is not installed; the text says how.
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        *,
        port: int = 53,
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        try:
            import dns.asyncresolver
            import dns.exception
        except ImportError as error:
            raise ImportError(
                'to deliver by DNS needs dnspython; pip install "pillarbox[mx]"', name=error.name
            ) from None
        self._dns = dns
        self._resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        if nameservers is not None:
            self._resolver.nameservers = list(nameservers)
        self._resolver.port = port
        self._resolver.lifetime = lifetime_seconds

    async def mail_exchangers(self, domain: str) -> Sequence[MailExchanger]:
        """Give the MX records of a name, in any order; none where it has none.

        Raises:
            NoSuchName: There is no such name.
            LookupFailed: Nobody could say.
        """
        return [
            MailExchanger(record.preference, record.exchange.to_text(omit_final_dot=True) or ".")
            for record in await self._ask(domain, "MX")
        ]

    async def addresses(self, host: str) -> Sequence[str]:
        """Give the addresses of a name, IPv6 first; none where it has none.

        Raises:
            NoSuchName: There is no such name.
            LookupFailed: Nobody could say.
        """
        found = await asyncio.gather(
            self._ask(host, "AAAA"), self._ask(host, "A"), return_exceptions=True
        )
        addresses: list[str] = []
        failures: list[NoSuchName | LookupFailed] = []
        for one in found:
            if isinstance(one, NoSuchName | LookupFailed):
                failures.append(one)
            elif isinstance(one, BaseException):
                raise one
            else:
                addresses.extend(record.address for record in one)
        # What one question has brought will do; otherwise that nobody could say comes first.
        failures.sort(key=lambda error: isinstance(error, NoSuchName))
        if failures and not addresses:
            raise failures[0]
        return addresses

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """Give the records of a name; CNAMEs are followed by who answers, and by dnspython."""
        dns = self._dns
        try:
            answer = await self._resolver.resolve(
                name, kind, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            raise NoSuchName(name) from None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            text = str(error).rstrip(".") or type(error).__name__
            raise LookupFailed(f"{name} {kind}: {text}") from None
        return list(answer.rrset or ())


class SystemResolver:
    """Asks the system, which knows addresses alone."""

    async def mail_exchangers(self, domain: str) -> Sequence[MailExchanger]:
        """Give nothing: the system does not know MX records.

        Raises:
            LookupFailed: Always.
        """
        raise LookupFailed(f"{domain} MX: only next hops are known here; start with --mx")

    async def addresses(self, host: str) -> Sequence[str]:
        """Give the addresses of a name, in the system's order.

        Raises:
            NoSuchName: There is no such name.
            LookupFailed: Nobody could say.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
                raise NoSuchName(host) from None
            raise LookupFailed(f"{host}: {error.strerror}") from None
        except (OSError, UnicodeError) as error:
            raise LookupFailed(f"{host}: {error}") from None
        return list(dict.fromkeys(str(address[0]) for *_kind, address in found))
