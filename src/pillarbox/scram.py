"""SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677): the exchange is scramp's, the shape is sasl.py's.

`pip install "pillarbox[auth]"` brings scramp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pillarbox.login import invent_secret
from pillarbox.protocol.sasl import (
    Challenge,
    Failure,
    MechanismFactory,
    Outcome,
    Question,
    SaslError,
    ScramSecret,
    ScramUser,
    Success,
    TlsFacts,
    check_identity,
)

__all__ = ["SCRAM_MECHANISMS", "Scram"]

_CLIENT_FIRST = re.compile(
    r"(?:n|y|p=([A-Za-z0-9.-]+)),(?:a=([^,]*))?,n=([^,]+),r=[!-+\--~]+(?:,.*)?"
)


class Scram:
    """One exchange.

    Args:
        name: The mechanism's name.
        tls: The channel bindings there are; only -PLUS takes one.
        nonce: Our part of the nonce; a random one where it is not given.
    """

    __slots__ = ("_first", "_is_known", "_name", "_nonce", "_server", "_tls", "_user")

    def __init__(self, name: str, tls: TlsFacts | None, *, nonce: str | None = None) -> None:
        self._name = name
        self._nonce = nonce
        self._tls = tls
        self._first: str | None = None
        self._server: Any = None
        self._user = ""
        self._is_known = False

    def start(self, initial: bytes | None) -> Outcome:
        """Take the client's first message, or ask for it."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Outcome:
        """Take the client's first message, its proof, or its assent to ours."""
        from scramp import ScramException

        try:
            text = response.decode()
        except UnicodeDecodeError:
            raise SaslError("Not UTF-8") from None
        if self._first is None:
            return self._take_first(text)
        if self._server.server_signature is not None:
            return Success(self._user)
        try:
            self._server.set_client_final(text)
        except (ScramException, ValueError):
            return Failure()
        if not self._is_known:
            return Failure()
        return Challenge(self._server.get_server_final().encode())

    def _take_first(self, text: str) -> Outcome:
        found = _CLIENT_FIRST.fullmatch(text)
        if found is None:
            raise SaslError("Not a first message of SCRAM")
        has_plus = self._tls is not None and self._tls.bindings
        if text.startswith("y") and has_plus and not self._name.endswith("-PLUS"):
            # "The server has no -PLUS", says the client, and it has: somebody between us took it
            # off the list (RFC 5802 §6).
            return Failure()
        self._first = text
        name = found[3].replace("=2C", ",").replace("=3D", "=")
        acts_as = (found[2] or name).replace("=2C", ",").replace("=3D", "=")
        if acts_as != name:
            raise SaslError("Nobody may act as somebody else here")
        self._user = check_identity(name)
        return Question(ScramUser(self._user))

    def answer(self, answer: object) -> Outcome:
        """Take the user's secret, or invent one: the client must not see who exists."""
        from scramp import ScramException, ScramMechanism

        self._is_known = isinstance(answer, ScramSecret)
        secret = answer if isinstance(answer, ScramSecret) else invent_secret(self._user)
        first = self._first or ""
        try:
            binding = self._binding(first)
            mechanism = ScramMechanism(self._name)
            self._server = mechanism.make_server(
                lambda _user: (
                    secret.salt,
                    secret.stored_key,
                    secret.server_key,
                    secret.iterations,
                ),
                channel_binding=binding,
                s_nonce=self._nonce,
            )
            flag, _, bare = first.split(",", 2)
            self._server.set_client_first(f"{flag},,{bare}")
            self._server.gs2_header = _Header(first.removesuffix(bare).encode(), binding)
            return Challenge(self._server.get_server_first().encode())
        except (ScramException, ValueError):
            return Failure()

    def _binding(self, first: str) -> tuple[str, bytes] | None:
        """Choose the channel binding that the client named, if we have it."""
        if not self._name.endswith("-PLUS") or self._tls is None:
            return None
        found = _CLIENT_FIRST.fullmatch(first)
        name = found[1] if found is not None else None
        if name is None or name not in self._tls.bindings:
            raise ValueError("no such channel binding")
        return name, self._tls.bindings[name]


class _Header:
    """What the client's last message has to repeat of its first (RFC 5802 §7, `cbind-input`).

    scramp knows only headers without an authorization id, which mutt and others send. `_take_first`
    has seen to it that it is the user's own name.
    """

    __slots__ = ("_octets",)

    def __init__(self, header: bytes, binding: tuple[str, bytes] | None) -> None:
        self._octets = header if binding is None else header + binding[1]

    def make_cbind_input(self, _binding: object) -> bytes:
        return self._octets


def _factory(name: str) -> MechanismFactory:
    return lambda tls: Scram(name, tls)


SCRAM_MECHANISMS: Mapping[str, MechanismFactory] = {
    name: _factory(name) for name in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
}
