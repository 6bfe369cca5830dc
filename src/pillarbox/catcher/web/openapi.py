"""The description of the API as OpenAPI 3.1 has it, made of the same tables as the routes.

What the tables do not have is here: the shapes of what is taken and given, by the names that the
operations use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from pillarbox import __version__
from pillarbox.catcher.web.failures import STAGES
from pillarbox.catcher.web.operation import Call, Operation, json_response

__all__ = ["document", "openapi_operation"]

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
STRINGS: Schema = {"type": "array", "items": STRING}
TIME: Schema = {"type": "string", "format": "date-time"}

_NAME = re.compile(r"\{([a-z]+)\}")


def ref(name: str) -> Schema:
    """Name another schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(schema: Schema) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": schema}


def given(**properties: Schema) -> Schema:
    """Describe an answer: all of these keys, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def taken(*required: str, **properties: Schema) -> Schema:
    """Describe a body: what is left out or null is as if it were empty."""
    return {
        "type": "object",
        "properties": {
            name: schema if name in required else {"anyOf": [schema, {"type": "null"}]}
            for name, schema in properties.items()
        },
        "required": list(required),
    }


PERSON = taken("Email", Email=STRING, Name=STRING)
TRIGGER = {
    "ErrorCode": {"type": "integer", "minimum": 400, "maximum": 599},
    "Probability": {"type": "integer", "minimum": 0, "maximum": 100},
}
RULE: dict[str, Schema] = {
    "Stage": {"type": "string", "enum": list(STAGES)},
    "Pattern": STRING,
    "Code": INTEGER,
    "Enhanced": STRING,
    "Text": STRING,
    "Drops": BOOLEAN,
    "DelaySeconds": NUMBER,
    "First": INTEGER,
    "Count": INTEGER,
    "Percent": NUMBER,
    "GreylistSeconds": NUMBER,
}
ABOUT: dict[str, Schema] = {
    "ID": STRING,
    "MessageID": STRING,
    "From": {"anyOf": [ref("Address"), {"type": "null"}]},
    "To": many(ref("Address")),
    "Cc": many(ref("Address")),
    "Bcc": many(ref("Address")),
    "ReplyTo": many(ref("Address")),
    "Subject": STRING,
    "Tags": STRINGS,
    "Username": STRING,
    "Size": INTEGER,
}

SCHEMAS: dict[str, Schema] = {
    "Address": given(Name=STRING, Address=STRING),
    "Info": given(
        Version=STRING,
        LatestVersion=STRING,
        Database=STRING,
        DatabaseSize=INTEGER,
        Messages=INTEGER,
        Unread=INTEGER,
        Tags={"type": "object", "additionalProperties": INTEGER},
        RuntimeStats=given(
            Uptime=INTEGER,
            Memory=INTEGER,
            MessagesDeleted=INTEGER,
            SMTPAccepted=INTEGER,
            SMTPAcceptedSize=INTEGER,
            SMTPRejected=INTEGER,
            SMTPIgnored=INTEGER,
        ),
    ),
    "WebUI": given(
        Label=STRING,
        MessageRelay=given(
            Enabled=BOOLEAN,
            SMTPServer=STRING,
            ReturnPath=STRING,
            AllowedRecipients=STRING,
            BlockedRecipients=STRING,
            OverrideFrom=STRING,
            PreserveMessageIDs=BOOLEAN,
            RecipientAllowlist=STRING,
        ),
        SpamAssassin=BOOLEAN,
        ChaosEnabled=BOOLEAN,
        DuplicatesIgnored=BOOLEAN,
        HideDeleteAllButton=BOOLEAN,
    ),
    "Summary": given(**ABOUT, Read=BOOLEAN, Created=TIME, Attachments=INTEGER, Snippet=STRING),
    "Messages": given(
        total=INTEGER,
        unread=INTEGER,
        count=INTEGER,
        messages_count=INTEGER,
        messages_unread=INTEGER,
        start=INTEGER,
        tags=STRINGS,
        messages=many(ref("Summary")),
    ),
    "Part": given(
        PartID=STRING,
        FileName=STRING,
        ContentType=STRING,
        ContentID=STRING,
        Size=INTEGER,
        Checksums=given(MD5=STRING, SHA1=STRING, SHA256=STRING),
    ),
    "Message": given(
        **ABOUT,
        ReturnPath=STRING,
        ListUnsubscribe=given(Header=STRING, Links=STRINGS, Errors=STRING, HeaderPost=STRING),
        Date=TIME,
        Text=STRING,
        HTML=STRING,
        Inline=many(ref("Part")),
        Attachments=many(ref("Part")),
    ),
    "Headers": {"type": "object", "additionalProperties": STRINGS},
    "IDs": taken(IDs=STRINGS),
    "SetRead": taken(Read=BOOLEAN, IDs=STRINGS, Search=STRING),
    "Tags": STRINGS,
    "SetTags": taken(IDs=STRINGS, Tags=STRINGS),
    "RenameTag": taken("Name", Name=STRING),
    "Send": taken(
        "From",
        From=PERSON,
        To=many(PERSON),
        Cc=many(PERSON),
        Bcc=STRINGS,
        ReplyTo=many(PERSON),
        Subject=STRING,
        Text=STRING,
        HTML=STRING,
        Headers={"type": "object", "additionalProperties": STRING},
        Tags=STRINGS,
        Attachments=many(
            taken(
                "Content",
                Content={"type": "string", "contentEncoding": "base64"},
                Filename=STRING,
                ContentType=STRING,
                ContentID=STRING,
            )
        ),
    ),
    "Sent": given(ID=STRING),
    "Error": given(Error=STRING),
    "Release": taken("To", To={**STRINGS, "minItems": 1}),
    "HTMLCheck": given(
        Total=given(
            Nodes=INTEGER, Tests=INTEGER, Supported=NUMBER, Partial=NUMBER, Unsupported=NUMBER
        ),
        Platforms={"type": "object", "additionalProperties": STRINGS},
        Warnings=many(
            given(
                Slug=STRING,
                Title=STRING,
                Description=STRING,
                URL=STRING,
                Category=STRING,
                Tags=STRINGS,
                Keywords=STRING,
                NotesByNumber={"type": "object", "additionalProperties": STRING},
                Results=many(
                    given(
                        Name=STRING,
                        Family=STRING,
                        Platform=STRING,
                        Version=STRING,
                        Support={"type": "string", "enum": ["yes", "partial", "no"]},
                        NoteNumber=STRING,
                    )
                ),
                Score=given(Found=INTEGER, Supported=NUMBER, Partial=NUMBER, Unsupported=NUMBER),
            )
        ),
    ),
    "LinkCheck": given(
        Errors=INTEGER, Links=many(given(URL=STRING, StatusCode=INTEGER, Status=STRING))
    ),
    "Chaos": given(
        Sender=given(**TRIGGER), Recipient=given(**TRIGGER), Authentication=given(**TRIGGER)
    ),
    "SetChaos": taken(
        Sender=taken(**TRIGGER), Recipient=taken(**TRIGGER), Authentication=taken(**TRIGGER)
    ),
    "NewRule": {**taken(**RULE), "additionalProperties": False},
    "Rule": given(ID=STRING, **RULE, Seen=INTEGER, Failed=INTEGER),
    "Rules": many(ref("Rule")),
    "Seed": taken(Seed={"type": "integer"}),
    "Server": given(Version=STRING, SMTP=STRINGS),
    "Mailboxes": many(given(Name=STRING, Total=INTEGER, Unread=INTEGER)),
    "Envelope": given(
        MailFrom=STRING,
        RcptTo=STRINGS,
        Peer=STRING,
        Helo=STRING,
        TLS=STRING,
        Username=STRING,
        Received=TIME,
        Session=STRING,
        Local=STRING,
        MailParameters=ref("Parameters"),
        RcptParameters=many(ref("Parameters")),
        Mailboxes=STRINGS,
    ),
    "Parameters": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    "Session": given(Lines=STRINGS),
    "Links": many(given(URL=STRING, Text=STRING)),
    "Codes": many(given(Code=STRING)),
    "OpenAPI": {"type": "object"},
}

# What may be sent without a body: all is deleted, nothing fails.
OPTIONAL = ("IDs", "SetChaos")
PLACES = {
    "id": "The id of a message, or `latest`",
    "part": "The id of a part, as the message tells it",
    "tag": "A tag",
}
EVENTS = (
    "Changes are pushed by WebSocket from `/api/events`, as objects of `Type` (`new`, `update`,"
    " `delete`, `truncate`, `prune`, `stats`) and `Data`. Every address is there a second time"
    " under `/api/x/mailboxes/NAME`, for the mail of one named mailbox."
)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Describe operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pillarbox",
            "version": __version__,
            "summary": "Caught mail: Mailpit's API, and more under /api/x/.",
            "description": EVENTS,
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


def openapi_operation(path: str, operations: Iterable[Operation]) -> Operation:
    """Make the operation that gives the description of others, and of itself."""

    def openapi(_call: Call) -> Response:
        """Give this description."""
        return json_response(document(everything))

    own = Operation("GET", path, openapi, gives="OpenAPI")
    everything = (*operations, own)
    return own


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.about,
        "parameters": [
            *(
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "description": PLACES.get(name, name),
                    "schema": STRING,
                }
                for name in _NAME.findall(operation.path)
            ),
            *(
                {
                    "name": parameter.name,
                    "in": "query",
                    "required": parameter.is_required,
                    "description": parameter.about,
                    "schema": _parameter_schema(
                        parameter.kind, parameter.default, parameter.is_required
                    ),
                }
                for parameter in operation.parameters
            ),
        ],
        "responses": {
            "200": {"description": operation.about, "content": _content(operation.gives)},
            "default": {
                "description": "What is wrong, and what to do",
                "content": {
                    "text/plain": {"schema": STRING},
                    **(
                        {"application/json": {"schema": ref("Error")}} if operation.is_large else {}
                    ),
                },
            },
        },
    }
    if operation.takes:
        described["requestBody"] = {
            "required": operation.takes not in OPTIONAL,
            "content": {"application/json": {"schema": ref(operation.takes)}},
        }
    return described


def _parameter_schema(kind: str, default: Any, is_required: bool) -> Schema:
    schema: Schema = {"type": kind}
    if kind == "integer":
        schema["minimum"] = 0
    if is_required:
        schema["minLength"] = 1
    return schema if default is None else {**schema, "default": default}


def _errors(operation: Operation) -> dict[str, Any]:
    if operation.takes == "Send":  # as Mailpit answers there
        return {"application/json": {"schema": ref("Error")}} | _content("text/plain")
    return _content("text/plain")


def _content(gives: str) -> dict[str, Any]:
    if gives in SCHEMAS:
        return {"application/json": {"schema": ref(gives)}}
    return {gives: {"schema": STRING} if gives.startswith("text/") else {}}
