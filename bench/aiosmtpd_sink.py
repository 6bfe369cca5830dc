"""The aiosmtpd that Pillarbox is compared with: accepts every message and discards it.

Runs under the interpreter of an environment of its own (see fetch.py), so it imports nothing
from this package: `python aiosmtpd_sink.py PORT asyncio|uvloop [starttls|tls PEM]`.
"""

import asyncio
import signal
import ssl
import sys
from typing import Any

# In its own environment only, unless somebody has it beside Pillarbox: hence the second code.
from aiosmtpd.controller import Controller  # type: ignore[import-not-found,unused-ignore]
from aiosmtpd.smtp import SMTP, Envelope, Session  # type: ignore[import-not-found,unused-ignore]


class Discard:
    """Does as little as an aiosmtpd handler can."""

    async def handle_DATA(  # noqa: N802 (aiosmtpd looks for this name)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Accept the message and forget it."""
        return "250 OK"


def secured(security: str, certificate: str) -> dict[str, Any]:
    """Give what its documentation gives a controller for TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if security == "starttls":
        return {"tls_context": context, "require_starttls": True}
    return {"ssl_context": context}


def main(port: int, loop_name: str, *tls: str) -> None:
    """Serve until the process is stopped."""
    if loop_name == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    # Its documentation's way, and on asyncio the faster one: in the main thread b costs .35 ms,
    # in the controller's .27, because glibc gives freed memory back less eagerly there.
    # The size limit is out of the way of 10 MiB.
    Controller(
        Discard(),
        loop=loop,
        hostname="127.0.0.1",
        port=port,
        data_size_limit=1 << 30,
        **(secured(*tls) if tls else {}),
    ).start()
    signal.pause()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
