"""How far a crash test is: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.crash.run import Figures

__all__ = ["make_console", "showing"]

# A line of a log for so many kills.
KILLS = 10


def make_console() -> Console:
    """Make what a crash test writes to."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a log has no width: do not fold the table to 80
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # connections break all the time
    return console


@contextlib.contextmanager
def showing(console: Console, part: str, messages: int) -> Iterator[Callable[[Figures], None]]:
    """Show what the function is told that this gives.

    Args:
        console: Where.
        part: What is under way.
        messages: How many are to be acked.
    """
    with Progress(
        TextColumn("{task.description:>6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("acked; {task.fields[kills]} kills, {task.fields[waiting]} wait;"),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task(part, total=messages, kills=0, waiting=0, doing="")
        told = 0

        def tell(figures: Figures) -> None:
            nonlocal told
            progress.update(
                bar,
                completed=figures.acked,
                kills=figures.kills,
                waiting=figures.waiting,
                doing=figures.doing,
            )
            if not console.is_terminal and figures.kills >= told + KILLS:
                told = figures.kills
                console.print(
                    f"{part}: {figures.acked} acked, {figures.kills} kills,"
                    f" {figures.waiting} wait; {figures.doing}"
                )

        yield tell
