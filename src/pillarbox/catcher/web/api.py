"""Mailpit's API, version 1: the same addresses, keys, defaults and errors; its clients work here.

Where Mailpit deletes everything because it could not read what to delete, we refuse. The shapes of
answers are in shape.py; parts in attachment.py.
"""

from __future__ import annotations

import sys

from starlette.responses import PlainTextResponse, Response

from pillarbox import __version__
from pillarbox.catcher.web.attachment import disposition, part_response
from pillarbox.catcher.web.operation import (
    Call,
    Operation,
    Parameter,
    Wrong,
    boolean,
    json_response,
    part_of,
    string,
    strings,
)
from pillarbox.catcher.web.shape import header_shape, message_shape, page_shape
from pillarbox.catcher.web.view import OPERATIONS as VIEWS

__all__ = ["OPERATIONS"]


def ok() -> Response:
    """Answer that it is done."""
    return PlainTextResponse("ok")


# The program


def info(call: Call) -> Response:
    """Tell the version, and what has been counted."""
    counts = call.mailbox.counts()
    tally = call.service.tally
    return json_response(
        {
            "Version": f"v{__version__}",
            "LatestVersion": f"v{__version__}",
            "Database": call.service.database,
            "DatabaseSize": call.service.database_octets(),
            "Messages": counts.total,
            "Unread": counts.unread,
            "Tags": call.mailbox.tags(),
            "RuntimeStats": {
                "Uptime": int(tally.uptime_seconds),
                "Memory": memory_octets(),
                "MessagesDeleted": tally.deleted,
                "SMTPAccepted": tally.accepted,
                "SMTPAcceptedSize": tally.accepted_octets,
                "SMTPRejected": tally.rejected,
                "SMTPIgnored": 0,
            },
        }
    )


def webui(call: Call) -> Response:
    """Tell what a page can offer."""
    relay = call.service.relay
    return json_response(
        {
            "Label": "",
            "MessageRelay": {
                "Enabled": relay is not None,
                "SMTPServer": "" if relay is None else relay.name,
                "ReturnPath": "",
                "AllowedRecipients": "",
                "BlockedRecipients": "",
                "OverrideFrom": "",
                "PreserveMessageIDs": True,
                "RecipientAllowlist": "",
            },
            "SpamAssassin": False,
            "ChaosEnabled": call.service.rules is not None,
            "DuplicatesIgnored": False,
            "HideDeleteAllButton": False,
        }
    )


def memory_octets() -> int:
    """Tell how much memory this process has."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        try:
            from resource import RUSAGE_SELF, getrusage
        except ImportError:  # on Windows
            return 0
        return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# Lists


def list_messages(call: Call) -> Response:
    """List messages, newest first."""
    page = call.mailbox.list(start=call.number("start", 0), limit=call.number("limit", 50))
    return json_response(page_shape(page))


def search(call: Call) -> Response:
    """Find messages, newest first."""
    page = call.mailbox.search(
        wanted_query(call),
        start=call.number("start", 0),
        limit=call.number("limit", 50),
        zone=call.zone,
    )
    return json_response(page_shape(page))


def wanted_query(call: Call) -> str:
    """Give the query of a search.

    Raises:
        Wrong: There is none.
    """
    query = call.text("query").strip()
    if not query:
        raise Wrong("there is no search query; write one such as query=is:unread")
    return query


def set_read(call: Call) -> Response:
    """Set messages read or unread: some, those that a search finds, or all."""
    body = call.json()
    ids, query = strings(body, "IDs"), string(body, "Search")
    is_read = boolean(body, "Read")
    if ids and query:
        raise Wrong("IDs and Search exclude each other; leave one of them out")
    if ids:
        call.mailbox.set_read(ids, is_read)
    else:
        call.mailbox.set_read_found(query, is_read, zone=call.zone)
    return ok()


def delete(call: Call) -> Response:
    """Delete messages: some, or all where the body is empty."""
    body = call.json() if call.body.strip() else {}
    if body and not any(key.lower() == "ids" for key in body):
        raise Wrong("there are no IDs in the body; leave it out to delete all")
    ids = strings(body, "IDs")
    mailbox = call.mailbox
    call.service.tally.note_deleted(mailbox.delete(ids) if ids else mailbox.delete_all())
    return ok()


def delete_found(call: Call) -> Response:
    """Delete all that a search finds."""
    call.service.tally.note_deleted(call.mailbox.delete_found(wanted_query(call), zone=call.zone))
    return ok()


# One message


def message(call: Call) -> Response:
    """Give a message, and set it read."""
    id_ = call.message_id
    stored = call.mailbox.get(id_)
    call.mailbox.set_read([id_])
    return json_response(message_shape(stored, stored.parse()))


def headers(call: Call) -> Response:
    """Give the headers of a message."""
    return json_response(header_shape(call.mailbox.get(call.message_id).parse()))


def raw(call: Call) -> Response:
    """Give a message as it came."""
    id_ = call.message_id
    response = PlainTextResponse(call.mailbox.octets(id_))
    if call.text("dl") == "1":
        response.headers["Content-Disposition"] = disposition("attachment", f"{id_}.eml")
    return response


def part(call: Call) -> Response:
    """Give a part of a message, with its own content type unless a browser could run it."""
    return part_response(part_of(call))


# Tags


def tags(call: Call) -> Response:
    """List all tags."""
    return json_response(list(call.mailbox.tags()))


def set_tags(call: Call) -> Response:
    """Replace the tags of messages; what no tag may have becomes a blank."""
    body = call.json()
    wanted = filter(None, map(as_tag, strings(body, "Tags")))
    call.mailbox.set_tags(strings(body, "IDs"), wanted)
    return ok()


def rename_tag(call: Call) -> Response:
    """Give a tag another name."""
    name = as_tag(string(call.json(), "Name"))
    if not name:
        raise Wrong("Name has nothing that a tag may have; write letters, digits, blanks, - _ . @")
    call.mailbox.rename_tag(call.place("tag"), name)
    return ok()


def delete_tag(call: Call) -> Response:
    """Take a tag from all messages; they stay."""
    call.mailbox.delete_tag(call.place("tag"))
    return ok()


def as_tag(text: str) -> str:
    """Make of a text a tag."""
    allowed = (char if char.isalnum() or char in " -_.@" else " " for char in text)
    return " ".join("".join(allowed).split())[:100].strip()


QUERY = Parameter("query", "What to look for", is_required=True)
START = Parameter("start", "How many to leave out", "integer", 0)
LIMIT = Parameter("limit", "How many to give", "integer", 50)
ZONE = Parameter("tz", "The time zone of dates in the query, such as Europe/Berlin")

OPERATIONS = (
    Operation("GET", "/api/v1/info", info, gives="Info"),
    Operation("GET", "/api/v1/webui", webui, gives="WebUI"),
    Operation(
        "GET", "/api/v1/messages", list_messages, gives="Messages", parameters=(START, LIMIT)
    ),
    Operation("PUT", "/api/v1/messages", set_read, takes="SetRead", parameters=(ZONE,)),
    Operation("DELETE", "/api/v1/messages", delete, takes="IDs"),
    Operation(
        "GET", "/api/v1/search", search, gives="Messages", parameters=(QUERY, START, LIMIT, ZONE)
    ),
    Operation("DELETE", "/api/v1/search", delete_found, parameters=(QUERY, ZONE)),
    Operation("GET", "/api/v1/message/{id}", message, gives="Message"),
    Operation("GET", "/api/v1/message/{id}/headers", headers, gives="Headers"),
    Operation(
        "GET",
        "/api/v1/message/{id}/raw",
        raw,
        parameters=(Parameter("dl", "1 has a browser save it"),),
    ),
    Operation("GET", "/api/v1/message/{id}/part/{part}", part, gives="*/*"),
    Operation("GET", "/api/v1/tags", tags, gives="Tags"),
    Operation("PUT", "/api/v1/tags", set_tags, takes="SetTags"),
    Operation("PUT", "/api/v1/tags/{tag}", rename_tag, takes="RenameTag"),
    Operation("DELETE", "/api/v1/tags/{tag}", delete_tag),
    *VIEWS,
)
