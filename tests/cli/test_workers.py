"""`--workers`: one port, several processes, and what happens when one of them ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.program import Client, Program, error_in_process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

LOCAL = ("--listen", "127.0.0.1:0", "--workers", "2")

# Which process it is that takes the mail.
APP = """
import os
from pillarbox import Reply

def handler(message):
    if message.mail_from == "die@example.org":
        os._exit(3)
    return Reply(250, "2.0.0", f"process {os.getpid()}")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def _process(address: int | str) -> int:
    with Client(address) as client:
        return int(client.deliver(b"x\r\n").rpartition(" ")[2])


def _processes(port: int) -> set[int]:
    """Find both workers: the kernel picks one by the client's port, which is as good as chance."""
    found: set[int] = set()
    for _ in range(200):
        found.add(_process(port))
        if len(found) == 2:
            break
    return found


def test_share_a_port(app: Path) -> None:
    with Program("serve", "app:handler", *LOCAL, folder=app) as program:
        processes = _processes(program.ready_port())
        assert len(processes) == 2
        assert program.process.pid not in processes
        assert program.stop() == (0, [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_one_that_ends_is_started_again(app: Path, number: signal.Signals) -> None:
    path = str(app / "smtp.sock")
    options = (*LOCAL, "--listen", f"unix:{path}")
    with Program("serve", "app:handler", *options, folder=app) as program:
        port = program.ready_port()
        program.ready()
        before = _processes(port)
        victim = min(before)
        os.kill(victim, number)
        line = program.line()
        how = "was ended by SIGKILL" if number == signal.SIGKILL else "ended with status 0"
        assert f"process {victim} {how}; starting it again" in line
        # Who connects before it is there again waits for it.
        after = _processes(port)
        assert len(after) == 2
        assert victim not in after
        assert _process(path) in after
        assert program.stop() == (0, [])
    assert not os.path.exists(path)


def test_dies_of_its_handler(app: Path) -> None:
    with Program("serve", "app:handler", *LOCAL, folder=app) as program:
        port = program.ready_port()
        with Client(port) as client:
            client.say("EHLO client.test")
            client.say("MAIL FROM:<die@example.org>")
            client.say("RCPT TO:<bob@example.org>")
            client.say("DATA")
            assert client.say(".") == ""
        assert "ended with status 3; starting it again" in program.line()
        assert len(_processes(port)) == 2
        assert program.stop() == (0, [])


def test_every_process_may_be_told_to_end(app: Path) -> None:
    """As systemd does, which signals the whole group: the second signal is not "at once"."""
    with Program("serve", "app:handler", *LOCAL, folder=app) as program:
        port = program.ready_port()
        processes = _processes(port)
        with Client(port) as busy, Client(port) as idle:
            busy.begin()
            program.signal(signal.SIGTERM)
            assert idle.reply().startswith("421 ")
            for process in processes:
                os.kill(process, signal.SIGTERM)
            busy.send(b"the rest\r\n.\r\n")
            assert busy.reply().startswith("250 ")
        assert program.ended() == (0, [])


def test_interrupt_of_the_whole_group(app: Path) -> None:
    """Ctrl-C: the terminal signals all of them, and so does the parent."""
    with Program("serve", "app:handler", *LOCAL, folder=app) as program:
        with Client(program.ready_port()) as busy:
            busy.begin()
            os.killpg(program.process.pid, signal.SIGINT)
            busy.send(b"the rest\r\n.\r\n")
            assert busy.reply().startswith("250 ")
        assert program.ended() == (0, [])


def test_end_with_their_parent() -> None:
    with Program("sink", *LOCAL) as program, Client(program.ready_port()) as idle:
        program.signal(signal.SIGKILL)
        assert idle.reply().startswith("421 ")
        assert program.ended() == (-signal.SIGKILL, [])


def test_one_line_where_none_can_start(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.sock")
    options = (*LOCAL, "--listen", f"unix:{path}")
    with Program("serve", "no_such_app:handler", *options, folder=tmp_path) as program:
        status, lines = program.ended()
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("pillarbox: error: no_such_app:handler: there is no module")
    assert not os.path.exists(path)


def test_death_at_start(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with Program("serve", "app:handler", *LOCAL, folder=tmp_path) as program:
        status, lines = program.ended()
    assert status == 2
    assert len(lines) == 1
    assert "was ended by SIGKILL; try without --workers" in lines[0]


def test_signal_before_they_are_ready(tmp_path: Path) -> None:
    """The module is imported for ever; the parent hears the signal all the same."""
    (tmp_path / "app.py").write_text(
        "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(1000)\n"
    )
    with Program("serve", "app:handler", *LOCAL, folder=tmp_path) as program:
        assert program.line() == "importing"
        assert program.stop() == (0, [])


def test_port_of_other_workers_is_taken() -> None:
    """SO_REUSEPORT would let us in, and each would get half of the mail."""
    with Program("sink", *LOCAL) as program:
        port = program.ready_port()
        again = ("--listen", f"127.0.0.1:{port}", "--workers", "2")
        assert "another program listens there" in error_in_process("sink", *again)
        assert program.stop() == (0, [])


def test_system_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    assert "leave them out" in error_in_process("sink", *LOCAL)


def test_system_without_reuseport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("socket.SO_REUSEPORT")
    assert "needs SO_REUSEPORT" in error_in_process("sink", *LOCAL)
