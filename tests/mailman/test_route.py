"""Mailman's queue, and what goes there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

import pytest

from pillarbox.config import ConfigError
from pillarbox.lists import LONE_REFUSAL_SECONDS, AnyDomains, ListDomains, MailmanSilent
from pillarbox.mailman.lookup import Lookup
from pillarbox.mailman.notice import MailmanNotices
from pillarbox.mailman.route import MailmanRoutes, is_mailman, mailman_destination, parse_mailman
from pillarbox.protocol.address import Path
from pillarbox.relay.mx import MailExchangers
from pillarbox.relay.notice import Report
from pillarbox.relay.route import NextHop, Routes
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient
from tests.relay.network import FakeResolver

MAILMAN = "mailman://127.0.0.1:8024"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:8024", "lmtp://127.0.0.1:8024"),
        ("mailman.example", "lmtp://mailman.example:8024"),
        ("[::1]", "lmtp://[::1]:8024"),
        ("[::1]:24", "lmtp://[::1]:24"),
        ("lmtp://mailman:1", "lmtp://mailman:1"),
    ],
)
def test_where_it_is(text: str, place: str) -> None:
    assert str(parse_mailman(text)) == place


@pytest.mark.parametrize("text", ["", ":8024", "x:y", "unix:/run/x", "ann@x:1", "smtp://x:25"])
def test_where_it_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_mailman(text)


async def test_its_mail_never_goes_to_another_server() -> None:
    resolver = MailExchangers(FakeResolver())
    others = Routes(NextHop.parse("192.0.2.25:25"), resolver=resolver)
    routes = MailmanRoutes(parse_mailman("127.0.0.1:8024"), others, resolver=resolver)
    assert mailman_destination(parse_mailman("127.0.0.1:8024")) == MAILMAN
    assert routes.destination("ann@example.org") == "smtp://192.0.2.25:25"
    [hop] = await routes.hops("smtp://192.0.2.25:25")
    assert (hop.port, hop.is_lmtp, hop.lone_refusal_seconds) == (25, False, None)
    for name in (MAILMAN, "mailman://127.0.0.1:9999"):  # where it was when the mail came
        assert is_mailman(name)
        [hop] = await routes.hops(name)
        assert (hop.port, hop.is_lmtp) == (8024, True)
        assert hop.lone_refusal_seconds == LONE_REFUSAL_SECONDS


class Knows:
    """A `Lookup` that knows what it knows."""

    async def knows(self, path: Path) -> bool:
        if path.local_part == "silent":
            raise MailmanSilent("no answer")
        return path.local_part == "dev-bounces"


class Writes:
    """Notices, each to one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def write(
        self,
        _lease: Lease,
        _reports: Sequence[Report],
        /,
        *,
        octets: Callable[[], AsyncIterator[bytes]],
    ) -> Sequence[tuple[NewMessage, bytes]]:
        recipient = NewRecipient(address=self.address, destination="elsewhere")
        return [(NewMessage(mail_from="", recipients=(recipient,), created=0, expires=1), b"x")]


@pytest.mark.parametrize(
    ("address", "domains", "destination"),
    [
        ("dev-bounces@x.example", ["x.example"], MAILMAN),
        ("dev-bounces@X.example", None, MAILMAN),
        ("ann@x.example", ["x.example"], "elsewhere"),
        ("silent@x.example", ["x.example"], MAILMAN),
        ("silent@x.example", None, "elsewhere"),
        ("dev-bounces@y.example", ["x.example"], "elsewhere"),
        ("dév-bounces@x.example", ["x.example"], "elsewhere"),
    ],
)
async def test_where_a_notice_goes(address: str, domains: AnyDomains, destination: str) -> None:
    notices = MailmanNotices(
        Writes(address), cast("Lookup", Knows()), ListDomains(domains), destination=MAILMAN
    )
    [(message, text)] = await notices.write(cast("Lease", None), [], octets=lambda: aiter(()))  # type: ignore[arg-type]  # nobody reads it
    assert [one.destination for one in message.recipients] == [destination]
    assert text == b"x"
