"""HTML as text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.html import text_of_html

TABLE = {
    "": "",
    "plain": "plain",
    "a &amp; b&nbsp;&lt;c&gt; &#8364;&#x20ac;": "a & b <c> €€",
    "a\r\n  b\tc": "a b c",
    "<p>one</p>\n\n<p>two</p>": "one\n\ntwo",
    "<h1>Hi</h1>text": "Hi\n\ntext",
    "<div>one</div><div>two</div>": "one\ntwo",
    "a<br>b<br/>c<br><br>d": "a\nb\nc\n\nd",
    "<b>bo</b>ld <i>it</i> al": "bold it al",
    "<b>one </b> two": "one two",
    "<ul><li>one<li><p>two</p></li><li></ul>three": "- one\n\n- two\n\nthree",
    "<table><tr><td>a</td><td>b</td></tr><tr><td>c<td>d</table>": "a b\nc d",
    "a<hr>b": "a\n\n----\n\nb",
    "<pre>  a\n    b</pre>c  d": "  a\n    b\n\nc d",
    "<title>t</title><style>p > a {}</style><script>if (a < b) '</p>'</script>x": "x",
    "<SCRIPT>a</Script >x": "x",
    "a<!-- <p>hidden</p> -->b": "ab",
    "a<![if mso]>b<![endif]>c<?xml?>d</ >e": "abcde",
    '<a href="https://x.org/?a=1&amp;b=2">here</a>.': "here <https://x.org/?a=1&b=2>.",
    "<a href=https://x.org/>here</a>": "here <https://x.org/>",
    "<A HREF='x.html'>here</A>": "here <x.html>",
    '<a class="b" href = "x.html" >here</a>': "here <x.html>",
    '<a data-href="no" href="yes">here</a>': "here <yes>",
    '<a href="https://x.org">https://x.org</a>': "https://x.org",
    '<a href="https://x.org">x.org</a>': "x.org",
    '<a href="mailto:a@x.org">a@x.org</a>': "a@x.org",
    '<a href="#top">top</a>': "top",
    '<a href="">none</a><a>none</a>': "nonenone",
    '<a href="x"><img src="y" alt="logo \n x"></a>': "[logo x] <x>",
    '<a href="one">a<a href="two">b': "a <one>b <two>",
    '<img alt="a > b">c': "[a > b]c",
    "<p don't>x</p>": "x",
    "1 < 2 <3": "1 < 2 <3",
    "text <never ends": "text <never ends",
    "a<!-- never ends <p>": "a",
    'a<p title="never ends>b': "a\n\nb",
    "&#99999999999999; &#xD800;&bogus;": "\ufffd \ufffd&bogus;",
}


@pytest.mark.parametrize(("source", "text"), TABLE.items(), ids=list(TABLE))
def test_text(source: str, text: str) -> None:
    assert text_of_html(source) == text


PIECES = st.sampled_from(
    [
        "<", ">", "</", "<!", "<!--", "-->", "<p", "<p>", "</p>", "<a ", "href=", '"', "'", "=",
        "&", "&#", "&#x", ";", "<li>", "<td>", "<pre>", "</pre>", "<script>", "</script>", "<br>",
        "<img ", "alt=", " ", "\n", "text",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_nothing_raises(source: str) -> None:
    text_of_html(source)


@given(st.text(st.characters(exclude_characters="<&", exclude_categories=["Zs", "Cc"])))
def test_text_without_markup_stays(text: str) -> None:
    assert text_of_html(text) == text


SLOW = {
    "tags": "<a href='x'>y</a> " * 60_000,
    "tags that never end": "<a " * 350_000,
    "quotes that never end": "<a href='" * 110_000,
    "quotes of both kinds": "<a =\"><a ='>" * 80_000,
    "comments that never end": "<!--" * 260_000,
    "one name": "<a " + "x" * 1_000_000 + ">",
    "blanks": "<a " + "= " * 500_000 + ">",
    "declarations that never end": "<!" * 500_000,
    "closing": "</" * 500_000,
    "numbers": "&#" + "9" * 1_000_000 + ";",
    "ampersands": "&" * 1_000_000,
    "lists": "<li>" * 250_000,
    "unread": "<script>" + "<a>" * 300_000,
}


@pytest.mark.parametrize("source", SLOW.values(), ids=list(SLOW))
def test_time_is_bounded(source: str) -> None:
    began = time.process_time()
    text_of_html(source)
    assert time.process_time() - began < 5
