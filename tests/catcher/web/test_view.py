"""Mail in a browser: what it may do, and what its parts are given as."""

from __future__ import annotations

import re

import pytest

from tests.catcher.web.caller import Site

SEALED = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
LOCKED = "sandbox; default-src 'none'; frame-ancestors 'none'"


def mail(html: str, *parts: str) -> bytes:
    pieces = [f"Content-Type: text/html; charset=utf-8\r\n\r\n{html}", *parts]
    body = "".join(f"--b\r\n{piece}\r\n" for piece in pieces)
    return f"Content-Type: multipart/related; boundary=b\r\n\r\n{body}--b--\r\n".encode()


def part(content_type: str, content: str = "x", **headers: str) -> str:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"Content-Type: {content_type}\r\n{more}\r\n{content}"


def viewed(html: str, *parts: str, query: str = "") -> str:
    site = Site()
    site.add(mail(html, *parts), id="A" * 22)
    return site.get(f"/view/latest.html{query}").text


def test_html_is_shown_as_it_came_and_can_do_nothing() -> None:
    site = Site()
    site.add(mail("<script>alert(1)</script><p onclick=x>ä"))
    answer = site.get("/view/latest.html")
    assert answer.text == "<script>alert(1)</script><p onclick=x>ä"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == SEALED


@pytest.mark.parametrize(
    ("query", "policy"),
    [
        ("", SEALED),
        ("?remote=0", SEALED),
        ("?remote=1", SEALED.replace("data:", "data: https: http:")),
        ("?embed=1", SEALED.replace("x;", "x allow-popups allow-popups-to-escape-sandbox;", 1)),
        ("?scheme=dark", SEALED),
    ],
)
def test_policies(query: str, policy: str) -> None:
    site = Site()
    site.add(mail("<p>"))
    found = site.get(f"/view/latest.html{query}").headers["content-security-policy"]
    assert found == policy
    assert "allow-scripts" not in found
    assert "allow-same-origin" not in found


LOGO = part("image/png", Content_ID="<Logo@x>")
URL = f"/api/v1/message/{'A' * 22}/part/2"
LED = {
    '<img src="cid:Logo@x">': f'<img src="{URL}">',
    "<img src='CID:logo@X'>": f"<img src='{URL}'>",
    "<img src=cid:Logo%40x >": f"<img src={URL} >",
    "<p style='background:url(cid:Logo@x)'>": f"<p style='background:url({URL})'>",
    '<img src="cid:other@x">': '<img src="cid:other@x">',
    "xcid:Logo@x": "xcid:Logo@x",
}


@pytest.mark.parametrize("html", LED)
def test_pictures_of_the_message_itself(html: str) -> None:
    assert viewed(html, LOGO).strip() == LED[html]


def test_a_base_of_the_mails_own_leads_no_picture_elsewhere() -> None:
    html = viewed('<base href="http://evil.test/"><img src="cid:logo@x">', LOGO)
    assert f'<img src="//127.0.0.1:8025{URL}">' in html


def test_pictures_in_a_named_mailbox() -> None:
    site = Site()
    site.add(mail('<img src="cid:Logo@x">', LOGO), id="A" * 22, mailboxes=("team a",))
    base = "/api/x/mailboxes/team%20a"
    html = site.get(f"{base}/view/latest.html").text
    found = re.search(r'src="([^"]+)"', html)
    assert found is not None
    assert site.get(found[1]).body == b"x"


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<p>Hi", '<base target="_blank"><p>Hi'),
        ("<!DOCTYPE html>\n<p>Hi", '<!DOCTYPE html><base target="_blank">\n<p>Hi'),
        (" <!-- a --> <!doctype html><p>", ' <!-- a --> <!doctype html><base target="_blank"><p>'),
    ],
)
def test_links_open_elsewhere(html: str, shown: str) -> None:
    assert viewed(html, query="?embed=1") == shown


def test_a_scheme_that_the_reader_chose() -> None:
    css = "<style>@media (prefers-color-scheme: dark) {a{}} @media (Prefers-Color-Scheme:light){}"
    assert viewed(css, query="?scheme=dark").count("(min-width: 0)") == 1
    assert viewed(css, query="?scheme=light").count("(max-width: 0)") == 1
    assert viewed(css, query="?scheme=x") == css


def test_no_html_and_text() -> None:
    site = Site()
    site.add(b"Subject: a\r\n\r\n<b>Hello\r\n")
    assert site.get("/view/latest.html").status == 404
    assert site.get("/view/nope.html").status == 404
    answer = site.get("/view/latest.txt")
    assert (answer.text, answer.headers["content-type"]) == (
        *("<b>Hello\n", "text/plain; charset=utf-8"),
    )


# Parts

SHOWN = {
    "image/png": "image/png",
    "IMAGE/PNG; name=a.png": "image/png",
    "application/pdf": "application/pdf",
    "audio/mpeg": "audio/mpeg",
    'text/plain; name=a.txt; charset="iso-8859-1"': "text/plain; charset=iso-8859-1",
}
SAVED = {
    "text/html": "application/octet-stream",
    "TEXT/HTML; charset=utf-8": "application/octet-stream",
    "image/svg+xml": "application/octet-stream",
    "text/xml": "application/octet-stream",
    "application/xhtml+xml": "application/octet-stream",
    "application/atom+xml": "application/octet-stream",
    "text/javascript": "application/octet-stream",
    "application/ecmascript": "application/octet-stream",
    "text/css": "application/octet-stream",
    "application/wasm": "application/octet-stream",
    "application/x-shockwave-flash": "application/octet-stream",
    "message/rfc822": "application/octet-stream",
    "text/cache-manifest": "application/octet-stream",
    "application/zip": "application/zip",
    "text/calendar; name=a.ics": "text/calendar",
    "nonsense": "text/plain",
    "x/" + "y" * 200: "application/octet-stream",
}


@pytest.mark.parametrize("content_type", [*SHOWN, *SAVED])
def test_what_a_part_is_given_as(content_type: str) -> None:
    site = Site()
    site.add(mail("<p>", part(content_type, Content_Disposition="attachment; filename=a.b")))
    answer = site.get("/api/v1/message/latest/part/2")
    assert answer.status == 200
    kind, _, rest = answer.headers["content-disposition"].partition(";")
    is_shown = content_type in SHOWN or content_type == "nonsense"
    assert answer.headers["content-type"] == (SHOWN | SAVED)[content_type]
    assert (kind, rest) == ("inline" if is_shown else "attachment", ' filename="a.b"')
    assert answer.headers["content-security-policy"] == LOCKED
    assert answer.headers["x-content-type-options"] == "nosniff"


NAMES = {
    "a b.pdf": 'attachment; filename="a b.pdf"',
    "ä.zip": "attachment; filename=\"_.zip\"; filename*=UTF-8''%C3%A4.zip",
    'a";x="b': "attachment; filename=\"a__x__b\"; filename*=UTF-8''a%22%3Bx%3D%22b",
    "a\r\nSet-Cookie: b": 'attachment; filename="a__Set-Cookie_ b";'
    " filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b",
    "../../etc/passwd": 'attachment; filename=".._.._etc_passwd";'
    " filename*=UTF-8''..%2F..%2Fetc%2Fpasswd",
    "\u202egpj.exe": "attachment; filename=\"_gpj.exe\"; filename*=UTF-8''%E2%80%AEgpj.exe",
}


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_cannot_break_out(name: str) -> None:
    from pillarbox.catcher.web.attachment import disposition

    value = disposition("attachment", name)
    assert value == NAMES[name]
    assert value.isprintable()
    assert value.isascii()


def test_no_such_part() -> None:
    site = Site()
    site.add(mail("<p>"))
    for wrong in ("9", "1.1", "..%2F..", "nope"):
        assert site.get(f"/api/v1/message/latest/part/{wrong}").status == 404
