"""The certificate of the TLS workloads: one for all servers, EC P-256, made once by trustme."""

import os
import ssl
from pathlib import Path

from bench.fetch import CACHE

_NAME = "mx.example.com"


def certificate() -> Path:
    """Give a PEM file with a private key, its certificate and the issuer's, made if need be."""
    path = CACHE / "certificate-p256.pem"
    if not path.exists():
        import trustme

        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = authority.issue_cert(_NAME, key_type=trustme.KeyType.ECDSA)
        CACHE.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        issued.private_key_and_cert_chain_pem.write_to_path(unfinished)
        unfinished.replace(path)
    return path


def client_context() -> ssl.SSLContext:
    """Give what clients use: TLS 1.3 and no check of the certificate, which is the client's CPU."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
