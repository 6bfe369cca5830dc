"""`--tls auto`: a certificate made for this run, for programs that want TLS and check no name.

Its key is in the clear in memory alone. OpenSSL reads it from a file, so for a moment there is one,
encrypted with a password that nobody keeps: what a process killed in that moment leaves behind is
of no use. Workers are forked later and share what was read.

Only where it is asked for: it needs the library cryptography.
"""

from __future__ import annotations

import ipaddress
import secrets
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pillarbox.certificate import CertificateFiles, Certificates
from pillarbox.cli.errors import Failure

__all__ = ["LIFETIME", "self_signed"]

# Long enough for a test server that nobody restarts, too short to be relied on.
LIFETIME = timedelta(days=30)
# The client's clock may be behind ours.
BEFORE = timedelta(hours=1)
ALWAYS = ("localhost", "127.0.0.1", "::1")


def self_signed(hostname: str) -> Certificates:
    """Make a certificate for this machine, by `hostname` and on the loopback interface.

    Raises:
        Failure: There is no folder for temporary files.
    """
    password = secrets.token_hex(16).encode()
    pem = _make_pem(dict.fromkeys((hostname, *ALWAYS)), password)
    try:
        with tempfile.TemporaryDirectory(prefix="pillarbox-") as folder:
            file = Path(folder, "certificate.pem")
            file.write_bytes(pem)
            return Certificates(CertificateFiles(certificate=file), password=password, follow=False)
    except OSError as error:
        raise Failure(
            f"--tls auto: {error.strerror or error}; let TMPDIR name a folder that you may write to"
        ) from None


def _make_pem(names: dict[str, None], password: bytes) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    # Clients compare the alternative names; this one is for whoever looks at the certificate.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Pillarbox, made for one run")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False)
        # A client may be told to trust it: for this server, and for nothing that it might sign.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


def _alternative(name: str) -> x509.GeneralName:
    # A host may be greeted as an address literal (RFC 5321 §4.1.3).
    literal = name.removeprefix("[").removesuffix("]").removeprefix("IPv6:")
    try:
        return x509.IPAddress(ipaddress.ip_address(literal))
    except ValueError:
        return x509.DNSName(name)
