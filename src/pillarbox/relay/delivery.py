"""One attempt: a lease over an open session, and what the server says of each recipient.

Nothing here knows queues or retries. What a server lacks that the message cannot do without is a
failure for good, in the words of the client. A session that breaks defers whoever had no answer;
after the final dot it may have been delivered all the same, which is told (RFC 1047).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from pillarbox.asyncio.client import Client
from pillarbox.asyncio.client_error import SessionLost
from pillarbox.protocol.address import AddressError
from pillarbox.protocol.client_event import RecipientOutcome
from pillarbox.protocol.event import NO_RCPT_DSN, BodyType
from pillarbox.protocol.outgoing import NEEDS_REQUIRETLS, TOO_MANY_RECIPIENTS, Recipient
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions
from pillarbox.relay.lease import Held
from pillarbox.relay.route import Hop, TlsPolicy
from pillarbox.relay.spool import Lease, LeasedRecipient, Result, SpoolError

__all__ = ["Answer", "Attempt", "Session", "attempt"]

# A message from a file is read whole up to this size: the client looks at it before it says MAIL.
WHOLE_OCTETS: Final = 262_144

UNREADABLE = Reply(451, "4.3.0", "The message cannot be read from the spool now")
NO_ADDRESS = Reply(553, "5.1.3", "The address is not valid")
BARE_NEWLINE = Reply(
    554, "5.6.11", "The message has a bare CR or LF, and the next server takes no binary messages"
)
# RFC 5321 §4.5.3.1.10: 452 to RCPT, or 552 of old, ends one transaction and asks for another.
_TOO_MANY = {452: (None, "4.5.3"), 552: (None, "5.5.3")}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one recipient in an attempt.

    Attributes:
        result: Of this attempt alone.
        reply: What decided.
        is_remote: Whether the server said so, and not we.
        is_in_doubt: It may have been delivered although it counts as deferred.
    """

    result: Result
    reply: Reply
    is_remote: bool = True
    is_in_doubt: bool = False


@dataclass(slots=True)
class Attempt:
    """What came of an attempt.

    Attributes:
        answers: For each recipient of the lease, by its number.
        fault: What broke the session; empty where it did its work.
        is_void: The session broke before the final dot, and the server refused nobody: nothing has
            happened.
        trouble: What went wrong with the spool.
    """

    answers: dict[int, Answer]
    fault: str = ""
    is_void: bool = False
    trouble: str = ""


@dataclass(slots=True)
class Session:
    """An open session with a server.

    Attributes:
        client: The session.
        hop: The server.
        messages: How many messages went over it.
    """

    client: Client
    hop: Hop
    messages: int = 0


async def attempt(
    session: Session,
    held: Held,
    read: Callable[[Lease], AsyncIterator[bytes]],
    may_go_on: Callable[[], Awaitable[bool]],
) -> Attempt:
    """Try to deliver a lease, and tell what was said of each of its recipients.

    Args:
        session: Open.
        held: The lease.
        read: Gives the octets of a message that is not at hand.
        may_go_on: Asked where the server wants another transaction for some recipients; they wait
            for the next attempt where it says no.
    """
    session.messages += 1
    made = Attempt({})
    left: Sequence[LeasedRecipient] = held.lease.recipients
    held.client = session.client
    try:
        while left:
            rest = await _transact(session, held, left, read, made)
            if not rest or len(rest) == len(left) or not session.client.is_open:
                break
            if not await may_go_on():
                break
            for one in rest:  # the server wants them in a transaction of their own
                del made.answers[one.number]
            left = rest
    finally:
        held.client = None
    if made.fault and not held.may_end():
        made.fault = ""  # we broke it off, and the server has no part in that
    return made


async def _transact(
    session: Session,
    held: Held,
    recipients: Sequence[LeasedRecipient],
    read: Callable[[Lease], AsyncIterator[bytes]],
    made: Attempt,
) -> Sequence[LeasedRecipient]:
    """Hold one transaction; give the recipients that the server wants in another one."""
    client, lease = session.client, held.lease
    message = lease.message
    hop = session.hop
    is_final = hop.is_lmtp and hop.tls is TlsPolicy.NEVER  # on this machine: it goes no further
    if message.requires_tls and not (hop.tls.is_verified or is_final):
        # RFC 8689 §4.2.1: TLS with whoever it may be is not what was asked for.
        _answer_all(made, recipients, NEEDS_REQUIRETLS)
        return ()
    is_in_doubt = False
    try:
        octets = lease.octets
        if octets is None and lease.size <= WHOLE_OCTETS:
            octets = b"".join([part async for part in read(lease)])
        outcome = await client.send(
            message.mail_from,
            [_recipient(one) for one in recipients],
            read(lease) if octets is None else octets,
            size=lease.size if octets is None else None,
            body=_body(lease, octets, client.extensions),
            smtputf8=message.is_smtputf8 and _needs_smtputf8(lease, octets, client.extensions),
            dsn=message.dsn,
            requires_tls=message.requires_tls and not is_final,
            may_end=held.may_end,
        )
    except SessionLost as error:
        made.fault = str(error)
        if error.outcome is None:
            made.is_void = True
            _answer_all(made, recipients, error.reply)
            return ()
        outcome = error.outcome
        is_in_doubt = outcome.is_in_doubt
    except SpoolError as error:
        made.trouble = str(error)
        _answer_all(made, recipients, UNREADABLE)
        return ()
    except AddressError:
        _answer_all(made, recipients, NO_ADDRESS)
        return ()
    except ValueError:
        _answer_all(made, recipients, BARE_NEWLINE)
        return ()
    ends = outcome.recipients
    if len(ends) == 1 and ends[0].command is not None:  # nearly always
        one = ends[0]
        made.answers[recipients[0].number] = Answer(_result(one.reply), one.reply)
    else:
        in_doubt = outcome.is_in_doubt or is_in_doubt
        for recipient, one in zip(recipients, ends, strict=True):
            made.answers[recipient.number] = _answer(one, is_in_doubt=in_doubt)
    reply = client.protocol.closing_reply
    if reply is not None and not reply.is_positive and not made.fault:
        made.fault = f"the server ended the session: {reply}"
    if made.fault:
        # A goodbye in place of the answer to MAIL is no answer to the message.
        made.is_void = all(
            one.reply.code == 421 and one.command in (None, "MAIL") for one in ends
        ) and not (outcome.is_in_doubt or is_in_doubt)
    return (
        [recipient for recipient, one in zip(recipients, ends, strict=True) if _wants_another(one)]
        if len(ends) > 1
        else ()
    )


def _recipient(recipient: LeasedRecipient) -> str | Recipient:
    if recipient.dsn == NO_RCPT_DSN:
        return recipient.address
    return Recipient(recipient.address, recipient.dsn)


def _body(lease: Lease, octets: bytes | None, extensions: Extensions) -> BodyType | None:
    """Say what the message is; `None` has the client look.

    A sender that said nothing and sent octets beyond ASCII all the same is not the next server's
    concern: what is not offered is not asked of it.
    """
    said = lease.message.body_type
    if said == "8BITMIME" and octets is not None and octets.isascii():
        return "7BIT"
    if said in ("8BITMIME", "BINARYMIME"):
        return cast("BodyType", said)
    return None if "8BITMIME" in extensions else "7BIT"


def _needs_smtputf8(lease: Lease, octets: bytes | None, extensions: Extensions) -> bool:
    """Tell whether SMTPUTF8 has to be asked for: who offers it is told, as we were told."""
    return "SMTPUTF8" in extensions or octets is None or not octets.isascii()


def _answer_all(made: Attempt, recipients: Sequence[LeasedRecipient], reply: Reply) -> None:
    for one in recipients:
        made.answers[one.number] = Answer(_result(reply), reply, is_remote=False)


def _answer(one: RecipientOutcome, *, is_in_doubt: bool) -> Answer:
    is_remote = one.command is not None
    return Answer(
        _result(one.reply),
        one.reply,
        is_remote=is_remote,
        is_in_doubt=is_in_doubt and not is_remote,
    )


def _result(reply: Reply) -> Result:
    if reply.code < 300:
        return Result.DELIVERED
    return Result.DEFERRED if reply.code < 500 else Result.FAILED


def _wants_another(one: RecipientOutcome) -> bool:
    if one.command is None:
        return one.reply is TOO_MANY_RECIPIENTS
    return one.command == "RCPT" and one.reply.enhanced in _TOO_MANY.get(one.reply.code, ())
