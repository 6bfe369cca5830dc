"""A handler that fails on purpose: asks the rules (rules.py) at each stage, then the real one.

Only servers that are told to fail have it; for all others these questions cost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from pillarbox.catcher.rules import Rules, Stage, Verdict
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import AnswersAuth, Disconnect, Reject
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Password

__all__ = ["Failing", "FailingLogins"]

Message = Callable[[Session, Envelope, Body], Awaitable[Reply | None]]
_SENDER = "pillarbox.catcher.failing.sender"


class Failing:
    """Refuses, delays and drops as the rules say, and hands over what passes.

    Args:
        message: What takes the messages that pass.
        rules: What fails; may be changed at any time.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        message: Message,
        rules: Rules,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._message = message
        self._rules = rules
        self._sleep = sleep

    def connect(self, session: Session) -> Awaitable[None] | None:
        """Judge the client."""
        peer = session.peer if isinstance(session.peer, str) else session.peer[0]
        return self._do(self._rules.judge(Stage.CONNECT, peer))

    def mail(self, session: Session, mail: Mail) -> Awaitable[None] | None:
        """Judge the sender."""
        session.state[_SENDER] = mail.path.mailbox
        return self._do(self._rules.judge(Stage.MAIL, mail.path.mailbox))

    def rcpt(self, session: Session, rcpt: Rcpt) -> Awaitable[None] | None:
        """Judge a recipient."""
        sender = session.state.get(_SENDER, "")
        return self._do(self._rules.judge(Stage.RCPT, rcpt.path.mailbox, mail_from=sender))

    async def message(self, session: Session, envelope: Envelope, body: Body) -> Reply | None:
        """Judge the message, of which all has come in by then; hand over what passes."""
        verdict = self._rules.judge(Stage.MESSAGE, *envelope.rcpt_tos)
        if verdict is not None:
            async for _ in body:
                pass
            await _carry_out(verdict, self._sleep)
        return await self._message(session, envelope, body)

    def _do(self, verdict: Verdict | None) -> Awaitable[None] | None:
        return None if verdict is None else _carry_out(verdict, self._sleep)


class FailingLogins:
    """Judges logins, and asks the real ones about those that pass.

    Args:
        logins: Who may log in.
        rules: What fails.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        logins: AnswersAuth,
        rules: Rules,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._logins = logins
        self._rules = rules
        self._sleep = sleep
        # SCRAM knows who logs in only by a secret that we might not have: it stays out of this.
        self.auth_mechanisms = ("PLAIN", "LOGIN")

    async def auth(self, session: Session, credentials: Password) -> Any:
        """Judge a login."""
        verdict = self._rules.judge(Stage.AUTH, credentials.username)
        if verdict is not None:
            await _carry_out(verdict, self._sleep)
        answer = self._logins.auth(session, credentials)
        return await cast("Awaitable[Any]", answer) if hasattr(answer, "__await__") else answer


async def _carry_out(verdict: Verdict, sleep: Callable[[float], Awaitable[None]]) -> None:
    if verdict.delay_seconds:
        await sleep(verdict.delay_seconds)
    if verdict.drops:
        raise Disconnect
    if verdict.reply is not None:
        raise Reject(verdict.reply)
