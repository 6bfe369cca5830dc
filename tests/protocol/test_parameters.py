"""Parameters of MAIL and RCPT beyond the address: DSN, REQUIRETLS, AUTH= (RFC 3461, 8689, 4954)."""

from __future__ import annotations

import pytest

from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.event import NO_MAIL_DSN, NO_RCPT_DSN, Mail, Rcpt
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.sasl import STANDARD_MECHANISMS
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.state import State
from tests.conftest import Talk

AUTH = Offer(
    hostname="mx.test",
    mechanisms={"PLAIN": STANDARD_MECHANISMS["PLAIN"]},
    allows_plaintext_auth=True,
)


def sent(line: str, *, is_tls: bool = False, offer: Offer = AUTH) -> Mail | Rcpt | bytes:
    """Give what the core makes of a MAIL or RCPT, or what it answers."""
    server = ServerConnection(offer, asks_connect=False, asks_mail=False, is_tls=is_tls)
    server.receive_data(b"EHLO client.test\r\n")
    if line.startswith("RCPT"):
        server.receive_data(b"MAIL FROM:<>\r\n")
    server.next_event()
    server.data_to_send()
    server.receive_data(line.encode() + b"\r\n")
    event = server.next_event()
    return (
        event if isinstance(event, Rcpt) else server.mail if server.mail else server.data_to_send()
    )


MAILS = {
    "RET=FULL": MailDsn(Return.FULL),
    "ret=hdrs ENVID=QQ+2B1": MailDsn(Return.HDRS, "QQ+1"),
    "ENVID=x SIZE=1": MailDsn(None, "x"),
    "SIZE=1": NO_MAIL_DSN,
}


@pytest.mark.parametrize(("parameters", "dsn"), MAILS.items())
def test_mail(parameters: str, dsn: MailDsn) -> None:
    mail = sent(f"MAIL FROM:<ann@example.org> {parameters}")
    assert isinstance(mail, Mail)
    assert mail.dsn == dsn


RCPTS = {
    "NOTIFY=NEVER": RcptDsn(Notify.NEVER),
    "notify=Success,DELAY ORCPT=rfc822;b+2Bc@d": RcptDsn(
        Notify.SUCCESS | Notify.DELAY, "rfc822", "b+c@d"
    ),
    "": NO_RCPT_DSN,
}


@pytest.mark.parametrize(("parameters", "dsn"), RCPTS.items())
def test_rcpt(parameters: str, dsn: RcptDsn) -> None:
    rcpt = sent(f"RCPT TO:<ben@example.org> {parameters}")
    assert isinstance(rcpt, Rcpt)
    assert rcpt.dsn == dsn


AUTHS = {"<>": "", "ann@example.org": "ann@example.org", "a+2Bb@example.org": "a+b@example.org"}


@pytest.mark.parametrize(("value", "mailbox"), AUTHS.items())
def test_auth(value: str, mailbox: str) -> None:
    mail = sent(f"MAIL FROM:<ann@example.org> AUTH={value}")
    assert isinstance(mail, Mail)
    assert mail.auth == mailbox


def test_auth_is_not_known_where_nobody_can_log_in() -> None:
    line = "MAIL FROM:<ann@example.org> AUTH=<>"
    assert sent(line, offer=Offer(hostname="mx.test")) == b"555 5.5.4 Parameter not known\r\n"


def test_requiretls() -> None:
    line = "MAIL FROM:<ann@example.org> REQUIRETLS"
    mail = sent(line, is_tls=True)
    assert isinstance(mail, Mail)
    assert mail.requires_tls
    assert sent(line) == b"555 5.5.4 REQUIRETLS needs TLS\r\n"
    assert sent(f"{line}=x", is_tls=True) == b"501 5.5.4 REQUIRETLS takes no value\r\n"


WRONG = {
    "MAIL FROM:<ann@example.org> RET=BODY": "501 5.5.4 RET is FULL or HDRS",
    "MAIL FROM:<ann@example.org> RET": "501 5.5.4 RET is FULL or HDRS",
    "MAIL FROM:<ann@example.org> RET=FULL RET=FULL": "501 5.5.4 RET given twice",
    "MAIL FROM:<ann@example.org> ENVID": "501 5.5.4 ENVID is xtext of 1 to 100 octets",
    "MAIL FROM:<ann@example.org> ENVID=a+0Ab": "501 5.5.4 A control character",
    "MAIL FROM:<ann@example.org> NOTIFY=NEVER": "555 5.5.4 Parameter not known",
    "MAIL FROM:<ann@example.org> AUTH": "501 5.5.4 ...",
    "MAIL FROM:<ann@example.org> AUTH=ann": "501 5.5.4 ...",
    "MAIL FROM:<ann@example.org> AUTH=a+zz@b": "501 5.5.4 ...",
    "MAIL FROM:<ann@example.org> REQUIRETLS": "555 5.5.4 REQUIRETLS needs TLS",
}


@pytest.mark.parametrize(("line", "reply"), WRONG.items())
def test_wrong_on_mail(talk: Talk, line: str, reply: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: {line}
        S: {reply}
    """)


NOT_NOTIFY = "501 5.5.4 NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY"
WRONG_RCPT = {
    "NOTIFY": NOT_NOTIFY,
    "NOTIFY=NEVER,DELAY": NOT_NOTIFY,
    "NOTIFY=DELAY NOTIFY=DELAY": "501 5.5.4 NOTIFY given twice",
    "ORCPT=rfc822": "501 5.5.4 ORCPT is type;xtext of at most 500 octets",
    "ORCPT=rfc822;a+0Db@c": "501 5.5.4 A control character",
    "RET=FULL": "555 5.5.4 Parameter not known",
}


@pytest.mark.parametrize(("parameters", "reply"), WRONG_RCPT.items())
def test_wrong_on_rcpt(talk: Talk, parameters: str, reply: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender OK
        C: RCPT TO:<ben@example.org> {parameters}
        S: {reply}
    """)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "get"])
def test_http(talk: Talk, method: str) -> None:
    talk(rf"""
        S: 220 mx.test ESMTP
        C! "{method} / HTTP/1.1\r\nHost: mx.test\r\n\r\nEHLO client.test\r\n"
        S: 421 4.7.0 This is a mail server, not a web server
        S: [closed]
    """)


@pytest.mark.parametrize("line", ["GET", "GET /", "PATCH / HTTP/1.1", "POSTS / HTTP/1.1"])
def test_no_http(talk: Talk, line: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: {line}
        S: 500 5.5.1 Command not recognized
        C: NOOP
        S: 250 2.0.0 OK
    """)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_commands_without_a_message(number: int) -> None:
    server = ServerConnection(Offer(hostname="mx.test", max_idle_commands=3), asks_connect=False)
    server.data_to_send()
    server.receive_data(b"NOOP\r\n" * number)
    server.next_event()
    closed = b"421 4.7.0 Too many commands without a message\r\n" if number > 3 else b""
    assert server.data_to_send() == b"250 2.0.0 OK\r\n" * min(number, 3) + closed
    assert (server.state is State.CLOSED) is (number > 3)


def test_what_brings_a_message_nearer_is_not_idle() -> None:
    offer = Offer(hostname="mx.test", max_idle_commands=3)
    server = ServerConnection(offer, asks_connect=False, asks_mail=False, asks_rcpt=False)
    server.receive_data(b"EHLO client.test\r\nMAIL FROM:<>\r\n")
    server.receive_data(b"RCPT TO:<ben@example.org> NOTIFY=NEVER\r\n" * 10)
    server.receive_data(b"BDAT 1\r\nx" * 10 + b"BDAT 0\r\n" * 4)
    server.next_event()
    said = server.data_to_send()
    assert said.count(b"250 2.1.5") == 10
    assert said.count(b"250 2.0.0") == 13
    assert said.endswith(b"421 4.7.0 Too many commands without a message\r\n")
