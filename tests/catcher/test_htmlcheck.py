"""What of a mail's HTML and CSS programs understand."""

from __future__ import annotations

import time

import pytest

from pillarbox.catcher.caniemail import features, platforms
from pillarbox.catcher.htmlcheck import MAX_CHARACTERS, _finders, check_html


def found(html: str) -> dict[str, int]:
    return {warning.feature.slug: warning.found for warning in check_html(html).warnings}


USES = {
    "<abbr>a</abbr>": ("html-abbr", 1),
    "<TABLE ALIGN=left><td align='x'>": ("html-align", 2),
    "<input type=checkbox>": ("html-input-checkbox", 1),
    '<button type="submit">': ("html-button-submit", 1),
    '<a href="#top">': ("html-anchor-links", 1),
    "<video><video>": ("html-video", 2),
    "<section><nav>": ("html-semantics", 2),
    "<img srcset='a 1x'>": ("html-srcset", 1),
    "<p style='display:flex'>": ("css-display-flex", 1),
    "<p style='DISPLAY : Flex; gap:1px'>": ("css-display-flex", 1),
    "<style>a{display:inline-grid}</style>": ("css-display-grid", 1),
    "<style>p{color:red;margin:0 auto}</style>": ("css-margin", 1),
    "<style>@media (max-width:1px){a{b:c}}</style>": ("css-at-media", 1),
    "<style>@media (prefers-color-scheme: dark){}</style>": (
        *("css-at-media-prefers-color-scheme", 1),
    ),
    "<style>a:hover,b:hover{}i:hover{}</style>": ("css-pseudo-class-hover", 2),
    "<style>p::before{}</style>": ("css-pseudo-element-before", 1),
    "<style>a > b{}</style>": ("css-selector-child", 1),
    "<style>a{width:10vmin}</style>": ("css-unit-vmin", 1),
    "<style>a{width:calc(1px + 2px)}</style>": ("css-unit-calc", 1),
    "<p style='width:clamp(1px,2px,3px)'>": ("css-function-clamp", 1),
    "<p style='background:linear-gradient(red,blue)'>": ("css-linear-gradient", 1),
    "<p style='color:red!important'>": ("css-important", 1),
    "<p style='--a:1;color:var(--a)'>": ("css-variables", 1),
}


@pytest.mark.parametrize("html", USES)
def test_what_a_mail_uses(html: str) -> None:
    slug, count = USES[html]
    assert found(html)[slug] == count


@pytest.mark.parametrize(
    ("html", "slug"),
    [
        ("<p>display:flex</p>", "css-display-flex"),
        ("<style>/* a{display:flex} */</style>", "css-display-flex"),
        ("<!-- <video> -->", "html-video"),
        ("<style><video></style>", "html-video"),
        ("<p style='margin-left:1px'>", "css-margin"),
        ("<style>a::first-line{}</style>", "css-pseudo-class-first-child"),
        ("<p style='color:#12vmin'>", "css-unit-vmin"),
        ("<p title='align'>", "html-align"),
    ],
)
def test_what_a_mail_does_not_use(html: str, slug: str) -> None:
    assert slug not in found(html)


def test_a_report() -> None:
    report = check_html(
        "<html><head><style>.row { display: flex; gap: 8px }</style></head>"
        '<body><div class="row"><p>Thank you.</p></div></body></html>'
    )
    assert report.nodes == 2
    assert report.tests == len(_finders())
    assert 0 < report.supported < 100
    assert report.supported + report.partial + report.unsupported == pytest.approx(100)
    worst = report.warnings[0].feature
    assert worst.url.startswith("https://www.caniemail.com/features/")
    assert worst.percent("yes") + worst.percent("partial") + worst.percent("no") == (
        pytest.approx(100)
    )


def test_nothing_to_understand() -> None:
    for html in ("", "Hello"):
        report = check_html(html)
        assert (report.nodes, report.warnings, report.supported) == (0, (), 100)


def test_the_data() -> None:
    assert len(features()) > 250
    assert "Gmail Android" in {one.name.split(" (")[0] for one in features()["css-gap"].results}
    assert "Gmail" in platforms()["android"]


@pytest.mark.parametrize(
    "html",
    [
        *("<style>" * 20_000, "<style>" + "a{" * 100_000, "<style>" + "@media " * 50_000),
        *("<a " + "x=y " * 100_000, "<style>/*" + "*" * 300_000, "<style>" + "a" * 400_000),
        *("<p style='" + "a:b;" * 100_000 + "'>", "<style>a:" + "1" * 400_000),
        *("<p style=\"a:'" * 20_000, "<style>{" + "&" * 100_000, "x" * (2 * MAX_CHARACTERS)),
    ],
    ids=lambda html: html[:12],
)
def test_a_mail_made_to_take_long(html: str) -> None:
    start = time.process_time()
    check_html(html)
    assert time.process_time() - start < 3
