"""Thumbnails, and the checks of HTML and links, as calls of the API."""

from __future__ import annotations

import base64
import io
import socket
import sys
import zlib
from struct import pack

import pytest
from PIL import Image

from pillarbox.catcher.thumbnail import NoPicture, thumbnail
from tests.catcher.web.caller import Site, letter


def picture(kind: str = "PNG", size: tuple[int, int] = (400, 100), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "red").save(out, kind)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of few octets that says it is large, and is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    head = pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((width // 8 + 1) * 1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_small_pictures(kind: str) -> None:
    with Image.open(io.BytesIO(thumbnail(picture(kind)))) as small:
        assert (small.format, small.size) == ("JPEG", (180, 120))
        red, green, blue = small.convert("RGB").getpixel((90, 60))  # type: ignore[misc]  # three bands
        assert red > 200 > 60 > max(green, blue)
        assert small.convert("RGB").getpixel((90, 5)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_kinds_of_colours(mode: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (5, 5)).save(out, "PNG")
    assert thumbnail(out.getvalue()).startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"GIF89a", b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n", picture()[:-20] + b"x" * 9),
        *(b"<svg xmlns='http://www.w3.org/2000/svg'/>", bomb(100_000, 100_000), bomb(6000, 5000)),
    ],
    ids=["empty", "cut", "text", "postscript", "broken", "svg", "huge bomb", "bomb"],
)
def test_no_pictures(octets: bytes) -> None:
    with pytest.raises(NoPicture):
        thumbnail(octets)


def with_picture() -> Site:
    site = Site()
    message = letter()
    message.add_attachment(picture(), maintype="image", subtype="png", filename="a.png")
    site.add(message)
    return site


def test_a_thumbnail_of_a_part() -> None:
    site = with_picture()
    answer = site.get("/api/v1/message/latest/part/2/thumb")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert site.get("/api/v1/message/latest/part/1/thumb").status == 404
    assert site.get("/api/v1/message/latest/part/7/thumb").status == 404


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    site = with_picture()
    monkeypatch.setitem(sys.modules, "PIL", None)
    answer = site.get("/api/v1/message/latest/part/2/thumb")
    assert (answer.status, answer.text) == (
        *(501, 'thumbnails need Pillow; pip install "pillarbox[thumbnails]"'),
    )


def test_the_html() -> None:
    site = Site()
    message = letter()
    message.add_alternative("<style>p{display:flex}</style><p>", subtype="html")
    site.add(message)
    found = site.get("/api/v1/message/latest/html-check").json
    assert set(found) == {"Total", "Platforms", "Warnings"}
    assert found["Platforms"]["ios"]
    [flex] = [one for one in found["Warnings"] if one["Slug"] == "css-display-flex"]
    assert flex["URL"] == "https://www.caniemail.com/features/css-display-flex/"
    assert flex["Score"]["Found"] == 1
    assert {result["Support"] for result in flex["Results"]} <= {"yes", "no", "partial"}
    site.add(letter())
    assert site.get("/api/v1/message/latest/html-check").status == 400


def test_the_html_check_asks_nobody() -> None:
    site = Site()
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/x.css"
        message = letter()
        message.add_alternative(
            f'<link rel=stylesheet href="{url}"><style>@import url({url})</style><img src="{url}">',
            subtype="html",
        )
        site.add(message)
        assert site.get("/api/v1/message/latest/html-check").json["Total"]["Nodes"] > 0
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_the_links() -> None:
    site = Site()
    site.add(letter(text="See http://127.0.0.1:1/ and http://10.0.0.1/x.\n"))
    found = site.get("/api/v1/message/latest/link-check").json
    assert found["Errors"] == 2
    assert [link["URL"] for link in found["Links"]] == ["http://127.0.0.1:1/", "http://10.0.0.1/x"]
    assert {link["StatusCode"] for link in found["Links"]} == {451}
    site.add(letter(text="no links\n"))
    assert site.get("/api/v1/message/latest/link-check").json == {"Errors": 0, "Links": []}


def test_base64_in_the_html_is_no_link() -> None:
    site = Site()
    message = letter()
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    message.add_alternative(f'<img src="{url}">', subtype="html")
    site.add(message)
    assert site.get("/api/v1/message/latest/link-check").json["Links"] == []
