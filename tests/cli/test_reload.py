"""`pillarbox serve --reload`: starts again when a file changes, and not for nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pillarbox.cli import reload
from tests.cli.program import Client, Program, error_in_process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

LOCAL = ("--listen", "127.0.0.1:0")


def _app(says: str) -> str:
    return f"from pillarbox import Reply\nhandler = lambda message: Reply(250, None, {says!r})\n"


def _write(path: Path, text: str) -> None:
    """Write a file at one stroke, for one that is half written is a change as well."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "app.py").write_text(_app("one"))
    listen = (*LOCAL, "--listen", f"unix:{tmp_path}/smtp.sock")
    with Program("serve", "app:handler", *listen, "--reload", folder=tmp_path) as program:
        yield program


def _says(address: int | str) -> str:
    with Client(address) as client:
        return client.deliver(b"x\r\n")


def test_change_is_served_on_the_same_addresses(program: Program, tmp_path: Path) -> None:
    port = program.ready_port()
    program.ready()
    addresses: list[int | str] = [port, f"{tmp_path}/smtp.sock"]
    assert [_says(address) for address in addresses] == ["250 one", "250 one"]
    _write(tmp_path / "app.py", _app("two"))
    assert program.line().endswith(" INFO app.py changed; starting again")
    assert program.line().endswith(" INFO listening again")
    assert [_says(address) for address in addresses] == ["250 two"] * 2
    assert program.stop() == (0, [])
    assert not (tmp_path / "smtp.sock").exists()


def test_mistake_waits_for_its_correction(program: Program, tmp_path: Path) -> None:
    port = program.ready_port()
    program.ready()
    _write(tmp_path / "app.py", "def handler(\n")
    assert program.line().endswith("app.py changed; starting again")
    assert program.line().startswith("pillarbox: error: importing app failed: app.py, line 1: ")
    assert program.line().endswith("ended with status 2; waiting for a file to change")
    _write(tmp_path / "app.py", _app("corrected"))
    assert program.line().endswith("app.py changed; starting again")
    assert program.line().endswith("listening again")
    assert _says(port) == "250 corrected"
    assert program.stop() == (0, [])


def test_mistake_at_the_start_is_an_error(tmp_path: Path) -> None:
    with Program("serve", "app:handler", *LOCAL, "--reload", folder=tmp_path) as program:
        status, lines = program.ended()
    assert status == 2
    assert len(lines) == 1
    assert "there is no module 'app'" in lines[0]


def test_open_transaction_ends_first(program: Program, tmp_path: Path) -> None:
    port = program.ready_port()
    program.ready()
    with Client(port) as busy:
        busy.begin()
        (tmp_path / "new.py").touch()
        assert program.line().endswith("new.py changed; starting again")
        busy.send(b".\r\n")
        assert busy.reply() == "250 one"
    assert program.line().endswith("listening again")
    assert _says(port) == "250 one"
    program.signal(signal.SIGINT)
    assert program.ended() == (0, [])


def test_with_workers() -> None:
    options = ("--reload", "--workers", "2", *LOCAL)
    assert "leave --workers out" in error_in_process("serve", "app:handler", *options)


# Which files count


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str | None]:
    monkeypatch.chdir(tmp_path)

    def changed(path: str) -> str | None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        before = reload._files()
        (tmp_path / path).write_text("x = 1\n")
        return reload._difference(before, reload._files())

    return changed


@pytest.mark.parametrize("path", ["app.py", "package/deep/module.py"])
def test_files_that_count(changed: Callable[[str], str | None], path: str) -> None:
    assert changed(path) == path
    os.utime(path, ns=(0, 0))
    assert changed(path) == path


@pytest.mark.parametrize(
    "path", ["notes.txt", ".git/x.py", "__pycache__/x.py", "node_modules/x.py"]
)
def test_files_that_do_not(changed: Callable[[str], str | None], path: str) -> None:
    assert changed(path) is None


def test_virtual_environment_does_not_count(
    changed: Callable[[str], str | None], tmp_path: Path
) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert changed("env/lib/x.py") is None


def test_removed_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").touch()
    before = reload._files()
    (tmp_path / "app.py").unlink()
    assert reload._difference(before, reload._files()) == "app.py"


def test_dangling_link_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lost.py").symlink_to("nowhere.py")
    assert reload._files() == {}
