"""Installs the browser of tests/browser where there is none: `make chromium`, from Debian."""

# ruff: noqa: T201

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT)]  # instead of tools/

from tests.browser.chromium import find_chromium  # noqa: E402


def main() -> int:
    """Install it if need be."""
    if path := find_chromium():
        print(f"chromium: here: {path}")
        return 0
    if not shutil.which("apt-get"):
        print("chromium: no apt-get here; install Chromium, on the PATH", file=sys.stderr)
        return 1
    rights = [] if os.geteuid() == 0 else ["sudo"]
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive"]
    apt += ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        print(f"chromium: {' '.join([*apt, *command])}", flush=True)
        subprocess.run([*apt, *command], check=False, stdout=subprocess.DEVNULL)
    if find_chromium():
        return 0
    print("chromium: it could not be installed", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
