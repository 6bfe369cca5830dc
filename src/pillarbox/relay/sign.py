"""DKIM signatures (RFC 6376): a hook of the intake, by dkimpy (`pip install "pillarbox[dkim]"`).

A message is signed once, when it is accepted: what is sent again tomorrow has the same signature.
The Received line goes in front of it later, and is not signed. dkimpy signs what is in memory, in a
thread of its own, since an RSA signature takes some milliseconds. While it does, it takes up to
twenty times the message, where lines are short: so large ones are signed one after the other.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import nullcontext

from pillarbox.config import ConfigError
from pillarbox.envelope import Envelope
from pillarbox.log import visible
from pillarbox.protocol.address import AddressError, parse_domain

try:
    import dkim
except ImportError as error:
    raise ImportError(
        'pillarbox.relay.sign needs the library dkimpy; pip install "pillarbox[dkim]"',
        name=error.name,
    ) from None

__all__ = ["DkimSigner"]

log = logging.getLogger("pillarbox")

LARGE_OCTETS = 1_048_576

_REMEDY = "make one by 'openssl genrsa -traditional -out dkim.pem 2048'"
_PROBE = b"From: <ann@example.org>\r\n\r\nprobe\r\n"


class DkimSigner:
    """Signs messages for a domain.

    Args:
        key: An RSA private key (PEM), or the seed of an Ed25519 key in base64 (RFC 8463).
        selector: The name of the key in DNS: `SELECTOR._domainkey.DOMAIN`.
        domain: Who signs.

    Raises:
        ConfigError: The key is none, or the names are.
    """

    def __init__(self, key: bytes, *, selector: str, domain: str) -> None:
        for name, value in (("selector", selector), ("domain", domain)):
            try:
                parse_domain(value.encode())
            except AddressError:
                raise ConfigError(
                    f"{value!r} is no {name}; write it as it stands in DNS, such as"
                    f" {'mail' if name == 'selector' else 'example.org'}"
                ) from None
        self._key = key.strip()
        is_rsa = self._key.startswith(b"-----BEGIN")
        self._algorithm = b"rsa-sha256" if is_rsa else b"ed25519-sha256"
        if not is_rsa and not _is_seed(self._key):
            raise ConfigError(f"this is no private key; {_REMEDY}")
        self._selector, self._domain = selector.encode(), domain.encode()
        self._turn = asyncio.Lock()
        try:
            self._sign(_PROBE)
        except ImportError:  # dkimpy has found that it cannot do Ed25519
            raise ConfigError(
                "an Ed25519 key needs the library PyNaCl; pip install pynacl, or take an RSA key"
            ) from None
        except Exception as error:  # it raises what its parser comes across
            raise ConfigError(
                f"this is no private key that signs ({error or type(error).__name__}); {_REMEDY}"
            ) from None

    async def __call__(self, _envelope: Envelope, octets: bytes) -> bytes:
        """Give the signature; nothing for a message that cannot be signed, such as without From."""
        async with self._turn if len(octets) > LARGE_OCTETS else nullcontext():
            try:
                return await asyncio.to_thread(self._sign, octets)
            except Exception as error:  # its parser is not made for all that clients send
                log.info("a message goes out without a DKIM signature: %s", visible(str(error)))
                return b""

    def _sign(self, octets: bytes) -> bytes:
        signature: bytes = dkim.sign(
            octets,
            self._selector,
            self._domain,
            self._key,
            canonicalize=(b"relaxed", b"relaxed"),
            signature_algorithm=self._algorithm,
        )
        return signature


def _is_seed(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 32
    except ValueError:
        return False
