"""`pillarbox mailman`, as a program, with a Mailman that follows a script."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.cli.program import Client, Program, error_in_process
from tests.cli.test_relay import free_port, line_with, listed, mails, sinking
from tests.mailman.fake import FakeMailman, until

HERE = ("--listen", "127.0.0.1:0")
STRANGER = b"PROXY TCP4 203.0.113.9 127.0.0.1 49152 25\r\n"
FROM_PROXY = ("--proxy-protocol", "127.0.0.1/32")
DOMAIN = "lists.example.org"
LIST, OTHER = f"dev@{DOMAIN}", f"dev-team@{DOMAIN}"
NOBODY, BEN = f"nobody@{DOMAIN}", "ben@example.com"
DATA = "Subject: hé\r\n\r\n..dot\r\nend\r\n".encode()
ARRIVED = "Subject: hé\r\n\r\n.dot\r\nend\r\n".encode()
QUICK = ("--first-retry", "1s", "--longest-retry", "1s")
DOWN = "451 4.3.0 Mailman cannot take mail now; try again later"


@contextmanager
def serving(
    folder: Path,
    mailman: FakeMailman,
    *options: str,
    to: int = 9,
    domains: Sequence[str] = ("--mailman-domain", DOMAIN),
) -> Iterator[tuple[Program, int]]:
    lmtp = f"127.0.0.1:{mailman.address[1]}"
    with Program(
        *("mailman", *HERE, "--spool", str(folder / "spool"), "--to", f"127.0.0.1:{to}"),
        *("--mailman-lmtp", lmtp, *domains, *QUICK, *options),
    ) as program:
        yield program, program.ready_port()


def begin(client: Client, *recipients: str, sender: str = "ann@example.org") -> list[str]:
    """Begin a transaction; give what was said of each recipient."""
    client.say("RSET")
    assert client.say(f"MAIL FROM:<{sender}>").startswith("250 ")
    return [client.say(f"RCPT TO:<{recipient}>") for recipient in recipients]


def post(port: int, *recipients: str, sender: str = "ann@example.org", data: bytes = DATA) -> str:
    with Client(port) as client:
        client.say("EHLO client.test")
        said = begin(client, *recipients, sender=sender)
        assert all(reply.startswith("250 ") for reply in said), said
        client.say("DATA")
        client.send(data + b".\r\n")
        return client.reply()


def test_some_of_each(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST, OTHER) as mailman,
        sinking(tmp_path / "out") as to,
        serving(tmp_path, mailman, to=to) as (program, port),
    ):
        said = post(port, LIST.upper(), BEN, LIST, NOBODY, f'"dev-team"@{DOMAIN}')
        assert said.startswith("250 2.0.0 Queued")
        until(lambda: listed(tmp_path) == [])
        [taken] = mailman.posts
        assert (taken.sender, taken.recipients) == (
            *("ann@example.org", (LIST.upper(), f'"dev-team"@{DOMAIN}')),
        )
        assert taken.data.endswith(b"\r\n" + ARRIVED)
        [other] = mails(tmp_path / "out")
        assert other.endswith(b"\r\n" + ARRIVED)
        [envelope] = [file.read_text() for file in (tmp_path / "out").glob("*.json")]
        assert BEN in envelope
        assert NOBODY in envelope
        assert LIST not in envelope.lower()
        line_with(program, f"INFO handing to mailman://127.0.0.1:{mailman.address[1]} what Mailman")
        assert program.stop()[0] == 0


def test_strangers_may_post_and_not_relay(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST) as mailman,
        serving(tmp_path, mailman, *FROM_PROXY) as (_, port),
        Client(port, STRANGER) as client,
    ):
        client.say("EHLO localhost")
        bounces = f"dev-bounces+ben=example.com@{DOMAIN}"
        denied = "550 5.7.1 Relaying denied"
        said = begin(client, LIST, bounces, NOBODY, BEN, sender="")
        assert [reply[:3] for reply in said[:2]] == ["250", "250"]
        assert said[2:] == [denied, denied]
        client.say("DATA")
        client.send(DATA + b".\r\n")
        assert client.reply().startswith("250 ")
        until(lambda: mailman.posts)
        assert (mailman.posts[0].sender, mailman.posts[0].recipients) == ("", (LIST, bounces))


def test_unknown_addresses_are_refused_where_that_is_asked_for(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST) as mailman,
        serving(tmp_path, mailman, "--unknown", "reject") as (_, port),
        Client(port) as client,
    ):
        client.say("EHLO localhost")
        said = begin(client, NOBODY, BEN, LIST)
        assert said[0] == "550 5.1.1 No such list"
        assert [reply[:3] for reply in said[1:]] == ["250", "250"]


@pytest.mark.parametrize(
    ("verb", "reply"),
    [("RCPT", "451 Later"), ("MAIL", "452 Later"), ("RCPT", None), ("greeting", "421 Later")],
)
def test_mailman_does_not_say(tmp_path: Path, verb: str, reply: str | None) -> None:
    with (
        FakeMailman(LIST) as mailman,
        serving(tmp_path, mailman) as (program, port),
        Client(port) as client,
    ):
        mailman.replies[verb] = reply
        client.say("EHLO localhost")
        said = begin(client, LIST, BEN, LIST)
        assert (said[0], said[1][:3], said[2]) == (DOWN, "250", DOWN)
        del mailman.replies[verb]
        assert client.say(f"RCPT TO:<{LIST}>").startswith("250 "), "no error is remembered"
        assert "Mailman does not answer" in line_with(program, "ERROR")
        line_with(program, "INFO Mailman answers again")


def test_mailman_is_down_and_other_mail_goes_on(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST) as mailman,
        sinking(tmp_path / "out") as to,
        serving(tmp_path, mailman, to=to) as (_, port),
        Client(port) as client,
    ):
        client.say("EHLO localhost")
        assert begin(client, LIST)[0].startswith("250 ")
        mailman.stop()
        # Known half a minute ago, and kept until it is back.
        assert post(port, LIST, BEN).startswith("250 ")
        assert begin(client, OTHER) == [DOWN]
        until(lambda: mails(tmp_path / "out"))
        [message] = listed(tmp_path)
        assert [one["address"] for one in message["recipients"]] == [LIST, BEN]  # type: ignore[attr-defined]  # of JSON
        mailman.start()
        client.say(f"RCPT TO:<{LIST}>")


def states(folder: Path, address: str) -> list[str]:
    """Tell how the recipients of this address stand."""
    recipients: list[dict[str, str]] = [
        one
        for message in listed(folder)
        for one in message["recipients"]  # type: ignore[attr-defined]  # of JSON
    ]
    return [one["state"] for one in recipients if one["address"] == address]


def test_a_kill_in_the_middle(tmp_path: Path) -> None:
    with FakeMailman(LIST) as mailman, sinking(tmp_path / "out") as to:
        with serving(tmp_path, mailman, to=to) as (program, port):
            with Client(port) as client:
                client.say("EHLO localhost")
                assert begin(client, LIST)[0].startswith("250 ")
            mailman.freeze()
            for _ in range(5):
                assert post(port, LIST, BEN).startswith("250 ")
            # Until that is on record: what a kill comes before is sent again.
            until(lambda: states(tmp_path, BEN) == ["delivered"] * 5)
            program.process.send_signal(signal.SIGKILL)
            program.process.wait()
        mailman.thaw()
        with serving(tmp_path, mailman, to=to) as (program, _):
            until(lambda: len(mailman.posts) == 5)
            until(lambda: listed(tmp_path) == [])
            assert program.stop()[0] == 0
        assert len(mailman.posts) == 5
        assert len(mails(tmp_path / "out")) == 5


def test_what_waits_follows_mailman_to_another_port(tmp_path: Path) -> None:
    with FakeMailman(LIST) as mailman:
        with serving(tmp_path, mailman) as (program, port):
            with Client(port) as client:
                client.say("EHLO localhost")
                begin(client, LIST)
            mailman.replies["LHLO"] = "421 Later"
            assert post(port, LIST).startswith("250 ")
            assert program.stop()[0] == 0
        assert len(listed(tmp_path)) == 1
        with FakeMailman(LIST) as moved, sinking(tmp_path / "out") as to:
            with serving(tmp_path, moved, to=to) as (program, _):
                until(lambda: listed(tmp_path) == [])
                assert program.stop()[0] == 0
            assert len(moved.posts) == 1
            assert mails(tmp_path / "out") == []


def test_a_defective_message_to_two_lists_is_told_to_its_sender(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST, OTHER) as mailman,
        sinking(tmp_path / "out") as to,
        serving(tmp_path, mailman, to=to) as (_, port),
    ):
        assert post(port, LIST, OTHER, data=b"A: 1\r\nX-Defect: 1\r\n\r\n").startswith("250 ")
        until(lambda: mails(tmp_path / "out"))
        [report] = mails(tmp_path / "out")
        text = message_from_bytes(report).as_string()
        assert text.count("Diagnostic-Code: smtp; 501 Message has defects") == 2
        until(lambda: listed(tmp_path) == [])
        assert mailman.posts == []


def test_a_bounce_for_mailman_goes_to_mailman(tmp_path: Path) -> None:
    """What Mailman sends by us and cannot be delivered is for its `-bounces` address."""
    bounces = f"dev-bounces+ben=example.com@{DOMAIN}"
    (tmp_path / "hop.py").write_text(REFUSES)
    with (
        FakeMailman(LIST) as mailman,
        Program("serve", "hop:Refuses", *HERE, folder=tmp_path) as hop,
        serving(tmp_path, mailman, to=hop.ready_port()) as (_, port),
    ):
        assert post(port, BEN, sender=bounces).startswith("250 ")
        until(lambda: mailman.posts)
        [report] = mailman.posts
        assert (report.sender, report.recipients) == ("", (bounces,))
        assert b"Diagnostic-Code: smtp; 550 5.1.1 Nobody" in report.data


REFUSES = """
from pillarbox import Reject

class Refuses:
    def rcpt(self, session, rcpt):
        raise Reject(550, "5.1.1", "Nobody")
"""


def test_what_mailman_cannot_take(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST) as mailman,
        serving(tmp_path, mailman) as (_, port),
        Client(port) as client,
    ):
        client.say("EHLO localhost")
        utf8 = "553 5.6.7 Mailman takes no mail that needs SMTPUTF8"
        assert client.say("MAIL FROM:<ann@example.org> SMTPUTF8").startswith("250 ")
        assert client.say(f"RCPT TO:<{LIST}>") == utf8
        assert client.say(f"RCPT TO:<dév@{DOMAIN}>") == utf8
        assert client.say(f"RCPT TO:<{BEN}>").startswith("250 ")
        client.say("RSET")
        assert client.say("MAIL FROM:<ann@example.org> BODY=BINARYMIME").startswith("250 ")
        assert client.say(f"RCPT TO:<{LIST}>") == "554 5.6.3 Mailman takes no binary messages"
        client.say("RSET")
        assert client.say("MAIL FROM:<ann@example.org> RET=HDRS ENVID=x").startswith("250 ")
        assert client.say(f"RCPT TO:<{LIST}> NOTIFY=FAILURE").startswith("250 ")
        client.say("DATA")
        client.send(DATA + b".\r\n")
        assert client.reply().startswith("250 ")
        until(lambda: mailman.posts)


def test_its_file_of_domains(tmp_path: Path) -> None:
    file = tmp_path / "postfix_domains"
    file.write_text("# Mailman\n")
    domains = ("--mailman-domains-file", str(file))
    with (
        FakeMailman(LIST) as mailman,
        serving(tmp_path, mailman, "--unknown", "reject", domains=domains) as (_, port),
        Client(port) as client,
    ):
        client.say("EHLO localhost")
        assert begin(client, NOBODY)[0].startswith("250 ")
        file.write_text(f"# Mailman\n{DOMAIN} {DOMAIN}\n")
        assert begin(client, NOBODY) == ["550 5.1.1 No such list"]


def test_no_domains(tmp_path: Path) -> None:
    with (
        FakeMailman(LIST) as mailman,
        serving(tmp_path, mailman, domains=()) as (program, port),
        Client(port) as client,
    ):
        assert "Mailman is asked of every recipient" in line_with(program, "WARNING")
        client.say("EHLO localhost")
        assert [one[:3] for one in begin(client, LIST, BEN)] == ["250", "250"]
        assert mailman.asked == [LIST, BEN]
        mailman.stop()
        assert begin(client, "cleo@example.com") == [DOWN]
        mailman.start()


TO = ("--to", "127.0.0.1:9")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "where mail goes is not said; write --to HOST:PORT for a next server, or --mx"),
        ((*TO, "--mailman-domain", "*"), "--mailman-domain: '*' is no domain; write one such as"),
        ((*TO, "--mailman-domain", "x", "--mailman-domains-file", "x"), "--mailman-domain and"),
        (
            (*TO, "--mailman-domains-file", "/none"),
            "--mailman-domains-file /none: No such file or directory; name Mailman's",
        ),
        ((*TO, "--mailman-lmtp", "x:99999"), "--mailman-lmtp 'lmtp://x:99999': the port is a"),
        ((*TO, "--mailman-lmtp", "unix:/x"), "--mailman-lmtp 'unix:/x' is no host and port; write"),
        ((*TO, "--unknown", "reject"), "--unknown reject is for Mailman's domains, and these are"),
        ((*TO, "--unknown", "x"), "--unknown: 'x' is not one of 'relay', 'reject'"),
    ],
)
def test_wrong_options(options: Sequence[str], text: str) -> None:
    assert error_in_process("mailman", *HERE, *options).startswith(text)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLARBOX_MAILMAN_TO", "x:99999")
    assert error_in_process("mailman", *HERE).startswith("--to 'x:99999': the port is")
    monkeypatch.setenv("PILLARBOX_MAILMAN_TO", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("PILLARBOX_MAILMAN_DOMAIN", "*")
    assert error_in_process("mailman", *HERE).startswith("--mailman-domain: '*' is no domain")
