"""Installs the clients of tests/interop that this machine does not have: `make interop-clients`.

From Debian's packages, as root or by sudo; nodemailer from npm, into .interop, which git ignores.
smtplib comes with Python and aiosmtplib with `pip install --editable '.[dev]'`.
"""

# ruff: noqa: T201

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT)]  # instead of tools/

from tests.interop.clients import CLIENTS  # noqa: E402
from tests.interop.libraries import CACHE  # noqa: E402
from tests.interop.sending import Client  # noqa: E402


def main() -> int:
    """Install what is missing; tell what could not be."""
    absent = missing(CLIENTS)
    if absent:
        print(f"interop-clients: not here: {names(absent)}")
        # A client may want its package for a part of it alone: npm may be here and nodemailer not.
        packages = {package for client in absent for package in client.debian}
        install_packages(sorted(package for package in packages if not shutil.which(package)))
        if any(client.name == "nodemailer" for client in absent):
            attempt(
                "npm", "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", "nodemailer"
            )
    absent = missing(CLIENTS)
    for client in absent:
        wanted = " ".join(client.debian) or "nothing of Debian's"
        print(f"interop-clients: could not install {client.name} (needs {wanted})", file=sys.stderr)
    if not absent:
        print(f"interop-clients: all here: {names(CLIENTS)}")
    return bool(absent)


def missing(clients: Iterable[Client]) -> list[Client]:
    """Give the clients that do not run here."""
    return [client for client in clients if not client.is_here()]


def names(clients: Iterable[Client]) -> str:
    """Write them in a row."""
    return ", ".join(client.name for client in clients)


def install_packages(packages: list[str]) -> None:
    """Ask Debian for them."""
    if not packages:
        return
    if not shutil.which("apt-get"):
        print(f"interop-clients: no apt-get here; install {' '.join(packages)}", file=sys.stderr)
        return
    rights = [] if os.geteuid() == 0 else ["sudo"]
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive"]
    apt += ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    attempt(*apt, "update")
    if not attempt(*apt, "install", "--yes", "--no-install-recommends", *packages):
        for package in packages:  # one that there is not must not keep the others away
            attempt(*apt, "install", "--yes", "--no-install-recommends", package)


def attempt(*command: str) -> bool:
    """Run a command; show what it says only where it fails."""
    print(f"interop-clients: {' '.join(command)}", flush=True)
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        print(f"interop-clients: {error}", file=sys.stderr)
        return False
    if done.returncode:
        print(done.stdout[-2000:], file=sys.stderr)
    return not done.returncode


if __name__ == "__main__":
    sys.exit(main())
