"""`tls-server-end-point`: the hash is that of the certificate's signature, or SHA-256."""

from __future__ import annotations

import builtins
import datetime
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from pillarbox.channel_binding import end_point


def certificate(algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None) -> bytes:
    key: Any = ed25519.Ed25519PrivateKey.generate()
    if algorithm is not None:
        key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
)
def test_the_hash_of_the_signature(
    algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512, name: str
) -> None:
    der = certificate(algorithm)
    assert end_point(der) == hashlib.new(name, der).digest()


def test_a_signature_that_hashes_by_itself() -> None:
    der = certificate(None)
    assert end_point(der) == hashlib.sha512(der).digest()


@pytest.mark.parametrize("octets", [b"", b"no certificate", b"0\x03\x02\x01\x01"])
def test_no_certificate(octets: bytes) -> None:
    assert end_point(octets) is None


def test_sha1_is_too_weak() -> None:
    der = certificate(hashes.SHA256())
    # ecdsa-with-SHA256 and ecdsa-with-SHA1, as object identifiers of the same length would be.
    sha256, sha1 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06072a8648ce3d0401")
    assert der.count(sha256) == 2
    patched = shortened(der, sha256, sha1)
    assert end_point(patched) == hashlib.sha256(patched).digest()


def shortened(der: bytes, old: bytes, new: bytes) -> bytes:
    """Exchange the signature's algorithm in a certificate, and mend the lengths around it."""
    from asn1crypto.x509 import Certificate

    loaded = Certificate.load(der)
    for holder in (loaded["signature_algorithm"], loaded["tbs_certificate"]["signature"]):
        holder["algorithm"] = "sha1_ecdsa"
    octets: bytes = loaded.dump(force=True)
    assert old not in octets
    assert octets.count(new) == 2
    return octets


def test_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("asn1crypto"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fail)
    assert end_point(b"") is None
