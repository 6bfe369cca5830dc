"""The header List-Unsubscribe."""

from __future__ import annotations

import pytest

from pillarbox.catcher.unsubscribe import Unsubscribe, list_unsubscribe

GOOD = {
    "": (),
    "<https://a.test/u>": ("https://a.test/u",),
    "<mailto:u@a.test>, <https://a.test/u>": ("mailto:u@a.test", "https://a.test/u"),
    " <HTTPS://a.test/u>,\t<mailto:u@a.test> ": ("HTTPS://a.test/u", "mailto:u@a.test"),
    "(use this) <https://a.test/u>": ("https://a.test/u",),
}
BAD = {
    "https://a.test/u": '"https://a.test/u" no valid unsubscribe links found',
    "<https://a.test/u>; <mailto:u@a.test>": "has more than links in <>",
    "<https://a.test/u>, <https://a.test/v>": '"https://a.test/v" is a second one of its kind',
    "<ftp://a.test/u>": '"ftp://a.test/u" is neither mailto: nor http(s):',
    "<https://a.test/u v>": '"https://a.test/u v" has a blank in it',
    "<>": '"" is neither mailto: nor http(s):',
}


@pytest.mark.parametrize("header", GOOD)
def test_links(header: str) -> None:
    assert list_unsubscribe(header) == Unsubscribe(GOOD[header])


@pytest.mark.parametrize("header", BAD)
def test_what_is_wrong(header: str) -> None:
    assert BAD[header] in list_unsubscribe(header).errors


def test_a_header_that_never_ends() -> None:
    for header in ("<" * 100_000, "(" * 100_000, "<a>" * 10_000, "<" + "a " * 50_000):
        list_unsubscribe(header)
