"""Permission: for whom mail is relayed (RFC 2505 §2.1). By default for this machine alone.

A client may send anywhere when it is this machine's, has logged in, or comes from a network that
is listed. Anybody may send to a domain that is listed, as a backup MX takes mail. All else is
refused, whatever the client calls itself and whoever it says the sender is.

What a proxy tells of its client, by PROXY or XCLIENT, stands in the proxy's place, and never makes
a client this machine's: there, 127.0.0.1 is some other machine's.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from pillarbox.config import ConfigError
from pillarbox.envelope import Session
from pillarbox.protocol.address import AddressError, Path, parse_domain
from pillarbox.protocol.reply import Reply

__all__ = ["HOLDS_A_ROUTE", "RELAYING_DENIED", "Permission", "comparable_domain"]

RELAYING_DENIED = Reply(550, "5.7.1", "Relaying denied")
HOLDS_A_ROUTE = Reply(550, "5.7.1", "Relaying denied: the address holds a route to elsewhere")

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Wider than any network of one's own: 10.0.0.0/8 is the largest private one there is.
MIN_IPV4_PREFIX = 8
# Of so many addresses it is known what they are.
MAX_STANDINGS = 1024
MIN_IPV6_PREFIX = 16
# Wide, and nobody's on the Internet: unique local and link-local addresses (RFC 4193, RFC 4291).
NOT_PUBLIC = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
# How all of IPv4 looks in IPv6, to a translator (RFC 6052) and by 6to4 (RFC 3056, a /16).
ALL_OF_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Who may have mail relayed, and whereto.

    Args:
        networks: Clients that may send anywhere.
        domains: Where anybody may send to. Subdomains are domains of their own.
        front_networks: Proxies that tell of their clients by PROXY or XCLIENT; where such a one
            tells of none, nobody knows who sends.
        allows_local: Whether this machine's programs, by loopback and UNIX sockets, may send
            anywhere. Not where a proxy on this machine hides its clients.
        is_open_on_purpose: Take networks that are as wide as the Internet.

    Raises:
        ConfigError: A domain is none, or the networks would make an open relay.
    """

    networks: tuple[Network, ...] = ()
    domains: tuple[str, ...] = ()
    front_networks: tuple[Network, ...] = ()
    allows_local: bool = True
    is_open_on_purpose: bool = False
    _trusted: tuple[Network, ...] = field(init=False, repr=False, compare=False)
    _relayed: frozenset[str] = field(init=False, repr=False, compare=False)
    _standings: dict[str, tuple[bool, bool]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the values, and bring them into the form that is compared."""
        trusted = tuple(_collapsed(self.networks))
        if not self.is_open_on_purpose:
            for network in trusted:
                if _is_internet(network):
                    raise ConfigError(
                        f"network {network} is a good part of the Internet: whoever is there could"
                        " send mail to anybody, and spammers would; list networks of your own"
                    )
        object.__setattr__(self, "_trusted", trusted)
        object.__setattr__(self, "_standings", {})
        object.__setattr__(self, "_relayed", frozenset(map(_listed_domain, self.domains)))

    def refusal(self, session: Session, path: Path) -> Reply | None:
        """Tell why a client may not send to a recipient; `None` where it may."""
        if self.trusts(session):
            return None
        if comparable_domain(path.domain) not in self._relayed:
            return RELAYING_DENIED
        # The next server may still obey a%b@c, b!a@c or "a@b"@c, and would for one that it trusts.
        local_part = unicodedata.normalize("NFKC", path.local_part)
        return HOLDS_A_ROUTE if any(char in local_part for char in "%!@") else None

    def trusts(self, session: Session) -> bool:
        """Tell whether a client may send anywhere."""
        if session.identity is not None:
            return True
        is_told = session.proxy is not None or session.xclient is not None
        if isinstance(session.peer, str):
            return self.allows_local and not is_told
        if session.xclient is not None and session.xclient.address is None:
            return False  # a front server speaks for somebody, and does not say for whom
        is_listed, is_local = self._standing(session.peer[0])
        return is_listed or (is_local and self.allows_local and not is_told)

    def _standing(self, host: str) -> tuple[bool, bool]:
        """Tell whether an address is listed, and whether it is local; a front server is neither."""
        found = self._standings.get(host)
        if found is None:
            address = _address(host)
            if address is None or _is_in(address, self.front_networks):
                found = False, False
            else:
                found = _is_in(address, self._trusted), address.is_loopback
            if len(self._standings) >= MAX_STANDINGS:
                self._standings.clear()
            self._standings[host] = found
        return found


def comparable_domain(domain: str) -> str:
    """Bring a domain into the one form that is compared: A-labels in small letters, no last dot.

    Nothing is taken for something else but capitals: where IDNA2003 reads `straße` as `strasse`,
    IDNA2008 does not, and mail for one is not to be let in for the other.
    """
    return ".".join(map(_comparable_label, domain.removesuffix(".").split(".")))


def _comparable_label(label: str) -> str:
    if label.isascii():
        return label.lower()
    lowered = unicodedata.normalize("NFC", label.lower())
    if lowered.isascii():
        return label  # such as the sign for kelvin: no letter of a domain
    return f"xn--{lowered.encode('punycode').decode()}"


def _listed_domain(domain: str) -> str:
    try:
        name = parse_domain(domain.removesuffix(".").encode())
    except AddressError:
        name = ""
    if not name or name.startswith("["):
        raise ConfigError(
            f"{domain!r} is no domain; write one such as example.org, each subdomain for itself"
        )
    return comparable_domain(name)


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return _unmapped(address)


def _unmapped(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 socket has seen as ::ffff:192.0.2.1."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _collapsed(networks: Iterable[Network]) -> list[Network]:
    """Join what lies side by side: two halves of the Internet are the Internet."""
    plain = [_unmapped_network(network) for network in networks]
    return [
        *ipaddress.collapse_addresses(one for one in plain if isinstance(one, IPv4Network)),
        *ipaddress.collapse_addresses(one for one in plain if isinstance(one, IPv6Network)),
    ]


def _unmapped_network(network: Network) -> Network:
    mapped = _unmapped(network.network_address)
    if isinstance(network, IPv6Network) and isinstance(mapped, IPv4Address):
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _is_internet(network: Network) -> bool:
    if isinstance(network, IPv4Network):
        return network.prefixlen < MIN_IPV4_PREFIX
    if any(network.supernet_of(all_of_ipv4) for all_of_ipv4 in ALL_OF_IPV4):
        return True
    is_wide = network.prefixlen < MIN_IPV6_PREFIX
    return is_wide and not any(network.subnet_of(own) for own in NOT_PUBLIC)
