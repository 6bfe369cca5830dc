"""Commands: one line in, one value out, each with a parser (RFC 5321 §4.1.1).

This is the careful side: whatever the fast path of server.py does not know on sight comes here, and
errors are decided here alone. When a command is legal: state.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from pillarbox.protocol.address import (
    MAX_LOCAL_PART_OCTETS,
    AddressError,
    Path,
    parse_client_name,
    parse_path,
)
from pillarbox.protocol.dsn import (
    MailDsn,
    Notify,
    RcptDsn,
    Return,
    decode_xtext,
    parse_envid,
    parse_notify,
    parse_orcpt,
    parse_ret,
)
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import NO_MAIL_DSN, NO_RCPT_DSN, BodyType, Mail, Rcpt
from pillarbox.protocol.reply import Reply

__all__ = [
    "Authenticate",
    "Bdat",
    "Command",
    "Data",
    "Expn",
    "Hello",
    "Help",
    "Noop",
    "Quit",
    "Rset",
    "StartTls",
    "Vrfy",
    "XClientCommand",
    "check_smtputf8",
    "parse_auth",
    "parse_bdat",
    "parse_data",
    "parse_ehlo",
    "parse_expn",
    "parse_helo",
    "parse_help",
    "parse_mail",
    "parse_noop",
    "parse_quit",
    "parse_rcpt",
    "parse_rset",
    "parse_starttls",
    "parse_vrfy",
    "parse_xclient_command",
    "split_verb",
]

_T = TypeVar("_T")

SYNTAX_ERROR = Reply(501, "5.5.4", "Syntax error in parameters")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not known")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "An address beyond ASCII needs SMTPUTF8 on MAIL")


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO or HELO."""

    domain: str
    is_extended: bool


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """AUTH: a mechanism, and perhaps its initial response, as it stood there."""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class XClientCommand:
    """XCLIENT: what it says is read by xclient.py, once it is known that the client may."""

    argument: bytes


@dataclass(frozen=True, slots=True)
class Data:
    """DATA."""


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT: this many octets follow, and perhaps they are the last (RFC 3030 §2)."""

    octets: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET."""


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Vrfy:
    """VRFY, of a name or an address."""


@dataclass(frozen=True, slots=True)
class Expn:
    """EXPN, of a list."""


@dataclass(frozen=True, slots=True)
class Help:
    """HELP."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT."""


Command: TypeAlias = (
    Hello
    | StartTls
    | Authenticate
    | XClientCommand
    | Mail
    | Rcpt
    | Data
    | Bdat
    | Rset
    | Noop
    | Vrfy
    | Expn
    | Help
    | Quit
)

# ASCII digits only, here and everywhere: \d and int() take full-width ones.
_SIZE = re.compile(r"[0-9]{1,20}")
_BDAT = re.compile(rb"([0-9]{1,20}+)(?: ++(LAST))?+ *+", re.IGNORECASE)
_AUTH = re.compile(rb"([A-Za-z0-9_-]{1,20})(?: ++([!-~]++))?+")
# RFC 5321 §4.1.2, esmtp-param; octets beyond ASCII by RFC 6531 §3.3.
_PARAMETER = re.compile(rb" ++([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]++))?+")


def split_verb(line: bytes) -> tuple[bytes, bytes]:
    """Split a line into its verb, in capitals, and what follows, without white space around it."""
    verb, _, argument = line.partition(b" ")
    return verb.upper(), argument.strip(b" \t")


def _syntax(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, reply=SYNTAX_ERROR.saying(text))


def parse_ehlo(argument: bytes) -> Hello:
    """Read EHLO's argument: the client's domain or address literal (§4.1.1.1)."""
    return Hello(_hello_domain(argument, "EHLO"), is_extended=True)


def parse_helo(argument: bytes) -> Hello:
    """Read HELO's argument: the client's domain."""
    return Hello(_hello_domain(argument, "HELO"), is_extended=False)


def _hello_domain(argument: bytes, verb: str) -> str:
    try:
        return parse_client_name(argument)
    except AddressError:
        raise _syntax(f"Syntax: {verb} your.domain or {verb} [192.0.2.1]") from None


def parse_mail(argument: bytes, max_local_part_octets: int = MAX_LOCAL_PART_OCTETS) -> Mail:
    """Read MAIL's argument: the reverse-path and parameters (§4.1.1.2)."""
    rest = _after_keyword(argument, b"FROM:", "MAIL FROM:<address>")
    try:
        path, end = parse_path(rest, max_local_part_octets=max_local_part_octets)
    except AddressError as error:
        raise RemoteProtocolError(str(error), reply=BAD_SENDER.saying(str(error))) from None
    raw = _parameters(rest, end)
    size: int | None = None
    body: BodyType | None = None
    smtputf8 = requires_tls = False
    ret: Return | None = None
    envid: str | None = None
    auth: str | None = None
    for keyword, value in raw.items():
        match keyword:
            case "SIZE":
                if value is None or not _SIZE.fullmatch(value):
                    raise _syntax("SIZE takes a number of octets")
                size = int(value)
            case "BODY":
                body = _body_type(value)
            case "SMTPUTF8":
                if value is not None:
                    raise _syntax("SMTPUTF8 takes no value")
                smtputf8 = True
            case "RET":
                ret = _value(parse_ret, value)
            case "ENVID":
                envid = _value(parse_envid, value)
            case "REQUIRETLS":
                if value is not None:
                    raise _syntax("REQUIRETLS takes no value")
                requires_tls = True
            case "AUTH":
                auth = _value(_parse_auth_parameter, value)
            case _:
                raise RemoteProtocolError(keyword, reply=UNKNOWN_PARAMETER)
    check_smtputf8(path, smtputf8=smtputf8)
    dsn = MailDsn(ret, envid) if ret or envid else NO_MAIL_DSN
    return Mail(path, size, body, smtputf8, dsn, requires_tls, auth, raw)


def _value(parse: Callable[[str | None], _T], value: str | None) -> _T:
    try:
        return parse(value)
    except ValueError as error:
        raise _syntax(str(error)) from None


def _parse_auth_parameter(value: str | None) -> str:
    """Read AUTH=, an address as xtext or `<>` (RFC 4954 §5)."""
    text = decode_xtext(value or "")
    if text == "<>":
        return ""
    path, end = parse_path(b"<%b>" % text.encode())
    if path.is_null or end != len(text) + 2:
        raise AddressError("AUTH is an address or <>")
    return path.mailbox


def _body_type(value: str | None) -> BodyType:
    match value.upper() if value else value:
        case "7BIT":
            return "7BIT"
        case "8BITMIME":
            return "8BITMIME"
        case "BINARYMIME":
            return "BINARYMIME"
        case _:
            raise _syntax("BODY is 7BIT, 8BITMIME or BINARYMIME")


def parse_rcpt(argument: bytes, max_local_part_octets: int = MAX_LOCAL_PART_OCTETS) -> Rcpt:
    """Read RCPT's argument: the forward-path and parameters (§4.1.1.3)."""
    rest = _after_keyword(argument, b"TO:", "RCPT TO:<address>")
    try:
        path, end = parse_path(rest, max_local_part_octets=max_local_part_octets)
    except AddressError as error:
        raise RemoteProtocolError(str(error), reply=BAD_RECIPIENT.saying(str(error))) from None
    if path.is_null:
        raise RemoteProtocolError("<>", reply=BAD_RECIPIENT.saying("Nobody is no recipient"))
    raw = _parameters(rest, end)
    notify: Notify | None = None
    orcpt_type = orcpt = None
    for keyword, value in raw.items():
        match keyword:
            case "NOTIFY":
                notify = _value(parse_notify, value)
            case "ORCPT":
                orcpt_type, orcpt = _value(parse_orcpt, value)
            case _:
                raise RemoteProtocolError(keyword, reply=UNKNOWN_PARAMETER)
    dsn = RcptDsn(notify, orcpt_type, orcpt) if raw else NO_RCPT_DSN
    return Rcpt(path, dsn, raw)


def check_smtputf8(path: Path, *, smtputf8: bool) -> None:
    """Refuse an address beyond ASCII in a transaction that did not ask for it (RFC 6531 §3.5)."""
    if not smtputf8 and not path.octets.isascii():
        raise RemoteProtocolError(str(path), reply=NEEDS_SMTPUTF8)


def _after_keyword(argument: bytes, keyword: bytes, syntax: str) -> bytes:
    if argument[: len(keyword)].upper() != keyword:
        raise _syntax(f"Syntax: {syntax}")
    # "MAIL FROM: <a@b>" is wrong and so common that everybody takes it.
    return argument[len(keyword) :].lstrip(b" ")


def _parameters(octets: bytes, start: int) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    while start < len(octets):
        found = _PARAMETER.match(octets, start)
        if found is None:
            raise _syntax("Syntax: KEYWORD=value behind the address, one space before each")
        keyword = found[1].decode().upper()
        if keyword in parameters:
            raise _syntax(f"{keyword} given twice")
        try:
            parameters[keyword] = found[2].decode() if found[2] is not None else None
        except UnicodeDecodeError:
            raise _syntax("Not valid UTF-8") from None
        start = found.end()
    return parameters


def parse_starttls(argument: bytes) -> StartTls:
    """Read STARTTLS, which takes no argument (RFC 3207 §4)."""
    _no_argument(argument, "STARTTLS")
    return StartTls()


def parse_auth(argument: bytes) -> Authenticate:
    """Read AUTH's argument: a mechanism and an initial response (RFC 4954 §4)."""
    found = _AUTH.fullmatch(argument)
    if found is None:
        raise _syntax("Syntax: AUTH mechanism [initial-response]")
    return Authenticate(found[1].decode().upper(), found[2])


def parse_xclient_command(argument: bytes) -> XClientCommand:
    """Take XCLIENT's argument as it is."""
    return XClientCommand(argument)


def parse_data(argument: bytes) -> Data:
    """Read DATA, which takes no argument (§4.1.1.4)."""
    _no_argument(argument, "DATA")
    return Data()


def parse_bdat(argument: bytes) -> Bdat:
    """Read BDAT's argument: a number of octets, and LAST (RFC 3030 §2)."""
    found = _BDAT.fullmatch(argument)
    if found is None:
        raise _syntax("Syntax: BDAT octets [LAST]")
    return Bdat(int(found[1]), found[2] is not None)


def parse_rset(argument: bytes) -> Rset:
    """Read RSET, which takes no argument (§4.1.1.5)."""
    _no_argument(argument, "RSET")
    return Rset()


def parse_quit(argument: bytes) -> Quit:
    """Read QUIT, which takes no argument (§4.1.1.10)."""
    _no_argument(argument, "QUIT")
    return Quit()


def _no_argument(argument: bytes, verb: str) -> None:
    if argument:
        raise _syntax(f"{verb} takes no argument")


def parse_noop(_argument: bytes) -> Noop:
    """Read NOOP; its argument means nothing (§4.1.1.9)."""
    return Noop()


def parse_help(_argument: bytes) -> Help:
    """Read HELP; there is one text for all (§4.1.1.8)."""
    return Help()


def parse_vrfy(argument: bytes) -> Vrfy:
    """Read VRFY's argument: a name or an address (§4.1.1.6)."""
    if not argument:
        raise _syntax("Syntax: VRFY address")
    return Vrfy()


def parse_expn(argument: bytes) -> Expn:
    """Read EXPN's argument: a list (§4.1.1.7)."""
    if not argument:
        raise _syntax("Syntax: EXPN list")
    return Expn()
