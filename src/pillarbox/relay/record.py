"""What became of recipients, into the spool: outcomes, and in the same step what senders are told.

A spool that cannot be written loses nothing here: the outcome is kept in memory and written again
and again, since forgetting that a message was delivered would deliver it once more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from pillarbox.log import visible
from pillarbox.protocol.dsn import Notify
from pillarbox.protocol.reply import Reply
from pillarbox.relay.backlog import Backlog
from pillarbox.relay.clock import Clock
from pillarbox.relay.delivery import Answer, Attempt, Session
from pillarbox.relay.event import Attempted, AttemptedRecipient, RelayCounters
from pillarbox.relay.notice import Action, Notices, Report
from pillarbox.relay.spool import (
    Lease,
    LeasedRecipient,
    NewMessage,
    Outcome,
    Result,
    Spool,
    SpoolError,
)

__all__ = ["Recorder", "parse_reply"]

log = logging.getLogger("pillarbox")

EXPIRED = Reply(451, "4.4.7", "The message could not be delivered in time")

_REPLY = re.compile(r"([2-5][0-9]{2})(?: ([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: (.*))?", re.DOTALL)


def parse_reply(text: str) -> Reply | None:
    """Read what `str()` of a reply gave; `None` where it is something else."""
    found = _REPLY.fullmatch(text)
    if found is None:
        return None
    try:
        return Reply(int(found[1]), found[2], found[3] or "")
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """An outcome that the spool could not take yet."""

    lease: Lease
    outcomes: Mapping[int, Outcome]
    notices: Sequence[tuple[NewMessage, bytes]] = ()
    event: Attempted | None = None  # told once it is on record


@dataclass(slots=True)
class _Verdict:
    """What an attempt comes to for one recipient, retries and expiry considered."""

    outcome: Outcome
    report: Report | None = None
    is_expired: bool = False


class Recorder:
    """Writes outcomes.

    Args:
        spool: Where to.
        clock: Tells the time.
        notices: Writes to senders.
        counters: Where figures are added to.
        backlog: Counts what is in the spool.
        delay_notice_seconds: After so long a sender is told that its message waits.
        noticed: Called with the destination of each notice that was put.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        clock: Clock,
        notices: Notices,
        counters: RelayCounters,
        backlog: Backlog,
        delay_notice_seconds: float,
        noticed: Callable[[str], None],
    ) -> None:
        self.subscribers: list[Callable[[Attempted], None]] = []
        """Who hears of each attempt."""
        self._spool = spool
        self._clock = clock
        self._notices = notices
        self._counters = counters
        self._backlog = backlog
        self._delay_notice_seconds = delay_notice_seconds
        self._noticed = noticed
        self._unwritten: list[_Unwritten] = []

    @property
    def is_stuck(self) -> bool:
        """Whether there are outcomes that the spool does not take; nothing new is tried then."""
        return bool(self._unwritten)

    @property
    def unwritten(self) -> int:
        """How many outcomes the spool does not take."""
        return len(self._unwritten)

    async def record(
        self, lease: Lease, made: Attempt, *, began: float, session: Session | None = None
    ) -> None:
        """Write what came of an attempt; the lease ends."""
        answers = made.answers
        if len(answers) == 1 and len(lease.recipients) == 1 and not self.subscribers:
            recipient = lease.recipients[0]
            answer = answers.get(recipient.number)
            if (
                answer is not None
                and answer.result is Result.DELIVERED
                and recipient.dsn.notify is None
            ):
                self._counters.delivered += 1
                outcome = Outcome(result=Result.DELIVERED, reply=str(answer.reply))
                await self._write(_Unwritten(lease, {recipient.number: outcome}))
                return
        now = self._clock.now()
        verdicts = {
            one.number: self._judge(lease, one, answers[one.number], now, session)
            for one in lease.recipients
            if one.number in answers
        }
        verdicts = await self._settle(
            lease,
            verdicts,
            lambda kept: (
                self._event(lease, kept, answers, began, session) if self.subscribers else None
            ),
        )
        self._log(lease, verdicts, answers, session)

    async def fail(self, lease: Lease, reply: Reply) -> None:
        """Give a lease up, since there will be no server for it."""
        answers = {
            one.number: Answer(Result.FAILED, reply, is_remote=False) for one in lease.recipients
        }
        await self.record(lease, Attempt(answers), began=self._clock.now())

    async def tell_late(self, lease: Lease) -> None:
        """Tell a sender that a message waits, or is given up, though nobody tried it just now."""
        answers = {
            one.number: Answer(
                Result.DEFERRED, parse_reply(one.last_reply) or EXPIRED, is_remote=False
            )
            for one in lease.recipients
        }
        now = self._clock.now()
        verdicts = {
            one.number: self._judge(lease, one, answers[one.number], now, None)
            for one in lease.recipients
        }
        for verdict in verdicts.values():
            self._counters.deferred -= verdict.outcome.result is Result.DEFERRED
        verdicts = await self._settle(lease, verdicts)
        self._log(lease, verdicts, answers, None)

    # Judging

    def _judge(
        self,
        lease: Lease,
        recipient: LeasedRecipient,
        answer: Answer,
        now: float,
        session: Session | None,
    ) -> _Verdict:
        reply = answer.reply
        remote = session.hop.name or session.hop.address if session and answer.is_remote else ""
        counters = self._counters

        def report(action: Action, **more: object) -> Report:
            return Report(
                recipient=recipient,
                action=action,
                reply=reply,
                remote=remote,
                tried=now,
                is_expired=action is Action.FAILED and answer.result is Result.DEFERRED,
                gives_up=lease.message.expires if action is Action.DELAYED else None,
            )

        if answer.result is Result.DELIVERED:
            counters.delivered += 1
            outcome = Outcome(result=Result.DELIVERED, reply=str(reply))
            action = _success(recipient, session)
            return _Verdict(outcome, report(action) if action else None)
        if answer.result is Result.FAILED:
            counters.failed += 1
            outcome = Outcome(result=Result.FAILED, reply=str(reply))
            return _Verdict(outcome, report(Action.FAILED))
        counters.in_doubt += answer.is_in_doubt
        expires = lease.message.expires
        if now >= expires:
            counters.failed += 1
            counters.expired += 1
            outcome = Outcome(result=Result.FAILED, reply=str(reply))
            return _Verdict(outcome, report(Action.FAILED), is_expired=True)
        counters.deferred += 1
        is_late = (
            not recipient.is_delay_told
            and now >= lease.message.created + self._delay_notice_seconds
        )
        outcome = Outcome(
            result=Result.DEFERRED,
            reply=str(reply),
            next_attempt=expires if recipient.next_attempt > expires else None,
            is_delay_told=is_late,
        )
        return _Verdict(outcome, report(Action.DELAYED) if is_late else None)

    # Writing

    async def _settle(
        self,
        lease: Lease,
        verdicts: dict[int, _Verdict],
        event: Callable[[Mapping[int, _Verdict]], Attempted | None] = lambda _: None,
    ) -> dict[int, _Verdict]:
        """Write verdicts, and what senders are told; give those that are as they were."""
        reports = [verdict.report for verdict in verdicts.values() if verdict.report is not None]
        notices: Sequence[tuple[NewMessage, bytes]] = ()
        if reports:
            try:
                notices = await self._notices.write(
                    lease, reports, octets=lambda: _octets(self._spool, lease)
                )
            except SpoolError as error:  # a notice has the message in it, or its header
                text = visible(str(error))
                log.error("%s: its sender could not be told: %s; it is tried again", lease.id, text)
                verdicts = self._without_failures(verdicts)
            except Exception:
                log.exception("%s: its sender could not be told; it is tried again", lease.id)
                verdicts = self._without_failures(verdicts)
        outcomes = {number: verdict.outcome for number, verdict in verdicts.items()}
        await self._write(_Unwritten(lease, outcomes, notices, event(verdicts)))
        return verdicts

    def _without_failures(self, verdicts: Mapping[int, _Verdict]) -> dict[int, _Verdict]:
        """Let those be tried again whose sender hears nothing, and would take them for sent."""
        kept = {}
        for number, verdict in verdicts.items():
            if verdict.outcome.result is Result.FAILED:
                self._counters.failed -= 1
                self._counters.expired -= verdict.is_expired
            else:
                kept[number] = verdict
        return kept

    async def _write(self, one: _Unwritten) -> None:
        if self._unwritten or not await self._finish(one):
            if not self._unwritten:
                log.error(
                    "the spool does not take what became of messages: it is kept in memory and"
                    " written again every few seconds; make room, or look at the disk"
                )
            self._unwritten.append(one)

    async def _finish(self, one: _Unwritten) -> bool:
        """Write an outcome; tell whether that is done with."""
        lease = one.lease
        try:
            is_ours = await self._spool.finish(lease, one.outcomes, notices=one.notices)
        except SpoolError as error:
            log.error("%s: %s", lease.id, visible(str(error)))
            return False
        if not is_ours:
            log.warning(
                "%s: was deleted, or its lease ran out, while it was tried; what became of it is"
                " not on record, and it may be delivered twice",
                lease.id,
            )
            return True
        ended = sum(each.result is not Result.DEFERRED for each in one.outcomes.values())
        self._backlog.settle(ended)
        for notice, _octets in one.notices:
            self._backlog.add(len(notice.recipients))
            for recipient in notice.recipients:
                self._noticed(recipient.destination)
        if one.event is not None:
            self._tell(one.event)
        return True

    async def write_again(self) -> None:
        """Write what the spool did not take before."""
        while self._unwritten and await self._finish(self._unwritten[0]):
            self._unwritten.pop(0)
            if not self._unwritten:
                log.warning("the spool takes outcomes again; all are on record")

    # Telling

    def _log(
        self,
        lease: Lease,
        verdicts: Mapping[int, _Verdict],
        answers: Mapping[int, Answer],
        session: Session | None,
    ) -> None:
        server = str(session.hop) if session else ""
        for recipient in lease.recipients:
            verdict = verdicts.get(recipient.number)
            if verdict is None or verdict.outcome.result is Result.DELIVERED:
                continue
            address = visible(recipient.address)
            said = visible(verdict.outcome.reply)
            if server and not answers[recipient.number].is_in_doubt:
                said = f"{said} ({server})"
            if answers[recipient.number].is_in_doubt:
                log.warning(
                    "%s: to %s: %s was sent the whole message and did not answer: %s; it is tried"
                    " again, and may be delivered twice",
                    *(lease.id, address, server, said),
                )
            elif verdict.outcome.result is Result.FAILED:
                why = "was given up, since it took too long; the last" if verdict.is_expired else ""
                log.info("%s: to %s %s: %s", lease.id, address, why or "failed", said)
            else:
                when = verdict.outcome.next_attempt or recipient.next_attempt
                seconds = max(0.0, when - self._clock.now())
                log.info(
                    "%s: to %s is deferred for %.0f seconds: %s", lease.id, address, seconds, said
                )

    def _event(
        self,
        lease: Lease,
        verdicts: Mapping[int, _Verdict],
        answers: Mapping[int, Answer],
        began: float,
        session: Session | None,
    ) -> Attempted:
        recipients = tuple(
            AttemptedRecipient(
                address=one.address,
                result=verdict.outcome.result,
                reply=verdict.outcome.reply,
                attempts=one.attempts,
                next_attempt=(verdict.outcome.next_attempt or one.next_attempt)
                if verdict.outcome.result is Result.DEFERRED
                else None,
                is_expired=verdict.is_expired,
                is_in_doubt=answers[one.number].is_in_doubt,
            )
            for one in lease.recipients
            if (verdict := verdicts.get(one.number)) is not None
        )
        return Attempted(
            id=lease.id,
            mail_from=lease.message.mail_from,
            size=lease.size,
            created=lease.message.created,
            destination=lease.destination,
            server=str(session.hop) if session else "",
            began=began,
            seconds=self._clock.now() - began,
            recipients=recipients,
        )

    def _tell(self, event: Attempted) -> None:
        for subscriber in self.subscribers:
            try:
                subscriber(event)
            except Exception:
                log.exception("a subscriber of the relay's events failed")


def _success(recipient: LeasedRecipient, session: Session | None) -> Action | None:
    """Tell what to report of a success: nothing where the next server will (RFC 3461 §5.2.2)."""
    if (
        session is None
        or recipient.dsn.notify is None
        or Notify.SUCCESS not in recipient.dsn.notify
    ):
        return None
    if session.hop.is_lmtp:
        return Action.DELIVERED
    return None if "DSN" in session.client.extensions else Action.RELAYED


async def _octets(spool: Spool, lease: Lease) -> AsyncIterator[bytes]:
    if lease.octets is not None:
        yield lease.octets
        return
    async for part in spool.read(lease):
        yield part
