"""`--spool`: a folder of this machine, or a database that several relays share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pillarbox.cli.errors import Failure

if TYPE_CHECKING:
    from pillarbox.relay.postgres import PostgresSpool
    from pillarbox.relay.spool import Backoff
    from pillarbox.relay.sqlite import SqliteSpool

    OpenSpool: TypeAlias = SqliteSpool | PostgresSpool

__all__ = ["DEFAULT_SPOOL", "Place", "migrate", "open_spool", "shown", "spool_place"]

DEFAULT_SPOOL = "./pillarbox-spool"

SCHEMES = ("postgresql://", "postgres://")

Place: TypeAlias = Path | str
"""A folder, or a URL."""


def spool_place(text: str) -> Place:
    """Read `--spool`.

    Raises:
        Failure: It is something that we do not have.
    """
    if text.startswith(SCHEMES):
        return text
    if "://" in text:
        raise Failure(
            f"--spool {shown(text)}: a spool is a folder or a database of PostgreSQL; write a path,"
            " or postgresql://USER@HOST/NAME"
        )
    if not text:
        raise Failure(f"--spool is empty; write a folder such as {DEFAULT_SPOOL}")
    if Path(text).is_file():
        raise Failure(f"--spool {text}: it is a file; name a folder, which is made if need be")
    return Path(text)


def shown(place: Place) -> str:
    """Write a place for people, without a password that is in it."""
    scheme, slashes, rest = str(place).partition("://")
    user, at, where = rest.rpartition("@")
    return f"{scheme}{slashes}{user.partition(':')[0]}{at}{where}"


async def open_spool(
    place: Place, *, is_visitor: bool = False, backoff: Backoff | None = None
) -> OpenSpool:
    """Open a spool, wherever it is.

    Raises:
        Failure: Its library is not there.
        SpoolError: It cannot be opened.
    """
    if isinstance(place, Path):
        from pillarbox.relay.sqlite import SqliteSpool

        return await SqliteSpool.open(place, is_visitor=is_visitor, backoff=backoff)
    return await _postgres().open(place, is_visitor=is_visitor, backoff=backoff)


async def migrate(place: Place) -> tuple[int, int]:
    """Bring a spool's tables to our format; tell which it was, and which it is.

    Raises:
        Failure: It is a folder, or its library is not there.
        SpoolError: It cannot be done.
    """
    if isinstance(place, Path):
        raise Failure(
            "migrate is for a database that several relays share; a folder's spool is brought up"
            " to date when the relay opens it"
        )
    return await _postgres().migrate(place)


def _postgres() -> type[PostgresSpool]:
    try:
        from pillarbox.relay.postgres import PostgresSpool
    except ImportError:
        raise Failure(
            '--spool postgresql:// needs the library psycopg; pip install "pillarbox[postgres]", or'
            " write a folder"
        ) from None
    return PostgresSpool
