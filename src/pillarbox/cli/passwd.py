"""`pillarbox passwd`: makes a line for `--auth-file`, from which the password cannot be read."""

from __future__ import annotations

import sys

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure

__all__ = ["passwd"]


@command("passwd", example="pillarbox passwd ann >> logins")
@cloup.argument("user", help="The name to log in by.")
def passwd(user: str) -> None:
    """Ask for a password and print the line for a file of logins."""
    from pillarbox.config import ConfigError
    from pillarbox.login import make_secret, render_secret
    from pillarbox.protocol.sasl import SaslError, check_identity

    try:
        check_identity(user)
    except SaslError as error:
        raise Failure(f"{user!r}: {error}") from None
    if ":" in user:
        raise Failure(f"{user!r}: a name has no colon, which ends it in the file of logins")
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = _read_line()
    if not password:
        raise Failure("no password was given; type one, or write it on standard input")
    try:
        secret = make_secret(password)
    except ConfigError as error:
        raise Failure(str(error)) from None
    print(f"{user}:{render_secret(secret)}")  # noqa: T201


def _read_line() -> str:
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise Failure(f"the password is not {error.encoding.upper()}; write it in that") from None
