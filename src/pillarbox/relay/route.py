"""Routes: an address to its destination, and a destination to the servers that are to be tried.

A destination is a string. It names a queue, is written in the spool, and tells all that is needed
to find the servers again, but for a password:

- `smtp://relay.example:25`, `smtps://ann@relay.example:465`, `lmtp://127.0.0.1:24` and
  `lmtp:unix:/path`: a next hop that somebody has chosen;
- `example.org` or `[192.0.2.1]`: a recipient's domain, whose servers DNS tells (mx.py).

How a session is encrypted:

- With a login always, and the certificate is verified: who can read the way could take the
  password. The same holds for `smtps://` and for `smtp+starttls://`.
- To this machine, never: nobody is between.
- To all others by opportunistic TLS (RFC 7435): where the server offers it, whoever has issued its
  certificate; and in the clear where it does not, or where the handshake fails. Who could forge a
  certificate could take STARTTLS off the server's offer as well, so more is not to be had without
  something that says which servers do offer it (DANE, MTA-STS).
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import quote, unquote

from pillarbox.config import ConfigError
from pillarbox.protocol.address import AddressError, Path, parse_domain
from pillarbox.protocol.reply import Reply

__all__ = ["Hop", "NextHop", "NoRoute", "Resolves", "Route", "Routes", "TlsPolicy", "is_next_hop"]

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465, "lmtp": 24}
# RFC 6409 §3.1: with a login it is a submission.
SUBMISSION_PORT = 587


class TlsPolicy(enum.Enum):
    """How a session with a server is encrypted."""

    NEVER = "never"
    OPPORTUNISTIC = "opportunistic"
    """Where the server offers it, verified or not."""
    STARTTLS = "starttls"
    """By STARTTLS, verified, or not at all."""
    IMPLICIT = "implicit"
    """From the first octet on, verified."""

    @property
    def is_verified(self) -> bool:
        """Whether the server has proved its name once the session is open."""
        return self in (TlsPolicy.STARTTLS, TlsPolicy.IMPLICIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One server at one address.

    Attributes:
        host: The address to connect to.
        port: The port.
        path: The UNIX socket, in place of both.
        name: What its certificate is held to, and what people know it by.
        is_lmtp: Whether it speaks LMTP.
        tls: How to encrypt.
        username: Who we are there; empty for nobody.
        password: The proof of it.
        lone_refusal_seconds: See `ClientConnection`.
    """

    host: str = ""
    port: int = 0
    path: str | None = None
    name: str = ""
    is_lmtp: bool = False
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    username: str = ""
    password: str | None = field(default=None, repr=False)
    lone_refusal_seconds: float | None = None

    @property
    def address(self) -> str:
        """Where it is, as logs write it."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Give its name and address."""
        if self.path is not None or self.name in ("", self.host):
            return self.address
        return f"{self.name} ({self.address})"


class NoRoute(Exception):
    """There is no server to try, for now or for good: the reply has 4xx or 5xx.

    Attributes:
        reply: What to tell the sender.
        remedy: What the operator can do about it, if anything.
    """

    def __init__(self, reply: Reply, remedy: str = "") -> None:
        super().__init__(f"{reply}; {remedy}" if remedy else str(reply))
        self.reply = reply
        self.remedy = remedy


class Route(Protocol):
    """Where mail goes. `Routes` is one; DANE and MTA-STS will be others."""

    def destination(self, address: str) -> str:
        """Name the queue of a recipient.

        Raises:
            NoRoute: There is none for it.
        """
        ...

    async def hops(self, destination: str) -> Sequence[Hop]:
        """Tell the servers of a destination, in the order in which they are to be tried.

        Raises:
            NoRoute: There is none, for now or for good.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NextHop:
    """A server that somebody has chosen; `str()` of it is its destination.

    Attributes:
        scheme: `smtp`, `smtp+starttls`, `smtps` or `lmtp`.
        host: A name or an address.
        port: The port.
        path: A UNIX socket in place of both.
        username: Who we are there; empty for nobody.
    """

    scheme: str = "smtp"
    host: str = ""
    port: int = 0
    path: str | None = None
    username: str = ""

    @classmethod
    def parse(cls, text: str) -> NextHop:
        """Read what `--to` takes: `HOST:PORT`, `smtps://USER@HOST:465`, `lmtp:unix:/path`.

        Raises:
            ConfigError: It is nothing of the kind.
        """
        if text.startswith(("unix:", "lmtp:unix:", "lmtp://unix:")):
            path = text.partition("unix:")[2]
            if not path.startswith("/"):
                raise ConfigError(f"{text!r} has no path; write 'lmtp:unix:/run/dovecot/lmtp'")
            return cls(scheme="lmtp", path=path)
        scheme, found, rest = text.rpartition("://")
        scheme = scheme.lower() if found else "smtp"
        if scheme not in _PORTS:
            raise ConfigError(
                f"{text!r} begins with none of {', '.join(f'{name}://' for name in _PORTS)}"
            )
        user, _at, place = rest.removesuffix("/").rpartition("@")
        if ":" in user:
            plain = f"{scheme}://{user.partition(':')[0]}@{place}"
            raise ConfigError(
                "a password does not belong here, where every user of this machine can see it:"
                f" write {plain!r}, and the password into a file for --to-password-file"
            )
        host, port = _host_and_port(text, place)
        if not port:
            port = SUBMISSION_PORT if user and scheme == "smtp" else _PORTS[scheme]
        if user and scheme == "lmtp":
            raise ConfigError(f"{text!r}: LMTP with a login is not supported; leave {user!r} out")
        return cls(scheme=scheme, host=host, port=port, username=unquote(user))

    def __str__(self) -> str:
        """Give the destination."""
        if self.path is not None:
            return f"lmtp:unix:{self.path}"
        user = f"{quote(self.username, safe='@')}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}"

    @property
    def tls(self) -> TlsPolicy:
        """How a session with it is encrypted."""
        if self.scheme == "smtps":
            return TlsPolicy.IMPLICIT
        if self.username or self.scheme == "smtp+starttls":
            return TlsPolicy.STARTTLS
        return TlsPolicy.NEVER if self._is_here else TlsPolicy.OPPORTUNISTIC

    @property
    def _is_here(self) -> bool:
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def hop(self, address: str = "", *, password: str | None = None) -> Hop:
        """Make the server of it that has one of its addresses."""
        return Hop(
            host=address or self.host,
            port=self.port,
            path=self.path,
            name=self.host,
            is_lmtp=self.scheme == "lmtp",
            tls=self.tls,
            username=self.username,
            password=password,
        )


def _host_and_port(text: str, place: str) -> tuple[str, int]:
    """Take `host`, `host:port`, `[::1]` or `[::1]:port` apart; 0 stands for no port."""
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, "0"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1].removeprefix("IPv6:")
    elif ":" in host:
        raise ConfigError(f"{text!r}: an IPv6 address stands in brackets: '[{place}]:25'")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535) or (colon and port == ""):
        raise ConfigError(f"{text!r}: the port is a number from 1 to 65535")
    try:
        if ":" not in host:
            parse_domain(host.encode())
    except AddressError:
        raise ConfigError(
            f"{text!r} has no host name; write 'relay.example:25' or 'smtps://user@host:465'"
        ) from None
    return host.lower(), int(port)


def is_next_hop(destination: str) -> bool:
    """Tell whether a destination is a server that was chosen, not a domain."""
    return ":" in destination and not destination.startswith("[")


class Resolves(Protocol):
    """What `Routes` asks where the servers of a domain or a name are: `MailExchangers` of mx.py."""

    async def hops(self, domain: str) -> Sequence[Hop]:
        """Tell the servers of a recipient's domain.

        Raises:
            NoRoute: There is none, for now or for good.
        """
        ...

    async def addresses(self, host: str) -> Sequence[str]:
        """Tell the addresses of a next hop's name.

        Raises:
            NoRoute: They are not known now.
        """
        ...


class Routes:
    """Routes by the recipient's domain: to next hops, or as DNS says.

    What waits for a next hop that is not named here any more goes to the default one, if there is
    one: whoever names another next hop means the mail that is stuck, too.

    Args:
        default: Where mail goes that nothing else is said of; `None` is as DNS says.
        domains: Next hops of single domains.
        passwords: The password of each next hop that has a login, by its destination.
        resolver: Finds servers and addresses.
    """

    def __init__(
        self,
        default: NextHop | None,
        *,
        resolver: Resolves,
        domains: Mapping[str, NextHop] | None = None,
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        self._default = None if default is None else str(default)
        self._domains = {name.lower(): str(hop) for name, hop in (domains or {}).items()}
        self._configured = {self._default, *self._domains.values()}
        self._passwords = dict(passwords or {})
        self._resolver = resolver

    def destination(self, address: str) -> str:
        """Name the queue of a recipient.

        Raises:
            NoRoute: It has no domain, and DNS would have to tell where to.
        """
        if not self._domains and self._default is not None:
            return self._default
        domain = Path(address.encode()).domain.lower()
        destination = self._domains.get(domain, self._default)
        if destination is not None:
            return destination
        if not domain:
            raise NoRoute(Reply(550, "5.1.3", "An address needs a domain: <user@example.org>"))
        return domain

    async def hops(self, destination: str) -> Sequence[Hop]:
        """Tell the servers of a destination, in the order in which they are to be tried.

        Raises:
            NoRoute: There is none, for now or for good.
        """
        if self._default is not None and destination not in self._configured:
            # Mail that was queued for a next hop of before goes where it would go now.
            destination = self._default
        if not is_next_hop(destination):
            return await self._resolver.hops(destination)
        try:
            next_hop = NextHop.parse(destination)
        except ConfigError as error:
            raise NoRoute(
                Reply(451, "4.3.5", "The destination is not understood"), str(error)
            ) from None
        password = self._passwords.get(destination)
        if next_hop.username and password is None:
            raise NoRoute(
                Reply(451, "4.3.5", "The login at the next hop is not configured"),
                f"no password is known for {destination}: name it by --to, and give"
                " --to-password-file",
            )
        hop = next_hop.hop(password=password)
        if hop.path is not None:
            return (hop,)
        addresses = await self._resolver.addresses(next_hop.host)
        return [replace(hop, host=address) for address in addresses]
