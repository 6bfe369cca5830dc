"""Handlers: what is one, what it is asked, how it refuses."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from pillarbox import Body, Envelope, Handler, IncompleteBody, Message, Reject, Reply, Session
from pillarbox.handler import questions, streaming

NAMES = ("connect", "mail", "rcpt", "message", "disconnect")


class Everything:
    def connect(self, session: Session) -> None: ...
    def mail(self, session: Session, mail: object) -> None: ...
    def rcpt(self, session: Session, rcpt: object) -> None: ...
    def message(self, session: Session, envelope: Envelope, body: Body) -> None: ...
    def disconnect(self, session: Session) -> None: ...


class OnlyMessage:
    def message(self, session: Session, envelope: Envelope, body: Body) -> None: ...


class AsyncMessage:
    async def message(self, session: Session, envelope: Envelope, body: Body) -> None: ...


class StreamingMessage:
    @streaming
    def message(self, session: Session, envelope: Envelope, body: Body) -> None: ...


class Subclass(Handler):
    def rcpt(self, session: Session, rcpt: object) -> None: ...


class NoMethodButAName(OnlyMessage):
    connect = "not to be called"


class Callable_:  # noqa: N801  # a word that typing has taken
    def __call__(self, message: Message) -> None: ...


def function(message: Message) -> None: ...


async def async_function(message: Message) -> None: ...


def two(_more: int, message: Message) -> None: ...


ASKED: dict[str, tuple[Any, set[str], bool]] = {
    "every method": (Everything(), set(NAMES), False),
    "one method": (OnlyMessage(), {"message"}, False),
    "async method": (AsyncMessage(), {"message"}, True),
    "streaming method": (StreamingMessage(), {"message"}, True),
    "subclass of Handler": (Subclass(), {"rcpt"}, False),
    "a name that is no method": (NoMethodButAName(), {"message"}, False),
    "function": (function, {"message"}, False),
    "async function": (async_function, {"message"}, False),
    "lambda": (lambda _message: None, {"message"}, False),
    "partial": (functools.partial(two, 1), {"message"}, False),
    "callable object": (Callable_(), {"message"}, False),
    "method of another object": ([].append, {"message"}, False),
}


@pytest.mark.parametrize(("handler", "names", "streams"), ASKED.values(), ids=ASKED)
def test_questions(handler: Any, names: set[str], streams: bool) -> None:
    asks = questions(handler)
    assert {name for name in NAMES if getattr(asks, name) is not None} == names
    assert asks.message_streams is streams


NO_HANDLERS: list[Any] = [
    None,
    1,
    "handler",
    pytest.param(object(), id="object"),
    Everything,
    OnlyMessage,
    Handler,
    [],
]


@pytest.mark.parametrize("handler", NO_HANDLERS, ids=repr)
def test_no_handler(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"is no handler: give a function of the message, or an"):
        questions(handler)


def test_reject_by_parts_and_by_reply() -> None:
    reply = Reply(550, "5.1.1", "No such mailbox")
    assert Reject(550, "5.1.1", "No such mailbox").reply == Reject(reply).reply == reply
    assert str(Reject(reply)) == "550 5.1.1 No such mailbox"
    assert Reject(421, None, "Bye").reply == Reply(421, None, "Bye")


@pytest.mark.parametrize("code", [220, 250, 354])
def test_reject_does_not_accept(code: int) -> None:
    with pytest.raises(ValueError, match="return it instead of raising Reject"):
        Reject(Reply(code, None, "Fine"))


def test_reject_is_checked_where_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"class\.subject\.detail"):
        Reject(550, "5.1", "No")
    with pytest.raises(ValueError, match="control character"):
        Reject(550, "5.1.1", "No\r\n250 OK")


def test_incomplete_body_says_why() -> None:
    assert str(IncompleteBody()) == "the client went away"
    error = IncompleteBody(Reply(552, "5.3.4", "Message too large"))
    assert str(error) == "552 5.3.4 Message too large"
    assert error.reply is not None
