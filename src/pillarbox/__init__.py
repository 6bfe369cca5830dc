"""Pillarbox: the SMTP server for Python.

Begin with `serve()` and a handler::

    from pillarbox import serve

The names below are loaded when they are first used, so that a program that wants the protocol core
alone loads no event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillarbox.asyncio import Server, ThreadServer, serve
    from pillarbox.config import Config, ConfigError
    from pillarbox.envelope import Body, Envelope, Message, Session
    from pillarbox.handler import Disconnect, Handler, IncompleteBody, Reject, streaming
    from pillarbox.protocol.address import Path
    from pillarbox.protocol.event import Mail, Rcpt
    from pillarbox.protocol.reply import Reply

__version__ = "0.1.0"

__all__ = [
    "Body",
    "Config",
    "ConfigError",
    "Disconnect",
    "Envelope",
    "Handler",
    "IncompleteBody",
    "Mail",
    "Message",
    "Path",
    "Rcpt",
    "Reject",
    "Reply",
    "Server",
    "Session",
    "ThreadServer",
    "serve",
    "streaming",
]

_HOMES = {
    "pillarbox.asyncio": ("Server", "ThreadServer", "serve"),
    "pillarbox.config": ("Config", "ConfigError"),
    "pillarbox.envelope": ("Body", "Envelope", "Message", "Session"),
    "pillarbox.handler": ("Disconnect", "Handler", "IncompleteBody", "Reject", "streaming"),
    "pillarbox.protocol.address": ("Path",),
    "pillarbox.protocol.event": ("Mail", "Rcpt"),
    "pillarbox.protocol.reply": ("Reply",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
