"""TLS and PROXY for the tests of the driver: certificates made on the spot, a server, a client."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trustme

from pillarbox import Server
from pillarbox.certificate import CertificateFiles, Certificates
from pillarbox.handler import AnyHandler
from tests.asyncio.wire import Wire, config

__all__ = ["AUTHORITY", "LOOPBACK", "client_context", "files", "open_wire", "secured", "write"]

AUTHORITY = trustme.CA()
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def write(directory: Path, *names: str) -> Path:
    """Make a certificate for these names, with its key in the same file."""
    path = directory / f"{names[0]}.pem"
    AUTHORITY.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return path


def files(directory: Path, **options: Any) -> CertificateFiles:
    """Make a certificate for mx.test."""
    return CertificateFiles(certificate=write(directory, "mx.test"), **options)


def client_context() -> ssl.SSLContext:
    """Make a context that trusts our certificates."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def secured(
    handler: AnyHandler, certificate: CertificateFiles, *, is_tls: bool = False, **values: Any
) -> AsyncIterator[Server]:
    """Serve with a certificate, on a free port."""
    server = Server(
        handler,
        config=config(auth_delay_seconds=0, **values),
        certificates=Certificates(certificate),
    )
    await server.listen("127.0.0.1", 0, is_tls=is_tls)
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def open_wire(server: Server, **options: Any) -> AsyncIterator[Wire]:
    """Connect, and read nothing yet."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", server.port, **options))
    try:
        yield wire
    finally:
        with contextlib.suppress(ssl.SSLError):
            await wire.close()
