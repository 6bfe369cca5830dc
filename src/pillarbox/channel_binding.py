"""What a login can be bound to, so that nobody in the middle can use it: `tls-server-end-point`.

RFC 5929 §4. `pip install "pillarbox[auth]"` brings what reads certificates, together with scramp.
"""

from __future__ import annotations

import hashlib

__all__ = ["end_point"]

# RFC 5929 §4.1: SHA-256 stands in for what is weaker.
_WEAK = ("md5", "sha1")


def end_point(certificate: bytes) -> bytes | None:
    """Hash a server's certificate (DER) as its signature does.

    Returns:
        The hash; `None` where there is none to be had: this is no certificate, its signature has no
        hash that is known, or nothing is installed that reads certificates.
    """
    try:
        from asn1crypto.x509 import Certificate
    except ImportError:
        return None
    try:
        name = Certificate.load(certificate).hash_algo
        return hashlib.new("sha256" if name in _WEAK else name, certificate).digest()
    except ValueError:
        return None
