"""The protocol on asyncio: bytes, TLS and time, and no SMTP. Begin with server.py."""

from pillarbox.asyncio.server import Server, serve
from pillarbox.asyncio.thread import ThreadServer

__all__ = ["Server", "ThreadServer", "serve"]
