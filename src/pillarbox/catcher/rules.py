"""Failures on purpose: how an application takes refusals, delays and lost connections.

A `Rule` says what fails, where and how often; `Rules` holds them and decides. `Chaos` is the
simple form of the same: the sender, the recipient or the login fails by chance. The handler asks
`Rules.judge()` at each stage and does what the verdict says.
"""

from __future__ import annotations

import base64
import fnmatch
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from pillarbox.protocol.reply import Reply

__all__ = ["Chaos", "Rule", "Rules", "Stage", "Trigger", "Verdict"]

# Greylisting remembers so many tries; then the oldest is forgotten, as a real one would.
MAX_REMEMBERED = 10_000
MAX_RULES = 1_000


class Stage(Enum):
    """Where a rule acts, and what its pattern is compared with."""

    CONNECT = "connect"
    """The client's address."""
    AUTH = "auth"
    """The name that logs in."""
    MAIL = "mail"
    """The sender."""
    RCPT = "rcpt"
    """A recipient."""
    MESSAGE = "message"
    """The recipients of the message, of which one is enough."""


def new_rule_id() -> str:
    """Make an id for a rule."""
    return base64.b32encode(os.urandom(5)).decode().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of failure.

    Args:
        stage: Where it acts.
        pattern: What it is for: `*` stands for anything, `?` for a character, in any case.
        reply: What the client hears; 421 closes the connection.
        drops: Close the connection without a word, in place of the reply.
        delay_seconds: Wait first; with neither reply nor drop, the rule only slows down.
        first: From which try on it acts, counted from 1.
        count: How many tries fail; then it lets pass. 0 is all.
        percent: By what chance, from 0 to 100.
        greylist_seconds: Refuse each pair of sender and recipient until so long after its first
            try; for `rcpt` only.
        id: Names it.

    Raises:
        ValueError: A value cannot work.
    """

    stage: Stage = Stage.RCPT
    pattern: str = "*"
    reply: Reply | None = None
    drops: bool = False
    delay_seconds: float = 0.0
    first: int = 1
    count: int = 0
    percent: float = 100.0
    greylist_seconds: float = 0.0
    id: str = field(default_factory=new_rule_id)

    def __post_init__(self) -> None:
        """Check the values."""
        if self.reply is not None and not 400 <= self.reply.code <= 599:
            raise ValueError(f"a failure is a reply from 400 to 599, not {self.reply.code}")
        if self.reply is None and not self.drops and not self.delay_seconds:
            raise ValueError("the rule does nothing: give a reply, a delay, or have it drop")
        if not 0 <= self.percent <= 100:
            raise ValueError(f"percent is {self.percent}; it goes from 0 to 100")
        if not 0 <= self.delay_seconds <= 3600:
            raise ValueError(f"a delay of {self.delay_seconds} seconds; it goes from 0 to 3600")
        if self.first < 1 or self.count < 0:
            raise ValueError("tries are counted from 1, and a count of 0 is all of them")
        if self.greylist_seconds < 0 or (self.greylist_seconds and self.stage is not Stage.RCPT):
            raise ValueError("greylisting is for the stage rcpt, and a number of seconds")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen: wait, then drop the connection or send the reply; or neither."""

    delay_seconds: float
    reply: Reply | None
    drops: bool


@dataclass(frozen=True, slots=True)
class Trigger:
    """One of the three of `Chaos`: a code from 400 to 599, and a chance from 0 to 100."""

    code: int
    percent: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 400 <= self.code <= 599:
            raise ValueError(f"the error code is {self.code}; it goes from 400 to 599")
        if not 0 <= self.percent <= 100:
            raise ValueError(f"the probability is {self.percent}; it goes from 0 to 100")


@dataclass(frozen=True, slots=True)
class Chaos:
    """Failures by chance, as Mailpit knows them."""

    sender: Trigger = Trigger(451)
    recipient: Trigger = Trigger(451)
    authentication: Trigger = Trigger(535)


class _Counted:
    """A rule, and how it went so far."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.matches = re.compile(fnmatch.translate(rule.pattern), re.IGNORECASE).match
        self.seen = 0
        self.failed = 0


class Rules:
    """The rules of a server; may be changed at any time, from any thread.

    Args:
        rules: To begin with.
        seed: Makes chance the same in each run.
        clock: Tells the time in seconds; for greylisting.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        seed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._random = random.Random(seed)
        self._clock = clock
        self._lock = threading.Lock()
        self._rules: dict[str, _Counted] = {}
        self._greylist: dict[tuple[str, str, str], float] = {}
        self.chaos = Chaos()
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> Rule:
        """Add a rule behind the others, of which the first that acts decides.

        Raises:
            ValueError: There are too many.
        """
        with self._lock:
            if len(self._rules) >= MAX_RULES:
                raise ValueError(f"there are {MAX_RULES} rules already; delete some")
            self._rules[rule.id] = _Counted(rule)
        return rule

    def remove(self, id: str) -> bool:  # noqa: A002  # what the API calls it
        """Take a rule away; tell whether there was one."""
        with self._lock:
            return self._rules.pop(id, None) is not None

    def clear(self) -> None:
        """Take all rules away, and let chance rest."""
        with self._lock:
            self._rules.clear()
            self._greylist.clear()
            self.chaos = Chaos()

    def reseed(self, seed: int | None) -> None:
        """Begin chance anew."""
        with self._lock:
            self._random.seed(seed)

    def __iter__(self) -> Iterator[Rule]:
        return iter([counted.rule for counted in self._rules.values()])

    def tally(self, id: str) -> tuple[int, int]:  # noqa: A002
        """Tell how many tries a rule has seen, and how many of them it let fail.

        Raises:
            KeyError: There is no such rule.
        """
        counted = self._rules[id]
        return counted.seen, counted.failed

    def judge(self, stage: Stage, *subjects: str, mail_from: str = "") -> Verdict | None:
        """Decide over one try; `None` lets it pass.

        Args:
            stage: Where the dialogue is.
            subjects: What a rule's pattern is compared with; one that matches is enough.
            mail_from: The sender, for greylisting.
        """
        with self._lock:
            for counted in self._rules.values():
                subject = next((one for one in subjects if counted.matches(one)), None)
                if counted.rule.stage is stage and subject is not None:
                    verdict = self._judge(counted, subject, mail_from)
                    if verdict is not None:
                        return verdict
            return self._by_chance(stage)

    def _judge(self, counted: _Counted, subject: str, mail_from: str) -> Verdict | None:
        rule = counted.rule
        counted.seen += 1
        if counted.seen < rule.first or (rule.count and counted.failed >= rule.count):
            return None
        if rule.greylist_seconds and not self._is_grey(rule, mail_from, subject):
            return None
        if rule.percent < 100 and self._random.random() * 100 >= rule.percent:
            return None
        counted.failed += 1
        return Verdict(rule.delay_seconds, rule.reply, rule.drops)

    def _is_grey(self, rule: Rule, mail_from: str, subject: str) -> bool:
        now = self._clock()
        key = (rule.id, mail_from.lower(), subject.lower())
        since = self._greylist.setdefault(key, now)
        if len(self._greylist) > MAX_REMEMBERED:
            del self._greylist[next(iter(self._greylist))]
        return now - since < rule.greylist_seconds

    def _by_chance(self, stage: Stage) -> Verdict | None:
        found = {
            Stage.MAIL: (self.chaos.sender, "sender"),
            Stage.RCPT: (self.chaos.recipient, "recipient"),
            Stage.AUTH: (self.chaos.authentication, "authentication"),
        }.get(stage)
        if found is None:
            return None
        trigger, name = found
        if not trigger.percent or self._random.random() * 100 >= trigger.percent:
            return None
        # Without an enhanced code: tests of Mailpit's users compare the whole text.
        return Verdict(0.0, Reply(trigger.code, None, f"Chaos {name} error"), drops=False)
