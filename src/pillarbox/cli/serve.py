"""`pillarbox serve`: runs the user's own handler (load.py), as uvicorn runs an app."""

from __future__ import annotations

import cloup

from pillarbox.cli.command import command
from pillarbox.cli.options import Listening, listening_options

__all__ = ["serve"]


@command("serve", example="pillarbox serve myapp:handler --reload")
@cloup.argument(
    "handler",
    metavar="MODULE:HANDLER",
    help="A handler, a class or function that makes one, or a function of a message.",
)
@cloup.option_group(
    "Developing",
    cloup.option("--reload", is_flag=True, help="Start again when a Python file here changes."),
)
@listening_options
def serve(listening: Listening, handler: str, reload: bool) -> None:
    """Run a handler of your own: what to do with mail, in Python."""
    from pillarbox.cli.load import load_handler
    from pillarbox.cli.run import run

    run(lambda: load_handler(handler), listening, reload=reload)
