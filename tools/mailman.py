"""The tests with a real GNU Mailman 3 Core: `make mailman-tests`.

Mailman is installed into .mailman, which git ignores, by a Python that it works with; the tests of
tests/mailman/against_core.py start it on free ports in a folder of their own, and end it. It is
none of ours. Arguments go to pytest, such as `ARGS="-k frozen"`.

It takes some 100 seconds to install, once, and five minutes or ten to run.
"""

# ruff: noqa: T201

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".mailman/venv"
DONE = ROOT / ".mailman/.done"
VERSION = "3.3.10"
# With SQLAlchemy 2.1 its REST service answers 500; on Python 3.13 it does not install.
PACKAGES = (f"mailman=={VERSION}", "mailmanclient", "sqlalchemy<2.1")
PYTHONS = ("3.12", "3.11")
INSTALL_SECONDS = 900
RUN_SECONDS = 1800


def main() -> int:
    """Install Mailman if need be, and run the tests."""
    if not DONE.exists() or DONE.read_text() != VERSION:
        try:
            install()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"mailman-tests: Mailman cannot be installed: {error}", file=sys.stderr)
            return 1
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", "--timeout=600"]
    tests = "tests/mailman/against_core.py"
    done = subprocess.run(
        [*command, tests, *sys.argv[1:]], cwd=ROOT, timeout=RUN_SECONDS, check=False
    )
    return done.returncode


def install() -> None:
    """Make an environment for it."""
    find = [str(ROOT / "tools/find-python"), *PYTHONS]
    found = subprocess.run(find, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    if not found:
        raise FileNotFoundError(f"no Python of {', '.join(PYTHONS)} is here; install one")
    print(f"mailman-tests: installing Mailman {VERSION}; this takes some minutes", flush=True)
    call(found[0], "-m", "venv", "--clear", str(ENVIRONMENT))
    pip = (str(ENVIRONMENT / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
    call(*pip, "install", *PACKAGES)
    DONE.write_text(VERSION)


def call(*command: str) -> None:
    """Run a program that has to succeed."""
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
