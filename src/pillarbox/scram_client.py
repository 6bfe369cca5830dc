"""SCRAM-SHA-256 and -PLUS from the client (RFC 5802, RFC 7677): the exchange is scramp's.

The server's side is scram.py. The server has to prove that it knows the secret as well, and is not
believed before it has. `pip install "pillarbox[auth]"` brings scramp.
"""

from __future__ import annotations

from collections.abc import Mapping

from pillarbox.protocol.sasl import Password, SaslError, TlsFacts
from pillarbox.protocol.sasl_client import ClientCredentials, ClientMechanismFactory

__all__ = ["SCRAM_CLIENT_MECHANISMS", "ScramClient"]

# Some 0.4 s of a core. A server that asks for more keeps us busy, and no honest one does.
MAX_ITERATIONS = 1_000_000

# What every server has, then what TLS 1.3 has left (RFC 5802 §6.1, RFC 9266 §1).
_BINDINGS = ("tls-unique", "tls-server-end-point")


class ScramClient:
    """One exchange.

    Args:
        name: The mechanism's name.
        credentials: The user's name and password.
        facts: The channel bindings there are. -PLUS takes one; without -PLUS they let us say that
            the server seems to have none, which it knows better if somebody changed its list.
        nonce: Our part of the nonce; a random one where it is not given.

    Raises:
        ValueError: SCRAM cannot carry the name or the password.
    """

    __slots__ = ("_client", "_is_final", "_is_proved")

    def __init__(
        self,
        name: str,
        credentials: Password,
        *,
        facts: TlsFacts | None = None,
        nonce: str | None = None,
    ) -> None:
        import scramp

        bindings = facts.bindings if facts is not None else {}
        binding = next(((kind, bindings[kind]) for kind in _BINDINGS if kind in bindings), None)
        try:
            self._client = scramp.ScramClient(
                [name],
                credentials.username,
                credentials.password,
                channel_binding=binding,
                c_nonce=nonce,
            )
        except scramp.ScramException:
            raise ValueError("the name or the password has what SCRAM does not allow") from None
        self._is_final = False
        self._is_proved = False

    def start(self) -> bytes | None:
        """Give the first message."""
        return str(self._client.get_client_first()).encode()

    def respond(self, challenge: bytes) -> bytes:
        """Prove that we know the secret; then see that the server does.

        Raises:
            SaslError: It does not, or this is not SCRAM.
        """
        try:
            text = challenge.decode()
        except UnicodeDecodeError:
            raise SaslError("the server's message is not UTF-8") from None
        if self._is_proved:
            raise SaslError("a challenge came where all had been said")
        if self._is_final:
            return self._take_final(text)
        return self._take_first(text)

    def _take_first(self, text: str) -> bytes:
        from scramp import ScramException

        try:
            self._client.set_server_first(text)
        except (ScramException, ValueError):
            raise SaslError("the server's first message is not SCRAM's") from None
        iterations = int(self._client.iterations)
        if iterations > MAX_ITERATIONS:
            raise SaslError(f"the server asks for {iterations} rounds of work")
        self._is_final = True
        return str(self._client.get_client_final()).encode()

    def _take_final(self, text: str) -> bytes:
        from scramp import ScramException

        try:
            self._client.set_server_final(text)
        except (ScramException, ValueError):
            if text.startswith("e="):
                raise SaslError(f"the server says {text[2:100]!a}") from None
            raise SaslError("the server did not prove that it knows the secret") from None
        self._is_proved = True
        return b""

    def check_success(self) -> None:
        """See that the server has proved that it knows the secret.

        Raises:
            SaslError: It has not: somebody else plays the server.
        """
        if not self._is_proved:
            raise SaslError("the server did not prove that it knows the secret")


def _factory(name: str) -> ClientMechanismFactory:
    def make(credentials: ClientCredentials, facts: TlsFacts | None) -> ScramClient:
        assert isinstance(credentials, Password)
        return ScramClient(name, credentials, facts=facts)

    return make


SCRAM_CLIENT_MECHANISMS: Mapping[str, ClientMechanismFactory] = {
    name: _factory(name) for name in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
}
