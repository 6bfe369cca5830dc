"""Branch coverage of `pillarbox.protocol`: 100 % of each module, by its own test files alone.

A module that only other modules' tests reach has behaviour nobody wrote down.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# These have a test file for each of their subjects.
MORE = {
    "server": ("starttls", "authentication", "lmtp", "parameters", "note"),
    "client": ("initiation", "transaction"),
    "session": ("starttls", "authentication", "lmtp", "xclient", "note"),
}


def main() -> int:
    """Run each test file on its module; tell which fall short."""
    failed: list[str] = []
    for module in sorted((ROOT / "src/pillarbox/protocol").glob("[a-z]*.py")):
        subjects = (module.stem, *MORE.get(module.stem, ()))
        tests = [str(ROOT / "tests/protocol" / f"test_{subject}.py") for subject in subjects]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            *tests,
            f"--cov=pillarbox.protocol.{module.stem}",
            "--cov-branch",
            "--cov-report=term-missing:skip-covered",
            "--cov-fail-under=100",
        ]
        print(f"== protocol/{module.name}", flush=True)  # noqa: T201
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(module.name)
    if failed:
        print(f"under 100 %: {', '.join(failed)}")  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
