"""CPython's own tests of smtpd, smtplib and SMTPHandler, run on `src/smtpd.py`.

    tools/cpython-tests.py ENVIRONMENT ...

The environments are those that `make test` builds (.venv, .venv-3.12): their Pythons run the tests,
with `src` first on the path. The test files are those of the `test` packages of the interpreters
that this machine has, as they lie there: what an old file expects of `test.support`, and what a new
one brings along in our place, is put under its feet before it is loaded.

Exits 1 if a test fails, and tells which interpreters were not found.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
SMTPD_VERSIONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11")
SMTPLIB_VERSIONS = ("3.8", "3.9", "3.10", "3.11")
TIME_LIMIT_SECONDS = 300
OWN = "its own"
REPORT = "cpython-tests: "  # begins the line that holds a run's result


@dataclass(frozen=True)
class Row:
    """A test file: of a version, or of the Python that runs it."""

    version: str
    file: str
    only: str = ""

    def __str__(self) -> str:
        return f"{self.only or self.file} of {self.version}"


ROWS = [
    *(Row(version, "test_smtpd") for version in SMTPD_VERSIONS),
    *(Row(version, "test_smtplib") for version in SMTPLIB_VERSIONS),
    Row(OWN, "test_smtplib"),
    Row(OWN, "test_logging", "SMTPHandlerTest"),
]


def main() -> int:
    """Run every file under every environment; print a table."""
    parser = argparse.ArgumentParser(description="CPython's own tests, run on src/smtpd.py.")
    parser.add_argument("environments", nargs="*", type=Path, help="such as .venv .venv-3.12")
    parser.add_argument("--run", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return run(arguments.run, arguments.only)

    pythons = [environment / "bin/python" for environment in arguments.environments]
    targets = {version_of(python): python for python in pythons}
    wanted = sorted({row.version for row in ROWS} - {OWN}, key=version_key)
    folders = {version: test_folder(version) for version in wanted}
    for version in wanted:
        if folders[version] is None:
            print(f"no Python {version} with its tests was found: its files are left out")
    for version in ("3.11", "3.12", "3.13"):
        if version not in targets:
            print(f"no environment with Python {version} was given: nothing is run on it")

    def cell(row: Row, target: str) -> tuple[str, str]:
        folder = folder_of(targets[target]) if row.version == OWN else folders[row.version]
        if folder is None:
            return "not found", ""
        return result_of(targets[target], folder / f"{row.file}.py", row.only)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pairs = [(row, target) for row in ROWS for target in targets]
        results = dict(zip(pairs, pool.map(lambda pair: cell(*pair), pairs), strict=True))
    failures = [
        f"== {row} on {target}\n{details}"
        for (row, target), (_, details) in results.items()
        if details
    ]
    table = [["", *(f"on {target}" for target in targets)]]
    table += [[str(row), *(results[row, target][0] for target in targets)] for row in ROWS]
    print(*failures, sep="\n")
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        padded = [text.ljust(width) for text, width in zip(cells, widths, strict=True)]
        print("  ".join(padded).rstrip())
    return 1 if failures or not targets else 0


def version_key(version: str) -> list[int]:
    """Sort 3.10 behind 3.9."""
    return [int(part) for part in version.split(".")]


def version_of(python: Path) -> str:
    """Ask an interpreter for its version."""
    return output_of([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])


def test_folder(version: str) -> Path | None:
    """Find the tests of a version's interpreter."""
    python = output_of([ROOT / "tools/find-python", version]).partition("\n")[0]
    return folder_of(Path(python)) if python else None


def folder_of(python: Path) -> Path | None:
    """Ask an interpreter for its tests; distributions leave them out, or all but the helpers."""
    script = "import os, test.support; print(os.path.dirname(test.__file__))"
    found = output_of([python, "-c", script])
    return Path(found) if found and (Path(found) / "test_smtplib.py").exists() else None


def output_of(command: list[Any]) -> str:
    """Run a program; give what it prints, or nothing if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return "" if done.returncode else done.stdout.strip()


def result_of(python: Path, file: Path, only: str) -> tuple[str, str]:
    """Run a file under an interpreter; give the cell of the table, and what failed."""
    command = [python, __file__, "--run", file, "--only", only]
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "took too long", f"not done after {TIME_LIMIT_SECONDS} seconds"
    lines = [line for line in done.stdout.splitlines() if line.startswith(REPORT)]
    if not lines:
        return "did not run", done.stdout + done.stderr
    result = json.loads(lines[-1].removeprefix(REPORT))
    parts = [f"{result['passed']} passed"]
    parts += [f"{result[name]} {name}" for name in ("failed", "skipped") if result[name]]
    return ", ".join(parts), done.stderr if result["failed"] else ""


# From here on: inside the interpreter that runs a file.


def run(file: Path, only: str) -> int:
    """Run one test file of any version under this interpreter."""
    sys.path[:1] = [str(ROOT / "src")]  # instead of tools/
    prepare()
    spec = importlib.util.spec_from_file_location(f"test.{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    used = Path(sys.modules["smtpd"].__file__ or "")
    assert used == ROOT / "src/smtpd.py", f"the tests got {used}"
    load = unittest.defaultTestLoader
    tests = load.loadTestsFromName(only, module) if only else load.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(tests)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    passed = result.testsRun - failed - skipped
    print(REPORT + json.dumps({"passed": passed, "failed": failed, "skipped": skipped}))
    return bool(failed)


def prepare() -> None:
    """Give the test files what they look for in `test` and `test.support`."""
    import smtpd

    from test import support

    # 3.12 and later keep copies of what was removed for their own tests. One asyncore has to be
    # patched, and it has to be the one that our classes are made of.
    for package in ("test", "test.support"):
        put(package, "smtpd", smtpd)
        put(package, "asyncore", sys.modules["asyncore"])
        put(package, "asynchat", sys.modules["asynchat"])

    # Until 3.9, test.support had all of it in one module.
    helpers = [
        importlib.import_module(f"test.support.{name}_helper")
        for name in ("hashlib", "import", "os", "socket", "threading", "warnings")
    ]

    def find(name: str) -> Any:
        for helper in helpers:
            if hasattr(helper, name):
                return getattr(helper, name)
        raise AttributeError(f"no test.support.{name} in any version")

    vars(support)["__getattr__"] = find

    # Until 3.9, an argument had another name.
    check = support.check__all__

    def check_all(*args: Any, blacklist: Any = (), not_exported: Any = (), **more: Any) -> None:
        check(*args, not_exported={*blacklist, *not_exported}, **more)

    support.check__all__ = check_all


def put(package: str, name: str, module: ModuleType) -> None:
    """Let `from package import name` give a module."""
    sys.modules[f"{package}.{name}"] = module
    setattr(importlib.import_module(package), name, module)


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # the old test files' own
    sys.exit(main())
