"""The mail itself in a browser: its HTML as it came, and a policy under which it can do nothing.

The policy of the answer is the defence, together with the `sandbox` of the frame that the page
shows it in: no script runs, nothing is asked of anybody, nothing of ours can be reached. Each of
the two alone lets something through. The HTML stays as it is, for whoever tests a mail wants to see
that; but a few elements that no mail program shows are none any more. Chromium looks up the host of
a frame or a link, and connects to it, before it asks the policy.
"""

from __future__ import annotations

import html
import re
from urllib.parse import quote, unquote

from starlette.responses import PlainTextResponse, Response

from pillarbox.catcher.message import ParsedMessage
from pillarbox.catcher.web.operation import Call, Operation, Parameter, Wrong

__all__ = ["OPERATIONS", "policy", "render_html"]

_CONTENT_ID = re.compile(r"""(?<=["'(=\s;])cid:([^"'()<>\s;]++)""", re.IGNORECASE)
_SCHEME = re.compile(r"\(\s*+prefers-color-scheme\s*+:\s*+(dark|light)\s*+\)", re.IGNORECASE)

_BASE = re.compile(r"<base[\s/]", re.IGNORECASE)
# Without the doctype in front, a browser would draw the mail as one of the nineties.
_DOCTYPE = re.compile(r"\s*+(?:<!--.*?-->\s*+)*+<!doctype[^>]*+>", re.IGNORECASE | re.DOTALL)

# A tag's name stands right behind "<", wherever a browser finds one; to find more does no harm. The
# other name is that of an element without an end too, where the first one is.
_UNSHOWN = re.compile(
    r"(?<=<)(?P<close>/?)(?:(?P<head>base|link)|(?P<void>embed|frame)"
    r"|(?P<name>applet|fencedframe|frameset|iframe|object|portal))(?=[\s/>])",
    re.IGNORECASE,
)

# Links of the mail open elsewhere.
EMBEDDED = '<base target="_blank">'


def policy(*, has_remote_images: bool = False, is_embedded: bool = False) -> str:
    """Give the Content-Security-Policy of a mail's HTML.

    Args:
        has_remote_images: Whether to load pictures from where the mail says; their servers see it.
        is_embedded: Whether a click on a link may open a page of its own.
    """
    sandbox = "sandbox allow-popups allow-popups-to-escape-sandbox" if is_embedded else "sandbox"
    images = "img-src 'self' data:" + (" https: http:" if has_remote_images else "")
    return f"{sandbox}; default-src 'none'; {images}; style-src 'unsafe-inline'"


def render_html(message: ParsedMessage, parts: str, *, scheme: str = "") -> str:
    """Give the HTML with what it shows of the message's own parts led to them.

    Args:
        message: The message.
        parts: The address that the id of a part is put behind.
        scheme: `dark` or `light` as the reader chose it, whatever the system says.
    """
    ids = {part.content_id.lower(): part.id for part in message.parts if part.content_id}

    def lead(found: re.Match[str]) -> str:
        id_ = ids.get(unquote(html.unescape(found[1])).lower())
        return found[0] if id_ is None else f"{parts}{id_}"

    text = _UNSHOWN.sub(_unshown, message.html or "")
    text = _CONTENT_ID.sub(lead, text)
    if scheme in ("dark", "light"):
        text = _SCHEME.sub(
            lambda found: "(min-width: 0)" if found[1].lower() == scheme else "(max-width: 0)",
            text,
        )
    return text


def _unshown(found: re.Match[str]) -> str:
    name = "meta" if found["head"] else "param" if found["void"] else f"x-{found['name']}"
    return found["close"] + name


def view_html(call: Call) -> Response:
    """Show the HTML of a message, its own pictures in it; scripts do not run."""
    id_ = call.message_id
    message = call.mailbox.get(id_).parse()
    if not message.html:
        raise Wrong("this message has no HTML", 404)
    is_embedded = call.text("embed") == "1"
    parts = f"{call.root}/api/v1/message/{quote(id_)}/part/"
    if _BASE.search(message.html):  # it would lead our own addresses elsewhere
        parts = f"//{call.host}{parts}"
    text = render_html(message, parts, scheme=call.text("scheme"))
    if is_embedded:
        doctype = _DOCTYPE.match(text)
        at = doctype.end() if doctype else 0
        text = text[:at] + EMBEDDED + text[at:]
    return Response(
        text.encode("utf-8", "replace"),
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy(
                has_remote_images=call.text("remote") == "1", is_embedded=is_embedded
            ),
            # Of the hosts of links as well.
            "X-DNS-Prefetch-Control": "off",
        },
    )


def view_text(call: Call) -> Response:
    """Show the text of a message."""
    message = call.mailbox.get(call.message_id).parse()
    return PlainTextResponse((message.text or "").encode("utf-8", "replace"))


OPERATIONS = (
    Operation(
        "GET",
        "/view/{id}.html",
        view_html,
        gives="text/html",
        parameters=(
            Parameter("embed", "1 has links open pages of their own"),
            Parameter("remote", "1 loads pictures from other servers, which see it"),
            Parameter("scheme", "dark or light, whatever the browser prefers"),
        ),
    ),
    Operation("GET", "/view/{id}.txt", view_text),
)
