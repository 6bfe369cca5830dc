"""Failures on purpose, as calls of the API: Mailpit's chaos, and rules of our own (rules.py)."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from pillarbox.catcher.rules import Chaos, Rule, Rules, Stage, Trigger
from pillarbox.catcher.web.operation import (
    Call,
    Operation,
    Wrong,
    boolean,
    json_response,
    string,
    value_of,
)
from pillarbox.protocol.reply import Reply

__all__ = ["OPERATIONS"]

STAGES = tuple(stage.value for stage in Stage)


def rules_of(call: Call) -> Rules:
    """Give the rules.

    Raises:
        Wrong: Nothing may fail here.
    """
    rules = call.service.rules
    if rules is None:
        raise Wrong("failures on purpose are not allowed here; start the server with --chaos")
    return rules


# Mailpit's


def get_chaos(call: Call) -> Response:
    """Tell what fails by chance."""
    return json_response(chaos_shape(rules_of(call).chaos))


def set_chaos(call: Call) -> Response:
    """Have senders, recipients or logins fail by chance; what is left out does not."""
    rules = rules_of(call)
    body = call.json() if call.body.strip() else {}
    try:
        rules.chaos = Chaos(
            sender=_trigger(body, "Sender", 451),
            recipient=_trigger(body, "Recipient", 451),
            authentication=_trigger(body, "Authentication", 535),
        )
    except ValueError as error:
        raise Wrong(str(error)) from None
    return json_response(chaos_shape(rules.chaos))


def chaos_shape(chaos: Chaos) -> dict[str, Any]:
    """Give what fails by chance."""
    return {
        name: {"ErrorCode": trigger.code, "Probability": trigger.percent}
        for name, trigger in (
            ("Sender", chaos.sender),
            ("Recipient", chaos.recipient),
            ("Authentication", chaos.authentication),
        )
    }


def _trigger(body: dict[str, Any], key: str, code: int) -> Trigger:
    value = value_of(body, key)
    if value is None:
        return Trigger(code)
    if not isinstance(value, dict):
        raise Wrong(f'{key} is no object; write {{"ErrorCode": {code}, "Probability": 50}}')
    return Trigger(_number(value, "ErrorCode", code), _number(value, "Probability", 0))


def _number(value: dict[str, Any], key: str, default: int) -> int:
    number = value_of(value, key)
    if number is None:
        return default
    if not isinstance(number, int) or isinstance(number, bool):
        raise Wrong(f"{key} is no whole number")
    return number


# Our own


def list_rules(call: Call) -> Response:
    """List the rules of what fails, in the order in which they are asked."""
    rules = rules_of(call)
    return json_response([rule_shape(rule, rules) for rule in rules])


def add_rule(call: Call) -> Response:
    """Add a rule of what is to fail."""
    rules = rules_of(call)
    try:
        rule = rules.add(rule_from(call.json()))
    except ValueError as error:
        raise Wrong(str(error)) from None
    return json_response(rule_shape(rule, rules))


def delete_rule(call: Call) -> Response:
    """Take a rule away."""
    if not rules_of(call).remove(call.place("id")):
        raise Wrong("there is no such rule", 404)
    return PlainTextResponse("ok")


def delete_rules(call: Call) -> Response:
    """Take all rules away, and let nothing fail by chance."""
    rules_of(call).clear()
    return PlainTextResponse("ok")


def set_seed(call: Call) -> Response:
    """Begin chance anew, so that it is the same each time."""
    seed = value_of(call.json(), "Seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise Wrong("Seed is no whole number")
    rules_of(call).reseed(seed)
    return PlainTextResponse("ok")


def rule_from(body: dict[str, Any]) -> Rule:
    """Read a rule.

    Raises:
        Wrong: A value is of the wrong kind.
        ValueError: A value cannot work.
    """
    known = {key.lower() for key in _RULE_KEYS}
    unknown = sorted(key for key in body if key.lower() not in known)
    if unknown:
        raise Wrong(f"a rule has no {unknown[0][:50]!r}; it may have {', '.join(_RULE_KEYS)}")
    stage = string(body, "Stage") or "rcpt"
    if stage not in STAGES:
        raise Wrong(f"Stage is none of {', '.join(STAGES)}")
    code = _number(body, "Code", 0)
    text = string(body, "Text") or "Failure on purpose"
    enhanced = string(body, "Enhanced") or f"{code // 100}.0.0"
    return Rule(
        stage=Stage(stage),
        pattern=string(body, "Pattern") or "*",
        reply=Reply(code, enhanced, text) if code else None,
        drops=boolean(body, "Drops"),
        delay_seconds=_decimal(body, "DelaySeconds", 0),
        first=_number(body, "First", 1),
        count=_number(body, "Count", 0),
        percent=_decimal(body, "Percent", 100),
        greylist_seconds=_decimal(body, "GreylistSeconds", 0),
    )


def _decimal(body: dict[str, Any], key: str, default: float) -> float:
    value = value_of(body, key)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e9:
        raise Wrong(f"{key} is no number")
    return float(value)


_RULE_KEYS = (
    *("Stage", "Pattern", "Code", "Enhanced", "Text", "Drops", "DelaySeconds", "First", "Count"),
    *("Percent", "GreylistSeconds"),
)


def rule_shape(rule: Rule, rules: Rules) -> dict[str, Any]:
    """Give a rule, and how often it was asked and let something fail."""
    try:
        seen, failed = rules.tally(rule.id)
    except KeyError:  # somebody took it away just now
        seen = failed = 0
    return {
        "ID": rule.id,
        "Stage": rule.stage.value,
        "Pattern": rule.pattern,
        "Code": rule.reply.code if rule.reply else 0,
        "Enhanced": (rule.reply.enhanced or "") if rule.reply else "",
        "Text": rule.reply.text if rule.reply else "",
        "Drops": rule.drops,
        "DelaySeconds": rule.delay_seconds,
        "First": rule.first,
        "Count": rule.count,
        "Percent": rule.percent,
        "GreylistSeconds": rule.greylist_seconds,
        "Seen": seen,
        "Failed": failed,
    }


OPERATIONS = (
    Operation("GET", "/api/v1/chaos", get_chaos, gives="Chaos"),
    Operation("PUT", "/api/v1/chaos", set_chaos, takes="SetChaos", gives="Chaos"),
    Operation("GET", "/api/x/rules", list_rules, gives="Rules"),
    Operation("POST", "/api/x/rules", add_rule, takes="NewRule", gives="Rule"),
    Operation("DELETE", "/api/x/rules", delete_rules),
    Operation("DELETE", "/api/x/rules/{id}", delete_rule),
    Operation("PUT", "/api/x/seed", set_seed, takes="Seed"),
)
