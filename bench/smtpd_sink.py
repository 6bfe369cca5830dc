"""A receiver on `smtpd`, the standard library's or ours: accepts every message and discards it.

Runs the `smtpd` that its interpreter finds first: `python smtpd_sink.py PORT`. With `src` on the
path that is ours; without it, on Python 3.11, the standard library's.
"""

import sys
import warnings
from typing import Any

warnings.simplefilter("ignore", DeprecationWarning)  # 3.11: all three of these will go

import asyncore  # noqa: E402
import smtpd  # noqa: E402


class Discard(smtpd.SMTPServer):
    """Does as little as a program of that time can."""

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: bytes | str, **kwargs: Any
    ) -> None:
        """Accept the message and forget it."""


if __name__ == "__main__":
    # The size limit is out of the way of 10 MiB.
    Discard(("127.0.0.1", int(sys.argv[1])), None, data_size_limit=1 << 30)
    # select() ends at a thousand connections.
    asyncore.loop(use_poll=True)
