"""What to feed a server with: streams near the edges where bugs live, and addresses by the ABNF."""

from __future__ import annotations

import itertools
import string

from hypothesis import strategies as st

__all__ = [
    "command_lines",
    "commands",
    "cut",
    "domains",
    "mailboxes",
    "messages",
    "near_addresses",
    "pieces",
    "streams",
]

ASCII_LETTERS_DIGITS = string.ascii_letters + string.digits
ATEXT = ASCII_LETTERS_DIGITS + "!#$%&'*+-/=?^_`{|}~"


# Addresses, written down from the ABNF of RFC 5321 §4.1.2 and §4.1.3, apart from address.py.


def _joined(texts: st.SearchStrategy[str], separator: str, most: int) -> st.SearchStrategy[str]:
    return st.lists(texts, min_size=1, max_size=most).map(separator.join)


_dot_strings = _joined(st.text(ATEXT, min_size=1, max_size=5), ".", 3)
_qtext = st.sampled_from([chr(code) for code in (32, 33, *range(35, 92), *range(93, 127))])
_quoted_pairs = st.sampled_from([chr(code) for code in range(32, 127)]).map(
    lambda char: f"\\{char}"
)
_quoted_strings = st.lists(_qtext | _quoted_pairs, max_size=8).map(
    lambda octets: f'"{"".join(octets)}"'
)
local_parts = _dot_strings | _quoted_strings

_edges = st.text(ASCII_LETTERS_DIGITS, min_size=1, max_size=2)
_labels = st.builds(
    "{}{}{}".format, _edges, st.text(ASCII_LETTERS_DIGITS + "-", max_size=5), _edges
)
_names = _joined(_edges | _labels, ".", 4)
_ipv4 = st.ip_addresses(v=4).map(lambda address: f"[{address}]")
_ipv6 = st.ip_addresses(v=6).flatmap(
    lambda address: st.sampled_from([f"[IPv6:{address}]", f"[IPv6:{address.exploded}]"])
)
domains = _names | _ipv4 | _ipv6

mailboxes = st.builds("{}@{}".format, local_parts, domains).map(str.encode)
routes = _joined(domains.map("@{}".format), ",", 3).map(lambda route: f"{route}:".encode())

# What is nearly an address: pieces of some, put together wrongly.
near_addresses = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"%c" % octet for octet in b'<>@"\\:,.[]- \t\r\n\0\x7f\x85\xff'),
                *(b"IPv6:", b"::", b"example.org", b"postmaster", b"192.0.2.1", b"256"),
                *("é".encode(), "１".encode()),
            ]
        ),
        mailboxes,
        st.binary(max_size=3),
    ),
    max_size=10,
).map(b"".join)


# Messages, rich in what framing has to tell apart.

_octets = st.sampled_from(
    [b"\r", b"\n", b".", b"a", b"\0", b"\x85", b"\r\n", b"\r\n.", b"\r\n.\r\n"]
)
messages = st.one_of(
    st.lists(_octets, max_size=30).map(b"".join),
    st.lists(st.sampled_from([b"", b".", b"..", b"text", b".text", b"\x00\xff"]), max_size=8).map(
        lambda lines: b"".join(line + b"\r\n" for line in lines)
    ),
    st.binary(max_size=50),
)


# Commands and whole streams.


def _with(text: bytes) -> st.SearchStrategy[bytes]:
    """Fill in what stands for an address or a number."""
    if b"%b" not in text:
        return st.just(text)
    fill = (
        st.integers(0, 2000).map(lambda number: b"%d" % number)
        if text.startswith(b"BDAT") or text.endswith(b"=%b")
        else mailboxes | near_addresses | st.just(b"")
    )
    return fill.map(lambda octets: text % octets)


commands = st.one_of(
    *(
        st.sampled_from(group).flatmap(_with)
        for group in (
            [b"EHLO client.test", b"ehlo [192.0.2.1]", b"HELO client.test", b"EHLO", b"HELO %b"],
            [b"MAIL FROM:<ann@example.org>", b"MAIL FROM:<>", b"mail from:<%b>", b"MAIL FROM:%b"],
            [b"MAIL FROM:<a@b> SIZE=%b", b"MAIL FROM:<a@b> BODY=8BITMIME SIZE=%b"],
            [b"MAIL FROM:<a@b> BODY=BINARYMIME", b"MAIL FROM:<a@b> SMTPUTF8", b"MAIL FROM:<a@b> X"],
            [b"RCPT TO:<ben@example.org>", b"RCPT TO:<Postmaster>", b"rcpt to:<%b>", b"RCPT TO:%b"],
            [b"DATA", b"data", b"DATA now"],
            [b"AUTH PLAIN AGFubgBzZWNyZXQ=", b"auth Plain AGFubgB3cm9uZw==", b"AUTH PLAIN"],
            [b"AUTH LOGIN", b"AUTH LOGIN YW5u", b"AUTH GSSAPI", b"AUTH", b"AUTH PLAIN ="],
            # What stands behind a challenge, and nowhere else.
            [b"AGFubgBzZWNyZXQ=", b"YW5u", b"c2VjcmV0", b"*", b"!"],
            [
                b"XCLIENT ADDR=192.0.2.9 HELO=x",
                b"xclient login=ann",
                b"XCLIENT PORT=%b",
                b"XCLIENT",
            ],
            [b"RSET", b"NOOP", b"NOOP \xff", b"VRFY ann", b"EXPN staff", b"HELP", b"TURN"],
            [b"", b" NOOP", b"NO\rOP", b"NO\nOP", b"\0", b"x" * 600, b"x" * 510, b"x" * 511],
            [b"QUIT", b"quit", b"QUIT now"],
        )
    )
)
command_lines = commands.map(lambda command: command + b"\r\n")

_chunks = st.builds(
    lambda octets, last, off: (
        b"BDAT %d%b\r\n%b" % (max(len(octets) + off, 0), b" LAST" if last else b"", octets)
    ),
    messages,
    st.booleans(),
    st.sampled_from([0, 0, 0, 0, 1, -1, 100]),
)
_data = messages.map(lambda message: b"DATA\r\n%b\r\n.\r\n" % message)
_transactions = st.builds(
    lambda hello, mail, rcpt, message: hello + mail + rcpt + message,
    st.sampled_from([b"EHLO client.test\r\n", b"HELO client.test\r\n", b""]),
    st.sampled_from([b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<> BODY=BINARYMIME\r\n"]),
    st.sampled_from([b"RCPT TO:<c@d>\r\n", b"RCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n"]),
    _data | st.lists(_chunks, min_size=1, max_size=3).map(b"".join),
)
streams = st.lists(
    st.one_of(_transactions, command_lines, _data, _chunks, messages), max_size=8
).map(b"".join)


# Segments.


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream at these places."""
    edges = [0, *sorted(places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def pieces(stream: bytes) -> st.SearchStrategy[list[bytes]]:
    """Cut a stream anywhere."""
    return st.lists(st.integers(0, len(stream)), max_size=12).map(lambda at: cut(stream, at))
