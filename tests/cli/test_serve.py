"""`pillarbox serve`: a handler of the user's own, run as it stands."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cli.program import Client, Program, error_in_process

LOCAL = ("--listen", "127.0.0.1:0")

APP = """
import asyncio
from pillarbox import Reject, Reply

class App:
    def __init__(self):
        self.loop = asyncio.get_running_loop()

    async def rcpt(self, session, rcpt):
        if rcpt.path.local_part == "nobody":
            raise Reject(550, "5.1.1", "No such mailbox")

    async def message(self, session, envelope, body):
        await asyncio.wait_for(body.read(), 10)
        return Reply(250, "2.0.0", f"Kept by {asyncio.get_running_loop() is self.loop}")
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_class(tmp_path: Path, workers: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = (*LOCAL, "--workers", workers)
    with Program("serve", "app:App", *options, folder=tmp_path) as program:
        with Client(program.ready_port()) as client:
            assert client.deliver(b"x\r\n") == "250 2.0.0 Kept by True"
            assert client.say("MAIL FROM:<>").startswith("250 ")
            assert client.say("RCPT TO:<nobody@x.test>") == "550 5.1.1 No such mailbox"
        assert program.stop() == (0, [])


def test_error_of_the_user_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1\ny = z\n")
    with Program("serve", "app:handler", *LOCAL, folder=tmp_path) as program:
        assert program.ended() == (
            2,
            [
                "pillarbox: error: importing app failed: app.py, line 2: NameError: name 'z' is not"
                " defined; --log-level debug shows the traceback"
            ],
        )


def test_traceback_for_those_who_ask(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1\ny = z\n")
    options = (*LOCAL, "--log-level", "debug")
    with Program("serve", "app:handler", *options, folder=tmp_path) as program:
        status, lines = program.ended()
    assert status == 2
    assert any(line.endswith(" DEBUG importing app failed") for line in lines)
    assert "    NameError: name 'z' is not defined" in lines
    assert lines[-1].startswith("pillarbox: error: importing app failed")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_signal_while_the_module_is_imported(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "app.py").write_text(
        "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(1000)\n"
    )
    with Program("serve", "app:handler", *LOCAL, folder=tmp_path) as program:
        assert program.line() == "importing"
        program.signal(number)
        assert program.ended() == (status, [])


def test_nothing_to_serve() -> None:
    assert error_in_process("serve") == (
        "missing argument 'MODULE:HANDLER'; see 'pillarbox serve --help'"
    )
