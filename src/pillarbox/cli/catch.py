"""`pillarbox catch`: takes all mail and shows it (catcher/), and keeps it as files where asked."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening, listening_options
from pillarbox.cli.sink import open_dump

if TYPE_CHECKING:
    from pillarbox.catcher.handler import Catcher, View
    from pillarbox.catcher.printer import Printer
    from pillarbox.listen import ListenAddress

__all__ = ["catch"]

log = logging.getLogger("pillarbox")


@command("catch", example="pillarbox catch --dump ./mails")
@cloup.option_group(
    "Showing",
    cloup.option("--full", is_flag=True, help="Show all headers and all of the text."),
    cloup.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead."),
    cloup.option("--quiet", is_flag=True, help="Print nothing of messages."),
)
@cloup.option_group(
    "Keeping",
    cloup.option("--dump", metavar="DIR", help="Write each message to DIR/ID.eml and DIR/ID.json."),
)
@listening_options
def catch(listening: Listening, full: bool, as_json: bool, quiet: bool, dump: str | None) -> None:
    """Catch all mail and show it: nothing that is sent here goes any further."""
    from pillarbox.cli.run import run

    if quiet and (full or as_json):
        other = "--full" if full else "--json"
        raise Failure(f"--quiet shows nothing and {other} shows much; leave one of them out")
    if not quiet and sys.stdout is None:
        raise Failure("standard output is closed; open it, or write --quiet to show nothing")
    folder = None if dump is None else open_dump(dump)

    def make_catcher() -> Catcher:
        from pillarbox.catcher.handler import Catcher

        return Catcher(
            None if quiet else _view(full=full, as_json=as_json),
            None if quiet else _printer(as_json=as_json),
            keep=None if folder is None else folder.write,
            on_closed=lambda: _stop(listening),
        )

    if listening.logins is None:
        from pillarbox.login import AnyLogin

        # A program under test logs in as it does elsewhere, with no password that matters.
        config = replace(listening.config, allows_plaintext_auth=True)
        listening = replace(listening, config=config, logins=AnyLogin())
    is_watched = sys.stderr is not None and sys.stderr.isatty()
    run(make_catcher, listening, on_ready=_hint if is_watched else None)


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
