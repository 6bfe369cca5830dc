"""The servers of a domain, by RFC 5321 §5.1: MX records, their order, and what if there are none.

Who asks DNS is a `Resolver`. What a failure means:

- a domain that does not exist, that wants no mail (RFC 7505) or that has no server: for good;
- a name server that does not answer: for now.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Collection, Sequence

from pillarbox.protocol.reply import Reply
from pillarbox.relay.resolver import LookupFailed, MailExchanger, NoSuchName, Resolver
from pillarbox.relay.route import Hop, NoRoute, TlsPolicy

__all__ = ["MailExchangers"]

SMTP_PORT = 25
# A domain with more servers than these has as many that do not answer.
MAX_HOSTS = 10
MAX_HOPS = 20

NULL_MX = Reply(556, "5.1.10", "The domain accepts no mail (null MX)")
NO_DOMAIN = Reply(550, "5.1.2", "No such domain")
NO_SERVER = Reply(550, "5.4.4", "The domain has no mail server")
LOOPS = Reply(554, "5.4.6", "The mail server of the domain is this one, which does not know it")
NOT_NOW = Reply(451, "4.4.3", "The domain cannot be looked up now")


class MailExchangers:
    """Finds servers by DNS.

    Args:
        resolver: Asks DNS.
        system: Asks for the addresses of next hops; the resolver where it is not given.
        own_names: What this server is called: mail for a domain that it is itself a server of
            would go round.
        chance: Gives a random number from 0 to 1; servers of equal preference share the load.
        port: Where the servers listen.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        system: Resolver | None = None,
        own_names: Collection[str] = (),
        chance: Callable[[], float] = random.random,
        port: int = SMTP_PORT,
    ) -> None:
        self._resolver = resolver
        self._system = system or resolver
        self._own_names = {_plain(name) for name in own_names}
        self._chance = chance
        self._port = port

    async def hops(self, domain: str) -> Sequence[Hop]:
        """Tell the servers of a domain or an address literal, in the order of RFC 5321 §5.1.

        Raises:
            NoRoute: There is none, for now or for good.
        """
        if domain.startswith("["):
            return (self._hop(_literal(domain), domain),)
        try:
            exchangers = await self._resolver.mail_exchangers(domain)
        except NoSuchName:
            raise NoRoute(NO_DOMAIN) from None
        except LookupFailed as error:
            raise NoRoute(NOT_NOW, _remedy(error)) from None
        hosts = self._hosts(domain, exchangers)
        return await self._found(hosts, is_implicit=not exchangers)

    def _hosts(self, domain: str, exchangers: Sequence[MailExchanger]) -> list[str]:
        """Put the hosts in order, and leave out this one and those that are no better."""
        if not exchangers:
            return [domain]  # the implicit MX
        usable = [one for one in exchangers if one.host != "."]
        if not usable:
            raise NoRoute(NULL_MX)
        ours = [one.preference for one in usable if _plain(one.host) in self._own_names]
        if ours:
            # §5.1: they would only send it back to us.
            usable = [one for one in usable if one.preference < min(ours)]
            if not usable:
                raise NoRoute(
                    LOOPS,
                    "deliver this domain's mail here, or correct its MX record",
                )
        shuffled = sorted(usable, key=lambda one: (one.preference, self._chance()))
        return list(dict.fromkeys(one.host for one in shuffled))[:MAX_HOSTS]

    async def _found(self, hosts: Sequence[str], *, is_implicit: bool) -> list[Hop]:
        """Find the hosts' addresses; those of one that cannot be found now may not matter."""
        hops: list[Hop] = []
        failure: LookupFailed | None = None
        is_missing = False
        for host in hosts:
            try:
                addresses = await self._resolver.addresses(host)
            except NoSuchName:
                is_missing = True
            except LookupFailed as error:
                failure = error
            else:
                hops.extend(self._hop(address, host) for address in addresses)
        if hops:
            return hops[:MAX_HOPS]
        if failure is not None:
            raise NoRoute(NOT_NOW, _remedy(failure))
        raise NoRoute(NO_DOMAIN if is_implicit and is_missing else NO_SERVER)

    def _hop(self, address: str, name: str) -> Hop:
        return Hop(host=address, port=self._port, name=name, tls=TlsPolicy.OPPORTUNISTIC)

    async def addresses(self, host: str) -> Sequence[str]:
        """Tell the addresses of a next hop.

        That it does not exist is somebody's slip, here or there: no reason to bounce all mail.

        Raises:
            NoRoute: They are not known now.
        """
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            pass
        else:
            return (host,)
        remedy = f"the next hop's name, {host}, has no address: is it right, and does DNS work?"
        reply = Reply(451, "4.4.3", "The next hop cannot be looked up now")
        try:
            addresses = await self._system.addresses(host)
        except NoSuchName:
            raise NoRoute(reply, remedy) from None
        except LookupFailed as error:
            raise NoRoute(reply, f"{remedy} ({error})") from None
        if not addresses:
            raise NoRoute(reply, remedy)
        return addresses


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


def _literal(domain: str) -> str:
    """Give the address in `[192.0.2.1]` or `[IPv6:2001:db8::1]`."""
    inner = domain[1:-1]
    return inner[5:] if inner[:5].lower() == "ipv6:" else inner


def _remedy(error: LookupFailed) -> str:
    return f"DNS does not answer: {error}; do the name servers of this machine work?"
