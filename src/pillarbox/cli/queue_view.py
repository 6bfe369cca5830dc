"""How `pillarbox queue` shows a spool: as tables for people, as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pillarbox.log import visible
from pillarbox.relay.spool import QueuedMessage, QueuedRecipient, RecipientState, Statistics
from pillarbox.relay.telling import rfc3339

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["JsonView", "TableView", "View", "message_fields"]

# Wide enough for addresses, where nobody looks at it on a terminal.
WIDTH = 160
# On a terminal that is not as wide as this, recipients and replies stand below the sender.
WIDE = 120
SHOWN_MESSAGES = 100
SHOWN_RECIPIENTS = 20
SHOWN_CHARACTERS = 50_000


class View(Protocol):
    """What is shown of a spool."""

    default_limit: int
    """How many messages are listed; 0 is all."""

    def begin(self) -> None:
        """Begin a list."""

    def add(self, message: QueuedMessage) -> None:
        """Add a message to it."""

    def end(self, *, is_cut: bool = False) -> None:
        """End it, perhaps with more to come."""

    def show(self, message: QueuedMessage, octets: bytes) -> None:
        """Show one message."""

    def stats(self, statistics: Statistics) -> None:
        """Show how much there is."""

    def told(self, action: str, done: str, count: int) -> None:
        """Tell what was done to how many messages."""

    def told_destination(self, action: str, text: str, name: str, *, is_done: bool) -> None:
        """Tell what was done to a destination."""

    def told_format(self, before: int, after: int) -> None:
        """Tell what format a database was of, and is."""


def message_fields(message: QueuedMessage) -> Mapping[str, Any]:
    """Give a message as programs may rely on it."""
    return {
        "id": message.id,
        "mail_from": message.mail_from,
        "size": message.size,
        "created": rfc3339(message.created),
        "hold": message.is_held,
        "recipients": [
            {
                "address": one.address,
                "state": one.state.value,
                "destination": one.destination,
                "attempts": one.attempts,
                "next_attempt": None if one.next_attempt is None else rfc3339(one.next_attempt),
                "last_reply": one.last_reply,
                **({"node": one.holder} if one.holder else {}),
            }
            for one in message.recipients
        ],
    }


class JsonView:
    """Prints JSON, a message a line, in ASCII."""

    default_limit = 0

    def __init__(self) -> None:
        self._separator = ""

    def begin(self) -> None:
        """Begin a list."""
        _print("[", end="")

    def add(self, message: QueuedMessage) -> None:
        """Add a message to it."""
        _print(f"{self._separator}\n{json.dumps(message_fields(message))}", end="")
        self._separator = ","

    def end(self, *, is_cut: bool = False) -> None:
        """End it."""
        _print("\n]" if self._separator else "]")

    def show(self, message: QueuedMessage, octets: bytes) -> None:
        """Show one message: what a list has, and more; its octets as characters of Latin-1."""
        fields = {
            **message_fields(message),
            "expires": rfc3339(message.expires),
            "origin": message.origin,
            "octets": octets.decode("latin-1"),
        }
        _print(json.dumps(fields, indent=2))

    def stats(self, statistics: Statistics) -> None:
        """Show how much there is."""
        oldest = statistics.oldest
        fields: dict[str, Any] = {
            "messages": statistics.messages,
            "octets": statistics.octets,
            "held": statistics.held,
            "oldest": None if oldest is None else rfc3339(oldest),
            "destinations": [
                {
                    "destination": name,
                    "queued": queued,
                    "active": active,
                    "suspended": is_suspended,
                }
                for name, (queued, active, is_suspended) in statistics.destinations.items()
            ],
        }
        if statistics.nodes:
            fields["nodes"] = [
                {
                    "node": one.name,
                    "began": rfc3339(one.began),
                    "seen": rfc3339(one.seen),
                    "active": one.active,
                }
                for one in statistics.nodes
            ]
        _print(json.dumps(fields, indent=2))

    def told(self, action: str, done: str, count: int) -> None:
        """Tell what was done to how many messages."""
        _print(json.dumps({"action": action, "messages": count}))

    def told_destination(self, action: str, text: str, name: str, *, is_done: bool) -> None:
        """Tell what was done to a destination."""
        _print(json.dumps({"action": action, "destination": name, "changed": is_done}))

    def told_format(self, before: int, after: int) -> None:
        """Tell what format a database was of, and is."""
        _print(json.dumps({"action": "migrate", "before": before, "after": after}))


class TableView:
    """Prints tables and sentences.

    Args:
        now: The time, for how long ago things were.
        width: Of the lines; the terminal's where it is not given.
    """

    default_limit = SHOWN_MESSAGES

    def __init__(self, *, now: float, width: int | None = None) -> None:
        self._now = now
        self._width = width if width or sys.stdout.isatty() else WIDTH
        self._table: Table | None = None
        self._count = 0

        self._is_wide = True

    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=sys.stdout, width=self._width, legacy_windows=False)

    def _print(self, *what: RenderableType) -> None:
        console = self._console()
        for one in what:
            console.print(one, highlight=False, markup=False, emoji=False)

    def begin(self) -> None:
        """Begin a list."""
        self._is_wide = self._console().width >= WIDE
        rest = ("From", "To", "State", "Last reply") if self._is_wide else ("From, to, last reply",)
        self._table = _table("ID", "Age", ">Size", *rest)
        self._count = 0

    def add(self, message: QueuedMessage) -> None:
        """Add a message to it, a line for each recipient."""
        assert self._table is not None
        self._count += 1
        age, size = _duration(self._now - message.created), _size(message.size)
        first: tuple[str | Text, ...]
        first = (message.id, age, size, _text(message.mail_from or "<>"))
        if not self._is_wide:
            self._table.add_row(*first)
        told = ""
        for one in message.recipients[:SHOWN_RECIPIENTS]:
            state = self._state(one, is_held=message.is_held)
            # What was said of all of them is said once.
            reply, told = "" if one.last_reply == told else one.last_reply, one.last_reply
            if self._is_wide:
                self._table.add_row(*first, _text(one.address), _text(state), _text(reply))
                first = ("",) * len(first)
            else:
                self._table.add_row("", "", "", _text(f"to {one.address}, {state}"))
                if reply:
                    self._table.add_row("", "", "", _text(reply))
        rest = len(message.recipients) - SHOWN_RECIPIENTS
        if rest > 0:
            self._table.add_row(*("",) * (4 if self._is_wide else 3), f"and {rest} more")

    def end(self, *, is_cut: bool = False) -> None:
        """Print it."""
        assert self._table is not None
        if not self._count:
            self._print("Nothing waits.")
            return
        self._print(self._table)
        if is_cut:
            self._print(f"The oldest {self._count} are shown; --limit 0 shows all.")

    def show(self, message: QueuedMessage, octets: bytes) -> None:
        """Show one message: the facts, the recipients, the text."""
        held = "; it is held" if message.is_held else ""
        facts = _table("", "", has_header=False)
        for name, value in (
            ("ID", message.id),
            ("From", message.mail_from or "<>"),
            ("Came", f"{rfc3339(message.created)} from {message.origin or 'here'}{held}"),
            ("Given up", rfc3339(message.expires)),
            ("Size", f"{message.size} octets"),
        ):
            facts.add_row(name, _text(value))
        recipients = _table("To", "State", "Attempts", "Destination", "Last reply")
        for one in message.recipients:
            recipients.add_row(
                _text(one.address),
                _text(self._state(one, is_held=message.is_held)),
                str(one.attempts),
                _text(one.destination),
                _text(one.last_reply),
            )
        self._print(facts, recipients)
        text = octets.decode(errors="replace").replace("\r\n", "\n")
        lines = text[:SHOWN_CHARACTERS].expandtabs().split("\n")
        _print("\n".join(map(visible, lines)))
        if len(text) > SHOWN_CHARACTERS:
            _print("... and more; --raw gives all of it.")

    def _state(self, recipient: QueuedRecipient, *, is_held: bool) -> str:
        state = recipient.state
        if state is not RecipientState.QUEUED:
            by = f" by {recipient.holder}" if recipient.holder else ""
            return f"being tried{by}" if state is RecipientState.ACTIVE else str(state.value)
        if is_held:
            return "held"
        wait = (recipient.next_attempt or 0.0) - self._now
        times = f", tried {recipient.attempts} x" if recipient.attempts else ""
        return f"in {_duration(wait)}{times}" if wait > 0 else f"due{times}"

    def stats(self, statistics: Statistics) -> None:
        """Show how much there is."""
        if statistics.destinations:
            table = _table("Destination", ">Queued", ">Active", "")
            for name, (queued, active, is_suspended) in statistics.destinations.items():
                table.add_row(
                    _text(name), str(queued), str(active), "suspended" if is_suspended else ""
                )
            self._print(table)
        if statistics.nodes:
            nodes = _table("Node", ">Active", ">Runs for", ">Last seen")
            for one in statistics.nodes:
                began, seen = (_duration(self._now - when) for when in (one.began, one.seen))
                nodes.add_row(_text(one.name), str(one.active), began, f"{seen} ago")
            self._print(nodes)
        oldest = statistics.oldest
        age = "" if oldest is None else f", the oldest for {_duration(self._now - oldest)}"
        held = f"; {statistics.held} held" if statistics.held else ""
        many = "message waits" if statistics.messages == 1 else "messages wait"
        self._print(f"{statistics.messages} {many}, {_size(statistics.octets)}{age}{held}")

    def told(self, action: str, done: str, count: int) -> None:
        """Tell what was done to how many messages."""
        _print(f"{count} {'message' if count == 1 else 'messages'} {done}")

    def told_destination(self, action: str, text: str, name: str, *, is_done: bool) -> None:
        """Tell what was done to a destination."""
        _print(visible(text))

    def told_format(self, before: int, after: int) -> None:
        """Tell what format a database was of, and is."""
        if before == after:
            _print(f"the tables are of format {after} already")
        else:
            _print(f"the tables were of format {before}, and are of format {after} now")


def _table(*columns: str, has_header: bool = True) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=has_header, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    return table


def _text(value: str) -> Text:
    """Show a value of somebody else's in a table, where nothing of it is markup."""
    from rich.text import Text

    return Text(visible(value))


def _duration(seconds: float) -> str:
    """Write a time in its largest unit: `5m`."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _size(octets: int) -> str:
    """Write a size in its largest unit: `5.2 KiB`."""
    size = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def _print(text: str, *, end: str = "\n") -> None:
    """Print a line, whatever the terminal's encoding can write."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
