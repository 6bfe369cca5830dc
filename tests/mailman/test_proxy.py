"""smtpd.MailmanProxy: what Mailman knows goes to it, the rest is passed on."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mailman.fake import FakeMailman
from tests.smtpd.house import Client, House
from tests.smtpd.test_command_line import PROGRAM, Running
from tests.smtpd.test_proxy import LATER, Upstream
from tests.smtpd.under_test import ours_only, smtpd

pytestmark = ours_only

LIST, OTHER, DASHED = (f"{name}@lists.example.org" for name in ("dev", "news", "dev-team"))
NOBODY = "nobody@lists.example.org"
BEN = "ben@example.com"
DOWN = "451 4.3.0 Mailman cannot take mail now, try again later"
DATA = "Subject: hé\r\n\r\n..dot\r\nend".encode()
ARRIVED = "Subject: hé\r\n\r\n.dot\r\nend\r\n".encode()
DOMAINS = ["lists.example.org"]


@contextlib.contextmanager
def proxy(
    mailman: FakeMailman, upstream: Upstream | None = None, **arguments: Any
) -> Iterator[House]:
    class Quiet(smtpd.MailmanProxy):
        def log_info(self, *_: Any) -> None:
            pass

    arguments = {"mailman_domains": DOMAINS, **arguments}
    with House(Quiet, mailman_lmtp=mailman.address, **arguments) as house:
        house.server._remoteaddr = upstream.address if upstream else ("127.0.0.1", 1)
        yield house


def begin(client: Client, *recipients: str, sender: str = "ann@example.org") -> list[str]:
    """Begin a transaction; give what was said of each recipient."""
    assert client.ask(f"MAIL FROM:<{sender}>\r\n") == "250 OK"
    return [client.ask(f"RCPT TO:<{recipient}>\r\n") for recipient in recipients]


def post(
    house: House, *recipients: str, sender: str = "ann@example.org", data: bytes = DATA
) -> str:
    client = house.connect()
    assert begin(client, *recipients, sender=sender) == ["250 OK"] * len(recipients)
    client.ask("DATA\r\n")
    return client.ask(data + b"\r\n.\r\n")


@pytest.mark.parametrize("decode_data", [False, True])
@pytest.mark.parametrize(
    "address", [LIST, LIST.upper(), '"dev"@lists.example.org', DASHED, f"dev-request@{DOMAINS[0]}"]
)
def test_a_post(address: str, decode_data: bool) -> None:
    with FakeMailman(LIST, DASHED) as mailman, proxy(mailman, decode_data=decode_data) as house:
        assert post(house, address) == "250 OK"
        [taken] = mailman.posts
        assert (taken.sender, taken.data) == ("ann@example.org", ARRIVED)
        assert [one.replace('"', "") for one in taken.recipients] == [address.replace('"', "")]


def test_a_bounce_by_verp() -> None:
    address = "dev-bounces+ben=example.com@lists.example.org"
    with FakeMailman(LIST) as mailman, proxy(mailman) as house:
        assert post(house, address, sender="") == "250 OK"
        assert (mailman.posts[0].sender, mailman.posts[0].recipients) == ("", (address,))


def test_a_long_address_with_a_token() -> None:
    name = "a-list-with-a-long-name"
    address = f"{name}-confirm+{'0123456789' * 4}@{DOMAINS[0]}"
    with FakeMailman(f"{name}@{DOMAINS[0]}") as mailman, proxy(mailman, unknown="reject") as house:
        assert post(house, address) == "250 OK"
        assert mailman.posts[0].recipients == (address,)


def test_the_same_list_twice() -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman) as house:
        assert post(house, LIST, LIST.upper(), LIST) == "250 OK"
        assert [one.recipients for one in mailman.posts] == [(LIST,)]


def test_another_domain_is_not_mailmans_business() -> None:
    with FakeMailman(LIST) as mailman, Upstream() as upstream, proxy(mailman, upstream) as house:
        assert post(house, BEN) == "250 OK"
        assert len(upstream.messages) == 1
        assert (mailman.posts, mailman.asked) == ([], [])


def test_what_mailman_does_not_know_is_passed_on() -> None:
    with FakeMailman(LIST) as mailman, Upstream() as upstream, proxy(mailman, upstream) as house:
        assert post(house, NOBODY, f"dev-admin@{DOMAINS[0]}") == "250 OK"
        assert len(upstream.messages) == 1
        assert upstream.lines[2] == f"RCPT TO:<{NOBODY.upper()}>"
        assert not mailman.posts


def test_or_is_refused() -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman, unknown="reject") as house:
        said = begin(house.connect(), NOBODY, LIST, BEN, f"dev-admin@{DOMAINS[0]}")
        assert said == ["550 5.1.1 No such list", "250 OK", "250 OK", "550 5.1.1 No such list"]


def test_unknown_is_one_of_two() -> None:
    channels: dict[int, Any] = {}
    with pytest.raises(ValueError, match="unknown is 'no'; write 'relay' or 'reject'"):
        smtpd.MailmanProxy(("127.0.0.1", 0), ("127.0.0.1", 1), unknown="no", map=channels)
    assert channels == {}


def test_mailman_2_had_an_admin() -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman, legacy_admin=True) as house:
        assert post(house, f"Dev-Admin@{DOMAINS[0]}") == "250 OK"
        assert mailman.posts[0].recipients == (f"Dev-owner@{DOMAINS[0]}",)


def test_some_of_each() -> None:
    with FakeMailman(LIST) as mailman, Upstream() as upstream, proxy(mailman, upstream) as house:
        assert post(house, LIST, BEN, NOBODY) == "250 OK"
        assert [one.recipients for one in mailman.posts] == [(LIST,)]
        assert len(upstream.messages) == 1
        assert upstream.lines[2:4] == [f"RCPT TO:<{one.upper()}>" for one in (BEN, NOBODY)]


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ({"message": None}, LATER),
        ({"message": "554 Spam"}, "554 Spam"),
        ({f"RCPT TO:<{BEN.upper()}>": "550 No"}, "550 No"),
    ],
)
def test_no_post_is_made_where_the_next_server_refuses(replies: Any, said: str) -> None:
    with (
        FakeMailman(LIST) as mailman,
        Upstream(**replies) as upstream,
        proxy(mailman, upstream) as house,
    ):
        assert post(house, LIST, BEN, "cleo@example.com") == said
        assert not mailman.posts


def test_mailman_refuses_a_message_for_all_lists() -> None:
    with FakeMailman(LIST, OTHER) as mailman, proxy(mailman) as house:
        begun = time.monotonic()
        said = post(house, LIST, OTHER, data=b"A: 1\r\nX-Defect: 1\r\n\r\nx")
        assert said == "501 Message has defects"
        assert time.monotonic() - begun < 5
        mailman.max_octets = 10
        assert post(house, LIST, OTHER).startswith("552 ")
        mailman.max_octets = 1000  # and said so beforehand
        assert post(house, LIST, data=b"x" * 2000).startswith("552 5.3.4 ")
        assert not mailman.posts


@pytest.mark.parametrize(
    ("verb", "reply", "said"),
    [
        ("dot", "451 Requested action aborted: error in processing", DOWN),
        ("dot", "550 5.7.1 Never", "550 5.7.1 Never"),
        ("dot", None, DOWN),
        ("DATA", "450 Later", DOWN),
        ("DATA", None, DOWN),
    ],
)
def test_mailman_fails_at_the_message(verb: str, reply: str | None, said: str) -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman) as house:
        mailman.replies[verb] = reply
        assert post(house, LIST) == said
        del mailman.replies[verb]
        assert post(house, LIST) == "250 OK"


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("RCPT", "451 Requested action aborted: error in processing"),
        ("RCPT", None),
        ("MAIL", "452 Later"),
        ("LHLO", "421 Later"),
        ("greeting", None),
    ],
)
def test_mailman_fails_at_a_question(verb: str, reply: str | None) -> None:
    with FakeMailman(LIST) as mailman, Upstream() as upstream, proxy(mailman, upstream) as house:
        mailman.replies[verb] = reply
        client = house.connect()
        assert begin(client, LIST, BEN, LIST) == [DOWN, "250 OK", DOWN]
        client.ask("DATA\r\n")
        assert client.ask(DATA + b"\r\n.\r\n") == "250 OK", "other mail goes on"
        assert len(upstream.messages) == 1
        del mailman.replies[verb]
        assert begin(client, LIST) == ["250 OK"], "an error is not remembered"


def test_mailman_is_down_and_back() -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman) as house:
        client = house.connect()
        mailman.stop()
        assert begin(client, LIST, NOBODY) == [DOWN, DOWN]
        mailman.start()
        assert client.ask(f"RCPT TO:<{LIST}>\r\n") == "250 OK"


def test_mailman_goes_between_question_and_message() -> None:
    with FakeMailman(LIST) as mailman, Upstream() as upstream, proxy(mailman, upstream) as house:
        client = house.connect()
        assert begin(client, LIST) == ["250 OK"]
        mailman.stop()
        client.ask("DATA\r\n")
        assert client.ask(b"x\r\n.\r\n") == DOWN
        mailman.start()


def test_mailman_hangs() -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman, mailman_timeout=0.05) as house:
        client = house.connect()
        mailman.freeze()
        assert begin(client, LIST, LIST, BEN) == [DOWN, DOWN, "250 OK"]
        mailman.thaw()
        assert client.ask(f"RCPT TO:<{LIST}>\r\n") == "250 OK"


def test_mailman_is_not_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtpd, "_SHORT_PATIENCE_SECONDS", 0.05)
    with FakeMailman(LIST) as mailman, proxy(mailman, mailman_timeout=0.5) as house:
        client = house.connect()
        mailman.freeze()
        assert begin(client, LIST) == [DOWN]
        begun = time.monotonic()
        assert [client.ask(f"RCPT TO:<{LIST}>\r\n") for _ in range(2)] == [DOWN, DOWN]
        assert time.monotonic() - begun < 0.5


def test_with_no_domains_mailman_is_asked_of_all() -> None:
    with (
        FakeMailman(LIST) as mailman,
        Upstream() as upstream,
        proxy(mailman, upstream, mailman_domains=None) as house,
    ):
        assert post(house, LIST, BEN) == "250 OK"
        assert mailman.asked[:2] == [LIST, BEN]
        assert post(house, "é@example.com") == "553 Needs SMTPUTF8"
        mailman.stop()
        assert begin(house.connect(), "cleo@example.com") == [DOWN]
        mailman.start()


def test_the_file_of_domains(tmp_path: Path) -> None:
    file = tmp_path / "postfix_domains"
    file.write_text("# Mailman\nlists.example.org lists.example.org\n")
    with FakeMailman(LIST) as mailman, proxy(mailman, mailman_domains=file) as house:
        assert post(house, LIST) == "250 OK"


def test_it_is_asked_once_over_one_connection() -> None:
    with FakeMailman(LIST, OTHER) as mailman, proxy(mailman) as house:
        client = house.connect()
        assert begin(client, LIST, LIST, OTHER, NOBODY, NOBODY) == ["250 OK"] * 5
        assert mailman.asked == [LIST, OTHER, NOBODY]
        assert mailman.sessions == 1
        assert mailman.verbs == [
            *("LHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "RSET", "MAIL", "RCPT")
        ]


def test_an_answer_of_no_age_is_not_kept() -> None:
    with FakeMailman() as mailman, proxy(mailman, negative_ttl=0, unknown="reject") as house:
        client = house.connect()
        assert begin(client, LIST) == ["550 5.1.1 No such list"]
        mailman.lists.add(LIST)
        assert client.ask(f"RCPT TO:<{LIST}>\r\n") == "250 OK"


def test_mailman_closes_what_is_idle() -> None:
    with FakeMailman(LIST, OTHER) as mailman, proxy(mailman) as house:
        client = house.connect()
        assert begin(client, LIST) == ["250 OK"]
        mailman.drop()
        assert client.ask(f"RCPT TO:<{OTHER}>\r\n") == "250 OK"
        assert mailman.sessions == 2


def test_addresses_beyond_ascii() -> None:
    with FakeMailman(LIST) as mailman, proxy(mailman) as house:
        said = begin(house.connect(), "dév@lists.example.org", LIST)
        assert said == ["553 5.6.7 Mailman takes no addresses beyond ASCII", "250 OK"]


def test_smtputf8_is_not_for_it() -> None:
    channels: dict[int, Any] = {}
    with pytest.raises(ValueError, match=r"MailmanProxy does not support SMTPUTF8\."):
        smtpd.MailmanProxy(("127.0.0.1", 0), None, map=channels, enable_SMTPUTF8=True)
    assert channels == {}


def test_a_channel_that_asks_nothing() -> None:
    """A program's own channel may have a smtp_RCPT that knows no Mailman."""

    class Channel(smtpd.SMTPChannel):
        def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
            assert arg
            self.rcpttos.append(arg[4:-1])
            self.push("250 OK")

    with FakeMailman(LIST) as mailman, proxy(mailman, unknown="reject") as house:
        house.server.channel_class = Channel
        assert post(house, LIST, NOBODY) == "550 5.1.1 No such list"
        assert post(house, LIST) == "250 OK"
        mailman.stop()
        assert post(house, OTHER) == DOWN
        mailman.start()
        assert len(mailman.posts) == 1


def test_nobody_has_to_be_there_when_it_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    channels: dict[int, Any] = {}
    server = smtpd.MailmanProxy(
        ("127.0.0.1", 0), ("127.0.0.1", 1), mailman_lmtp=address, map=channels
    )
    server.close()


def test_on_the_command_line() -> None:
    with (
        Running("-n", "-c", "MailmanProxy", "127.0.0.1:0") as program,
        smtplib.SMTP("127.0.0.1", program.port) as client,
    ):
        assert client.ehlo()[0] == 250


def test_a_class_with_options_on_the_command_line(tmp_path: Path) -> None:
    with FakeMailman(LIST) as mailman:
        (tmp_path / "mine.py").write_text(
            "import functools, smtpd\n"
            f"Lists = functools.partial(smtpd.MailmanProxy, mailman_lmtp={mailman.address!r})\n"
        )
        program = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"
        with (
            Running("-n", "-c", "mine.Lists", "127.0.0.1:0", program=program) as running,
            smtplib.SMTP("127.0.0.1", running.port) as client,
        ):
            client.sendmail("ann@example.org", [LIST], DATA)
        assert len(mailman.posts) == 1
