"""Which named mailboxes a message goes to."""

from __future__ import annotations

import pytest

from pillarbox.catcher.sorting import Sorting, SortingRule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("team=*@team.test", SortingRule(name="team", recipient="*@team.test")),
        ("ann=user:ann*", SortingRule(name="ann", user="ann*")),
        ("ci=port:2525", SortingRule(name="ci", port=2525)),
    ],
)
def test_a_rule_is_read(text: str, rule: SortingRule) -> None:
    assert SortingRule.parse(text) == rule


@pytest.mark.parametrize(
    "text", ["", "team", "=*@x.test", "team=", "ci=port:", "ci=port:x", "a=user:", "a/b=*"]
)
def test_a_bad_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mailbox"):
        SortingRule.parse(text)


def test_a_message_goes_to_all_that_match() -> None:
    sorting = Sorting(
        rules=[
            SortingRule.parse("team=*@Team.test"),
            SortingRule.parse("ci=port:2525"),
            SortingRule.parse("admins=user:adm*"),
        ]
    )
    assert sorting.names(None, ["ann@team.TEST"], 25) == ("team",)
    assert sorting.names("Admin", ["ann@x.test", "b@team.test"], 2525) == (
        "team", "ci", "admins", "Admin",
    )  # fmt: skip
    assert sorting.names(None, ["ann@x.test"], 25) == ()
    assert sorting.names("ann", ["ann@x.test"], None) == ("ann",)


def test_a_login_that_is_no_name_has_no_mailbox() -> None:
    assert Sorting().names("../x", ["a@x.test"], 25) == ()
    assert Sorting(is_by_user=False).names("ann", ["a@x.test"], 25) == ()
