"""The aiosmtpd that Pillarbox is compared with: accepts every message and discards it.

Runs under the interpreter of an environment of its own (see fetch.py), so it imports nothing
from this package: `python aiosmtpd_sink.py PORT asyncio|uvloop`.
"""

import asyncio
import sys

# In its own environment only, unless somebody has it beside Pillarbox: hence the second code.
from aiosmtpd.smtp import SMTP, Envelope, Session  # type: ignore[import-not-found,unused-ignore]


class Discard:
    """Does as little as an aiosmtpd handler can."""

    async def handle_DATA(  # noqa: N802 (aiosmtpd looks for this name)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Accept the message and forget it."""
        return "250 OK"


async def receive(port: int) -> None:
    """Serve until the process is stopped."""
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        # The limit is out of the way of 10 MiB; a host name spares a DNS query a connection.
        return SMTP(Discard(), data_size_limit=1 << 30, hostname="bench.test", loop=loop)

    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(receive(int(sys.argv[1])))
    else:
        asyncio.run(receive(int(sys.argv[1])))
