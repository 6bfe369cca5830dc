"""Takes the README's pictures of the page: `make screenshots`, into docs/images.

A catcher is filled with a morning's mail of a shop, and Chromium looks at it. What is pictured
changes with the page and the clock alone: the mails are always the same. What is kept has 256
colours, a third of the octets.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import base64
import io
import math
import struct
import sys
import zlib
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT)]  # instead of tools/

from tests.browser.catcher import Catcher, mail  # noqa: E402
from tests.browser.chromium import ABSENT, FLAGS, find_chromium  # noqa: E402

IMAGES = ROOT / "docs" / "images"
MAX_OCTETS = 150_000

BODY = "font:16px/1.5 system-ui,sans-serif;margin:0;padding:24px;color:#222;background:#f3f1ec"
CARD = "max-width:520px;margin:0 auto;background:#fff;border-radius:12px;padding:28px 32px"
DARK = """<style>@media (prefers-color-scheme: dark) {
body { background: #16181d !important; color: #e8e8ea !important }
.card { background: #22252c !important } td { border-color: #3a3e48 !important } }</style>"""
BUTTON = (
    "display:inline-block;background:#23614a;color:#fff;padding:11px 22px;border-radius:8px;"
    "text-decoration:none;font-weight:600"
)


def page_of(content: str) -> str:
    """Dress the content of a mail as the shop's mails are."""
    return (
        f'<!doctype html><html><head>{DARK}</head><body style="{BODY}"><div class="card"'
        f' style="{CARD}">{content}</div></body></html>'
    )


def picture(width: int, height: int, colour: Callable[[float, float], tuple[int, int, int]]) -> str:
    """Draw a PNG, as a data URL."""

    def chunk(kind: bytes, octets: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + octets))
        return struct.pack(">I", len(octets)) + kind + octets + crc

    rows = b"".join(
        b"\0" + b"".join(bytes(colour(x / width, y / height)) for x in range(width))
        for y in range(height)
    )
    octets = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )
    octets += chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return base64.b64encode(octets).decode()


def hills(x: float, y: float) -> tuple[int, int, int]:
    """Colour a point of a landscape at dusk."""
    for depth, colour in ((0.86, (35, 97, 74)), (0.68, (72, 132, 98)), (0.5, (138, 176, 140))):
        if y > depth - 0.11 * math.sin(7 * x * depth + 9 * depth):
            return colour
    return (250 - int(20 * y), 226 - int(60 * y), 190 - int(30 * y))


RECEIPT = page_of(
    f'<img alt="" width="456" style="width:100%;border-radius:8px" src="data:image/png;base64,'
    f'{picture(456, 150, hills)}">'
    '<h1 style="font-size:24px;margin:18px 0 4px">Thank you, Ben</h1><p>Your order is on its way.'
    '</p><table style="width:100%;border-collapse:collapse">'
    + "".join(
        f'<tr><td style="padding:7px 0;border-top:1px solid #ddd">{name}</td><td style="padding:7px'
        f' 0;border-top:1px solid #ddd;text-align:right">{price}</td></tr>'
        for name, price in (
            ("Walking boots, size 43", "€ 129.00"),
            ("Wool socks, two pairs", "€ 24.00"),
            ("Thermos flask", "€ 31.50"),
            ("<b>Total</b>", "<b>€ 184.50</b>"),
        )
    )
    + f'</table><p style="margin:22px 0 4px"><a style="{BUTTON}"'
    ' href="https://shop.example/orders/7301">Follow the parcel</a></p>'
)

RESET = page_of(
    "<h1>Choose a new password</h1><p>Somebody, hopefully you, asked for it.</p><p><a"
    f' style="{BUTTON}" href="https://shop.example/reset?token=Jk2f9xQ">New password</a></p>'
)

SHOP = "Hill & Dale <shop@hill.example>"
MAILS = (
    mail("Backup finished", "All 14 databases, 3.2 GB, 4 minutes.\n", sender="cron@db1.example",
         to="ops@hill.example", X_Tags="ops"),
    mail("新しいメッセージがあります", "田中さんからのメッセージ: 明日の午後はいかがですか。\n",
         sender="田中 花子 <hanako@example.jp>"),
    mail("Invitation: Planning, Tuesday at 10:00", "Dora Diaz invites you.\n",
         sender="Dora Diaz <dora@hill.example>",
         attachments=[("invite.ics", "text/calendar", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n")]),
    mail("Build 812 failed on main", "tests/test_cart.py::test_discount FAILED\n",
         sender="CI <ci@hill.example>", to="dev@hill.example", X_Tags="ci, urgent"),
    mail("Invoice 2026-0114", "Please find the invoice attached. Due in 14 days.\n",
         sender="Accounts <accounts@hill.example>", X_Tags="invoice",
         attachments=[("invoice-2026-0114.pdf", "application/pdf", b"%PDF-1.4\n" * 9_000)]),
    mail("Choose a new password", "https://shop.example/reset?token=Jk2f9xQ\n", RESET, sender=SHOP),
    mail("Spring letter: boots, birds and a long weekend", "What is new on the hill.\n", RESET,
         sender=SHOP, to="everybody@hill.example", X_Tags="letter",
         List_Unsubscribe="<https://shop.example/unsubscribe>"),
    mail("Re: The boots arrived 🎉", "They fit. Thank you!\n\n> Your order is on its way.\n",
         sender="Carl Čapek <carl@example.cz>", to="shop@hill.example"),
    mail("493 021 is your code", "Your code is 493021. It is good for ten minutes.\n",
         sender=SHOP, to="carl@example.cz", X_Tags="signup"),
    mail("Welcome to Hill & Dale", "Confirm your address: https://shop.example/confirm?c=77\n",
         RESET, sender=SHOP, to="carl@example.cz", X_Tags="signup"),
    mail("Your order 7301", "Thank you, Ben. Your order is on its way.\n", RECEIPT, sender=SHOP,
         X_Tags="order",
         attachments=[("receipt-7301.pdf", "application/pdf", b"%PDF-1.4\n" * 4_000)]),
)  # fmt: skip


def fill(catcher: Catcher) -> None:
    """Send it the mail, and read some."""
    for number, octets in enumerate(MAILS):
        to = message_from_bytes(octets)["To"]
        catcher.send(octets, to=to, user="web" if number % 3 else "worker")
    ids = [summary["ID"] for summary in catcher.summaries()[4:9]]
    catcher.ask("api/v1/messages", method="PUT", IDs=ids, Read=True)


def write_small(octets: bytes, path: Path) -> int:
    """Write a picture with 256 colours; give its size."""
    image = Image.open(io.BytesIO(octets)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def look(
    browser: Browser, catcher: Catcher, *, width: int, height: int, scheme: str, opens: bool
) -> Page:
    """Open the page, and a message on it."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
    )
    fragment = f"#m={catcher.summaries()[0]['ID']}" if opens else ""
    page.goto(f"{catcher.address}/{fragment}")
    page.wait_for_selector("body.live")
    page.wait_for_selector("#list li:not(.hole)")
    if opens:
        page.frame_locator("iframe").locator("table").wait_for()
    return page


PICTURES = (
    ("catch-light", 1280, 800, "light", True),
    ("catch-dark", 1280, 800, "dark", True),
    ("catch-phone", 390, 760, "light", False),
)


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES, help="the folder")
    folder: Path = parser.parse_args().into
    folder.mkdir(parents=True, exist_ok=True)
    path = find_chromium()
    if path is None:
        print(ABSENT, file=sys.stderr)
        return 1
    with sync_playwright() as playwright, Catcher() as catcher:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        fill(catcher)
        for name, width, height, scheme, opens in PICTURES:
            page = look(browser, catcher, width=width, height=height, scheme=scheme, opens=opens)
            count = write_small(page.screenshot(), folder / f"{name}.png")
            print(f"{folder / name}.png, {count} octets")
            if count > MAX_OCTETS:
                print(f"{name}.png is larger than {MAX_OCTETS} octets", file=sys.stderr)
                return 1
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
