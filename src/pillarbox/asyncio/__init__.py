"""The protocol on asyncio: bytes and time, and no SMTP. Begin with server.py; client.py sends."""

from pillarbox.asyncio.client import (
    Client,
    SessionError,
    SessionLost,
    SessionRefused,
    connect,
    connect_unix,
)
from pillarbox.asyncio.server import Server, serve
from pillarbox.asyncio.thread import ThreadServer

__all__ = [
    "Client",
    "Server",
    "SessionError",
    "SessionLost",
    "SessionRefused",
    "ThreadServer",
    "connect",
    "connect_unix",
    "serve",
]
