"""`pillarbox catch`: takes all mail and shows it, on the terminal and on a page (catcher/)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.duration import Duration
from pillarbox.cli.errors import Failure
from pillarbox.cli.keeping import Keeping
from pillarbox.cli.options import Listening, listening_options
from pillarbox.cli.page import Page, page_address
from pillarbox.cli.sink import open_dump

if TYPE_CHECKING:
    from pillarbox.catcher.handler import View
    from pillarbox.catcher.mailbox import Mailbox
    from pillarbox.catcher.printer import Printer
    from pillarbox.catcher.release import SMTPRelay
    from pillarbox.catcher.rules import Rules
    from pillarbox.catcher.sorting import SortingRule
    from pillarbox.cli.run import Opening
    from pillarbox.handler import AnyHandler
    from pillarbox.listen import ListenAddress

__all__ = ["catch"]

log = logging.getLogger("pillarbox")

# What was not printed yet at the end gets so long, if somebody reads.
FINISH_SECONDS = 1.0


def _sorting_rule(text: str) -> SortingRule:
    from pillarbox.catcher.sorting import SortingRule

    try:
        return SortingRule.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _relay(text: str) -> SMTPRelay:
    from pillarbox.catcher.release import SMTPRelay

    try:
        return SMTPRelay.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@command("catch", example="pillarbox catch --dump ./mails")
@cloup.option_group(
    "Showing",
    cloup.option("--full", is_flag=True, help="Show all headers and all of the text."),
    cloup.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead."),
    cloup.option("--quiet", is_flag=True, help="Print nothing of messages."),
)
@cloup.option_group(
    "Page",
    cloup.option("--http", metavar="HOST:PORT", default="127.0.0.1:8025",
                 help="Where the page and its API are; port 0 picks a free one, none is no page."),
    cloup.option("--http-host", metavar="NAME", multiple=True,
                 help="A name that the page is called by, beside localhost; again for more."),
    cloup.option("--http-auth", metavar="USER:PASSWORD", multiple=True,
                 help="Ask for this login to see the page; again for more."),
    cloup.option("--relay-to", metavar="HOST:PORT", type=_relay,
                 help="Where the page may release a message to; smtps://USER:PASSWORD@HOST and"
                 " smtp+starttls://... do as well."),
    cloup.option("--chaos", is_flag=True,
                 help="Let calls of the API make mail fail: refusals, delays, lost connections."),
    cloup.option("--allow-internal-requests", is_flag=True,
                 help="Let the link check ask private and loopback addresses."),
)  # fmt: skip
@cloup.option_group(
    "Keeping",
    cloup.option("--db", metavar="FILE", show_default="in memory",
                 help="Keep the mail in this file (SQLite), made if there is none."),
    cloup.option("--max-messages", metavar="N", type=click.IntRange(min=0), default=5000,
                 help="Let the oldest messages go beyond so many; 0 keeps all."),
    cloup.option("--max-bytes", metavar="N", type=click.IntRange(min=0), default=0,
                 show_default="keeps all", help="The same beyond so many octets of mail."),
    cloup.option("--max-age", metavar="TIME", type=Duration(), show_default="keeps all",
                 help="Let messages go that arrived so long ago, such as 12h or 7d."),
    cloup.option("--import", "imports", metavar="PATH", multiple=True,
                 help="Take this mail in at the start: an .eml or a folder of them, an mbox, a"
                 " Maildir; again for more. What is there already is not taken twice."),
    cloup.option("--mailbox", metavar="NAME=RULE", type=_sorting_rule, multiple=True,
                 help="A mailbox of its own for recipients such as team=*@team.test, for a login"
                 " (ann=user:ann) or a port (ci=port:2525); again for more. Whoever logs in has"
                 " one anyhow."),
    cloup.option("--dump", metavar="DIR", help="Write each message to DIR/ID.eml and DIR/ID.json."),
)  # fmt: skip
@listening_options
def catch(
    listening: Listening,
    full: bool,
    as_json: bool,
    quiet: bool,
    http: str,
    http_host: Sequence[str],
    http_auth: Sequence[str],
    relay_to: SMTPRelay | None,
    chaos: bool,
    allow_internal_requests: bool,
    db: str | None,
    max_messages: int,
    max_bytes: int,
    max_age: float | None,
    imports: Sequence[str],
    mailbox: Sequence[SortingRule],
    dump: str | None,
) -> None:
    """Catch all mail and show it: nothing that is sent here goes any further."""
    from pillarbox.catcher.tally import Tally
    from pillarbox.cli.logs import configure_logs
    from pillarbox.cli.run import Opening, run

    configure_logs(listening.log_format, listening.log_level)
    if quiet and (full or as_json):
        other = "--full" if full else "--json"
        raise Failure(f"--quiet shows nothing and {other} shows much; leave one of them out")
    if not quiet and sys.stdout is None:
        raise Failure("standard output is closed; open it, or write --quiet to show nothing")
    address = page_address(http, workers=listening.workers)
    folder = None if dump is None else open_dump(dump)
    is_kept = address is not None or db is not None
    if imports and not is_kept:
        raise Failure(
            "--import has nowhere to put the mail; write --db FILE, or leave --http none out"
        )
    keeping = Keeping(
        db=db,
        max_messages=max_messages,
        max_octets=max_bytes,
        max_age_seconds=max_age or 0.0,
        imports=imports,
    )
    tally = Tally()
    printer = None if quiet else _printer(as_json=as_json)
    rules = _rules(chaos, address is not None)
    heard: list[ListenAddress] = []

    def make_handler(store: Mailbox | None) -> AnyHandler | Opening:
        from pillarbox.catcher.handler import Catcher
        from pillarbox.catcher.sorting import Sorting

        catcher = Catcher(
            None if quiet else _view(full=full, as_json=as_json),
            printer,
            mailbox=store,
            keep=None if folder is None else folder.write,
            sorting=Sorting(rules=mailbox),
            tally=tally,
            on_closed=lambda: _stop(listening),
        )
        handler: AnyHandler = catcher
        if rules is not None:
            from pillarbox.catcher.failing import Failing

            handler = Failing(catcher.message, rules)
        if store is None or max_age is None:
            return handler
        return Opening(keeping.aged(handler, store))

    def on_ready(addresses: Sequence[ListenAddress]) -> None:
        heard[:] = addresses
        if sys.stderr is not None and sys.stderr.isatty():
            _hint(addresses)

    listening = replace(listening, config=replace(listening.config, keeps_dialogue=is_kept))
    if listening.logins is None:
        from pillarbox.login import AnyLogin

        # A program under test logs in as it does elsewhere, with no password that matters.
        config = replace(listening.config, allows_plaintext_auth=True)
        listening = replace(listening, config=config, logins=AnyLogin())
    if rules is not None and listening.logins is not None:
        from pillarbox.catcher.failing import FailingLogins

        listening = replace(listening, logins=FailingLogins(listening.logins, rules))
    with contextlib.ExitStack() as stack:
        if printer is not None:
            stack.callback(printer.finish, FINISH_SECONDS)
        if listening.workers > 1:
            # Each process has the file open for itself: no connection of SQLite survives a fork.
            if is_kept:
                with keeping.open() as opened:
                    keeping.take_in(opened)
            run(
                lambda: make_handler(keeping.open() if is_kept else None),
                listening,
                on_ready=on_ready,
            )
            return
        store = stack.enter_context(keeping.open()) if is_kept else None
        if store is not None:
            keeping.take_in(store)
        beside = None
        if address is not None and store is not None:
            from pillarbox.catcher.web.service import Service
            from pillarbox.cli.listeners import text_of

            service = Service(
                mailbox=store,
                tally=tally,
                database=db or "",
                addresses=lambda: [text_of(one) for one in heard],
                relay=relay_to,
                rules=rules,
                allows_internal_requests=allow_internal_requests,
                max_message_octets=listening.config.max_message_bytes,
            )
            beside = Page(address, service, hosts=http_host, logins=http_auth)
        run(lambda: make_handler(store), listening, on_ready=on_ready, beside=beside)


def _rules(is_wanted: bool, has_page: bool) -> Rules | None:
    """Make the rules of what fails, of which there are none before the API is called.

    Raises:
        Failure: There is no API.
    """
    if not is_wanted:
        return None
    if not has_page:
        raise Failure("--chaos is ruled by the API, and there is none; leave --http none out")
    from pillarbox.catcher.rules import Rules

    return Rules()


def _view(*, full: bool, as_json: bool) -> View:
    if as_json:
        from pillarbox.catcher.record import JSONLines

        return JSONLines()
    from pillarbox.catcher.terminal import TerminalView

    return TerminalView(sys.stdout, is_full=full)


def _printer(*, as_json: bool) -> Printer:
    from pillarbox.catcher.printer import Printer

    stream = sys.stdout.buffer
    return Printer(
        getattr(stream, "raw", stream),
        encoding="ascii" if as_json else sys.stdout.encoding or "utf-8",
    )


def _hint(addresses: Sequence[ListenAddress]) -> None:
    """Tell whoever sits there how to see a first message."""
    from pillarbox.cli.listeners import text_of

    server = text_of(addresses[0])
    print(  # noqa: T201
        "to see a first message, run in another terminal:\n"
        f"  echo Hello | pillarbox send --server {server}"
        " --from ann@example.org --to bob@example.org",
        file=sys.stderr,
        flush=True,
    )


def _stop(listening: Listening) -> None:
    """End as at a signal: nobody reads what we print, and a message that nobody sees is refused."""
    log.warning("standard output is closed, so that nobody sees the mail: stopping")
    if listening.workers > 1:
        os.kill(os.getppid(), signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)
