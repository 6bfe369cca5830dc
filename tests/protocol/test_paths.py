"""Paths and parameters in dialogue (RFC 5321 §4.1.2, §4.1.1.11; RFC 1870, 6152, 6531, 3030).

What each address and each parameter means on its own: test_address.py, test_command.py.
"""

from __future__ import annotations

import pytest

from pillarbox.protocol.extension import Offer
from tests.conftest import Talk

SENDERS = {
    "MAIL FROM:<>": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org>": "250 2.1.0 Sender OK",
    "MAIL FROM: <ann@example.org>": "250 2.1.0 Sender OK",
    "mail from:<Ann@Example.ORG>": "250 2.1.0 Sender OK",
    'MAIL FROM:<"ann @ > : ,"@example.org>': "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@[192.0.2.1]>": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@[IPv6:2001:db8::1]>": "250 2.1.0 Sender OK",
    "MAIL FROM:<@one.example:ann@example.org>": "250 2.1.0 Sender OK",
    f"MAIL FROM:<{'a' * 64}@example.org>": "250 2.1.0 Sender OK",
    f"MAIL FROM:<{'a' * 65}@example.org>": "501 5.1.7 Local part over 64 octets",
    f"MAIL FROM:<a@{'d' * 252}>": "250 2.1.0 Sender OK",
    f"MAIL FROM:<a@{'d' * 253}>": "501 5.1.7 Mailbox over 254 octets",
    f"MAIL FROM:<a@{'d' * 255}>": "501 5.1.7 Mailbox over 254 octets",
    f"MAIL FROM:<a@{'d' * 256}>": "501 5.1.7 Domain over 255 octets",
    f"MAIL FROM:<{'a' * 60}@{'d' * 2}>": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org> SIZE=1000": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org> size=0 body=7bit": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org> BODY=8BITMIME SIZE=5": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org> BODY=BINARYMIME": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org> SMTPUTF8": "250 2.1.0 Sender OK",
    "MAIL FROM:<né@example.org> SMTPUTF8 BODY=8BITMIME": "250 2.1.0 Sender OK",
    "MAIL FROM:<ann@example.org> X-UNKNOWN": "555 5.5.4 Parameter not known",
    "MAIL FROM:<ann@example.org> X-UNKNOWN=<script>": "555 5.5.4 Parameter not known",
    "MAIL FROM:<ann@example.org> SIZE=1 SIZE=1": "501 5.5.4 SIZE given twice",
    "MAIL FROM:<ann@example.org> SIZE=１": "501 5.5.4 SIZE takes a number of octets",
    "MAIL FROM:<ann@example.org> SIZE=": "501 5.5.4 Syntax: KEYWORD=value ...",
    "MAIL FROM:<ann@example.org> BODY=9BIT": "501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME",
    "MAIL FROM:<ann@example.org> SMTPUTF8=1": "501 5.5.4 SMTPUTF8 takes no value",
    "MAIL FROM:<né@example.org>": "553 5.6.7 An address beyond ASCII needs SMTPUTF8 on MAIL",
    "MAIL FROM:ann@example.org": "501 5.1.7 An address stands in angle brackets: ...",
    "MAIL FROM:<ann>": "501 5.1.7 An address needs a domain: ...",
    "MAIL FROM:<ann@>": "501 5.1.7 Not an address",
    "MAIL <ann@example.org>": "501 5.5.4 Syntax: MAIL FROM:<address>",
    "MAIL": "501 5.5.4 Syntax: MAIL FROM:<address>",
}


@pytest.mark.parametrize(("command", "reply"), SENDERS.items(), ids=lambda text: text[:70])
def test_sender(talk: Talk, command: str, reply: str) -> None:
    reply = reply.replace(": ...", ": <user@example.org>")
    talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: {command}
        S: {reply}
    """)


RECIPIENTS = {
    "RCPT TO:<Postmaster>": ["Postmaster"],
    "rcpt to: <POSTMASTER>": ["POSTMASTER"],
    "RCPT TO:<Ben@Example.ORG>": ["Ben@Example.ORG"],
    r'RCPT TO:<"b\"en"@example.org>': [r'"b\"en"@example.org'],
    "RCPT TO:<@one.example,@two.example:ben@example.org>": ["ben@example.org"],
    f"RCPT TO:<{'a' * 64}@example.org>": ["a" * 64 + "@example.org"],
    f"RCPT TO:<{'a' * 61}@ab>": ["a" * 61 + "@ab"],
    f"RCPT TO:<{'a' * 62}@ab>": ["a" * 62 + "@ab"],
    "RCPT TO:<>": "501 5.1.3 Nobody is no recipient",
    "RCPT TO:<ben>": "501 5.1.3 An address needs a domain: <user@example.org>",
    "RCPT TO:<ben@example.org> NOTES=NEVER": "555 5.5.4 Parameter not known",
    "RCPT TO:<ben@example.org> A=1 A=2": "501 5.5.4 A given twice",
    "RCPT TO:<né@example.org>": "553 5.6.7 An address beyond ASCII needs SMTPUTF8 on MAIL",
    f"RCPT TO:<{'a' * 65}@example.org>": "501 5.1.3 Local part over 64 octets",
    "RCPT": "501 5.5.4 Syntax: RCPT TO:<address>",
}


@pytest.mark.parametrize(("command", "outcome"), RECIPIENTS.items(), ids=lambda text: text[:70])
def test_recipient(talk: Talk, command: str, outcome: str | list[str]) -> None:
    is_taken = isinstance(outcome, list)
    messages = talk(f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender OK
        C: {command}
        S: {"250 2.1.5 Recipient OK" if is_taken else outcome}
        C: DATA
        S: {"354" if is_taken else "503 5.5.1"} ...
        {"C: ." if is_taken else ""}
        {"S: 250 2.0.0 ..." if is_taken else ""}
    """)
    assert [message.rcpt_tos for message in messages] == ([outcome] if is_taken else [])


def test_parameters_as_they_came(talk: Talk) -> None:
    (message,) = talk("""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<né@example.org> size=007 Body=8bitMime smtputf8
        S: 250 2.1.0 ...
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: DATA
        S: 354 ...
        C: .
        S: 250 2.0.0 ...
    """)
    mail = message.envelope.mail
    assert (mail.size, mail.body, mail.smtputf8) == (7, "8BITMIME", True)
    assert mail.parameters == {"SIZE": "007", "BODY": "8bitMime", "SMTPUTF8": None}
    assert message.envelope.rcpts[0].parameters == {}


@pytest.mark.parametrize("parameter", ["SIZE=1", "BODY=8BITMIME", "SMTPUTF8"])
def test_parameters_need_ehlo(talk: Talk, parameter: str) -> None:
    talk(f"""
        S: 220 mx.test ESMTP
        C: HELO client.test
        S: 250 mx.test
        C: MAIL FROM:<ann@example.org> {parameter}
        S: 555 5.5.4 Parameters need EHLO
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
    """)


def test_not_utf8(talk: Talk) -> None:
    talk(r"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C! "MAIL FROM:<n\xe9@example.org> SMTPUTF8\r\n"
        S: 501 5.1.7 Not valid UTF-8
        C: MAIL FROM:<> SMTPUTF8
        S: 250 2.1.0 ...
        C! "RCPT TO:<n\xe9@example.org>\r\n"
        S: 501 5.1.3 Not valid UTF-8
        C! "RCPT TO:<n\xc3\xa9@example.org>\r\n"
        S: 250 2.1.5 ...
    """)


ANNOUNCED = {99: "250 2.1.0 ...", 100: "250 2.1.0 ...", 101: "552 5.3.4 Message too large"}


@pytest.mark.parametrize(("size", "reply"), ANNOUNCED.items())
@pytest.mark.parametrize("keyword", ["SIZE", "Size"])
def test_announced_size(talk: Talk, keyword: str, size: int, reply: str) -> None:
    talk(
        f"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org> {keyword}={size}
        S: {reply}
        """,
        offer=Offer(hostname="mx.test", max_message_bytes=100),
    )


def test_any_announced_size_where_there_is_no_limit(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org> SIZE=99999999999999999999
        S: 250 2.1.0 ...
        """,
        offer=Offer(hostname="mx.test", max_message_bytes=0),
    )
