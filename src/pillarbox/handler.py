"""The one door: how a program says what to do with mail.

A handler is any object with some of the methods of `Handler`, sync or async, or a function of a
`Message`. Returning means accepted; `Reject` refuses with a reply; any other exception is our own
fault, so the client hears 451 and may try again. `questions()` finds out once, when a server
starts, which methods there are: what nobody asks for costs nothing for each message.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, overload, runtime_checkable

from pillarbox.envelope import Body, Envelope, Message, Session
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import (
    STANDARD_MECHANISMS,
    External,
    MechanismFactory,
    Password,
    ScramSecret,
    ScramUser,
    Token,
)

__all__ = [
    "AnswersAuth",
    "AnyHandler",
    "Follows",
    "Handler",
    "IncompleteBody",
    "Questions",
    "Reject",
    "mechanisms",
    "questions",
    "streaming",
]

Answer: TypeAlias = Reply | Sequence[Reply] | None
"""A reply, or `None` for the ordinary positive one; for a message, also one for each recipient."""
MaybeAwaitable: TypeAlias = Answer | Awaitable[Answer]


class Reject(Exception):
    """Refuse: raise it from a handler's method to send its reply.

    Either `Reject(550, "5.1.1", "No such mailbox")` or `Reject(reply)`. A 4xx code asks the client
    to try again, a 5xx code tells it to give up, 421 closes the connection.

    Raises:
        ValueError: The reply is not a 4xx or 5xx one.
    """

    @overload
    def __init__(self, reply: Reply, /) -> None: ...
    @overload
    def __init__(self, code: int, enhanced: str | None, text: str, /) -> None: ...

    def __init__(self, reply: Reply | int, enhanced: str | None = None, text: str = "", /) -> None:
        self.reply = reply if isinstance(reply, Reply) else Reply(reply, enhanced, text)
        if self.reply.code < 400:
            raise ValueError(f"{self.reply} accepts; return it instead of raising Reject")
        super().__init__(str(self.reply))


class IncompleteBody(Exception):
    """The rest of the message will not come: clean up, and let this pass or return.

    Raised by `body.read()` and `async for part in body`. The client has been told, or is gone;
    whatever the handler answers now is not sent.

    Attributes:
        reply: What the client was told, or `None` where it gave up by itself.
    """

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__(str(reply) if reply else "the client went away")
        self.reply = reply


class Handler(Protocol):
    """Every question a server asks. All are optional, each may be sync or async.

    To subclass it is not necessary; it gives editors the signatures.
    """

    def connect(self, session: Session) -> MaybeAwaitable:
        """Greet a client, or refuse it; once more where XCLIENT tells whom a server stands for."""
        return None

    def mail(self, session: Session, mail: Mail) -> MaybeAwaitable:
        """Accept a sender."""
        return None

    def rcpt(self, session: Session, rcpt: Rcpt) -> MaybeAwaitable:
        """Accept a recipient."""
        return None

    def message(self, session: Session, envelope: Envelope, body: Body) -> MaybeAwaitable:
        """Take the message. Once this returns, the message is the handler's to lose."""
        return None

    def auth(
        self, session: Session, credentials: Password | Token | External
    ) -> Awaitable[str | None] | str | None:
        """Give the identity that these credentials prove, or `None` for nobody."""
        return None

    def scram_secret(
        self, session: Session, user: ScramUser
    ) -> Awaitable[ScramSecret | None] | ScramSecret | None:
        """Give what SCRAM checks a user's password by, or `None` for nobody."""
        return None

    def disconnect(self, session: Session) -> Awaitable[None] | None:
        """Take note of the end of a connection: always, once."""
        return None


class _AnswersConnect(Protocol):
    def connect(self, session: Session, /) -> Any: ...


class _AnswersMail(Protocol):
    def mail(self, session: Session, mail: Mail, /) -> Any: ...


class _AnswersRcpt(Protocol):
    def rcpt(self, session: Session, rcpt: Rcpt, /) -> Any: ...


class _AnswersMessage(Protocol):
    def message(self, session: Session, envelope: Envelope, body: Body, /) -> Any: ...


class AnswersAuth(Protocol):
    """Who may log in: `auth`, and `scram_secret` and `auth_mechanisms` if there is more to say."""

    def auth(self, session: Session, credentials: Any, /) -> Any:
        """Give the identity that these credentials prove, or `None` for nobody."""
        ...


@runtime_checkable
class Follows(Protocol):
    """What is read from files and follows them: `Certificates`, `Logins`, or logins of your own."""

    @property
    def is_followed(self) -> bool:
        """Whether there is something to read again."""
        ...

    def refresh(self) -> None:
        """Read again what has changed; the server calls this every second."""
        ...

    def reload(self) -> None:
        """Read it again in any case; the programs call this at SIGHUP."""
        ...


AnyHandler: TypeAlias = (
    _AnswersConnect
    | _AnswersMail
    | _AnswersRcpt
    | _AnswersMessage
    | Callable[[Message], MaybeAwaitable]
)
"""What `serve()` takes: an object with one method of `Handler` at least, or a function."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def streaming(method: _Method) -> _Method:
    """Mark a plain `def message` that wants a large body while it is still coming in.

    Such a method looks at `body.is_whole` and returns an awaitable when it has to wait. It saves
    the task that an `async def` costs for each message. Unmarked, a plain method is called when
    the whole message is there.
    """
    method.__dict__["streaming"] = True
    return method


@dataclass(frozen=True, slots=True)
class Questions:
    """A handler taken apart: its methods, `None` for those it does not have."""

    connect: Callable[[Session], MaybeAwaitable] | None
    mail: Callable[[Session, Mail], MaybeAwaitable] | None
    rcpt: Callable[[Session, Rcpt], MaybeAwaitable] | None
    message: Callable[[Session, Envelope, Body], MaybeAwaitable] | None
    auth: Callable[[Session, Password | Token | External], object] | None
    scram_secret: Callable[[Session, ScramUser], object] | None
    disconnect: Callable[[Session], Awaitable[None] | None] | None
    message_streams: bool
    """Whether `message` takes a body that is still coming in."""


_NAMES = ("connect", "mail", "rcpt", "message", "auth", "scram_secret", "disconnect")


def questions(handler: AnyHandler, logins: AnswersAuth | None = None) -> Questions:
    """Find out what a handler wants to be asked.

    Args:
        handler: What to do with mail.
        logins: Who may log in, in place of what the handler says of it.

    Raises:
        TypeError: It is neither a function nor an object with one of the methods.
    """
    methods = {name: _method(handler, name) for name in _NAMES}
    if all(method is None for method in methods.values()):
        if not callable(handler) or inspect.isclass(handler):
            raise TypeError(
                f"{handler!r} is no handler: give a function of the message, or an object with"
                f" one of the methods {', '.join(_NAMES)}"
            )
        methods["message"] = _of_function(handler)
    if logins is not None:
        methods["auth"] = logins.auth
        methods["scram_secret"] = _method(logins, "scram_secret")
    message = methods["message"]
    streams = message is not None and (
        inspect.iscoroutinefunction(message) or getattr(message, "streaming", False)
    )
    return Questions(**methods, message_streams=streams)


def mechanisms(handler: AnyHandler | AnswersAuth) -> dict[str, MechanismFactory]:
    """Find out by what clients can log in with this handler.

    An attribute `auth_mechanisms` of the handler names them, or maps names to factories of its own.
    Without one, a handler that answers `auth` offers PLAIN and LOGIN.
    """
    if _method(handler, "auth") is None and _method(handler, "scram_secret") is None:
        return {}
    wanted = getattr(handler, "auth_mechanisms", ("PLAIN", "LOGIN"))
    if isinstance(wanted, Mapping):
        return dict(wanted)
    return {name: STANDARD_MECHANISMS[name] for name in wanted}


def _method(handler: object, name: str) -> Any:
    if inspect.isclass(handler):
        return None  # the class has the method, but nobody made an object of it
    if getattr(type(handler), name, None) is getattr(Handler, name):
        return None  # a subclass of Handler that leaves this one alone
    method = getattr(handler, name, None)
    return method if callable(method) else None


def _of_function(
    function: Callable[[Message], MaybeAwaitable],
) -> Callable[[Session, Envelope, Body], MaybeAwaitable]:
    def message(session: Session, envelope: Envelope, body: Body) -> MaybeAwaitable:
        return function(
            Message(envelope.mail_from, envelope.rcpt_tos, body.data, envelope, session)
        )

    return message
