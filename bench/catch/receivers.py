"""What takes the mail in: `pillarbox catch`, and what else there is to catch mail with.

All of them show each message on standard output, which goes to a file (bench/servers.py).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from bench.fetch import ROOT, Unavailable, fetch_aiosmtpd
from bench.servers import Server

MAILPIT = "mailpit"
PILLARBOX = "pillarbox"


def pillarbox(name: str, *options: str) -> Server:
    """Give the working tree's `pillarbox catch`, with the page on a free port."""
    return Server(
        name,
        lambda port, _security: catch("--listen", f"127.0.0.1:{port}", *options),
        environment(),
    )


def catch(*options: str) -> list[str]:
    """Give a command; unless told otherwise the page is on a free port."""
    program = [sys.executable, "-m", "pillarbox", "catch"]
    return [*program, *([] if "--http" in options else ["--http", "127.0.0.1:0"]), *options]


def environment() -> dict[str, str]:
    """Give what a command needs to find the working tree."""
    return {"PYTHONPATH": str(ROOT / "src")}


def mailpit() -> Server:
    """Give Mailpit, where it is installed."""
    program = shutil.which(MAILPIT)
    if program is None:
        raise Unavailable("mailpit is left out: there is no such program on the PATH")
    said = subprocess.run(
        [program, "version", "--no-release-check"], capture_output=True, text=True
    )
    return Server(
        MAILPIT,
        lambda port, _security: [program, "--smtp", f"127.0.0.1:{port}", "--listen", "127.0.0.1:0"],
        versions={MAILPIT: said.stdout.strip().partition("\n")[0]},
    )


def aiosmtpd() -> Server:
    """Give the `Debugging` handler of aiosmtpd, which prints, keeps nothing and has no page."""
    fetched = fetch_aiosmtpd()
    options = ["-n", "-c", "aiosmtpd.handlers.Debugging", "stdout"]
    return Server(
        "aiosmtpd Debugging",
        lambda port, _security: [
            *(str(fetched.python), "-m", "aiosmtpd"),
            *("-l", f"127.0.0.1:{port}", *options),
        ],
        versions=fetched.versions,
    )


def smtpd() -> Server:
    """Give `smtpd.DebuggingServer` of Python 3.11's standard library; it looks names up."""
    find = [str(ROOT / "tools/find-python"), "3.11"]
    python = subprocess.run(find, capture_output=True, text=True).stdout.partition("\n")[0]
    if not python:
        raise Unavailable("smtpd is left out: no Python 3.11 was found, and none later has it")
    options = ["-n"] if os.name == "posix" else []
    return Server(
        "smtpd DebuggingServer",
        lambda port, _security: [
            *(python, "-W", "ignore", "-m", "smtpd", *options),
            *("-c", "DebuggingServer", f"127.0.0.1:{port}"),
        ],
    )


# In the order of the table; each may raise Unavailable.
RECEIVERS: tuple[Callable[[], Server], ...] = (
    partial(pillarbox, PILLARBOX),
    partial(pillarbox, f"{PILLARBOX} --loop asyncio", "--loop", "asyncio"),
    partial(pillarbox, f"{PILLARBOX} --http none", "--http", "none"),
    mailpit,
    aiosmtpd,
    smtpd,
)
