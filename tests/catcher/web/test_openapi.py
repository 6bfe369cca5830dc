"""The description of the API says what the API does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from pillarbox.catcher.rules import Rules
from pillarbox.catcher.web.application import OPERATIONS
from pillarbox.catcher.web.openapi import SCHEMAS, document
from pillarbox.catcher.web.operation import Operation, routes
from pillarbox.catcher.web.service import Service
from tests.catcher.web.caller import Site, letter

METHODS = {"get", "put", "post", "delete"}


def described() -> dict[str, Any]:
    answer = Site().get("/api/v1/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def test_it_is_served_and_whole() -> None:
    found = described()
    assert found["openapi"] == "3.1.0"
    assert found == document(OPERATIONS)


def test_every_route_is_described_and_nothing_else() -> None:
    paths = described()["paths"]
    there = {
        (route.path, method.lower())
        for route in routes(OPERATIONS, Service(mailbox=Site().mailbox))
        for method in route.methods or ()
        if isinstance(route, Route) and method != "HEAD"
    }
    assert there == {(path, method) for path, methods in paths.items() for method in methods}


def test_every_operation_says_what_it_is() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))
    for operation in OPERATIONS:
        assert operation.about.endswith("."), operation.path
        assert operation.takes in {"", *SCHEMAS}
        assert operation.gives in SCHEMAS or "/" in operation.gives


def test_every_schema_is_one_and_used() -> None:
    text = repr(described()["paths"]) + repr(SCHEMAS)
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{name}'" in text, name
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in SCHEMAS


def filled() -> Site:
    site = Site(more={"rules": Rules()})
    message = letter(
        X_Tags="one", List_Unsubscribe="<https://a.test/>", Date="Mon, 1 Jan 2024 12:00:00 +0000"
    )
    message.set_content("Your code is 482913: https://a.test/\n")
    message.add_alternative("<p style='display:flex'>x</p>", subtype="html")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="a.pdf")
    site.add(
        message,
        mail_parameters={"SIZE": "12", "SMTPUTF8": None},
        rcpt_parameters=({"NOTIFY": "NEVER"},),
        mailboxes=("team",),
        transcript=("S: 220 mx", "C: QUIT"),
        local=("::1", 25),
    )
    assert site.post("/api/x/rules", {"Code": 450}).status == 200
    return site


GETS = [
    operation
    for operation in OPERATIONS
    if operation.method == "GET" and operation.gives in SCHEMAS
]


@pytest.mark.parametrize("operation", GETS, ids=lambda operation: operation.path)
def test_answers_are_what_they_are_said_to_be(operation: Operation) -> None:
    site = filled()
    address = operation.path.replace("{id}", "latest").replace("{part}", "1")
    if "query" in {parameter.name for parameter in operation.parameters}:
        address += "?query=code"
    answer = site.get(address)
    assert answer.status == 200, answer.text
    validate(operation.gives, answer.json)


@pytest.mark.parametrize(
    ("address", "method", "body"),
    [
        ("/api/v1/send", "POST", {"From": {"Email": "a@b.c"}}),
        ("/api/v1/chaos", "PUT", {"Sender": {"Probability": 5}}),
        ("/api/x/rules", "POST", {"Code": 550}),
    ],
)
def test_so_are_those_to_what_is_sent(address: str, method: str, body: Any) -> None:
    [operation] = [one for one in OPERATIONS if (one.path, one.method) == (address, method)]
    validate(operation.takes, body)
    site = filled()
    answer = site.post(address, body) if method == "POST" else site.put(address, body)
    assert answer.status == 200
    validate(operation.gives, answer.json)


def validate(name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(value)


def test_other_methods() -> None:
    site = Site()
    answer = site.call("PATCH", "/api/v1/messages")
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    assert site.call("POST", "/api/v1/nothing").status == 404
    assert site.call("POST", "/").status == 405
    assert site.call("POST", "/api/v1/info").status == 405
    assert site.call("HEAD", "/api/v1/info").status == 200
    assert site.call("HEAD", "/api/v1/message/nope").status == 404
    assert site.call("OPTIONS", "/api/v1/messages", origin="http://evil.test").status == 403
    assert {operation.method.lower() for operation in OPERATIONS} <= METHODS
