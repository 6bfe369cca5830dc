"""MODULE:HANDLER: what it may be, and what is said of everything else."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pillarbox.cli.errors import Failure, error_line
from pillarbox.cli.load import load_handler
from pillarbox.handler import questions

_numbers = itertools.count(1)

Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a module and load something of it; `{m}` stands for the module's name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def load(source: str, attribute: str = "handler") -> Any:
        name = f"loaded_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        return load_handler(f"{name}:{attribute}")

    return load


def _error(load: Callable[[], Any]) -> str:
    with pytest.raises(Failure) as caught:
        load()
    line = error_line(caught.value)
    assert line.isprintable()
    return line


CLASS = "class Handler:\n    async def message(self, session, envelope, body): ...\n"


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        (f"{CLASS}handler = Handler()", "handler"),
        (CLASS, "Handler"),
        (f"{CLASS}def make(): return Handler()", "make"),
        (f"{CLASS}def make(debug=False): return Handler()", "make"),
        ("def handler(message): ...", "handler"),
        ("async def handler(message): ...", "handler"),
        ("def handler(message, *, copies=1): ...", "handler"),
        ("handler = [].append", "handler"),
        ("def make():\n    return lambda message: None", "make"),
        ("import functools\nhandler = functools.partial(print, 'mail:')", "handler"),
        (f"{CLASS}class app:\n    inner = Handler()", "app.inner"),
        (f"{CLASS}class app:\n    @staticmethod\n    def make(): return Handler()", "app.make"),
    ],
    ids=[
        *("object", "class", "factory", "factory with options", "function", "async function"),
        *("function with options", "builtin", "factory of a function", "partial"),
        *("dotted", "dotted factory"),
    ],
)
def test_handler(load: Load, source: str, attribute: str) -> None:
    handler = load(source, attribute)
    assert questions(handler).message is not None


def test_package(load: Load, tmp_path: Path) -> None:
    (tmp_path / "package_of_mail").mkdir()
    (tmp_path / "package_of_mail" / "__init__.py").touch()
    (tmp_path / "package_of_mail" / "app.py").write_text("def handler(message): ...")
    assert callable(load_handler("package_of_mail.app:handler"))


def test_current_folder_comes_first(load: Load) -> None:
    load("def handler(message): ...")
    assert sys.path[0] == os.getcwd()


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("myapp", "write 'myapp:handler'"),
        ("myapp:", "write 'myapp:handler'"),
        (":handler", "write 'myapp:handler'"),
        ("", "write 'myapp:handler'"),
        ("myapp.py", "write 'myapp:handler'"),
        ("myapp.py:handler", "write 'myapp:handler'"),
        ("mail/app.py:handler", "write 'mail.app:handler'"),
        ("my app:handler", "is no MODULE:HANDLER"),
        (".myapp:handler", "is no MODULE:HANDLER"),
        ("myapp:handler:x", "is no MODULE:HANDLER"),
        ("no_such_module:handler", "run it in the folder that has no_such_module.py"),
        ("email.nothing:handler", f"that has email{os.sep}nothing.py"),
        ("sys.nothing:handler", "there is no module 'sys.nothing'"),
    ],
)
def test_wrong_target(load: Load, target: str, remedy: str) -> None:
    assert remedy in _error(lambda: load_handler(target))


@pytest.mark.parametrize(
    ("source", "attribute", "says"),
    [
        ("handlers = 1", "handler", "has no 'handler'; is it 'handlers'?"),
        ("import time", "handler", "has no 'handler'; define it there or name another"),
        ("class app: pass", "app.handler", "app has no 'handler'"),
        ("handler = 1", "handler", "1 is no handler: give a function of the message"),
        ("handler = None", "handler", "None is no handler"),
        ("class handler: pass", "handler", "object at"),
        ("def handler(): pass", "handler", "None is no handler"),
        ("async def handler(): pass", "handler", "is async and has no parameter"),
        ("def handler(a, b): pass", "handler", "is a function of 2 parameters"),
        ("class handler:\n    def __init__(self, x): ...", "handler", "class that wants arguments"),
        ("import sys", "sys", "is no handler"),
        ("x = 1\nx.y", "handler", "line 2: AttributeError: 'int' object has no attribute 'y'"),
        ("import no_such_thing", "handler", "line 1: ModuleNotFoundError: No module named"),
        ("def handler(", "handler", "line 1: SyntaxError: '(' was never closed"),
        ("raise SystemExit('bye')", "handler", "line 1: SystemExit: bye"),
        ("raise ValueError", "handler", "line 1: ValueError; --log-level debug"),
        ("raise ValueError('a\\nb\\x1b[2J')", "handler", r"ValueError: a b\x1b[2J; --log-level"),
        ("import json\njson.loads('')", "handler", "line 2: JSONDecodeError: "),
        ("def handler(): return 1 / 0", "handler", "line 1: ZeroDivisionError: "),
        ("def __getattr__(name): return 1 / 0", "handler", "line 1: ZeroDivisionError: "),
    ],
)
def test_wrong_code(load: Load, source: str, attribute: str, says: str) -> None:
    assert says in _error(lambda: load(source, attribute))


def test_what_was_failing_is_named(load: Load) -> None:
    error = _error(lambda: load("def helper(): pass\ndef handler(): return 1 / 0"))
    assert "error: calling loaded_" in error
    assert (
        f": loaded_{next(_numbers) - 1}.py, line 2: ZeroDivisionError: division by zero;" in error
    )


def test_failure_that_passes_through_no_code_of_ours(load: Load, tmp_path: Path) -> None:
    (tmp_path / "zeros.py").write_bytes(b"\x00")
    assert "importing zeros failed: " in _error(lambda: load_handler("zeros:handler"))


def test_traceback_for_those_who_ask(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pillarbox"):
        _error(lambda: load("1 / 0"))
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_folder_that_is_gone(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "change to one that exists" in _error(lambda: load_handler("app:handler"))
    monkeypatch.chdir(tmp_path)
