"""`pillarbox queue`: looks at a relay's spool and controls it, whether the relay runs or not.

Here is what each action does; how it looks: queue_view.py. To bounce is bouncing.py's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure
from pillarbox.cli.spool_place import DEFAULT_SPOOL, Place, migrate, open_spool, shown, spool_place

if TYPE_CHECKING:
    from pillarbox.cli.queue_view import View
    from pillarbox.relay.spool import QueuedMessage, Selection, Spool

__all__ = ["queue"]

PAGE = 500

ACTIONS = """\b
Actions:
  list [ID...]                 what waits; --to and --from choose, '*' is anything
  show ID                      one message: where it stands, and its text
  hold | release ID...         deliver it no more; deliver it again
  retry ID...                  try it now
  bounce ID...                 give it up, and tell its sender
  delete ID...                 remove it without a word
  stats                        how much waits, and for which destination
  suspend | resume DESTINATION deliver nothing to it; deliver to it again
  migrate                      bring a database's tables to this version
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    action: str
    names: tuple[str, ...]
    rcpt_to: str | None
    mail_from: str | None
    is_all: bool
    is_sure: bool
    limit: int | None
    is_raw: bool
    hostname: str | None
    place: Place
    view: View

    @property
    def selection(self) -> Selection:
        """Which messages are meant."""
        from pillarbox.relay.spool import Selection

        mail_from = "" if self.mail_from == "<>" else self.mail_from
        return Selection(ids=self.names or None, mail_from=mail_from, rcpt_to=self.rcpt_to)


@command("queue", example="pillarbox queue list --to '*@example.org' --spool /var/spool/pillarbox")
@cloup.argument("action", metavar="ACTION", help="What to do; see below.")
@cloup.argument("names", metavar="[ID...]", nargs=-1, help="Messages, or a destination.")
@cloup.option_group(
    "Which messages",
    cloup.option(
        "--to",
        "rcpt_to",
        metavar="PATTERN",
        envvar="PILLARBOX_QUEUE_TO",
        help="Those to this recipient; '*' stands for anything.",
    ),
    cloup.option(
        "--from",
        "mail_from",
        metavar="PATTERN",
        help="Those of this sender; '<>' for notifications.",
    ),
    cloup.option("--all", "is_all", is_flag=True, help="All of them."),
    cloup.option("--yes", "is_sure", is_flag=True, help="Do not ask whether all are meant."),
)
@cloup.option_group(
    "Spool",
    cloup.option(
        "--spool",
        metavar="PATH|URL",
        default=DEFAULT_SPOOL,
        help="The folder that the relay was given, or the database.",
    ),
    cloup.option(
        "--hostname",
        metavar="NAME",
        show_default="the machine's",
        help="Who tells the sender of what is bounced.",
    ),
)
@cloup.option_group(
    "Output",
    cloup.option("--json", "is_json", is_flag=True, help="Print JSON."),
    cloup.option("--raw", "is_raw", is_flag=True, help="With show: the message's octets alone."),
    cloup.option(
        "--limit",
        metavar="N",
        type=click.IntRange(min=0),
        show_default="100 in a table, 0 in JSON",
        help="With list: the most messages; 0 is no limit.",
    ),
)
def queue(
    action: str,
    names: tuple[str, ...],
    rcpt_to: str | None,
    mail_from: str | None,
    is_all: bool,
    is_sure: bool,
    spool: str,
    hostname: str | None,
    is_json: bool,
    is_raw: bool,
    limit: int | None,
) -> int:
    """Look at a relay's spool and control it.

    It works while the relay runs, and while it does not. The exit status is 1 where some of the
    messages that were named are not there.
    """
    from pillarbox.cli.queue_view import JsonView, TableView

    if action not in (actions := (*_ACTIONS, "migrate")):
        raise Failure(f"there is no action {action!r}; write one of {', '.join(actions)}")
    asked = Asked(
        action=action,
        names=names,
        rcpt_to=rcpt_to,
        mail_from=mail_from,
        is_all=is_all,
        is_sure=is_sure,
        limit=limit,
        is_raw=is_raw,
        hostname=hostname,
        place=spool_place(spool),
        view=JsonView() if is_json else TableView(now=time.time()),
    )
    _check(asked)
    return asyncio.run(_do(asked))


assert queue.epilog is not None
queue.epilog = f"{ACTIONS}\n{queue.epilog}"


def _check(asked: Asked) -> None:
    """See that the words fit together, before anything is opened."""
    action, names = asked.action, asked.names
    chosen = asked.rcpt_to is not None or asked.mail_from is not None
    if asked.is_raw and action != "show":
        raise Failure(f"--raw is for show; leave it out of {action}")
    if asked.limit is not None and action != "list":
        raise Failure(f"--limit is for list; leave it out of {action}")
    if action in ("show", "suspend", "resume"):
        what = "message, by its id" if action == "show" else "destination, as 'queue stats' has it"
        if len(names) != 1 or not names[0] or chosen or asked.is_all:
            raise Failure(
                f"{action} takes one {what}; write 'pillarbox queue {action} {_SOME[action]}'"
            )
    elif action in ("stats", "migrate"):
        if names or chosen or asked.is_all:
            raise Failure(f"{action} takes nothing else; write 'pillarbox queue {action}'")
    elif action != "list":
        if asked.is_all and (names or chosen):
            raise Failure("--all means all of them; leave it out, or the others")
        if not (asked.is_all or names or chosen):
            raise Failure(
                f"which messages to {action} is not said; write ids, --to, --from or --all"
            )


_SOME = {"show": "ID", "suspend": "DESTINATION", "resume": "DESTINATION"}


async def _do(asked: Asked) -> int:
    from pillarbox.relay.spool import SpoolError

    try:
        if asked.action == "migrate":
            return await _migrate(asked)
        spool = await open_spool(asked.place, is_visitor=True)
        try:
            return await _ACTIONS[asked.action](spool, asked)
        finally:
            await spool.close()
    except SpoolError as error:
        raise Failure(str(error)) from None


def is_terminal() -> bool:
    """Tell whether there is somebody to be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


# Looking


async def _list(spool: Spool, asked: Asked) -> int:
    limit = asked.view.default_limit if asked.limit is None else asked.limit
    asked.view.begin()
    shown = 0
    async for message in _pages(spool, asked.selection):
        if limit and shown == limit:
            asked.view.end(is_cut=True)
            return 0
        asked.view.add(message)
        shown += 1
    asked.view.end()
    return 0


async def _pages(spool: Spool, selection: Selection) -> AsyncIterator[QueuedMessage]:
    start = 0
    while page := await spool.list(selection, start=start, limit=PAGE):
        for message in page:
            yield message
        start += len(page)


async def _show(spool: Spool, asked: Asked) -> int:
    found = await spool.list(asked.selection, limit=1)
    octets = await spool.octets(asked.names[0]) if found else None
    if octets is None:
        raise _absent(asked.names[0], asked)
    if asked.is_raw:
        sys.stdout.buffer.write(octets)
    else:
        asked.view.show(found[0], octets)
    return 0


async def _stats(spool: Spool, asked: Asked) -> int:
    asked.view.stats(await spool.statistics())
    return 0


# Messages


async def _hold(spool: Spool, asked: Asked) -> int:
    return await _change(asked, spool, "held", spool.hold)


async def _release(spool: Spool, asked: Asked) -> int:
    return await _change(asked, spool, "released", spool.release)


async def _retry(spool: Spool, asked: Asked) -> int:
    now = spool.clock.now()
    return await _change(asked, spool, "due now", lambda chosen: spool.retry(chosen, now))


async def _delete(spool: Spool, asked: Asked) -> int:
    return await _change(asked, spool, "deleted", spool.delete)


async def _bounce(spool: Spool, asked: Asked) -> int:
    from pillarbox.cli.bouncing import bounce

    async def give_up(chosen: Selection) -> int:
        bounced, left = await bounce(spool, chosen, hostname=asked.hostname)
        if left:
            who = "1 message is" if left == 1 else f"{left} messages are"
            click.echo(
                f"pillarbox: {who} being tried now, and may be delivered; bounce again what is not",
                err=True,
            )
        return bounced

    return await _change(asked, spool, "bounced", give_up)


async def _change(
    asked: Asked,
    spool: Spool,
    done: str,
    change: Callable[[Selection], Awaitable[int]],
) -> int:
    """Do something to messages, and tell to how many; 1 where some are not there."""
    selection = asked.selection
    absent: list[str] = []
    if asked.names:
        there = {one.id async for one in _pages(spool, selection)}
        absent = [name for name in asked.names if name.upper() not in there]
        if not there:
            raise _absent(asked.names[0], asked)
    if asked.is_all and not asked.is_sure and is_terminal():
        count = (await spool.statistics()).messages
        if not click.confirm(f"{asked.action} all {count} messages?", err=True):
            return 1
    asked.view.told(asked.action, done, await change(selection))
    for name in absent:
        click.echo(f"pillarbox: {_absent(name, asked).message}", err=True)
    return 1 if absent else 0


def _absent(name: str, asked: Asked) -> Failure:
    more = ", or none that --to and --from mean" if asked.rcpt_to or asked.mail_from else ""
    return Failure(
        f"there is no message {name!r} in {shown(asked.place)}{more}; 'pillarbox queue list' tells"
        " what there is"
    )


# Destinations


async def _suspend(spool: Spool, asked: Asked) -> int:
    name = await _destination(spool, asked.names[0])
    await spool.suspend(name)
    asked.view.told_destination("suspend", f"{name} is suspended", name, is_done=True)
    return 0


async def _resume(spool: Spool, asked: Asked) -> int:
    name = await _destination(spool, asked.names[0])
    was_suspended = await spool.resume(name)
    text = f"{name} is delivered to again" if was_suspended else f"{name} was not suspended"
    asked.view.told_destination("resume", text, name, is_done=was_suspended)
    return 0 if was_suspended else 1


async def _destination(spool: Spool, text: str) -> str:
    """Name a destination as the spool does: `HOST:PORT` is one by SMTP, domains are in small."""
    from pillarbox.config import ConfigError
    from pillarbox.relay.route import NextHop, is_next_hop

    if text in (await spool.statistics()).destinations:
        return text
    if not is_next_hop(text):
        return text.lower()
    try:
        return str(NextHop.parse(text))
    except ConfigError as error:
        raise Failure(f"{error}; 'pillarbox queue stats' tells the destinations") from None


# The tables


async def _migrate(asked: Asked) -> int:
    asked.view.told_format(*await migrate(asked.place))
    return 0


Action: TypeAlias = "Callable[[Spool, Asked], Awaitable[int]]"

_ACTIONS: Final[dict[str, Action]] = {
    "list": _list,
    "show": _show,
    "hold": _hold,
    "release": _release,
    "retry": _retry,
    "bounce": _bounce,
    "delete": _delete,
    "stats": _stats,
    "suspend": _suspend,
    "resume": _resume,
}
