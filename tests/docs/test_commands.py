"""Every command line, configuration file and systemd unit of the README and the guides is valid."""

from __future__ import annotations

import re
import shlex
import tomllib
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from pillarbox.cli import pillarbox
from pillarbox.cli.config_file import table_for

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REDIRECTIONS = {"|", "||", "&", "&&", ";", "<", ">", ">>"}

# What our units use. systemd passes over what it does not know, with a word in its log.
KEYS = {
    "Unit": {"After", "Description", "Requires", "Wants"},
    "Socket": {"FileDescriptorName", "ListenStream", "Service"},
    "Service": {
        *("AmbientCapabilities", "ExecReload", "ExecStart", "LoadCredential", "NoNewPrivileges"),
        *("PrivateTmp", "ProtectHome", "ProtectSystem", "Restart", "StateDirectory"),
        *("StateDirectoryMode", "SupplementaryGroups", "TimeoutStopSec", "Type", "User"),
        *("WatchdogSec", "WorkingDirectory"),
    },
    "Install": {"WantedBy"},
}


def blocks(language: str) -> list[object]:
    return [
        pytest.param(found[1], id=f"{page.name}:{page.read_text()[: found.start()].count(chr(10))}")
        for page in PAGES
        for found in re.finditer(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    ]


def command_lines(text: str) -> list[list[str]]:
    """Find what stands behind `pillarbox`, up to where the shell takes over."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(r"\s*(?:\S*/)?pillarbox(?:\s|$)", line):
            words = shlex.split(line, comments=True)
            end = next((n for n, word in enumerate(words) if word in REDIRECTIONS), len(words))
            found.append(words[1:end])
    return found


def check_command_line(arguments: list[str]) -> None:
    """Have it parsed, and run nothing."""
    arguments = list(arguments)
    while arguments and arguments[0] == "--config":
        del arguments[:2]  # a file of the operator's
    with click.Context(pillarbox, info_name="pillarbox") as ctx:
        command = pillarbox.get_command(ctx, arguments[0] if arguments else "catch")
        assert command is not None, arguments
        with command.make_context(command.name, arguments[1:], parent=ctx):
            pass


@pytest.mark.parametrize("text", blocks("sh"))
def test_command_lines(text: str) -> None:
    for arguments in command_lines(text):
        check_command_line(arguments)


@pytest.mark.parametrize("text", blocks("toml"))
def test_configuration_files(text: str) -> None:
    # pyproject.toml has tables of its own.
    tables = {name: table for name, table in tomllib.loads(text).items() if name != "tool"}
    with click.Context(pillarbox, info_name="pillarbox") as ctx:
        for name, table in tables.items():
            command = pillarbox.get_command(ctx, name)
            assert command is not None, name
            table_for(command, table, where=name)


@pytest.mark.parametrize("text", blocks("ini"))
def test_units(text: str) -> None:
    # A key may stand there more than once.
    unit = ConfigParser(interpolation=None, delimiters="=", comment_prefixes="#", strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's page does
    unit.read_string(text)
    for section in unit.sections():
        assert set(unit[section]) <= KEYS[section]
    for arguments in command_lines(unit.get("Service", "ExecStart", fallback="")):
        check_command_line(arguments)


def test_there_are_some() -> None:
    lines = [line for block in blocks("sh") for line in command_lines(block.values[0])]  # type: ignore[attr-defined]  # of pytest.param
    assert len(lines) >= 2
    assert len(blocks("toml")) >= 1
    assert len(blocks("ini")) >= 3


def test_what_is_wrong_is_seen() -> None:
    with pytest.raises(click.NoSuchOption):
        check_command_line(["sink", "--lisen", "127.0.0.1:25"])
    with pytest.raises(click.BadParameter):
        check_command_line(["--config", "x.toml", "sink", "--listen", "25"])
