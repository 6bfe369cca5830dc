"""The configuration file: TOML, a table for each command, keys named as the options are.

Everything unknown or of a wrong type is an error: a misspelt limit must not go unnoticed. The
values themselves are checked by the options, as those of the command line are.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import click

from pillarbox.cli.errors import Failure

__all__ = ["read_tables", "table_for"]


def read_tables(file: str, commands: Iterable[str]) -> dict[str, Any]:
    """Read the tables of a file.

    Raises:
        Failure: It cannot be read, is not TOML, or has something that is no command's table.
    """
    try:
        with open(file, "rb") as stream:
            tables = tomllib.load(stream)
    except OSError as error:
        raise Failure(f"--config {file}: {error.strerror}; give the name of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"{file} is not TOML: {error}; write lines such as 'workers = 2'") from None
    names = list(commands)
    for name, table in tables.items():
        if not isinstance(table, dict) and name not in names:
            raise Failure(
                f"{file}: {name!r} stands outside a table; write it under its command's,"
                " such as [sink]"
            )
        if not isinstance(table, dict):
            raise Failure(f"{file}: {name!r} is a table: write [{name}]")
        if name not in names:
            raise Failure(f"{file}: [{name}] is no command;{_instead(name, names)}")
    return tables


def table_for(command: click.Command, table: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Check the table of a command, and name its values as click does.

    Raises:
        Failure: A key is no option of the command, or has a value of another type.
    """
    options = {
        name.lstrip("-"): param
        for param in command.params
        if isinstance(param, click.Option) and param.expose_value
        for name in param.opts
        if name.startswith("--")
    }
    values: dict[str, Any] = {}
    for key, value in table.items():
        option = options.get(key.replace("_", "-"))
        if option is None or option.name is None:
            raise Failure(f"{where}: {key!r} is no option;{_instead(key, options)}")
        if option.name in values:
            raise Failure(f"{where}: {key!r} stands there twice; leave one out")
        wanted, example = _type_of(option)
        fits = [value] if not option.multiple or not isinstance(value, list) else value
        # By type(), for a bool is an int to isinstance(), and to nobody else.
        if not all(type(one) in wanted for one in fits):
            shown = json.dumps(value, default=str)
            raise Failure(f"{where} {key} = {shown} is of a wrong type; write {key} = {example}")
        values[option.name] = fits if option.multiple else value
    return values


def _type_of(option: click.Option) -> tuple[tuple[type, ...], str]:
    """Tell which TOML values an option takes, and one of them."""
    if option.is_flag:
        return (bool,), "true"
    if isinstance(option.type, click.types.IntParamType):
        return (int,), "100"
    if isinstance(option.type, click.types.FloatParamType):
        return (int, float), "10.5"
    if option.multiple:
        return (str,), '["...", "..."]'
    return (str,), '"..."'


def _instead(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    close = get_close_matches(name.replace("_", "-"), known, n=1)
    return f" write {close[0]!r}" if close else f" there are {', '.join(known)}"
