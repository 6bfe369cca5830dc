"""What else is known of a message: small pictures, what its HTML asks of programs, its links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from pillarbox.catcher.thumbnail import NoPicture, thumbnail
from pillarbox.catcher.web.internet import Asker
from pillarbox.catcher.web.linkcheck import check_links
from pillarbox.catcher.web.operation import (
    Call,
    Operation,
    Parameter,
    Wrong,
    json_response,
    part_of,
)

if TYPE_CHECKING:
    from pillarbox.catcher.htmlcheck import Finding, Report

__all__ = ["OPERATIONS"]


def thumb(call: Call) -> Response:
    """Give a small picture of a part, as JPEG of 180 by 120."""
    try:
        picture = thumbnail(part_of(call).octets)
    except ImportError as error:
        raise Wrong(str(error), 501) from None
    except NoPicture as error:
        raise Wrong(str(error), 404) from None
    return Response(picture, media_type="image/jpeg")


def html_check(call: Call) -> Response:
    """Tell how much of a message's HTML and CSS mail programs understand."""
    message = call.mailbox.get(call.message_id).parse()
    if not message.html:
        raise Wrong("this message has no HTML")
    from pillarbox.catcher.htmlcheck import check_html  # of no use before somebody asks

    return json_response(report_shape(check_html(message.html)))


def report_shape(report: Report) -> dict[str, Any]:
    """Give a report in Mailpit's shape."""
    from pillarbox.catcher.caniemail import platforms

    return {
        "Total": {
            "Nodes": report.nodes,
            "Tests": report.tests,
            "Supported": report.supported,
            "Partial": report.partial,
            "Unsupported": report.unsupported,
        },
        "Platforms": platforms(),
        "Warnings": [_warning(warning) for warning in report.warnings],
    }


def _warning(warning: Finding) -> dict[str, Any]:
    feature = warning.feature
    return {
        "Slug": feature.slug,
        "Title": feature.title,
        "Description": feature.about,
        "URL": feature.url,
        "Category": feature.category,
        "Tags": list(feature.tags),
        "Keywords": feature.keywords,
        "NotesByNumber": feature.notes,
        "Results": [
            {
                "Name": result.name,
                "Family": result.family,
                "Platform": result.platform,
                "Version": result.version,
                "Support": result.support,
                "NoteNumber": result.note,
            }
            for result in feature.results
        ],
        "Score": {
            "Found": warning.found,
            "Supported": feature.percent("yes"),
            "Partial": feature.percent("partial"),
            "Unsupported": feature.percent("no"),
        },
    }


async def link_check(call: Call) -> Response:
    """Ask the links of a message whether they answer."""
    message = await call.in_thread(lambda: call.mailbox.get(call.message_id).parse())
    asker = Asker(allows_internal=call.service.allows_internal_requests)
    follows = call.text("follow").lower() in ("1", "true")
    links = await check_links(message, asker, follows=follows)
    return json_response(
        {
            "Errors": sum(link.is_error for link in links),
            "Links": [
                {
                    "URL": link.url,
                    "StatusCode": link.answer.status_code,
                    "Status": link.answer.status,
                }
                for link in links
            ],
        }
    )


OPERATIONS = (
    Operation("GET", "/api/v1/message/{id}/part/{part}/thumb", thumb, gives="image/jpeg"),
    Operation("GET", "/api/v1/message/{id}/html-check", html_check, gives="HTMLCheck"),
    Operation(
        "GET",
        "/api/v1/message/{id}/link-check",
        link_check,
        gives="LinkCheck",
        parameters=(Parameter("follow", "true goes where a redirect leads", "boolean", False),),
    ),
)
