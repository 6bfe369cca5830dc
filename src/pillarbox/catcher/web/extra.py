"""What we tell beside Mailpit's API, under `/api/x/`; and how the server is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from pillarbox import __version__
from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.finding import codes_of, links_of
from pillarbox.catcher.summary import Summary
from pillarbox.catcher.web.attachment import disposition
from pillarbox.catcher.web.operation import Call, Operation, Parameter, Wrong, json_response
from pillarbox.catcher.web.shape import summary_shape, time_shape

__all__ = ["OPERATIONS"]

DEFAULT_WAIT_SECONDS = 10
# Proxies and clients give up after a minute, as a rule.
MAX_WAIT_SECONDS = 50


def server(call: Call) -> Response:
    """Tell the version, and where mail is taken."""
    return json_response({"Version": __version__, "SMTP": list(call.service.addresses())})


async def wait(call: Call) -> Response:
    """Wait for a message that a query finds, and give its summary; 408 if none comes in time."""
    seconds = min(call.number("timeout", DEFAULT_WAIT_SECONDS), MAX_WAIT_SECONDS)
    query, zone, mailbox = call.text("query"), call.zone, call.mailbox
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def told(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(changed.set)

    async def look() -> Summary | None:
        changed.clear()
        return await call.in_thread(lambda: mailbox.latest(query, zone=zone))

    stopping = asyncio.create_task(call.service.stopping.wait())
    cancel = mailbox.subscribe(told)
    deadline = loop.time() + seconds
    try:
        while (found := await look()) is None and not stopping.done():
            change = asyncio.create_task(changed.wait())
            done, _ = await asyncio.wait(
                [change, stopping],
                timeout=max(0.0, deadline - loop.time()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            change.cancel()
            if not done:
                break
    finally:
        cancel()
        stopping.cancel()
    if found is None:
        raise Wrong(f"no message came within {seconds} seconds", 408)
    return json_response(summary_shape(found))


def mailboxes(call: Call) -> Response:
    """List the named mailboxes."""
    return json_response(
        [
            {"Name": name, "Total": counts.total, "Unread": counts.unread}
            for name in call.service.mailbox.names()
            for counts in [call.service.mailbox.scoped(name).counts()]
        ]
    )


def envelope(call: Call) -> Response:
    """Give the envelope of a message, and what is known of the client."""
    return json_response(envelope_shape(call.mailbox.get(call.message_id).arrival))


def envelope_shape(arrival: Arrival) -> dict[str, Any]:
    """Give an envelope for a person to read, or a test."""
    return {
        "MailFrom": arrival.mail_from,
        "RcptTo": list(arrival.rcpt_tos),
        "Peer": _address(arrival.peer),
        "Helo": arrival.helo or "",
        "TLS": arrival.tls or "",
        "Username": arrival.identity or "",
        "Received": time_shape(arrival.time),
        "Session": arrival.session_id or "",
        "Local": _address(arrival.local),
        "MailParameters": dict(arrival.mail_parameters),
        "RcptParameters": [dict(parameters) for parameters in arrival.rcpt_parameters],
        "Mailboxes": list(arrival.mailboxes),
    }


def _address(address: tuple[str, int] | str) -> str:
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def session(call: Call) -> Response:
    """Give the SMTP dialogue that a message came in by."""
    return json_response({"Lines": list(call.mailbox.get(call.message_id).arrival.transcript)})


def links(call: Call) -> Response:
    """List the links of a message."""
    message = call.mailbox.get(call.message_id).parse()
    return json_response([{"URL": link.url, "Text": link.text} for link in links_of(message)])


def codes(call: Call) -> Response:
    """List the one-time codes in a message, the most likely one first."""
    message = call.mailbox.get(call.message_id).parse()
    return json_response([{"Code": code} for code in codes_of(message)])


def export_mbox(call: Call) -> Response:
    """Give the messages that a query finds, or all, as an mbox; the oldest first."""
    from pillarbox.catcher.export import stream_mbox

    pieces = stream_mbox(call.mailbox, call.text("query"), zone=call.zone)
    return _saved(pieces, "application/mbox", "mails.mbox")


def export_zip(call: Call) -> Response:
    """Give the messages that a query finds, or all, as a ZIP file of .eml; the oldest first."""
    from pillarbox.catcher.export import stream_zip

    pieces = stream_zip(call.mailbox, call.text("query"), zone=call.zone)
    return _saved(pieces, "application/zip", "mails.zip")


def _saved(pieces: Iterator[bytes], content_type: str, name: str) -> Response:
    return StreamingResponse(
        pieces,
        headers={
            "Content-Type": content_type,
            "Content-Disposition": disposition("attachment", name),
        },
    )


# How the server is


def livez(_call: Call) -> Response:
    """Tell that the server lives."""
    return PlainTextResponse("ok")


def readyz(call: Call) -> Response:
    """Tell that the mailbox answers."""
    call.mailbox.counts()
    return PlainTextResponse("ok")


def metrics(call: Call) -> Response:
    """Give figures for Prometheus."""
    counts, tally = call.mailbox.counts(), call.service.tally
    rows = [
        ("messages", "gauge", "Messages in the mailbox.", counts.total),
        ("messages_unread", "gauge", "Those that nobody has looked at.", counts.unread),
        ("accepted_total", "counter", "Messages taken in.", tally.accepted),
        ("accepted_bytes_total", "counter", "Their octets.", tally.accepted_octets),
        ("rejected_total", "counter", "Refusals on purpose.", tally.rejected),
        ("deleted_total", "counter", "Messages deleted by somebody.", tally.deleted),
        ("uptime_seconds", "gauge", "Time since the start.", round(tally.uptime_seconds, 3)),
    ]
    lines = [
        line
        for name, kind, about, value in rows
        for line in (
            f"# HELP pillarbox_catcher_{name} {about}",
            f"# TYPE pillarbox_catcher_{name} {kind}",
            f"pillarbox_catcher_{name} {value}",
        )
    ]
    return Response(
        "\n".join(lines) + "\n",
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


_WHICH = (
    Parameter("query", "What to look for; all without"),
    Parameter("tz", "The time zone of dates in the query, such as Europe/Berlin"),
)

OPERATIONS = (
    Operation("GET", "/api/x/server", server, gives="Server"),
    Operation(
        "GET",
        "/api/x/wait",
        wait,
        gives="Summary",
        parameters=(
            Parameter("query", "What to wait for; any message without"),
            Parameter("timeout", "For how many seconds, 50 at most", "integer", 10),
            Parameter("tz", "The time zone of dates in the query, such as Europe/Berlin"),
        ),
    ),
    Operation("GET", "/api/x/mailboxes", mailboxes, gives="Mailboxes"),
    Operation(
        "GET", "/api/x/export.mbox", export_mbox, gives="application/mbox", parameters=_WHICH
    ),
    Operation("GET", "/api/x/export.zip", export_zip, gives="application/zip", parameters=_WHICH),
    Operation("GET", "/api/x/message/{id}/envelope", envelope, gives="Envelope"),
    Operation("GET", "/api/x/message/{id}/session", session, gives="Session"),
    Operation("GET", "/api/x/message/{id}/links", links, gives="Links"),
    Operation("GET", "/api/x/message/{id}/codes", codes, gives="Codes"),
    Operation("GET", "/livez", livez),
    Operation("GET", "/readyz", readyz),
    Operation("GET", "/metrics", metrics),
)
