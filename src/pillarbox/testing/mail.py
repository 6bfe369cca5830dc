"""A server that catches the mail of the program under test, and the mail to look at.

    with MailServer() as mail:
        signup("ann@example.org", smtp=(mail.host, mail.port))
        message = mail.wait_for(to="ann@example.org", subject="Welcome")
        assert message.link("/confirm") == "https://shop.test/confirm?t=1"
        mail.assert_none()          # there is no other one

It runs on a thread of its own, so it serves programs that are asynchronous and such that are not.
For pytest there is a fixture: pytest_plugin.py. Failures on purpose: catcher/rules.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pillarbox.asyncio.thread import ThreadServer
from pillarbox.catcher.arrival import Arrival, utc_now
from pillarbox.catcher.failing import Failing, FailingLogins
from pillarbox.catcher.finding import Link, codes_of, links_of
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.message import ParsedMessage, Part
from pillarbox.catcher.rules import Rule, Rules, Stage
from pillarbox.catcher.summary import Stored
from pillarbox.certificate import Certificates
from pillarbox.config import Config
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.login import AnyLogin
from pillarbox.protocol.reply import Reply

__all__ = ["CaughtMessage", "MailServer"]

TIMEOUT_SECONDS = 5.0


class CaughtMessage:
    """A message that the program under test has sent."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._parsed: ParsedMessage | None = None

    @property
    def id(self) -> str:
        """Names the message here."""
        return self._stored.summary.id

    @property
    def eml(self) -> bytes:
        """The octets as they came."""
        return self._stored.arrival.octets

    @property
    def mail_from(self) -> str:
        """The envelope's sender; empty for a bounce."""
        return self._stored.arrival.mail_from

    @property
    def rcpt_tos(self) -> tuple[str, ...]:
        """The envelope's recipients: who really gets it."""
        return self._stored.arrival.rcpt_tos

    @property
    def identity(self) -> str | None:
        """Who logged in; `None` for nobody."""
        return self._stored.arrival.identity

    @property
    def tls(self) -> str | None:
        """The version of TLS, such as `TLSv1.3`; `None` without."""
        return self._stored.arrival.tls

    @property
    def parsed(self) -> ParsedMessage:
        """The message taken apart."""
        if self._parsed is None:
            self._parsed = self._stored.parse()
        return self._parsed

    @property
    def subject(self) -> str:
        """The subject, decoded; empty without one."""
        return self.parsed.subject or ""

    @property
    def from_(self) -> str:
        """The address of the author."""
        return self.parsed.from_[0].address if self.parsed.from_ else ""

    @property
    def to(self) -> list[str]:
        """The addresses that the header To names."""
        return [address.address for address in self.parsed.to]

    @property
    def cc(self) -> list[str]:
        """The addresses that the header Cc names."""
        return [address.address for address in self.parsed.cc]

    @property
    def bcc(self) -> list[str]:
        """The recipients that no header names, as a blind copy has it."""
        return [address.address for address in self.parsed.bcc]

    @property
    def text(self) -> str:
        """The plain text; empty without one."""
        return self.parsed.text or ""

    @property
    def html(self) -> str:
        """The HTML; empty without one."""
        return self.parsed.html or ""

    @property
    def attachments(self) -> tuple[Part, ...]:
        """The attachments: `file_name`, `content_type`, `octets`."""
        return self.parsed.attachments

    def header(self, name: str) -> str | None:
        """Give the first header of a name, decoded; `None` without."""
        return self.parsed.header(name)

    @property
    def links(self) -> tuple[Link, ...]:
        """The links of HTML and text: `url`, `text`."""
        return links_of(self.parsed)

    def link(self, part: str = "") -> str:
        """Give the first link that has this in its address or its text.

        Raises:
            AssertionError: There is none; it tells those that there are.
        """
        for found in self.links:
            if part in found.url or part in found.text:
                return found.url
        there = "\n  ".join(found.url for found in self.links) or "none"
        raise AssertionError(f"no link with {part!r} in {self}; its links:\n  {there}")

    def code(self, pattern: str | None = None) -> str:
        """Give the one-time code.

        Args:
            pattern: A regular expression for it, of which the first group counts if there is one.

        Raises:
            AssertionError: There is none.
        """
        if pattern is None:
            found = codes_of(self.parsed)
            if found:
                return found[0]
            raise AssertionError(f"no code in {self}:\n{self.text}")
        match = re.search(pattern, "\n".join((self.subject, self.text, self.html)))
        if match is None:
            raise AssertionError(f"nothing matches {pattern!r} in {self}:\n{self.text}")
        return match[1] if match.re.groups else match[0]

    def __repr__(self) -> str:
        return f"<message {self.subject!r} from {self.mail_from!r} to {', '.join(self.rcpt_tos)}>"


class MailServer:
    """A server for a test: takes all mail on a free port and keeps it in memory.

    Every login is accepted. `host` and `port` are for the program under test.

    Args:
        host: The address to listen on.
        config: Limits and the like; small ones are good for tests of large mail.
        certificates: Offer STARTTLS with these.
        is_tls: TLS begins with the connection (RFC 8314); needs the certificates.
        timeout_seconds: How long to wait for mail where nothing else is said.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        config: Config | None = None,
        certificates: Certificates | None = None,
        is_tls: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.host = host
        """Where the program under test finds the server."""
        self.rules = Rules(seed=0)
        """What fails on purpose: see `fail()`."""
        self.store = Mailbox()
        """The same mail with search, tags and events: catcher/mailbox.py."""
        self.timeout_seconds = timeout_seconds
        self._server = ThreadServer(
            Failing(self._take, self.rules),
            host,
            config=config or Config(hostname="mail.test", drain_seconds=1),
            certificates=certificates,
            logins=FailingLogins(AnyLogin(), self.rules),
            is_tls=is_tls,
        )

    @property
    def port(self) -> int:
        """Where the program under test finds the server."""
        return self._server.port

    def start(self) -> None:
        """Listen; clients can connect when this returns."""
        self._server.start()

    def close(self) -> None:
        """Close all connections; the mail is gone."""
        self._server.close()
        self.store.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _take(self, session: Session, envelope: Envelope, body: Body) -> None:
        octets = await body.read()
        self.store.add(Arrival.of(session, envelope, octets, clock=utc_now))

    # Mail

    @property
    def messages(self) -> list[CaughtMessage]:
        """All mail that has come, the first one first."""
        return [CaughtMessage(self.store.get(one.id)) for one in reversed(self.store.find())]

    def __len__(self) -> int:
        return self.store.counts().total

    def __iter__(self) -> Iterator[CaughtMessage]:
        return iter(self.messages)

    def clear(self) -> None:
        """Forget all mail and all failures."""
        self.store.delete_all()
        self.rules.clear()

    def wait_for(
        self,
        *,
        to: str | None = None,
        subject: str | None = None,
        from_: str | None = None,
        where: Callable[[CaughtMessage], bool] | None = None,
        timeout: float | None = None,
    ) -> CaughtMessage:
        """Wait for a message; the newest one that is there already will do.

        Args:
            to: A recipient, by envelope or header, in any case.
            subject: A part of the subject.
            from_: The sender, by envelope or header, in any case.
            where: Anything else that has to be true of it.
            timeout: For how many seconds.

        Raises:
            AssertionError: None came; it tells what did come.
        """
        __tracebackhide__ = True
        wanted = _Wanted(to, subject, from_, where)
        return self.wait_for_all(1, wanted=wanted, timeout=timeout)[-1]

    def wait_for_all(
        self,
        count: int,
        *,
        wanted: Callable[[CaughtMessage], bool] = lambda _: True,
        timeout: float | None = None,
    ) -> list[CaughtMessage]:
        """Wait for so many messages, and give all that there are then, the first one first.

        Raises:
            AssertionError: Fewer came; it tells what did come.
        """
        __tracebackhide__ = True  # pytest shows the test's line, not ours
        timeout = self.timeout_seconds if timeout is None else timeout
        deadline = time.monotonic() + timeout
        came = threading.Event()
        cancel = self.store.subscribe(lambda _: came.set())
        try:
            while True:
                came.clear()
                there = self.messages
                if len(found := [one for one in there if wanted(one)]) >= count:
                    return found
                if not came.wait(max(0.0, deadline - time.monotonic())):
                    break
        finally:
            cancel()
        what = f"{len(found)} of {count} messages" if count > 1 else "no message"
        kind = f" {wanted}" if isinstance(wanted, _Wanted) else ""
        raise AssertionError(f"{what}{kind} within {timeout} seconds{_told(there)}")

    async def wait_for_async(
        self,
        *,
        to: str | None = None,
        subject: str | None = None,
        from_: str | None = None,
        where: Callable[[CaughtMessage], bool] | None = None,
        timeout: float | None = None,
    ) -> CaughtMessage:
        """Do as `wait_for`, while the event loop goes on."""
        return await asyncio.to_thread(
            self.wait_for, to=to, subject=subject, from_=from_, where=where, timeout=timeout
        )

    def assert_none(
        self,
        *,
        to: str | None = None,
        subject: str | None = None,
        from_: str | None = None,
        where: Callable[[CaughtMessage], bool] | None = None,
        within: float = 0.0,
    ) -> None:
        """Assert that there is no message, or none of a kind.

        Args:
            to: See `wait_for`, as for the others.
            subject: A part of the subject.
            from_: The sender.
            where: Anything else.
            within: Give a late one so many seconds to come.

        Raises:
            AssertionError: There is one.
        """
        __tracebackhide__ = True
        wanted = _Wanted(to, subject, from_, where)
        if within:
            with contextlib.suppress(AssertionError):
                self.wait_for_all(1, wanted=wanted, timeout=within)
        if found := [one for one in self.messages if wanted(one)]:
            raise AssertionError(f"there is mail{_told(found)}")

    # Failures on purpose

    def fail(
        self,
        reply: Reply | None = None,
        *,
        to: str = "*",
        stage: Stage = Stage.RCPT,
        count: int = 0,
        drops: bool = False,
        delay_seconds: float = 0.0,
    ) -> Rule:
        """Have mail refused from now on, until `clear()` or the end of the test.

        Args:
            reply: What the program hears; `451 4.3.0` where nothing else is said.
            to: For which recipient, or sender or login by the stage; `*` stands for anything.
            stage: Where in the dialogue.
            count: How often; then mail passes again. 0 is always.
            drops: Close the connection without a reply.
            delay_seconds: Wait first.
        """
        if reply is None and not drops and not delay_seconds:
            reply = Reply(451, "4.3.0", "Failure on purpose; try again later")
        return self.rules.add(
            Rule(
                stage=stage,
                pattern=to,
                reply=reply,
                drops=drops,
                delay_seconds=delay_seconds,
                count=count,
            )
        )

    # For programs and frameworks

    def environment(self) -> dict[str, str]:
        """Give environment variables that programs read, for those started by the test."""
        return {
            "SMTP_HOST": self.host,
            "SMTP_PORT": str(self.port),
            "EMAIL_HOST": self.host,
            "EMAIL_PORT": str(self.port),
            "MAIL_SERVER": self.host,
            "MAIL_PORT": str(self.port),
        }

    def django_settings(self) -> dict[str, Any]:
        """Give what Django sends mail by, for `override_settings(**...)`.

        A project has `MAILERS` (Django 6.1) or the settings before them, and may not have both.
        """
        import django
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured

        backend = "django.core.mail.backends.smtp.EmailBackend"
        try:
            mailers = getattr(settings, "MAILERS", None) if django.VERSION >= (6, 1) else None
        except ImproperlyConfigured:  # no project here
            mailers = None
        if mailers is not None:
            mailer = {"BACKEND": backend, "OPTIONS": {"host": self.host, "port": self.port}}
            return {"MAILERS": dict.fromkeys(("default", *mailers), mailer)}
        return {
            "EMAIL_BACKEND": backend,
            "EMAIL_HOST": self.host,
            "EMAIL_PORT": self.port,
            "EMAIL_HOST_USER": "",
            "EMAIL_HOST_PASSWORD": "",
            "EMAIL_USE_TLS": False,
            "EMAIL_USE_SSL": False,
        }

    def flask_mail_settings(self) -> dict[str, Any]:
        """Give what Flask-Mail sends mail by, for `app.config.update(...)`."""
        return {
            "MAIL_SERVER": self.host,
            "MAIL_PORT": self.port,
            "MAIL_USE_TLS": False,
            "MAIL_USE_SSL": False,
            "MAIL_USERNAME": None,
            "MAIL_PASSWORD": None,
            "MAIL_SUPPRESS_SEND": False,
            "TESTING": False,
        }

    def fastapi_mail_settings(self) -> dict[str, Any]:
        """Give what FastAPI-Mail sends mail by, for `ConnectionConfig(**...)`."""
        return {
            "MAIL_SERVER": self.host,
            "MAIL_PORT": self.port,
            "MAIL_USERNAME": "",
            "MAIL_PASSWORD": "",
            "MAIL_STARTTLS": False,
            "MAIL_SSL_TLS": False,
            "USE_CREDENTIALS": False,
            "VALIDATE_CERTS": False,
            "SUPPRESS_SEND": 0,
        }

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write all mail to files, `1.eml` and so on, to look at it later."""
        folder = Path(folder)
        messages = self.messages
        if messages:
            folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, message in enumerate(messages, 1):
            paths.append(folder / f"{number}.eml")
            paths[-1].write_bytes(message.eml)
        return paths


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is waited for, and how to say it."""

    to: str | None
    subject: str | None
    from_: str | None
    where: Callable[[CaughtMessage], bool] | None

    def __call__(self, message: CaughtMessage) -> bool:
        return (
            (self.to is None or _is_among(self.to, (*message.rcpt_tos, *message.to)))
            and (self.subject is None or self.subject in message.subject)
            and (self.from_ is None or _is_among(self.from_, (message.mail_from, message.from_)))
            and (self.where is None or self.where(message))
        )

    def __str__(self) -> str:
        told = [
            f"to {self.to}" if self.to is not None else "",
            f"with {self.subject!r} in its subject" if self.subject is not None else "",
            f"from {self.from_}" if self.from_ is not None else "",
            "of that kind" if self.where is not None else "",
        ]
        return " ".join(filter(None, told))


def _is_among(address: str, addresses: Iterable[str]) -> bool:
    return address.lower() in (one.lower() for one in addresses)


def _told(messages: Sequence[CaughtMessage]) -> str:
    if not messages:
        return "; no mail came at all"
    return "; what came:" + "".join(f"\n  {message!r}" for message in messages)
