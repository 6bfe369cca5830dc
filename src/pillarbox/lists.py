"""What is known of mailing lists: which domains are Mailman's, and what Mailman said of addresses.

Values for both of Mailman's front ends, `smtpd.MailmanProxy` and `pillarbox.mailman`. Whoever asks
Mailman is elsewhere (lmtp.py and mailman/lookup.py): its own parser of addresses is the only one to
trust, and so nothing here knows of `-request` and `-bounces`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path as File
from typing import Final, TypeAlias

from pillarbox.protocol.address import Path
from pillarbox.protocol.client_event import RecipientOutcome

__all__ = [
    "LONE_REFUSAL_SECONDS",
    "AnyDomains",
    "DomainsFile",
    "ListDomains",
    "MailmanSilent",
    "Verdicts",
    "list_key",
    "verdict",
]

AnyDomains: TypeAlias = "Iterable[str] | Callable[[str], bool] | os.PathLike[str] | None"
"""Mailman's domains: names, a function of a domain, or Mailman's file `data/postfix_domains`."""

# Mailman sends its answers for all recipients in one piece, so the next one is here or will not be.
LONE_REFUSAL_SECONDS: Final = 1.0

# Who guesses addresses must not fill the memory; each takes some 200 octets.
MAX_VERDICTS: Final = 10_000

# `/^lists\.example\.org$/`, as Mailman writes it with `transport_file_type: regex`.
_PATTERN = re.compile(r"/\^(.+)\$/")


class MailmanSilent(Exception):
    """Mailman does not say whether it knows an address; ask again later."""


class ListDomains:
    """Tells which domains are Mailman's.

    Args:
        domains: Names, a function that is given a domain in small letters, the path of Mailman's
            file, which is read again when it changes; or `None` where nobody knows, and so any
            domain may be.

    Raises:
        OSError: The file cannot be read.
        UnicodeDecodeError: The file is no text.
    """

    def __init__(self, domains: AnyDomains) -> None:
        self.is_any = domains is None
        """Whether any domain may be Mailman's."""
        self._has: Callable[[str], bool]
        if domains is None:
            self._has = lambda _domain: True
        elif isinstance(domains, os.PathLike):
            self._has = DomainsFile(domains).has
        elif callable(domains):
            self._has = domains
        else:
            # One name in place of a list of one is a likely slip, and would be a list of letters.
            names = [domains] if isinstance(domains, str) else domains
            self._has = frozenset(map(_comparable, names)).__contains__

    def has(self, domain: str) -> bool:
        """Tell whether a domain is Mailman's."""
        return bool(domain) and self._has(_comparable(domain))


class DomainsFile:
    """Mailman's file `data/postfix_domains`, read again when it changes.

    A domain and its alias are on one line; Mailman takes mail for both.

    Args:
        file: Its path.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is no text.
    """

    def __init__(self, file: os.PathLike[str]) -> None:
        self._file = File(file)
        self._stamp: tuple[int, int, int] | None = None
        self._names: frozenset[str] = frozenset()
        self._read(self._look())

    def has(self, domain: str) -> bool:
        """Tell whether it has a domain, in small letters. While it cannot be read, as before."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._read(stamp)
        except (OSError, UnicodeDecodeError):
            pass
        return domain in self._names

    def _look(self) -> tuple[int, int, int]:
        found = self._file.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino  # Mailman writes a new file each time

    def _read(self, stamp: tuple[int, int, int]) -> None:
        text = self._file.read_text(encoding="utf-8")
        self._names = frozenset(
            _comparable(_plain(word))
            for line in text.splitlines()
            if not line.startswith("#")
            for word in line.split()
        )
        self._stamp = stamp


def _plain(word: str) -> str:
    found = _PATTERN.fullmatch(word)
    return found[1].replace("\\.", ".") if found else word


def _comparable(domain: str) -> str:
    return domain.removesuffix(".").lower()


class Verdicts:
    """What Mailman said of addresses, for a while. That it said nothing is not remembered.

    Args:
        lookup_ttl: For how long an address is known.
        negative_ttl: For how long it is not: who has just made a list posts to it.
        now: Tells the time in seconds.
    """

    def __init__(
        self,
        *,
        lookup_ttl: float = 30.0,
        negative_ttl: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = {True: lookup_ttl, False: negative_ttl}
        self._now = now
        self._found: dict[str, tuple[bool, float]] = {}

    def get(self, key: str) -> bool | None:
        """Tell whether Mailman knows an address; `None` where it has to be asked."""
        found = self._found.get(key)
        return found[0] if found is not None and found[1] > self._now() else None

    def put(self, key: str, *, is_known: bool) -> None:
        """Remember an answer."""
        self._found.pop(key, None)
        while len(self._found) >= MAX_VERDICTS:
            del self._found[next(iter(self._found))]  # the oldest
        self._found[key] = is_known, self._now() + self._ttl[is_known]


def list_key(path: Path) -> str:
    """Give what is the same for all spellings of an address that Mailman takes for the same."""
    return f"{path.unquoted_local_part}@{path.domain}".lower()


def verdict(outcome: RecipientOutcome) -> bool:
    """Read the answer to RCPT: whether Mailman knows the address.

    Raises:
        MailmanSilent: It did not say.
    """
    reply = outcome.reply
    if outcome.command == "RCPT" and reply.is_positive:
        return True
    # 503 is about the order of commands, and says nothing of the address.
    if outcome.command == "RCPT" and not reply.is_transient and reply.code != 503:
        return False
    raise MailmanSilent(str(reply))
