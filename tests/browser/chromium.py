"""Which Chromium the tests drive: the one that this machine has, with nothing of its own to say.

Playwright knows how to drive it; the browser is Debian's, for what Playwright would download is
another one on each day.
"""

from __future__ import annotations

import os
import shutil

__all__ = ["ABSENT", "FLAGS", "find_chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome")

ABSENT = "browser: no Chromium here; `make chromium` installs it from Debian"

FLAGS = (
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_chromium() -> str | None:
    """Give the path of the browser, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)
