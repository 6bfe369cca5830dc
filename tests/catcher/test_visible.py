"""What a terminal would obey is shown."""

from __future__ import annotations

import unicodedata

import pytest

from pillarbox.catcher.visible import visible, visible_line

TABLE = {
    "plain ünï 中 😀": "plain ünï 中 😀",
    "a\nb": "a\nb",
    "a\tb": "a       b",
    "a\rb": "a␍b",
    "\x1b[2J\x1b]0;title\x07": "␛[2J␛]0;title␇",
    "\x9b2J": "<U+009B>2J",
    "\x7f\x00": "␡␀",
    "\u202egpj.exe": "<U+202E>gpj.exe",
    "a\u2028b": "a<U+2028>b",
    "\U000e0041": "<U+E0041>",
    "\ud800": "<U+D800>",
    "[bold]x[/] :smile:": "[bold]x[/] :smile:",
}


@pytest.mark.parametrize(("text", "shown"), TABLE.items(), ids=map(ascii, TABLE))
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line() -> None:
    assert visible_line("a\tb\r\nc") == "a b␍␊c"


def is_safe(character: str) -> bool:
    """Judge by Unicode's own properties, not by our list."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and (
        unicodedata.bidirectional(character)
        not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    )


def test_every_character() -> None:
    everything = "".join(map(chr, range(0x110000)))
    on_one_line = set(visible_line(everything))
    assert "\n" not in on_one_line
    assert all(is_safe(char) for char in on_one_line.union(visible(everything)) - {"\n"})
