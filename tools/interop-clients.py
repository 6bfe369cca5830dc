"""Installs what tests/interop needs and this machine does not have: `make interop-clients`.

The mail clients, and Postfix as a next hop of the relay. From Debian's packages, as root or by
sudo; nodemailer from npm, into .interop, which git ignores. No service is started.
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
from tests.interop.postfix import POSTFIX  # noqa: E402
from tests.interop.sending import Installed  # noqa: E402

WANTED = (*CLIENTS, POSTFIX)
# Postfix without a configuration does not start by itself.
ANSWERS = "postfix postfix/main_mailer_type select No configuration\n"


def main() -> int:
    """Install what is missing; tell what could not be."""
    absent = missing(WANTED)
    if absent:
        print(f"interop-clients: not here: {names(absent)}")
        # A client may want its package for a part of it alone: npm may be here and nodemailer not.
        packages = {package for client in absent for package in client.debian}
        install_packages(sorted(package for package in packages if not shutil.which(package)))
        if any(client.name == "nodemailer" for client in absent):
            attempt(
                "npm", "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", "nodemailer"
            )
    absent = missing(WANTED)
    for client in absent:
        wanted = " ".join(client.debian) or "nothing of Debian's"
        print(f"interop-clients: could not install {client.name} (needs {wanted})", file=sys.stderr)
    if not absent:
        print(f"interop-clients: all here: {names(WANTED)}")
    return bool(absent)


def missing(wanted: Iterable[Installed]) -> list[Installed]:
    """Give those that do not run here."""
    return [one for one in wanted if not one.is_here()]


def names(wanted: Iterable[Installed]) -> str:
    """Write them in a row."""
    return ", ".join(one.name for one in wanted)


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
    if "postfix" in packages:
        attempt(*rights, "debconf-set-selections", stdin=ANSWERS)
    if not attempt(*apt, "install", "--yes", "--no-install-recommends", *packages):
        for package in packages:  # one that there is not must not keep the others away
            attempt(*apt, "install", "--yes", "--no-install-recommends", package)


def attempt(*command: str, stdin: str = "") -> bool:
    """Run a command; show what it says only where it fails."""
    print(f"interop-clients: {' '.join(command)}", flush=True)
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        print(f"interop-clients: {error}", file=sys.stderr)
        return False
    if done.returncode:
        print(done.stdout[-2000:], file=sys.stderr)
    return not done.returncode


if __name__ == "__main__":
    sys.exit(main())
