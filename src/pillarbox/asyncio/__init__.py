"""The protocol on asyncio: bytes and time, and no SMTP. Begin with server.py; client.py sends.

What sends is loaded when it is first used: a server starts without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pillarbox.asyncio.server import Server, serve
from pillarbox.asyncio.thread import ThreadServer

if TYPE_CHECKING:
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

_CLIENT = ("Client", "connect", "connect_unix")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "client" if name in _CLIENT else "client_error"
    return getattr(import_module(f"{__name__}.{home}"), name)
