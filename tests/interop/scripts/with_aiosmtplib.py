"""aiosmtplib, told what to send by JSON on standard input."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import aiosmtplib


async def main(order: dict[str, Any]) -> None:
    client = aiosmtplib.SMTP(
        hostname=order["host"],
        port=order["port"],
        local_hostname="client.test",
        use_tls=order["security"] == "tls",
        start_tls=order["security"] == "starttls",
        tls_context=ssl.create_default_context(cafile=order["authority"]),
    )
    async with client:
        await client.ehlo()
        if order["mechanism"]:
            log_in = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[order["mechanism"]]
            await log_in(order["user"], order["password"])
        options = ["SMTPUTF8", "BODY=8BITMIME"] if order["smtputf8"] else []
        for path in order["messages"]:
            octets = Path(path).read_bytes()
            await client.sendmail(
                order["mail_from"], order["rcpt_tos"], octets, mail_options=options
            )


asyncio.run(main(json.load(sys.stdin)))
