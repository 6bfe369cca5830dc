"""AUTH from the client: one SASL exchange in SMTP's frame (RFC 4954): base64 lines, and `*`.

The mirror of auth.py. Each line comes with what the dialogue may show of it: a secret never.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final

from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import SaslError
from pillarbox.protocol.sasl_client import ClientMechanism

__all__ = ["AuthLine", "ClientAuthExchange"]

CREDENTIALS: Final = b"(credentials)"

# RFC 4954 §4: where the initial response makes the command longer than RFC 5321 allows a command
# to be, CRLF counted, it has to wait for a challenge.
MAX_COMMAND_OCTETS: Final = 512
# RFC 4954 §4.
MAX_CHALLENGE_OCTETS: Final = 12_288

REFUSED_BY_US = Reply(535, "5.7.8", "The login was given up")


@dataclass(frozen=True, slots=True)
class AuthLine:
    """A line for the server.

    Attributes:
        octets: What goes out, without its CRLF.
        shown: What people may see of it.
    """

    octets: bytes
    shown: bytes


class ClientAuthExchange:
    """One AUTH command and the lines that belong to it.

    Args:
        name: The mechanism's name.
        mechanism: What speaks to the server, fresh for this exchange.
    """

    __slots__ = ("_initial", "_mechanism", "given_up", "name")

    def __init__(self, name: str, mechanism: ClientMechanism) -> None:
        self.name = name
        self.given_up: Reply | None = None
        """Why we said `*`, if we did; the server's answer to that is of no interest."""
        self._mechanism = mechanism
        self._initial: bytes | None = None  # an initial response that waits for its challenge

    def start(self) -> AuthLine:
        """Give the AUTH command."""
        command = b"AUTH " + self.name.encode()
        initial = self._mechanism.start()
        if initial is None:
            return AuthLine(command, command)
        encoded = _encode(initial) or b"="
        if len(command) + len(b" ") + len(encoded) + len(b"\r\n") > MAX_COMMAND_OCTETS:
            self._initial = initial
            return AuthLine(command, command)
        return AuthLine(command + b" " + encoded, command + b" ****")

    def respond(self, challenge: str) -> AuthLine:
        """Answer the text of a 334; `*` where that makes no sense."""
        try:
            octets = _decode(challenge)
            if self._initial is not None:
                response, self._initial = self._initial, None
            else:
                response = self._mechanism.respond(octets)
        except (binascii.Error, UnicodeEncodeError):
            return self._give_up("the server's challenge is not base64")
        except SaslError as error:
            return self._give_up(str(error))
        return AuthLine(_encode(response), CREDENTIALS)

    def check_success(self) -> None:
        """See whether the server may say that we are logged in.

        Raises:
            SaslError: It has not proved by now what the mechanism wants it to prove.
        """
        if self._initial is not None:
            raise SaslError("success came before anything was proved")
        self._mechanism.check_success()

    def _give_up(self, reason: str) -> AuthLine:
        self.given_up = REFUSED_BY_US.saying(f"{self.name} was given up: {reason}")
        return AuthLine(b"*", b"*")


def _encode(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False)


def _decode(text: str) -> bytes:
    if len(text) > MAX_CHALLENGE_OCTETS:
        raise SaslError("the server's challenge is too long")
    return binascii.a2b_base64(text.strip().encode("ascii"), strict_mode=True)
