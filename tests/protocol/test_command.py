"""Commands: what each line means, and the reply to a line that means nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pillarbox.protocol import command
from pillarbox.protocol.address import Path
from pillarbox.protocol.command import (
    Bdat,
    Command,
    Data,
    Expn,
    Hello,
    Help,
    Noop,
    Quit,
    Rset,
    Vrfy,
    check_smtputf8,
    split_verb,
)
from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import NO_PARAMETERS, BodyType, Mail, Rcpt
from pillarbox.protocol.reply import Reply

PARSERS: dict[bytes, Callable[[bytes], Command]] = {
    b"EHLO": command.parse_ehlo,
    b"HELO": command.parse_helo,
    b"MAIL": command.parse_mail,
    b"RCPT": command.parse_rcpt,
    b"DATA": command.parse_data,
    b"BDAT": command.parse_bdat,
    b"RSET": command.parse_rset,
    b"NOOP": command.parse_noop,
    b"VRFY": command.parse_vrfy,
    b"EXPN": command.parse_expn,
    b"HELP": command.parse_help,
    b"QUIT": command.parse_quit,
}


def parse(line: bytes) -> Command:
    verb, argument = split_verb(line)
    return PARSERS[verb](argument)


def mail(
    octets: bytes,
    *,
    size: int | None = None,
    body: BodyType | None = None,
    smtputf8: bool = False,
    **parameters: str | None,
) -> Mail:
    return Mail(Path(octets), size, body, smtputf8, parameters=parameters or NO_PARAMETERS)


LINES = {
    b"NOOP": (b"NOOP", b""),
    b"noop": (b"NOOP", b""),
    b"NoOp  x  y \t ": (b"NOOP", b"x  y"),
    b"": (b"", b""),
    b" NOOP": (b"", b"NOOP"),
    b"NOOP\tx": (b"NOOP\tX", b""),
    b"no\xc3\xa9p": (b"NO\xc3\xa9P", b""),
}


@pytest.mark.parametrize(("line", "parts"), LINES.items())
def test_split_verb(line: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_verb(line) == parts


VALUES = {
    b"EHLO client.test": Hello("client.test", is_extended=True),
    b"ehlo client.test": Hello("client.test", is_extended=True),
    b"EHLO [192.0.2.1]": Hello("[192.0.2.1]", is_extended=True),
    b"EHLO [IPv6:2001:db8::1]": Hello("[IPv6:2001:db8::1]", is_extended=True),
    b"EHLO my_laptop": Hello("my_laptop", is_extended=True),
    b"EHLO laptop-": Hello("laptop-", is_extended=True),
    b"EHLO [1.2.3]": Hello("[1.2.3]", is_extended=True),
    b"EHLO fe80::1%eth0": Hello("fe80::1%eth0", is_extended=True),
    "EHLO né.test".encode(): Hello("né.test", is_extended=True),
    b"EHLO " + b"d" * 254: Hello("d" * 254, is_extended=True),
    b"EHLO " + b"d" * 255: Hello("d" * 255, is_extended=True),
    b"EHLO  client.test ": Hello("client.test", is_extended=True),
    b"HELO client.test": Hello("client.test", is_extended=False),
    b"MAIL FROM:<>": mail(b""),
    b"MAIL FROM:<a@b>": mail(b"a@b"),
    b"mail from:<a@b>": mail(b"a@b"),
    b"MAIL FROM: <a@b>": mail(b"a@b"),
    b"MAIL FROM:<@x,@y:a@b>": mail(b"a@b"),
    b'MAIL FROM:<"a> SIZE=1"@b>': mail(b'"a> SIZE=1"@b'),
    b"MAIL FROM:<a@b> ": mail(b"a@b"),
    b"MAIL FROM:<a@b> SIZE=0": mail(b"a@b", size=0, SIZE="0"),
    b"MAIL FROM:<a@b>   size=007": mail(b"a@b", size=7, SIZE="007"),
    b"MAIL FROM:<a@b> SIZE=99999999999999999999": mail(
        b"a@b", size=99999999999999999999, SIZE="99999999999999999999"
    ),
    b"MAIL FROM:<a@b> BODY=7BIT": mail(b"a@b", body="7BIT", BODY="7BIT"),
    b"MAIL FROM:<a@b> BODY=8BITMIME": mail(b"a@b", body="8BITMIME", BODY="8BITMIME"),
    b"MAIL FROM:<a@b> BODY=BinaryMime": mail(b"a@b", body="BINARYMIME", BODY="BinaryMime"),
    b"MAIL FROM:<a@b> SMTPUTF8": mail(b"a@b", smtputf8=True, SMTPUTF8=None),
    "MAIL FROM:<né@b> SMTPUTF8 SIZE=3 body=8bitmime".encode(): mail(
        "né@b".encode(),
        size=3,
        body="8BITMIME",
        smtputf8=True,
        SMTPUTF8=None,
        SIZE="3",
        BODY="8bitmime",
    ),
    b"RCPT TO:<a@b>": Rcpt(Path(b"a@b")),
    b"rcpt to: <a@b> ": Rcpt(Path(b"a@b")),
    b"RCPT TO:<Postmaster>": Rcpt(Path(b"Postmaster")),
    "RCPT TO:<né@b>".encode(): Rcpt(Path("né@b".encode())),
    b"DATA": Data(),
    b"data  ": Data(),
    b"BDAT 0": Bdat(0, is_last=False),
    b"BDAT 86 LAST": Bdat(86, is_last=True),
    b"bdat 86  last ": Bdat(86, is_last=True),
    b"BDAT 99999999999999999999": Bdat(99999999999999999999, is_last=False),
    b"RSET": Rset(),
    b"NOOP": Noop(),
    b"NOOP \xff\0 whatever": Noop(),
    b"VRFY ann": Vrfy(),
    b"EXPN staff": Expn(),
    b"HELP": Help(),
    b"HELP MAIL": Help(),
    b"QUIT": Quit(),
}

SYNTAX_EHLO = "501 5.5.4 Syntax: EHLO your.domain or EHLO [192.0.2.1]"
SYNTAX_HELO = "501 5.5.4 Syntax: HELO your.domain or HELO [192.0.2.1]"
SYNTAX_MAIL = "501 5.5.4 Syntax: MAIL FROM:<address>"
SYNTAX_RCPT = "501 5.5.4 Syntax: RCPT TO:<address>"
SYNTAX_PARAMETER = "501 5.5.4 Syntax: KEYWORD=value behind the address, one space before each"
SYNTAX_BODY = "501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME"
SYNTAX_SIZE = "501 5.5.4 SIZE takes a number of octets"
SYNTAX_BDAT = "501 5.5.4 Syntax: BDAT octets [LAST]"
UNKNOWN = "555 5.5.4 Parameter not known"
NEEDS_SMTPUTF8 = "553 5.6.7 An address beyond ASCII needs SMTPUTF8 on MAIL"

REFUSALS = {
    b"EHLO": SYNTAX_EHLO,
    b"EHLO one two": SYNTAX_EHLO,
    b"EHLO client.test\x1b[31m": SYNTAX_EHLO,
    b"EHLO a\0b": SYNTAX_EHLO,
    b"EHLO <script>": SYNTAX_EHLO,
    b'EHLO "a"': SYNTAX_EHLO,
    b"EHLO \xff": SYNTAX_EHLO,
    "EHLO a\x9bb".encode(): SYNTAX_EHLO,
    "EHLO a\u2028b".encode(): SYNTAX_EHLO,
    "EHLO a\u202eb".encode(): SYNTAX_EHLO,
    b"EHLO " + b"d" * 256: SYNTAX_EHLO,
    b"HELO": SYNTAX_HELO,
    b"HELO one two": SYNTAX_HELO,
    b"MAIL": SYNTAX_MAIL,
    b"MAIL <a@b>": SYNTAX_MAIL,
    b"MAIL FROM": SYNTAX_MAIL,
    b"MAIL FROM <a@b>": SYNTAX_MAIL,
    b"MAIL FROM :<a@b>": SYNTAX_MAIL,
    b"MAIL TO:<a@b>": SYNTAX_MAIL,
    b"MAIL FROM:": "501 5.1.7 An address stands in angle brackets: <user@example.org>",
    b"MAIL FROM:a@b": "501 5.1.7 An address stands in angle brackets: <user@example.org>",
    b"MAIL FROM:<a@b": "501 5.1.7 Not an address",
    b"MAIL FROM:<a>": "501 5.1.7 An address needs a domain: <user@example.org>",
    b"MAIL FROM:<a\0@b>": "501 5.1.7 Not an address",
    b"MAIL FROM:<\xff@b> SMTPUTF8": "501 5.1.7 Not valid UTF-8",
    b"MAIL FROM:<" + b"a" * 65 + b"@b>": "501 5.1.7 Local part over 64 octets",
    b"MAIL FROM:<a@b>SIZE=1": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b>>": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> =1": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SIZE=": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SIZE =1": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SIZE=1=2": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> -SIZE=1": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SI_ZE=1": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SIZE=1\0": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SIZE=1\x1b": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b>\tSIZE=1": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> (comment)": SYNTAX_PARAMETER,
    b"MAIL FROM:<a@b> SIZE": SYNTAX_SIZE,
    b"MAIL FROM:<a@b> SIZE=x": SYNTAX_SIZE,
    b"MAIL FROM:<a@b> SIZE=-1": SYNTAX_SIZE,
    b"MAIL FROM:<a@b> SIZE=1_0": SYNTAX_SIZE,
    b"MAIL FROM:<a@b> SIZE=" + b"9" * 21: SYNTAX_SIZE,
    "MAIL FROM:<a@b> SIZE=１".encode(): SYNTAX_SIZE,
    b"MAIL FROM:<a@b> BODY": SYNTAX_BODY,
    b"MAIL FROM:<a@b> BODY=8BIT": SYNTAX_BODY,
    b"MAIL FROM:<a@b> SMTPUTF8=yes": "501 5.5.4 SMTPUTF8 takes no value",
    b"MAIL FROM:<a@b> SIZE=1 size=1": "501 5.5.4 SIZE given twice",
    b"MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8": "501 5.5.4 SMTPUTF8 given twice",
    b"MAIL FROM:<a@b> X=1 X=2": "501 5.5.4 X given twice",
    b"MAIL FROM:<a@b> X=\xff": "501 5.5.4 Not valid UTF-8",
    b"MAIL FROM:<a@b> X=1": UNKNOWN,
    b"MAIL FROM:<a@b> X": UNKNOWN,
    b"MAIL FROM:<a@b> AUTHOR=<>": UNKNOWN,
    "MAIL FROM:<né@b>".encode(): NEEDS_SMTPUTF8,
    "MAIL FROM:<a@né> BODY=8BITMIME".encode(): NEEDS_SMTPUTF8,
    b"RCPT": SYNTAX_RCPT,
    b"RCPT FROM:<a@b>": SYNTAX_RCPT,
    b"RCPT TO:a@b": "501 5.1.3 An address stands in angle brackets: <user@example.org>",
    b"RCPT TO:<>": "501 5.1.3 Nobody is no recipient",
    b"RCPT TO:<@a:>": "501 5.1.3 A source route without a mailbox",
    b"RCPT TO:<a@b\x7f>": "501 5.1.3 Not an address",
    b"RCPT TO:<a@b> X=1": UNKNOWN,
    b"RCPT TO:<a@b> SIZE=1": UNKNOWN,
    b"RCPT TO:<a@b> X=1 X=1": "501 5.5.4 X given twice",
    b"RCPT TO:<a@b>x": SYNTAX_PARAMETER,
    b"DATA now": "501 5.5.4 DATA takes no argument",
    b"BDAT": SYNTAX_BDAT,
    b"BDAT LAST": SYNTAX_BDAT,
    b"BDAT -1": SYNTAX_BDAT,
    b"BDAT +1": SYNTAX_BDAT,
    b"BDAT 0x10": SYNTAX_BDAT,
    b"BDAT 1_0": SYNTAX_BDAT,
    b"BDAT 1LAST": SYNTAX_BDAT,
    b"BDAT 1 FIRST": SYNTAX_BDAT,
    b"BDAT 1 LAST LAST": SYNTAX_BDAT,
    "BDAT １".encode(): SYNTAX_BDAT,
    b"RSET now": "501 5.5.4 RSET takes no argument",
    b"VRFY": "501 5.5.4 Syntax: VRFY address",
    b"EXPN": "501 5.5.4 Syntax: EXPN list",
    b"QUIT now": "501 5.5.4 QUIT takes no argument",
}


def readable(line: bytes) -> str:
    return ascii(line.decode("latin-1"))[1:-1][:60]


@pytest.mark.parametrize(("line", "value"), VALUES.items(), ids=map(readable, VALUES))
def test_value(line: bytes, value: Command) -> None:
    assert parse(line) == value


@pytest.mark.parametrize(("line", "reply"), REFUSALS.items(), ids=map(readable, REFUSALS))
def test_refusal(line: bytes, reply: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(line)
    assert str(caught.value.reply) == reply


def test_a_number_of_any_length_is_no_python_error() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(b"BDAT " + b"9" * 5000)
    assert caught.value.reply.code == 501


def test_smtputf8_is_asked_for_once_for_all_recipients() -> None:
    path = Path("né@b".encode())
    check_smtputf8(path, smtputf8=True)
    check_smtputf8(Path(b"a@b"), smtputf8=False)
    with pytest.raises(RemoteProtocolError) as caught:
        check_smtputf8(path, smtputf8=False)
    assert str(caught.value.reply) == NEEDS_SMTPUTF8


@pytest.mark.parametrize("line", REFUSALS, ids=map(readable, REFUSALS))
def test_no_refusal_has_what_the_client_said(line: bytes) -> None:
    said: Reply
    with pytest.raises(RemoteProtocolError) as caught:
        parse(line)
    said = caught.value.reply
    assert said.text.isascii()
    assert said.text.isprintable()


def test_starttls_and_auth() -> None:
    assert command.parse_starttls(b"") == command.StartTls()
    assert command.parse_xclient_command(b"a b") == command.XClientCommand(b"a b")
    assert command.parse_auth(b"plain") == command.Authenticate("PLAIN", None)
    assert command.parse_auth(b"PLAIN  AGE=") == command.Authenticate("PLAIN", b"AGE=")
    for argument in (b"", b"PLAIN a b", b"PL\xc4IN", b"x" * 21, b"PLAIN\tx"):
        with pytest.raises(RemoteProtocolError, match="AUTH mechanism"):
            command.parse_auth(argument)


PARAMETERS = {
    b"MAIL FROM:<a@b> RET=HDRS ENVID=x REQUIRETLS AUTH=c@d": Mail(
        Path(b"a@b"),
        dsn=MailDsn(Return.HDRS, "x"),
        requires_tls=True,
        auth="c@d",
        parameters={"RET": "HDRS", "ENVID": "x", "REQUIRETLS": None, "AUTH": "c@d"},
    ),
    b"MAIL FROM:<a@b> AUTH=<>": Mail(Path(b"a@b"), auth="", parameters={"AUTH": "<>"}),
    b"RCPT TO:<a@b> NOTIFY=DELAY ORCPT=rfc822;c@d": Rcpt(
        Path(b"a@b"),
        RcptDsn(Notify.DELAY, "rfc822", "c@d"),
        {"NOTIFY": "DELAY", "ORCPT": "rfc822;c@d"},
    ),
}


@pytest.mark.parametrize(("line", "value"), PARAMETERS.items())
def test_parameters(line: bytes, value: Mail | Rcpt) -> None:
    assert parse(line) == value


@pytest.mark.parametrize("parameter", [b"RET=X", b"REQUIRETLS=1", b"AUTH=x", b"AUTH=a@b+3Ex"])
def test_parameters_that_are_none(parameter: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(b"MAIL FROM:<a@b> " + parameter)
    assert caught.value.reply.code == 501
