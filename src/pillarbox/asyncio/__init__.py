"""The protocol on asyncio: bytes and time, and no SMTP. Begin with server.py; client.py sends."""

from pillarbox.asyncio.client import Client, connect, connect_unix
from pillarbox.asyncio.client_error import (
    CertificateRefused,
    LoginFailed,
    SessionError,
    SessionLost,
    SessionRefused,
    TlsFailed,
    TlsUnavailable,
)
from pillarbox.asyncio.server import Server, serve
from pillarbox.asyncio.thread import ThreadServer

__all__ = [
    "CertificateRefused",
    "Client",
    "LoginFailed",
    "Server",
    "SessionError",
    "SessionLost",
    "SessionRefused",
    "ThreadServer",
    "TlsFailed",
    "TlsUnavailable",
    "connect",
    "connect_unix",
    "serve",
]
