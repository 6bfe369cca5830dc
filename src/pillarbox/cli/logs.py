"""Log lines on standard error: as text for people, as JSON for programs.

Either way one record can neither drive a terminal nor pass for two: control characters, which
peers may have sent, are shown instead of written.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from pillarbox.log import visible

__all__ = ["configure_logs"]

LOGGERS = ("pillarbox", "asyncio", "uvicorn")


def configure_logs(log_format: str, log_level: str) -> None:
    """Send our log, and what asyncio has to say of it, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONLines() if log_format == "json" else _TextLines())
    # A log that cannot be written is no news for the same log.
    logging.raiseExceptions = False
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(log_level.upper())


class _TextLines(logging.Formatter):
    """`2026-05-01T12:00:00.123Z WARNING text`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = f"{_time(record)} {record.levelname} {visible(record.getMessage())}"
        if not record.exc_info:
            return line
        # An indented line cannot be taken for a record, whatever an exception says.
        traceback = self.formatException(record.exc_info).split("\n")
        return "\n    ".join((line, *map(visible, traceback)))


class _JSONLines(logging.Formatter):
    """One object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # What Session.log adds; there, the text begins with the id as well.
        if session := getattr(record, "session", None):
            fields["session"] = session
            fields["peer"] = getattr(record, "peer", "")
            fields["message"] = fields["message"].removeprefix(f"{session}: ")
        # What an event of a relay has (relay/telling.py).
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _time(record: logging.LogRecord) -> str:
    """Give the time as RFC 3339 has it, in UTC."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"
