"""An operation of the API: where it is, what it takes and gives, and the function that answers.

An answer is a function of a `Call`: a plain one works in a thread, since the mailbox waits for its
disk, a coroutine in the event loop. Both say `raise Wrong("what, and what to write instead")`.
Tables of operations are all there is: the routes and openapi.py are made of them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pillarbox.catcher.mailbox import Mailbox, MailboxError, MessageNotFound
from pillarbox.catcher.message import Part
from pillarbox.catcher.web.service import Service

__all__ = [
    "Answer",
    "Call",
    "Operation",
    "Parameter",
    "Wrong",
    "boolean",
    "json_response",
    "part_of",
    "routes",
    "string",
    "strings",
    "value_of",
]

# Lists of ids are the largest of what is sent here, beside whole messages.
MAX_BODY_OCTETS = 1 << 21
MAX_NUMBER = (1 << 31) - 1
# What base64 and JSON add to a message.
MESSAGE_GROWTH = 2


_Result = TypeVar("_Result")


class Wrong(Exception):
    """The call cannot be answered; the text says why, and what to do."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that may stand behind the `?` of an address."""

    name: str
    about: str
    kind: str = "string"
    default: Any = None
    is_required: bool = False


class Call:
    """A request, as those who answer see it.

    Attributes:
        service: What the API speaks for.
        body: What was sent along.
        user: Who logged in, if that is asked for.
    """

    def __init__(self, request: Request, service: Service, body: bytes = b"") -> None:
        self.service = service
        self.body = body
        self.user: str | None = request.scope.get("pillarbox.user")
        self._request = request

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox that the address names, or all mail."""
        name = self._request.path_params.get("mailbox")
        return self.service.mailbox if name is None else self.service.mailbox.scoped(name)

    @property
    def root(self) -> str:
        """What stands in front of the address of this and every other operation."""
        return str(self._request.scope.get("root_path", ""))

    @property
    def host(self) -> str:
        """The host and port that the request names, which the guard has looked at."""
        return self._request.headers["host"]

    @property
    def peer(self) -> tuple[str, int] | str:
        """Where the request came from."""
        client = self._request.client
        return "" if client is None else (client.host, client.port)

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Do something in a thread that waits for the mailbox."""
        return await run_in_threadpool(work)

    def place(self, name: str) -> str:
        """Give a part of the address."""
        return str(self._request.path_params[name])

    @property
    def message_id(self) -> str:
        """The id in the address, where `latest` stands for one.

        Raises:
            MessageNotFound: There is none yet.
        """
        id_ = self.place("id")
        if id_ != "latest":
            return id_
        latest = self.mailbox.latest(self.text("query"), zone=self.zone)
        if latest is None:
            raise MessageNotFound("there is no message yet")
        return latest.id

    def text(self, name: str) -> str:
        """Give a parameter; empty without."""
        return self._request.query_params.get(name, "")

    def number(self, name: str, default: int) -> int:
        """Give a parameter that is a number, 0 or more.

        Raises:
            Wrong: It is none.
        """
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()):
            raise Wrong(f"{name}={text[:50]} is no number; write 0 or more")
        return min(int(text[:20]), MAX_NUMBER)

    @property
    def zone(self) -> tzinfo:
        """The time zone that the dates of a search are in.

        Raises:
            Wrong: There is none of that name.
        """
        name = self.text("tz")
        if not name:
            return UTC
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise Wrong(
                f"tz={name[:50]} is no time zone; write one such as Europe/Berlin"
            ) from None

    def json(self) -> dict[str, Any]:
        """Read the body.

        Raises:
            Wrong: It is no JSON object.
        """
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            # curl calls JSON a form as well, so it is tried first.
            content_type = self._request.headers.get("content-type", "")
            is_form = content_type.startswith("application/x-www-form-urlencoded")
            value = _form(self.body) if is_form else None
        if not isinstance(value, dict):
            raise Wrong('the body is no JSON object; write one such as {"IDs": []}')
        return value


def _form(body: bytes) -> dict[str, Any] | None:
    """Read a form, as mailpit-api-client of PyPI sends one where JSON is asked for."""
    found: dict[str, Any] = {}
    for name, values in parse_qs(body.decode("utf-8", "replace")).items():
        key = name.lower()
        if key == "ids":
            found["IDs"] = values
        elif values[-1].lower() in ("true", "false"):
            found[name] = values[-1].lower() == "true"
        else:
            found[name] = values[-1]
    return found or None


def value_of(body: dict[str, Any], key: str) -> Any:
    """Give a value from a body, in whatever case its key is; `None` without.

    Mailpit reads them so. To delete all because somebody wrote `ids` would be a poor joke.
    """
    if key in body:
        return body[key]
    return next((value for name, value in body.items() if name.lower() == key.lower()), None)


def strings(body: dict[str, Any], key: str) -> list[str]:
    """Give a list of strings from a body; absent and `null` are an empty one.

    Raises:
        Wrong: It is something else.
    """
    value = value_of(body, key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Wrong(f'{key} is no list of strings; write one such as "{key}": ["..."]')
    return value


def string(body: dict[str, Any], key: str) -> str:
    """Give a string from a body; absent and `null` are an empty one.

    Raises:
        Wrong: It is something else.
    """
    value = value_of(body, key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Wrong(f"{key} is no string")
    return value


def boolean(body: dict[str, Any], key: str) -> bool:
    """Give a boolean from a body; absent and `null` are `False`.

    Raises:
        Wrong: It is something else.
    """
    value = value_of(body, key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Wrong(f"{key} is no boolean; write true or false")
    return value


def part_of(call: Call) -> Part:
    """Give the part of a message that the address names.

    Raises:
        MessageNotFound: There is no such message.
        Wrong: It has no such part.
    """
    place = call.place("part")
    for part in call.mailbox.get(call.message_id).parse().parts:
        if part.id == place:
            return part
    raise Wrong("the message has no such part", 404)


Answer: TypeAlias = Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the API.

    Attributes:
        method: GET, PUT, POST or DELETE.
        path: The address, with names in braces.
        answer: What answers; the first line of its docstring is for the description.
        gives: The name of a schema of openapi.py, or a media type.
        takes: The name of the schema of the body; empty without one.
        parameters: What may stand behind the `?`.
        is_large: Whether a whole message may be sent.
    """

    method: str
    path: str
    answer: Answer
    gives: str = "text/plain"
    takes: str = ""
    parameters: Sequence[Parameter] = ()
    is_large: bool = False

    @property
    def name(self) -> str:
        """What it is called in the description."""
        return getattr(self.answer, "__name__", "")

    @property
    def about(self) -> str:
        """What it does, in a sentence."""
        return (inspect.getdoc(self.answer) or "").partition("\n")[0]


def json_response(value: Any, status: int = 200) -> Response:
    """Answer with a value; in ASCII, so that nothing in it can fail to be written."""
    text = json.dumps(value, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


def routes(operations: Iterable[Operation], service: Service) -> list[Route]:
    """Make routes of operations; those of one address are one route."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [
        Route(path, _endpoint(methods, service), methods=list(methods))
        for path, methods in by_path.items()
    ]


def _endpoint(
    methods: dict[str, Operation], service: Service
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        try:
            limit = MAX_BODY_OCTETS
            if operation.is_large:
                limit = max(limit, MESSAGE_GROWTH * service.max_message_octets)
            body = await _body(request, limit) if operation.method != "GET" else b""
            call = Call(request, service, body)
            if inspect.iscoroutinefunction(operation.answer):
                response: Response = await operation.answer(call)
            else:
                response = await run_in_threadpool(operation.answer, call)  # type: ignore[arg-type]  # no coroutine
        except Wrong as error:
            return PlainTextResponse(str(error), error.status)
        except MessageNotFound as error:
            return PlainTextResponse(str(error), 404)
        except MailboxError as error:
            return PlainTextResponse(str(error), 503)
        except ClientDisconnect:
            return Response(status_code=400)
        return response

    return endpoint


async def _body(request: Request, limit: int) -> bytes:
    """Read the body, and stop where it is too large.

    Raises:
        Wrong: It is.
    """
    parts: list[bytes] = []
    octets = 0
    async for part in request.stream():
        octets += len(part)
        if octets > limit:
            raise Wrong(f"the body is too large; {limit} octets at most", 413)
        parts.append(part)
    return b"".join(parts)
