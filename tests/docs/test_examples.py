"""Every Python example of the README and the guides runs as it stands there.

A block of `text` right behind an example is what it prints. An example that serves until Ctrl-C is
started, sent a message, and has to show it. One that begins with `# test_something.py` is run by
pytest.
"""

from __future__ import annotations

import os
import re
import smtplib
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```python\n(?P<code>.*?)```(?:\n+```text\n(?P<output>.*?)```)?", re.DOTALL)
FOREVER = "asyncio.Event().wait()"
TIME_LIMIT_SECONDS = 20


@dataclass(frozen=True)
class Example:
    code: str
    output: str | None


def examples() -> list[object]:
    return [
        pytest.param(
            Example(found["code"], found["output"]),
            id=f"{page.name}:{page.read_text()[: found.start()].count(chr(10)) + 1}",
        )
        for page in PAGES
        for found in BLOCK.finditer(page.read_text())
    ]


@pytest.mark.parametrize("example", examples())
def test_example(example: Example, tmp_path: Path) -> None:
    if FOREVER in example.code:
        serve_one_message(example.code, tmp_path)
        return
    if example.code.startswith("# test_"):
        run_tests(example.code, tmp_path)
        return
    done = subprocess.run(
        # On 3.11 asyncore warns that it will go, and so does the smtpd that is there before ours.
        [sys.executable, "-W", "error", "-W", "ignore:The asyncore:DeprecationWarning", "-"],
        input=example.code,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    if example.output is not None:
        assert done.stdout.replace("\r\n", "\n").rstrip() == example.output.rstrip()


def run_tests(code: str, folder: Path) -> None:
    """Run the tests of an example."""
    (folder / code.split("\n", 1)[0].removeprefix("# ")).write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "pillarbox.pytest_plugin"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def serve_one_message(code: str, folder: Path) -> None:
    """Run a server on a free port, send a message, and see that the program tells of it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The test has to know when it listens: the example itself says nothing.
    code = code.replace("1025", str(port)).replace(FOREVER, f"(print('ready') or {FOREVER})")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(TIME_LIMIT_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("ann@example.org", ["ben@example.org"], "Subject: Lunch\r\n\r\nNoon?")
        assert "ann@example.org" in process.stdout.readline()
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_there_are_examples() -> None:
    assert len(examples()) >= 4
