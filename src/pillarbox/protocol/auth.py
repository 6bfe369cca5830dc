"""AUTH: one SASL exchange in SMTP's frame (RFC 4954): base64 lines, `*`, and what each step says.

The mechanisms themselves are sasl.py's; who may log in is the handler's to say.
"""

from __future__ import annotations

import binascii
from typing import Final

from pillarbox.protocol.note import LoginDecided
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import (
    Challenge,
    Credentials,
    External,
    Failure,
    Mechanism,
    Outcome,
    Question,
    SaslError,
    Success,
)

__all__ = ["MAX_RESPONSE_OCTETS", "AuthExchange"]

# RFC 4954 §4.
MAX_RESPONSE_OCTETS: Final = 12_288

CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
NOT_BASE64 = Reply(501, "5.5.2", "Not base64")
BAD_RESPONSE = Reply(501, "5.5.2", "Not a response of this mechanism")


class AuthExchange:
    """One AUTH command and the lines that belong to it.

    Args:
        name: The mechanism's name.
        mechanism: What speaks to the client, fresh for this exchange.
    """

    __slots__ = ("_mechanism", "_username", "name", "question")

    def __init__(self, name: str, mechanism: Mechanism) -> None:
        self.name = name
        self.question: Question | None = None
        """What is to be asked next, before the client is heard again."""
        self._mechanism = mechanism
        self._username = ""

    def claims(self, credentials: Credentials) -> None:
        """Take note of who the client says it is."""
        if isinstance(credentials, External):
            self._username = credentials.authorization_id
        else:
            self._username = credentials.username

    def decided(self, identity: str | None, reply: Reply) -> LoginDecided:
        """Tell the end of it, for the log."""
        return LoginDecided(self.name, self._username, identity, reply)

    def start(self, initial: bytes | None) -> Reply | Question | Success | Failure:
        """Begin; the initial response is as it stood in the command, `=` for an empty one."""
        try:
            decoded = None if initial is None else b"" if initial == b"=" else _decode(initial)
            return _framed(self._mechanism.start(decoded))
        except binascii.Error:
            return NOT_BASE64
        except SaslError as error:
            return BAD_RESPONSE.saying(str(error))

    def respond(self, line: bytes) -> Reply | Question | Success | Failure:
        """Take a line that the client sent behind a challenge."""
        if line == b"*":
            return CANCELLED
        try:
            return _framed(self._mechanism.respond(_decode(line)))
        except binascii.Error:
            return NOT_BASE64
        except SaslError as error:
            return BAD_RESPONSE.saying(str(error))

    def answer(self, answer: object) -> Reply | Question | Success | Failure:
        """Take what the holder of the secrets says."""
        try:
            return _framed(self._mechanism.answer(answer))
        except SaslError as error:
            return BAD_RESPONSE.saying(str(error))


def _decode(line: bytes) -> bytes:
    decoded = binascii.a2b_base64(line, strict_mode=True)
    # Python lets a surplus `=` pass, and bits that stand for nothing.
    if binascii.b2a_base64(decoded, newline=False) != line:
        raise binascii.Error("not what an encoder makes")
    return decoded


def _framed(outcome: Outcome) -> Reply | Question | Success | Failure:
    if isinstance(outcome, Challenge):
        # The one reply whose text is for machines; 334 has no enhanced code (RFC 4954 §4).
        return Reply(334, None, binascii.b2a_base64(outcome.data, newline=False).decode())
    return outcome
