"""Mail that goes: into the mailbox from a call of the API, and out of it to a real server."""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.responses import PlainTextResponse, Response

from pillarbox.catcher.arrival import Arrival, new_id, utc_now
from pillarbox.catcher.compose import Attachment, Draft, Person, compose, decode_base64
from pillarbox.catcher.web.operation import (
    Call,
    Operation,
    Wrong,
    json_response,
    string,
    strings,
    value_of,
)

__all__ = ["OPERATIONS"]

MAX_RECIPIENTS = 1000


def send(call: Call) -> Response:
    """Put a message together, and take it as if it had come by SMTP."""
    try:
        draft = draft_of(call.json())
        octets = compose(draft, utc_now())
    except (ValueError, Wrong) as error:
        return json_response({"Error": str(error)}, 400)
    limit = call.service.max_message_octets
    if limit and len(octets) > limit:
        return json_response({"Error": f"the message is larger than {limit} octets"}, 413)
    arrival = Arrival(
        id=new_id(),
        time=utc_now(),
        mail_from=draft.from_.address,
        rcpt_tos=draft.rcpt_tos,
        peer=call.peer,
        octets=octets,
        identity=call.user,
    )
    summary = call.mailbox.add(arrival)
    call.service.tally.note_accepted(len(octets))
    return json_response({"ID": summary.id})


def draft_of(body: dict[str, Any]) -> Draft:
    """Read what a message is to be made of.

    Raises:
        Wrong: A value is of the wrong kind.
        ValueError: An address or an attachment is none.
    """
    from_ = value_of(body, "From")
    if not isinstance(from_, dict):
        raise Wrong('From is no object; write one such as {"Email": "ann@example.org"}')
    headers = value_of(body, "Headers")
    headers = {} if headers is None else headers
    if not isinstance(headers, dict) or not all(isinstance(one, str) for one in headers.values()):
        raise Wrong("Headers is no object of strings")
    draft = Draft(
        from_=_person(from_),
        to=tuple(map(_person, _objects(body, "To"))),
        cc=tuple(map(_person, _objects(body, "Cc"))),
        bcc=tuple(map(Person, strings(body, "Bcc"))),
        reply_to=tuple(map(_person, _objects(body, "ReplyTo"))),
        subject=string(body, "Subject"),
        text=string(body, "Text"),
        html=string(body, "HTML"),
        headers=headers,
        tags=tuple(strings(body, "Tags")),
        attachments=tuple(map(_attachment, _objects(body, "Attachments"))),
    )
    if len(draft.rcpt_tos) > MAX_RECIPIENTS:
        raise Wrong(f"there are more than {MAX_RECIPIENTS} recipients")
    return draft


def _objects(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = value_of(body, key)
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Wrong(f"{key} is no list of objects")
    return value


def _person(value: dict[str, Any]) -> Person:
    return Person(string(value, "Email"), string(value, "Name"))


def _attachment(value: dict[str, Any]) -> Attachment:
    name = string(value, "Filename")
    try:
        octets = decode_base64(string(value, "Content"))
    except ValueError as error:
        raise Wrong(f"the attachment {name[:100]!r}: {error}") from None
    return Attachment(
        file_name=name,
        octets=octets,
        content_type=string(value, "ContentType"),
        content_id=string(value, "ContentID"),
    )


async def release(call: Call) -> Response:
    """Send a message on, to the recipients that are named."""
    from pillarbox.catcher.release import ReleaseError  # and with it all of what sends

    relay = call.service.relay
    if relay is None:
        raise Wrong("there is no server to release messages to; start this one with --relay-to")
    rcpt_tos = strings(call.json(), "To")
    if not rcpt_tos:
        raise Wrong('To names nobody; write "To": ["ann@example.org"]')
    for rcpt in rcpt_tos:
        with contextlib.suppress(ValueError):
            Person(rcpt)
            continue
        raise Wrong(f"{rcpt[:100]!r} is no address; write one such as ann@example.org")
    stored = await call.in_thread(lambda: call.mailbox.get(call.message_id))
    try:
        await relay.send(stored.arrival.mail_from, rcpt_tos, stored.arrival.octets)
    except ReleaseError as error:
        raise Wrong(str(error), 502) from None
    return PlainTextResponse("ok")


OPERATIONS = (
    Operation("POST", "/api/v1/send", send, takes="Send", gives="Sent", is_large=True),
    Operation("POST", "/api/v1/message/{id}/release", release, takes="Release"),
)
