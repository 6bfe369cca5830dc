"""What `pillarbox` is before it is a command: help, version, the default command, errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pillarbox import __version__
from pillarbox.cli import SECTIONS, pillarbox
from tests.cli.probe import group
from tests.cli.program import TIME_LIMIT_SECONDS, clean_environment, error_in_process
from tests.cli.program import run_in_process as run

COMMANDS = [name for section in SECTIONS.values() for name, _, _ in section]
OURS = ["sink", "serve"]


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )


def test_help_names_every_command() -> None:
    text = run("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in text
    assert "Example" in text


def test_short_help_option() -> None:
    assert run("-h") == run("--help")


@pytest.mark.parametrize("command", OURS)
def test_help_of_a_command_is_grouped_and_has_an_example(command: str) -> None:
    text = run(command, "--help")
    assert "\nListening:\n  --listen HOST:PORT" in text
    assert "[default: 127.0.0.1:1025]" in text
    assert f"\nExample:\n  pillarbox {command} " in text


@pytest.mark.parametrize("option", ["--http", "--db"])
@pytest.mark.parametrize("command", OURS)
def test_what_is_not_there_yet_is_not_promised(command: str, option: str) -> None:
    assert option not in run(command, "--help")


def test_version() -> None:
    assert run("--version") == f"pillarbox {__version__}\n"


def test_as_a_module() -> None:
    assert _python("-m", "pillarbox", "--version").stdout == f"pillarbox {__version__}\n"


def test_help_loads_neither_event_loop_nor_rich() -> None:
    result = _python(
        "-c",
        "import sys, atexit; sys.argv[1:] = ['--help'];"
        "atexit.register(lambda: print({'asyncio', 'rich', 'uvloop'} & sys.modules.keys()));"
        "from pillarbox.cli import main; main()",
    )
    assert result.stdout.endswith("\nset()\n")


# The default command


@pytest.mark.parametrize(
    "arguments",
    [
        ("--quiet",),
        ("--quiet", "--to", "x"),
        ("--to", "x", "--quiet"),
        ("--to=x", "--quiet"),
        ("probe", "--quiet"),
    ],
    ids=" ".join,
)
def test_default_command_takes_options(arguments: tuple[str, ...]) -> None:
    assert "own: True" in run(*arguments, group=group)


def test_default_command_without_anything() -> None:
    assert "own: False" in run(group=group)
    assert pillarbox.default_command == "catch"


def test_default_command_shows_its_own_errors() -> None:
    assert error_in_process("--lout", group=group).startswith("no such option '--lout'")


# Errors


def test_unknown_command() -> None:
    assert error_in_process("snik") == (
        "no such command 'snik'. Did you mean 'sink'? See 'pillarbox --help'"
    )


def test_unknown_option() -> None:
    assert error_in_process("sink", "--hostnam", "x") == (
        "no such option '--hostnam'. Did you mean '--hostname'? See 'pillarbox sink --help'"
    )


def test_unknown_option_that_is_like_several() -> None:
    error = error_in_process("sink", "--lisen", "x")
    assert error.startswith("no such option '--lisen'. Did you mean one of: '--listen', ")
    assert error.endswith("? See 'pillarbox sink --help'")


def test_option_without_its_value() -> None:
    assert error_in_process("sink", "--listen") == (
        "option '--listen' requires an argument; see 'pillarbox sink --help'"
    )


def test_argument_too_many() -> None:
    assert "unexpected extra argument" in error_in_process("sink", "mails")


def test_control_characters_in_an_error_are_shown() -> None:
    assert r"\x1b[2J" in error_in_process("sink", "--hostname", "a", "\x1b[2J")


def test_reader_that_goes_away_is_no_error() -> None:
    """`pillarbox --help | true`, with the pipe closed before anything is written."""
    program = (
        "import os, sys; read, write = os.pipe(); os.dup2(write, 1); os.close(write);"
        "os.close(read); sys.argv[1:] = ['--help']; from pillarbox.cli import main; main()"
    )
    result = _python("-c", program)
    assert (result.returncode, result.stderr) == (1, "")


def test_interrupt_is_quiet() -> None:
    program = (
        "import signal, sys, pillarbox.cli.sink as sink; sys.argv[1:] = ['sink'];"
        "sink.sink.callback = lambda **_: signal.default_int_handler(2, None);"
        "from pillarbox.cli import main; main()"
    )
    result = _python("-c", program)
    assert (result.returncode, result.stderr) == (130, "")
