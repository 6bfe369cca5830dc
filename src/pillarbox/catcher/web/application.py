"""The application: every address of the page and the API, behind the guard.

All of it is there twice: for all mail, and under `/api/x/mailboxes/NAME` for one named mailbox. To
see one only, a client of Mailpit's API is given that as its base address.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from pillarbox.catcher.web.api import OPERATIONS as MAILPIT
from pillarbox.catcher.web.attachment import OCTETS
from pillarbox.catcher.web.checks import OPERATIONS as CHECKS
from pillarbox.catcher.web.events import Events
from pillarbox.catcher.web.extra import OPERATIONS as EXTRA
from pillarbox.catcher.web.failures import OPERATIONS as FAILURES
from pillarbox.catcher.web.guard import Guard
from pillarbox.catcher.web.openapi import openapi_operation
from pillarbox.catcher.web.operation import routes
from pillarbox.catcher.web.sending import OPERATIONS as SENDING
from pillarbox.catcher.web.service import Service

__all__ = ["OPERATIONS", "application"]

STATIC = Path(__file__).parent.parent / "static"
_DESCRIBED = (*MAILPIT, *CHECKS, *SENDING, *FAILURES, *EXTRA)
OPERATIONS = (*_DESCRIBED, openapi_operation("/api/v1/openapi.json", _DESCRIBED))
"""All of the API, but for `/api/events`."""

# What the system has to say of them may be wrong, above all on Windows.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# The page's scripts are its own; it shows mail in frames, of which view.py has the policy.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def application(
    service: Service, *, hosts: Iterable[str] = (), logins: dict[str, str] | None = None
) -> ASGIApp:
    """Make the application.

    Args:
        service: What it speaks for.
        hosts: Names that the server is called by, beside addresses and `localhost`.
        logins: Users and their passwords; none lets everybody in.
    """
    all_mail: list[BaseRoute] = [
        *routes(OPERATIONS, service),
        WebSocketRoute("/api/events", Events(service).serve),
    ]
    app = Starlette(
        routes=[
            Mount("/api/x/mailboxes/{mailbox}", routes=all_mail),
            *all_mail,
            *_page(),
        ],
        exception_handlers={HTTPException: _wrong, Exception: _failed},
    )
    return Guard(app, hosts=hosts, logins=logins)


def _page() -> list[BaseRoute]:
    """Give the files of the page, each by its own name: no other address is taken for one."""
    files = _Page(directory=STATIC, html=True)

    async def serve(request: Request) -> Response:
        path = request.path_params.get("file", "index.html")
        return await files.get_response(path, request.scope)

    return [Route("/", serve), Route("/{file}", serve)]


class _Page(StaticFiles):
    """The files. They change with the program: browsers ask whether they have."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            _, suffix = os.path.splitext(path)
            response.headers["Content-Type"] = TYPES.get(suffix, OCTETS)
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        # A page that a mail's link opens has no way back here, whatever the link's `rel` says.
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _wrong(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(
        str(error.detail), error.status_code, headers=dict(error.headers or {})
    )


async def _failed(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("this is our fault; the log has more of it", 500)
