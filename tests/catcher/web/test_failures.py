"""Failures on purpose, as calls of the API."""

from __future__ import annotations

from typing import Any

import pytest

from pillarbox.catcher.rules import Chaos, Rules, Stage, Trigger
from tests.catcher.web.caller import Site


@pytest.fixture
def site() -> Site:
    return Site(more={"rules": Rules(seed=1)})


def rules(site: Site) -> Rules:
    found = site.service.rules
    assert found is not None
    return found


REST = {
    "Sender": {"ErrorCode": 451, "Probability": 0},
    "Recipient": {"ErrorCode": 451, "Probability": 0},
    "Authentication": {"ErrorCode": 535, "Probability": 0},
}


def test_chaos(site: Site) -> None:
    assert site.get("/api/v1/chaos").json == REST
    half = {"ErrorCode": 421, "Probability": 50}
    assert site.put("/api/v1/chaos", {"Sender": half}).json == REST | {"Sender": half}
    assert rules(site).chaos == Chaos(sender=Trigger(421, 50))
    assert site.put("/api/v1/chaos", {"Recipient": {"Probability": 1}}).json == REST | {
        "Recipient": {"ErrorCode": 451, "Probability": 1}
    }
    assert site.call("PUT", "/api/v1/chaos").json == REST
    assert site.get("/api/v1/webui").json["ChaosEnabled"] is True


@pytest.mark.parametrize(
    "body",
    [
        {"Sender": {"ErrorCode": 399}},
        {"Sender": {"ErrorCode": 600}},
        {"Sender": {"Probability": 101}},
        {"Sender": {"Probability": -1}},
        {"Sender": {"Probability": "1"}},
        {"Sender": {"Probability": 1.5}},
        {"Sender": {"Probability": True}},
        {"Sender": 5},
        [],
    ],
)
def test_wrong_chaos(site: Site, body: Any) -> None:
    assert site.put("/api/v1/chaos", body).status == 400
    assert rules(site).chaos == Chaos()


def test_where_nothing_may_fail() -> None:
    site = Site()
    for method, address in (("GET", "/api/v1/chaos"), ("PUT", "/api/v1/chaos")):
        answer = site.call(method, address, b"{}")
        assert (answer.status, "--chaos" in answer.text) == (400, True)
    assert site.get("/api/x/rules").status == 400
    assert site.get("/api/v1/webui").json["ChaosEnabled"] is False


def test_rules(site: Site) -> None:
    assert site.get("/api/x/rules").json == []
    body = {"Stage": "rcpt", "Pattern": "bob@*", "Code": 452, "Text": "Full", "Count": 2}
    added = site.post("/api/x/rules", body).json
    rule_id = added["ID"]
    assert added == {
        "ID": rule_id,
        "Stage": "rcpt",
        "Pattern": "bob@*",
        "Code": 452,
        "Enhanced": "4.0.0",
        "Text": "Full",
        "Drops": False,
        "DelaySeconds": 0.0,
        "First": 1,
        "Count": 2,
        "Percent": 100.0,
        "GreylistSeconds": 0.0,
        "Seen": 0,
        "Failed": 0,
    }
    assert rules(site).judge(Stage.RCPT, "bob@example.org") is not None
    [listed] = site.get("/api/x/rules").json
    assert listed == added | {"Seen": 1, "Failed": 1}
    slow = site.post("/api/x/rules", {"Stage": "connect", "DelaySeconds": 0.5}).json
    assert [rule["ID"] for rule in site.get("/api/x/rules").json] == [rule_id, slow["ID"]]
    assert site.delete(f"/api/x/rules/{rule_id}").text == "ok"
    assert site.delete(f"/api/x/rules/{rule_id}").status == 404
    assert site.put("/api/x/seed", {"Seed": 7}).text == "ok"
    assert site.put("/api/x/seed", {"Seed": "7"}).status == 400
    assert site.delete("/api/x/rules").text == "ok"
    assert site.get("/api/x/rules").json == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "the rule does nothing"),
        ({"Code": 250}, "a failure is a reply from 400 to 599"),
        ({"Code": 999}, "reply code 999"),
        ({"Code": 550, "Enhanced": "x"}, "enhanced code"),
        ({"Code": 550, "Text": "a\r\nb"}, "control"),
        ({"Code": "550"}, "Code is no whole number"),
        ({"Stage": "data", "Code": 550}, "Stage is none of connect, auth, mail, rcpt, message"),
        ({"Code": 550, "Percent": 101}, "percent"),
        ({"Code": 550, "Percent": "all"}, "Percent is no number"),
        ({"DelaySeconds": 1e12}, "DelaySeconds is no number"),
        ({"Drops": "yes"}, "Drops is no boolean"),
        ({"Code": 550, "Reply": "no"}, "a rule has no 'Reply'"),
        ({"Stage": "mail", "Code": 450, "GreylistSeconds": 5}, "greylisting is for the stage rcpt"),
    ],
)
def test_wrong_rules(site: Site, body: Any, error: str) -> None:
    answer = site.post("/api/x/rules", body)
    assert answer.status == 400
    assert error in answer.text
    assert list(rules(site)) == []
