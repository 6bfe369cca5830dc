"""What a notification tells people, in plain words: first what to do, then what happened.

And how replies are shown, to them and to programs. All else of a notification: dsn.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pillarbox.protocol.reply import Reply
from pillarbox.relay.notice import Action, Report

__all__ = ["advice", "letter", "shown", "status", "subject"]

# RFC 5322 §2.1.1: a line has 998 octets at most, of which some go to the name of a field.
MAX_SHOWN_OCTETS = 900

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
# By the enhanced code without its class (RFC 3463), or by its subject alone.
_ADVICE = {
    "1.10": "this domain takes no mail: ask for another address.",
    "1": "nobody is known there by this address: look for a typing error, and send it again.",
    "2.2": "the mailbox is full: try again later, or tell the recipient in another way.",
    "2": "the mailbox takes no mail now: tell the recipient in another way.",
    "3.4": "the message is too large: send a smaller one, or a link.",
    "4.1": "the server could not be reached: try again later, and look for a typing error.",
    "4.4": "no server is known for this domain: look for a typing error.",
    "4.6": "the message went round in a circle: tell the administrator of that domain.",
    "4.7": "the server could not take it for too long: try again later.",
    "4": "the server could not be reached: try again later, and look for a typing error.",
    "6.7": "a server on the way cannot take such an address: ask for one in plain letters.",
    "6": "a server on the way cannot take this kind of message: send it in plainer form.",
    "7": "the server refuses this message: ask the recipient for another way to send it.",
}
_OURS = "the words below tell why. Ask whoever runs this server if in doubt."
_ELSE = "the server did not take it: the words below tell why. Ask the recipient if in doubt."

_SUBJECTS = {
    Action.FAILED: "Not delivered: your message",
    Action.DELAYED: "Delayed: your message",
    Action.DELIVERED: "Delivered: your message",
    Action.RELAYED: "Handed on: your message",
}


def subject(reports: Sequence[Report]) -> str:
    """Give the notification's subject, in ASCII."""
    text = _SUBJECTS[reports[0].action]
    if len(reports) == 1 and reports[0].recipient.address.isascii():
        return f"{text} to {reports[0].recipient.address}"
    return f"{text} to {len(reports)} recipients" if len(reports) > 1 else text


def advice(report: Report) -> str:
    """Tell the sender of a message that failed what to do."""
    code = status(report.reply).partition(".")[2]
    if report.is_expired and code == "0.0":
        return _ADVICE["4.7"]
    known = _ADVICE.get(code) or _ADVICE.get(code.partition(".")[0])
    return known or (_ELSE if report.remote else _OURS)


def status(reply: Reply) -> str:
    """Give the enhanced code, made of the plain one where the server said none (RFC 3463)."""
    return reply.enhanced or f"{reply.code // 100}.0.0"


def letter(reports: Sequence[Report], *, hostname: str, is_whole: bool, created: float) -> str:
    r"""Write the text, lines ended by `\n`.

    Args:
        reports: All of one kind.
        hostname: Who writes.
        is_whole: Whether the message is attached whole.
        created: When the message came, in seconds since 1970.
    """
    kind = reports[0].action
    head = _HEADS[kind]
    if kind is Action.DELAYED and reports[0].gives_up is not None:
        head += f"\nIt will be tried until {_time(reports[0].gives_up)}."
    attached = (
        "Your message is attached." if is_whole else "The header of your message is attached."
    )
    lines = [
        head,
        "",
        *(line for report in reports for line in _about(report)),
        attached,
        f"It came to this server, {hostname}, at {_time(created)}.",
        "",
    ]
    return "\n".join(lines)


_HEADS = {
    Action.FAILED: "Your message could not be delivered to whom is named below, and is not tried\n"
    "any more. What you can do stands with each name:",
    Action.DELAYED: "You need not do anything: your message takes long, and is tried again.",
    Action.DELIVERED: "You need not do anything: your message was delivered.",
    Action.RELAYED: "You need not do anything: your message was handed on, to a server that\n"
    "sends no notifications. You may hear no more of it.",
}


def _about(report: Report) -> list[str]:
    lines = [f"  <{report.recipient.address}>"]
    if report.action is Action.FAILED:
        lines.append(f"    What to do: {advice(report)}")
    who = f"{report.remote} said" if report.remote else "The reason is"
    last = ", the last time it was tried" if report.is_expired else ""
    return [*lines, f"    {who}{last}: {shown(report.reply)}", ""]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")


def shown(reply: Reply, *, is_utf8: bool = True) -> str:
    """Write a reply on one line, which no reader chokes on: it may have come with hundreds.

    Args:
        reply: What was said.
        is_utf8: Whether characters beyond ASCII may stay as they are.
    """
    text = _CONTROL.sub(" ", str(reply))
    octets = text.encode("utf-8" if is_utf8 else "ascii", "backslashreplace")
    if len(octets) <= MAX_SHOWN_OCTETS:
        return octets.decode()
    return f"{octets[:MAX_SHOWN_OCTETS].decode(errors='ignore')} ..."
