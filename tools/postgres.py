"""Installs the PostgreSQL of tests/relay where there is none: `make postgres`, from Debian.

The tests start one of their own, in a folder of their own; the system's is left alone.
"""

# ruff: noqa: T201

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT)]  # instead of tools/

from tests.relay.postgres_server import find_programs  # noqa: E402


def main() -> int:
    """Install it if need be."""
    if path := find_programs():
        print(f"postgres: here: {path}")
        return 0
    if not shutil.which("apt-get"):
        print("postgres: no apt-get here; install PostgreSQL, initdb on the PATH", file=sys.stderr)
        return 1
    rights = [] if os.geteuid() == 0 else ["sudo"]
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive"]
    apt += ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        print(f"postgres: {' '.join([*apt, *command])}", flush=True)
        subprocess.run([*apt, *command], check=False, stdout=subprocess.DEVNULL)
    if find_programs():
        return 0
    print("postgres: it could not be installed", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
