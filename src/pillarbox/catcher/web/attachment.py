"""A part of a message as an answer: whatever it is, it does nothing in our name in a browser.

What a browser could run is given as octets to be saved; the rest keeps its type. In either case
nothing is guessed (`nosniff`), and what is shown after all is shown in a sandbox.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.responses import Response

from pillarbox.catcher.message import Part

__all__ = ["OCTETS", "disposition", "part_response"]

SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"
OCTETS = "application/octet-stream"

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}", re.ASCII)
_CHARSET = re.compile(r"[A-Za-z0-9_.:+-]{1,40}", re.ASCII)
# Documents, scripts and style sheets, and what holds documents in itself.
_ACTIVE = re.compile(r"html|xml|svg|script|ecma|css|wasm|flash|manifest|^multipart/|^message/")
_SHOWN = re.compile(r"image/|audio/|video/|text/plain$|application/pdf$")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 ._()-]")


def part_response(part: Part) -> Response:
    """Answer with the content of a part."""
    content_type = part.content_type if _TYPE.fullmatch(part.content_type) else OCTETS
    is_shown = _SHOWN.match(content_type) is not None
    if _ACTIVE.search(content_type):
        content_type, is_shown = OCTETS, False
    if content_type.startswith("text/") and part.charset and _CHARSET.fullmatch(part.charset):
        content_type += f"; charset={part.charset}"
    return Response(
        part.octets,
        headers={
            "Content-Type": content_type,
            "Content-Disposition": disposition(
                "inline" if is_shown else "attachment", part.file_name or part.content_id or ""
            ),
            "Content-Security-Policy": SANDBOX,
            # The mail that shows it is a sandbox, of another origin than anything.
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )


def disposition(kind: str, file_name: str) -> str:
    """Write a Content-Disposition that the name cannot break out of (RFC 6266, RFC 8187)."""
    if not file_name:
        return kind
    plain = _NOT_PLAIN.sub("_", file_name)[:200]
    value = f'{kind}; filename="{plain}"'
    if plain != file_name:
        encoded = quote(file_name[:200].encode("utf-8", "replace"), safe="")
        value += f"; filename*=UTF-8''{encoded}"
    return value
