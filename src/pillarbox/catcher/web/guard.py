"""Who may call: the guard in front of everything.

A catcher stands on a developer's machine, and so do web pages of strangers, in the same browser.
What they can do is send requests here. So each request has to name a host that is ours: a page that
had its own name lead to this machine (DNS rebinding) names its own. And where a browser tells which
page asks (`Origin`, `Sec-Fetch-Site`), it has to be one from here. Programs tell neither, and need
not.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from collections.abc import Iterable
from email.utils import formatdate
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "Refused"]

HEALTH = ("/livez", "/readyz")
POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1

# For what says nothing of its own: it is data, and no document.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
}


# Names, addresses and ports; what else may stand there could be taken for HTML.
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,300}", re.ASCII)


class Refused(Exception):
    """The request is none for us; the text says why."""

    def __init__(self, text: str, status: int = 403) -> None:
        super().__init__(text)
        self.status = status


class Guard:
    """Lets through what comes from here, and gives every answer its headers.

    Args:
        app: What is guarded.
        hosts: Names that this server is called by, beside addresses and `localhost`.
        logins: Users and their passwords; none lets everybody in.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Iterable[str] = (), logins: dict[str, str] | None = None
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._logins = logins or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(headers)
            _check_site(scope, headers)
            user = self._check_login(scope, headers)
        except Refused as refused:
            await _refuse(refused, scope, receive, _with_headers(send))
            return
        await self._app({**scope, "pillarbox.user": user}, receive, _with_headers(send))

    def _check_host(self, headers: Headers) -> None:
        """See that the name is ours. An address cannot be led elsewhere, a name can."""
        hosts = headers.getlist("host")
        name = _name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            raise Refused("the request names no host", 400)
        if not (self._is_ours(name)):
            raise Refused(
                f"{name[:100]} is no name of this server; if it should be, start it with"
                f" --http-host {name[:100]}"
            )

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]").partition("%")[0])
        except ValueError:
            return False
        return True

    def _check_origin(self, headers: Headers) -> None:
        """See that the page that asks, if one does, is ours."""
        origin = headers.get("origin")
        if origin is None:
            return
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != headers["host"].lower():
            raise Refused("pages from elsewhere may not call this server")

    def _check_login(self, scope: Scope, headers: Headers) -> str | None:
        """See who it is, if that matters; a load balancer need not say."""
        if not self._logins or scope["path"] in HEALTH:
            return None
        kind, _, encoded = headers.get("authorization", "").partition(" ")
        try:
            decoded = (
                base64.b64decode(encoded.encode(), validate=True)
                if kind.lower() == "basic"
                else b""
            )
        except ValueError:
            decoded = b""
        user, _, password = decoded.decode("utf-8", "replace").partition(":")
        expected = self._logins.get(user)
        if expected is None or not hmac.compare_digest(expected.encode(), password.encode()):
            raise Refused("log in to see this", 401)
        return user


def _name(host: str) -> str | None:
    """Take the port from a host; `None` if it is no host."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if (
        not _HOST.fullmatch(host)
        or parts.netloc != host
        or parts.username is not None
        or not parts.hostname
    ):
        return None
    return parts.hostname.lower().rstrip(".")


def _check_site(scope: Scope, headers: Headers) -> None:
    """See that a browser does not ask for a stranger's page, or for a mail that is looked at.

    A link to a page of ours is followed from anywhere. Parts of a message are shown by mail in a
    sandbox, which is a stranger here too; it must not have the rest, for some answers have effects.
    """
    if headers.get("sec-fetch-site", "none") not in ("cross-site", "same-site"):
        return
    if headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document":
        return
    if headers.get("sec-fetch-dest") == "image" and "/part/" in scope["path"]:
        return
    raise Refused("pages from elsewhere may not call this server")


async def _refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": str(refused)})
        return
    response: Response = PlainTextResponse(str(refused), refused.status)
    if refused.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="Pillarbox", charset="UTF-8"'
    await response(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            # uvicorn's own is up to a second late, and clients read our clock from it.
            headers["Date"] = formatdate(usegmt=True)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
