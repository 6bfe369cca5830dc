"""Which named mailboxes a message goes to: by who logged in, by recipient, or by port.

So that developers and tests that share one server see their own mail.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["Sorting", "SortingRule"]

_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SortingRule:
    """What goes to one named mailbox: mail that has any of what is given here.

    Args:
        name: The mailbox.
        recipient: A pattern of recipients: `*` stands for anything, in any case.
        user: A pattern of login names.
        port: The port where the mail came in.

    Raises:
        ValueError: A value cannot work.
    """

    name: str
    recipient: str | None = None
    user: str | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no name of a mailbox; take 1 to 100 characters without '/'"
            )

    @classmethod
    def parse(cls, text: str) -> SortingRule:
        """Read `team=*@team.test`, `ann=user:ann` or `ci=port:2525`.

        Raises:
            ValueError: It is none of these.
        """
        name, equals, rule = text.partition("=")
        kind, colon, value = rule.partition(":")
        if equals and colon and kind == "user" and value:
            return cls(name=name, user=value)
        if equals and colon and kind == "port" and value.isascii() and value.isdigit():
            return cls(name=name, port=int(value))
        if equals and ("@" in rule or "*" in rule):
            return cls(name=name, recipient=rule)
        raise ValueError(
            f"{text!r} names no mailbox; write one such as 'team=*@team.test', 'ann=user:ann'"
            " or 'ci=port:2525'"
        )

    def matches(self, user: str | None, rcpt_tos: Iterable[str], port: int | None) -> bool:
        """Tell whether a message goes there."""
        if self.recipient is not None:
            pattern = re.compile(fnmatch.translate(self.recipient), re.IGNORECASE)
            if any(pattern.match(rcpt) for rcpt in rcpt_tos):
                return True
        if self.user is not None and user is not None:
            return fnmatch.fnmatchcase(user.lower(), self.user.lower())
        return self.port is not None and port == self.port


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorting:
    """All rules of a server.

    Args:
        rules: Each is asked; a message may go to several mailboxes.
        is_by_user: Whoever logs in has a mailbox of that name without a rule.
    """

    rules: Sequence[SortingRule] = field(default=())
    is_by_user: bool = True

    def names(self, user: str | None, rcpt_tos: Sequence[str], port: int | None) -> tuple[str, ...]:
        """Give the mailboxes of a message; none where no rule is for it."""
        found = [rule.name for rule in self.rules if rule.matches(user, rcpt_tos, port)]
        if self.is_by_user and user is not None and _NAME.fullmatch(user):
            found.append(user)
        return tuple(dict.fromkeys(found))
