"""What every test of the command line starts from."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest

from pillarbox.cli.logs import LOGGERS


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let neither the environment in nor the logging and the signals of a command out."""
    for name in tuple(os.environ):
        if name.startswith(("PILLARBOX_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")):
            monkeypatch.delenv(name)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    raising = logging.raiseExceptions
    hangup = getattr(signal, "SIGHUP", None)
    heard = hangup and signal.getsignal(hangup)
    yield
    if hangup:
        signal.signal(hangup, heard)
    logging.raiseExceptions = raising
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(level)
