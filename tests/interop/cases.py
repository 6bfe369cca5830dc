"""What every client is told to send: plain, UTF-8, dots, sizes, TLS, logins."""

from __future__ import annotations

from dataclasses import dataclass

from tests.interop.sending import Mail, Security

__all__ = ["CASES", "Case"]

PLAIN = Mail(b"At noon?\r\n")
UTF_8 = Mail("Grüße aus Köln, 東京 und 🏝\r\n".encode() * 20)
DOTS = Mail(b".\r\n..\r\n.x\r\n...\r\nx.\r\n \r\n.\r\n..\r\n .\r\n.\r\n")
BLANK_LINES = Mail(b"\r\n\r\nx \r\n\r\n\r\n \t\r\n\r\n")
# A line has 1000 octets with its CRLF, not counting the dot that is stuffed (RFC 5321 §4.5.3.1.6).
LONG_LINES = Mail(b"".join(start + b"x" * 997 + b"\r\n" for start in (b"x", b".", b" ")))
_LINES = b"".join(f"{number} Grüße {'.x' * (number % 400)}\r\n".encode() for number in range(1000))
LARGE = Mail((_LINES + b".\r\n") * (5_000_000 // len(_LINES) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the matrix.

    Attributes:
        server: Which one takes it: the sink, which offers TLS and logs in only inside it, the
            catcher without TLS, or the sink that speaks LMTP.
        on_every_loop: Whether what it tries is not the same on asyncio and uvloop, as TLS is not.
    """

    name: str
    mails: tuple[Mail, ...] = (PLAIN,)
    rcpt_tos: tuple[str, ...] = ("ben@example.org",)
    sender: str = "ann"
    security: Security = "none"
    mechanism: str | None = None
    server: str = "sink"
    is_chunked: bool = False
    is_pipelined: bool = False
    on_every_loop: bool = False

    @property
    def is_smtputf8(self) -> bool:
        """Whether an address is not ASCII."""
        return not "".join((self.sender, *self.rcpt_tos)).isascii()


CASES = (
    Case(name="plain"),
    Case(name="utf-8", mails=(UTF_8,)),
    Case(
        name="smtputf8-address",
        mails=(Mail(UTF_8.body, subject="Grüße"),),
        sender="änn",
        rcpt_tos=("bén@example.org", "ben@example.org"),
    ),
    Case(name="dots", mails=(DOTS,)),
    Case(name="dot-without-line-end", mails=(Mail(b"x\r\n."),)),
    Case(name="blank-lines", mails=(BLANK_LINES,)),
    Case(name="long-lines", mails=(LONG_LINES,)),
    Case(
        name="100-recipients",
        rcpt_tos=tuple(f"r{number}@example.org" for number in range(100)),
    ),
    Case(name="5-MB", mails=(LARGE,)),
    Case(name="3-messages", mails=(PLAIN, DOTS, UTF_8)),
    Case(
        name="pipelining",
        mails=(DOTS,),
        rcpt_tos=tuple(f"r{number}@example.org" for number in range(10)),
        is_pipelined=True,
    ),
    # BDAT carries octets: a line end that is none, NUL, no line end at the end.
    Case(name="bdat", mails=(Mail(b".\r\n.\r\n\x00\n\r\xff"),), is_chunked=True),
    Case(name="starttls", mails=(UTF_8,), security="starttls", on_every_loop=True),
    Case(name="tls-5-MB", mails=(LARGE,), security="tls", on_every_loop=True),
    Case(name="login-plain", security="starttls", mechanism="PLAIN"),
    Case(name="login-login", security="tls", mechanism="LOGIN"),
    Case(name="login-scram-sha-256", security="starttls", mechanism="SCRAM-SHA-256"),
    Case(name="login-without-tls", mechanism="PLAIN", server="catch"),
    Case(name="lmtp", mails=(DOTS,), server="lmtp"),
    Case(
        name="lmtp-2-recipients",
        mails=(DOTS,),
        rcpt_tos=("ben@example.org", "carl@example.org"),
        server="lmtp",
    ),
)
