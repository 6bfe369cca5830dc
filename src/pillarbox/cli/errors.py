"""Errors as one line: what is wrong and what to write instead, exit status 2.

A command raises `Failure`; what click raises is brought into the same shape. Nobody who runs a
program is shown a traceback.
"""

from __future__ import annotations

import os
import re

import click
from click.core import ParameterSource

from pillarbox.log import visible

__all__ = ["Failure", "error_line"]

CONFIG_FILE = "pillarbox.config_file"
"""Where in `Context.meta` the name of the configuration file stands."""


class Failure(click.ClickException):
    """The command cannot do what it was asked to. The text names the remedy, on one line."""

    exit_code = 2


def error_line(error: click.ClickException) -> str:
    """Give the one line that is printed of an error."""
    text = _text(error).replace("\n", " ")
    return "pillarbox: error: " + visible(re.sub(r"\s+", " ", text).strip())


def _text(error: click.ClickException) -> str:
    if isinstance(error, click.MissingParameter):
        return _with_hint(error)
    if isinstance(error, click.BadParameter) and error.param is not None and error.ctx is not None:
        return f"{_origin(error.param, error.ctx)}: {error.message}"
    if isinstance(error, click.UsageError):
        return _with_hint(error)
    return error.format_message()


def _origin(param: click.Parameter, ctx: click.Context) -> str:
    """Tell where a wrong value stands: an option, the environment or the configuration file."""
    name = param.name or ""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or ()
        for variable in names:
            if os.environ.get(variable):
                return variable
    key = max(param.opts, key=len)
    if source is ParameterSource.DEFAULT_MAP:
        return f"{ctx.meta.get(CONFIG_FILE)}, [{ctx.info_name}] {key.lstrip('-')}"
    return key if isinstance(param, click.Option) else name.upper()


def _with_hint(error: click.UsageError) -> str:
    """Add where to look: what click says of its own tells the wrong, seldom the right."""
    text = re.sub(r"\((Did you mean .*\?)\)", r"\1", error.format_message()).rstrip(".")
    command = error.ctx.command_path if error.ctx is not None else "pillarbox"
    text = text[:1].lower() + text[1:]
    see = " See" if text.endswith("?") else "; see"
    return f"{text}{see} '{command} --help'"
