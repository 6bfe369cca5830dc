"""The options that all servers have: defaults, meanings, and what is wrong."""

from __future__ import annotations

import pytest

from pillarbox.config import machine_hostname
from tests.cli.probe import group
from tests.cli.program import error_in_process, run_in_process


def _told(*arguments: str) -> dict[str, str]:
    lines = run_in_process("probe", *arguments, group=group).splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_defaults() -> None:
    assert _told() == {
        "listen": "127.0.0.1:1025",
        "hostname": machine_hostname(),
        "limits": "33554432 1000 1000 100 300.0",
        "running": "1 auto text info",
        "own": "False  None",
    }


def test_values() -> None:
    told = _told(
        *("--listen", "[::1]:25", "--listen", "unix:/run/x", "--hostname", "mx.test"),
        *("--max-message-bytes", "0", "--max-recipients", "1", "--max-connections", "2"),
        *("--max-connections-per-ip", "3", "--idle-timeout", "0.5", "--workers", "4"),
        *("--loop", "asyncio", "--log-format", "json", "--log-level", "debug"),
    )
    assert told == {
        "listen": "::1:25 /run/x:0",
        "hostname": "mx.test",
        "limits": "0 1 2 3 0.5",
        "running": "4 asyncio json debug",
        "own": "False  None",
    }


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("--listen", "25", "write '127.0.0.1:25' for this machine only"),
        ("--listen", "localhost", "write '127.0.0.1:25'"),
        ("--listen", "localhost:smtp", "the port is a number from 0 to 65535"),
        ("--listen", "localhost:65536", "the port is a number from 0 to 65535"),
        ("--listen", "::1:25", "'[::1]:25'"),
        ("--listen", "unix:", "write 'unix:/run/pillarbox.sock'"),
        ("--hostname", "mx test", "write one such as 'mx.example.org'"),
        ("--max-message-bytes", "-1", "x>=0"),
        ("--max-message-bytes", "32M", "not a valid integer"),
        ("--max-recipients", "0", "x>=1"),
        ("--max-connections", "0", "x>=1"),
        ("--max-connections-per-ip", "0", "x>=1"),
        ("--idle-timeout", "0", "x>0"),
        ("--idle-timeout", "soon", "not a valid number of seconds"),
        ("--idle-timeout", "inf", "write one such as 300"),
        ("--idle-timeout", "nan", "write one such as 300"),
        ("--workers", "0", "x>=1"),
        ("--loop", "trio", "'auto', 'asyncio', 'uvloop'"),
        ("--log-format", "xml", "'text', 'json'"),
        ("--log-level", "loud", "'debug', 'info', 'warning', 'error'"),
    ],
)
def test_wrong_value(option: str, value: str, remedy: str) -> None:
    error = error_in_process("sink", option, value)
    assert error.startswith((f"{option}: ", "hostname "))
    assert remedy in error
