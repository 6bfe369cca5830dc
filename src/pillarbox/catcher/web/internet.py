"""Asking addresses that a stranger has written into a mail, and no others behind them.

Whoever sends a mail would like our machine to ask for him: the cloud's metadata, the printer, the
router. So the name is looked up once, every address it has is checked, and the connection goes to
the one that was checked, not to what the name leads to a moment later (DNS rebinding). The same for
each redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import h11

__all__ = ["Answer", "Asker", "Dial", "Lookup", "is_public", "look_up"]

Lookup: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host."""

Dial: TypeAlias = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects, as `asyncio.open_connection` does."""

TIMEOUT_SECONDS = 10.0
MAX_REDIRECTS = 5
MAX_HEAD_OCTETS = 65_536
REFUSED = 451  # RFC 7725; what Mailpit answers for these
AGENT = "pillarbox-link-check"

# It holds an IPv4 address, to which a router may lead the packets (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
# "This network" and what is left of multicast: is_global has gaps that depend on the version.
_NEVER_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking an address came to.

    Attributes:
        status_code: Of HTTP; 0 where there was no answer, 451 where we did not ask.
        status: The same in words.
    """

    status_code: int
    status: str


class _NotAsked(Exception):
    """The address is none that we ask; the text says why."""


def is_public(address: str) -> bool:
    """Tell whether an address is one of the Internet, and not of a private or local network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _NEVER_4)
    inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo and parsed.teredo[1])
    if inner is None and parsed in _NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    if inner:
        return is_public(str(inner))
    return parsed in _GIVEN_OUT and parsed.is_global and not parsed.is_multicast


async def look_up(host: str, port: int) -> Sequence[str]:
    """Give the addresses of a host.

    Raises:
        OSError: It has none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Asker:
    """Asks addresses of the web for their headers.

    Args:
        allows_internal: Whether to ask private and local addresses too.
        look_up: Gives the addresses of a host.
        dial: Connects to one of them.
        timeout_seconds: How long one address may take, redirects and all.
        context: What to trust.
    """

    def __init__(
        self,
        *,
        allows_internal: bool = False,
        look_up: Lookup = look_up,
        dial: Dial = asyncio.open_connection,
        timeout_seconds: float = TIMEOUT_SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._allows_internal = allows_internal
        self._look_up = look_up
        self._dial = dial
        self._timeout_seconds = timeout_seconds
        self._context = context

    async def ask(self, url: str, *, follows: bool = False) -> Answer:
        """Ask an address, by HEAD, and by GET where that is not liked.

        Args:
            url: The address.
            follows: Whether to go where a redirect leads.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for _ in range(MAX_REDIRECTS + 1):
                    code, words, location = await self._head_or_get(url)
                    if not (follows and 300 <= code < 400 and location):
                        return Answer(code, words)
                    url = urljoin(url, location)
            return Answer(0, "too many redirects")
        except _NotAsked as error:
            return Answer(REFUSED, str(error))
        except TimeoutError:
            return Answer(0, f"no answer within {self._timeout_seconds:g} seconds")
        except ssl.SSLError as error:
            return Answer(0, f"TLS: {getattr(error, 'verify_message', '') or error.reason}")
        except socket.gaierror:
            return Answer(0, "no such host is known")
        except OSError as error:
            return Answer(0, error.strerror or "no connection")
        except ValueError as error:
            return Answer(0, str(error))

    async def _head_or_get(self, url: str) -> tuple[int, str, str]:
        answer = await self._request("HEAD", url)
        if answer[0] in (403, 405, 501):
            answer = await self._request("GET", url)
        return answer

    async def _request(self, method: str, url: str) -> tuple[int, str, str]:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise _NotAsked("only http and https are asked")
        is_tls = parts.scheme == "https"
        port = port or (443 if is_tls else 80)
        address = await self._address(host.encode("idna").decode(), port)
        context = (self._context or ssl.create_default_context()) if is_tls else None
        reader, writer = await self._dial(
            address,
            port,
            ssl=context,
            server_hostname=host if is_tls else None,
        )
        try:
            return await _exchange(reader, writer, _head(method, parts))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _address(self, host: str, port: int) -> str:
        """Give an address of a host; all of them have to be public."""
        addresses = await self._look_up(host, port)
        if not self._allows_internal and not all(map(is_public, addresses)):
            raise _NotAsked("private/reserved address, not asked; see --allow-internal-requests")
        if not addresses:
            raise ValueError("no such host is known")
        return addresses[0]


def _head(method: str, parts: SplitResult) -> h11.Request:
    """Make a request of an address."""
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return h11.Request(
        method=method,
        target=target,
        headers=[
            ("Host", parts.netloc.rpartition("@")[2].encode("idna").decode()),
            ("User-Agent", AGENT),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ],
    )


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request
) -> tuple[int, str, str]:
    """Send a request; give the status, its words and where it leads, and read no more."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_OCTETS)
    try:
        writer.write(connection.send(request) or b"")
        while not isinstance(event := connection.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(MAX_HEAD_OCTETS))
            elif not isinstance(event, h11.InformationalResponse):
                raise ValueError("the answer is no HTTP")
    except h11.ProtocolError:
        raise ValueError("the answer is no HTTP") from None
    location = next((value for name, value in event.headers if name == b"location"), b"")
    return event.status_code, _words(event), location.decode("utf-8", "replace")


def _words(response: h11.Response) -> str:
    try:
        return HTTPStatus(response.status_code).phrase
    except ValueError:
        return response.reason.decode("ascii", "replace")[:100]
