"""The mail of `make demo`: what programs send, and what should not be sent but is.

Each function makes one message; its name is that of the file. All of it is made up here, pictures
and documents too. The addresses are those that RFC 2606 keeps for examples.
"""

# ruff: noqa: D103  # the name of a message says what it is

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

# Line lengths and encodings are email's choice; lines end in CRLF.
POLICY = SMTP

ANN = Address("Ann Example", "ann", "example.org")
BOB = Address("Bob", "bob", "example.net")

MAILS: list[Callable[[], bytes]] = []
"""In the order in which they are sent."""


def mail(make: Callable[[], EmailMessage | bytes]) -> Callable[[], bytes]:
    """Take a function into the list."""

    def octets() -> bytes:
        made = make()
        return made if isinstance(made, bytes) else made.as_bytes(policy=POLICY)

    octets.__name__ = make.__name__
    MAILS.append(octets)
    return octets


def files() -> Iterator[tuple[str, bytes]]:
    """Give the name and the octets of each message, in their order."""
    for number, make in enumerate(MAILS, 1):
        yield f"{number:02}-{make.__name__.replace('_', '-')}.eml", make()


def begin(subject: str, sender: str, name: str = "", *, to: object = ANN) -> EmailMessage:
    """Begin a message."""
    message = EmailMessage(policy=POLICY)
    message["From"] = Address(name, addr_spec=sender)
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = "Mon, 02 Mar 2026 09:30:00 +0100"
    message["Message-ID"] = f"<{zlib.crc32(subject.encode()):08x}@{sender.partition('@')[2]}>"
    return message


# What programs send


@mail
def welcome() -> EmailMessage:
    message = begin("Welcome to the Orchard, Ann", "hello@orchard.example", "The Orchard")
    message.set_content(
        "Hello Ann,\n\nyour account is ready. Confirm your address within a day:\n"
        "https://orchard.example/confirm?token=d1f0c2\n\nThe Orchard\n"
    )
    message.add_alternative(
        page(
            "<h1>Welcome, Ann</h1><p>Your account is ready. There is one thing left to do:</p>"
            '<p><a class="button" href="https://orchard.example/confirm?token=d1f0c2">Confirm your'
            " address</a></p><p class=small>Not you? Then leave this mail alone.</p>"
        ),
        subtype="html",
    )
    return message


@mail
def password_reset() -> EmailMessage:
    message = begin("Your code is 493 027", "security@orchard.example", "The Orchard")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        "Somebody asked for a new password for ann@example.org.\n\n"
        "Your code: 493027\n\nIt is good for ten minutes. Or follow this link:\n"
        "https://orchard.example/reset?code=493027\n"
    )
    message.add_alternative(
        page(
            "<p>Somebody asked for a new password for ann@example.org.</p><p class=code>493027</p>"
            "<p>It is good for ten minutes, or <a"
            ' href="https://orchard.example/reset?code=493027">follow this link</a>.</p>'
        ),
        subtype="html",
    )
    return message


@mail
def receipt_with_pdf() -> EmailMessage:
    message = begin("Receipt for order 4711", "billing@orchard.example", "The Orchard, Billing")
    message["Reply-To"] = "support@orchard.example"
    items = [("Apples, 5 kg", 1, 12.5), ("Pears, 2 kg", 2, 7.2), ("A basket", 1, 19.0)]
    total = sum(count * price for _, count, price in items)
    lines = [f"{name:<16}{count:>3} x {price:>6.2f}" for name, count, price in items]
    message.set_content("\n".join([*lines, "", f"{'Total':<16}{total:>12.2f} EUR", ""]))
    rows = "".join(
        f"<tr><td>{name}<td class=n>{count}<td class=n>{price:.2f}<td class=n>{count * price:.2f}"
        for name, count, price in items
    )
    message.add_alternative(
        page(
            "<h1>Receipt</h1><table><tr><th>Item<th>Count<th>Each<th>EUR"
            f"{rows}<tr><th colspan=3>Total<th class=n>{total:.2f}</table>"
        ),
        subtype="html",
    )
    message.add_attachment(
        pdf(["The Orchard", "Receipt for order 4711", *lines, f"Total {total:.2f} EUR"]),
        maintype="application",
        subtype="pdf",
        filename="receipt-4711.pdf",
    )
    return message


@mail
def invitation() -> EmailMessage:
    message = begin("Invitation: picking apples", "bob@example.net", "Bob")
    message.set_content("Saturday at ten, in the orchard. Bring a ladder.\n")
    calendar = "\r\n".join(
        [
            *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Pillarbox//Demo//EN", "METHOD:REQUEST"),
            *("BEGIN:VEVENT", "UID:apples@example.net", "DTSTAMP:20260302T083000Z"),
            *("DTSTART:20260307T090000Z", "DTEND:20260307T120000Z", "SUMMARY:Picking apples"),
            "LOCATION:The orchard",
            "ORGANIZER;CN=Bob:mailto:bob@example.net",
            "ATTENDEE;CN=Ann Example;RSVP=TRUE:mailto:ann@example.org",
            *("END:VEVENT", "END:VCALENDAR", ""),
        ]
    )
    message.add_alternative(calendar, subtype="calendar", params={"method": "REQUEST"})
    return message


@mail
def newsletter_with_pictures() -> EmailMessage:
    message = begin("Orchard News: the harvest in pictures", "news@orchard.example", "Orchard News")
    message["List-Unsubscribe"] = (
        "<https://orchard.example/unsubscribe?u=ann>, <mailto:leave@orchard.example>"
    )
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message["Precedence"] = "bulk"
    message.set_content("This month: apples, pears and plums. See the pictures on our page.\n")
    message.add_alternative(
        page(
            "<h1>The harvest in pictures</h1>"
            '<p><img src="cid:apples@orchard.example" alt="Apples" width=320></p><p>Apples.</p>'
            '<p><img src="cid:plums@orchard.example" alt="Plums" width=320></p><p>Plums.</p>'
            '<p><img src="https://orchard.example/seen.png?u=ann" alt="" width=1 height=1>'
            '<a href="https://orchard.example/unsubscribe?u=ann">Leave this list</a></p>'
        ),
        subtype="html",
    )
    html = message.get_payload()[1]
    for name, colour in (("apples", (190, 40, 40)), ("plums", (90, 50, 130))):
        html.add_related(
            png(320, 120, colour),
            maintype="image",
            subtype="png",
            cid=f"<{name}@orchard.example>",
            filename=f"{name}.png",
            disposition="inline",
        )
    return message


@mail
def dark_mode() -> EmailMessage:
    message = begin("Made for the night too", "design@orchard.example", "Orchard Design")
    message.set_content("Light by day, dark by night.\n")
    message.add_alternative(
        '<!doctype html><html lang="en"><head><meta name="color-scheme" content="light dark">'
        "<style>body{background:#fff;color:#222;font:16px sans-serif}.card{padding:24px;border:1px"
        " solid #ccc}@media(prefers-color-scheme:dark){body{background:#111;color:#eee}.card"
        '{border-color:#555}}</style></head><body><div class="card"><h1>Good evening</h1>'
        "<p>Light by day, dark by night.</p></div></body></html>",
        subtype="html",
    )
    return message


@mail
def report_of_the_night() -> EmailMessage:
    message = begin("[cron] backup: done, 2 warnings", "root@db1.example.org", "Cron Daemon")
    message["X-Tags"] = "cron, backup"
    message["X-Priority"] = "1"
    message.set_content(
        "\n".join(
            f"02:{minute:02}:17 table_{minute:03} copied, {minute * 7919 % 9973} rows"
            + ("  WARNING slow" if minute in (13, 41) else "")
            for minute in range(60)
        )
        + "\n"
    )
    return message


@mail
def plus_address() -> EmailMessage:
    message = begin(
        "Ticket 12: the ladder is broken",
        "support+ticket-12@orchard.example",
        "Support",
        to=[ANN, Address("", "ann+orchard", "example.org")],
    )
    message["Cc"] = [BOB, Address("Carol", "carol", "example.com")]
    message["Bcc"] = "archive@example.org"
    message["In-Reply-To"] = "<ticket-12@orchard.example>"
    message.set_content("Hello,\n\na new one is on its way.\n\n> The ladder is broken.\n> Ann\n")
    return message


# Languages


@mail
def japanese() -> EmailMessage:
    message = begin("ご注文ありがとうございます 🍎", "shop@ringo.example", "りんご商店")
    message.set_content(
        "アン様\n\nご注文いただき、誠にありがとうございます。\n商品は明日お届けします。\n\nりんご商店\n",
        charset="iso-2022-jp",
    )
    return message


@mail
def arabic() -> EmailMessage:
    message = begin("مرحبا بك في البستان", "hello@bustan.example", "البستان")
    message.set_content("مرحبا آن،\n\nطلبك رقم 4711 في الطريق إليك.\n\nالبستان\n")
    message.add_alternative(
        '<!doctype html><html dir="rtl" lang="ar"><body><h1>مرحبا آن</h1>'
        "<p>طلبك رقم <b>4711</b> في الطريق إليك.</p></body></html>",
        subtype="html",
    )
    return message


# What is long, large or deep


@mail
def long_lines() -> EmailMessage:
    message = begin("Plain text, long lines", "writer@example.com", "A. Writer")
    sentence = "This sentence was typed in one go, and nobody has pressed the Enter key since. "
    message.set_content(f"{sentence * 30}\n\n{'x' * 900}\n", cte="quoted-printable")
    return message


@mail
def five_megabytes() -> EmailMessage:
    message = begin("The map, in full", "maps@orchard.example", "Orchard Maps")
    message.set_content("The file is attached. It is large.\n")
    state, octets = 1, bytearray()
    while len(octets) < 5_000_000:  # numbers that no program makes smaller
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        octets += struct.pack("<Q", state)
    message.add_attachment(
        bytes(octets), maintype="application", subtype="octet-stream", filename="orchard-map.bin"
    )
    return message


@mail
def forwarded_twice() -> EmailMessage:
    inner = begin("Where is the key?", "carol@example.com", "Carol", to=BOB)
    inner.set_content("Under the mat, as always?\n")
    inner.add_attachment(png(64, 64, (60, 120, 60)), "image", "png", filename="mat.png")
    middle = begin("Fwd: Where is the key?", "bob@example.net", "Bob", to=BOB)
    middle.set_content("See below.\n")
    middle.add_attachment(inner)
    outer = begin("Fwd: Fwd: Where is the key?", "bob@example.net", "Bob")
    outer.set_content("Ann, do you know?\n")
    outer.add_alternative(page("<p>Ann, do <i>you</i> know?</p>"), subtype="html")
    outer.add_attachment(middle)
    outer.add_attachment("a;b\n1;2\n", subtype="csv", filename="Schlüssel und Matten.csv")
    return outer


# What goes wrong


@mail
def bounce() -> bytes:
    return crlf(
        """
        From: Mail Delivery System <MAILER-DAEMON@mx.example.com>
        To: <ann@example.org>
        Subject: Undelivered Mail Returned to Sender
        Date: Mon, 02 Mar 2026 09:31:00 +0100
        Message-ID: <20260302083100.1@mx.example.com>
        Auto-Submitted: auto-replied
        MIME-Version: 1.0
        Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

        --b1
        Content-Type: text/plain; charset=us-ascii
        Content-Description: Notification

        Your message could not be delivered to dan@example.com:
        there is no such mailbox.

        --b1
        Content-Type: message/delivery-status
        Content-Description: Delivery report

        Reporting-MTA: dns; mx.example.com
        Arrival-Date: Mon, 02 Mar 2026 09:30:58 +0100

        Final-Recipient: rfc822; dan@example.com
        Action: failed
        Status: 5.1.1
        Diagnostic-Code: smtp; 550 5.1.1 <dan@example.com>: no such mailbox

        --b1
        Content-Type: text/rfc822-headers

        From: Ann Example <ann@example.org>
        To: <dan@example.com>
        Subject: Lunch?

        --b1--
        """
    )


@mail
def broken_charset() -> bytes:
    return crlf(
        """
        From: =?x-unknown?Q?J=F6rg?= <joerg@example.de>
        To: ann@example.org
        Subject: Gr\xfc\xdfe, unencoded
        MIME-Version: 1.0
        Content-Type: text/plain; charset="utf-8"
        Content-Transfer-Encoding: 8bit

        This says that it is UTF-8 and it is Latin-1: \xe4\xf6\xfc\xdf.
        """,
        "latin-1",
    )


@mail
def no_subject_and_no_end() -> bytes:
    return crlf(
        """
        From: somebody@example.com
        To: ann@example.org
        MIME-Version: 1.0
        Content-Type: multipart/mixed; boundary=never-ends

        --never-ends
        Content-Type: text/html

        <p>The subject is missing, and so is the last boundary.
        --never-ends
        Content-Type: image/png; name="cut.png"
        Content-Transfer-Encoding: base64

        iVBORw0KGgoAAAANSUhEUgAA
        """
    )


@mail
def hostile() -> EmailMessage:
    message = begin(
        "You have WON <script>alert(1)</script>", "prize@example.com", "Prize <b>Desk</b>"
    )
    message.set_content(
        "<!doctype html><html><head><meta http-equiv=refresh content='0;url=https://example.com/'>"
        "<script>document.title = 'owned'</script><link rel=stylesheet"
        " href='https://example.com/a.css'></head><body onload=\"alert('owned')\">"
        "<h1>You have won</h1><p><a href=\"javascript:alert('owned')\">Claim it</a></p>"
        "<img src=x onerror=\"alert('owned')\"><iframe src='https://example.com/'></iframe>"
        "<form action='https://example.com/'><input name=password placeholder=Password></form>"
        "</body></html>",
        subtype="html",
    )
    message.add_attachment(
        b"MZ not a program", "application", "octet-stream", filename="../../invoice.pdf.exe"
    )
    return message


# What they are made of


def page(body: str) -> str:
    """Put HTML into a page with some style."""
    return (
        '<!doctype html><html lang="en"><head><style>body{font:16px/1.5 sans-serif;max-width:36em;'
        "margin:2em auto;padding:0 16px;color:#223}h1{font-size:1.4em}"
        "table{border-collapse:collapse;width:100%}"
        "th,td{border-bottom:1px solid #ccd;padding:.4em;text-align:left}.n{text-align:right}"
        ".button{background:#264;color:#fff;padding:.6em 1.2em;text-decoration:none}"
        ".code{font:bold 2em monospace;letter-spacing:.2em}.small{color:#667;font-size:.85em}"
        f"</style></head><body>{body}</body></html>\n"
    )


def crlf(text: str, charset: str = "ascii") -> bytes:
    """Give a message as it is written in this file, without the margin."""
    lines = [line[8:] for line in text.strip("\n").splitlines()]
    return "\r\n".join(lines).rstrip(" ").encode(charset)


def png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """Draw waves in a colour."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            light = 0.75 + 0.25 * math.sin(x / 17 + 3 * math.sin(y / 23))
            rows += bytes(round(one * light) for one in colour)

    def chunk(kind: bytes, content: bytes) -> bytes:
        octets = kind + content
        return struct.pack(">I", len(content)) + octets + struct.pack(">I", zlib.crc32(octets))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + chunk(b"IEND", b"")
    )


def pdf(lines: list[str]) -> bytes:
    """Write lines of ASCII on one page."""
    shown = " ".join(f"({line}) Tj T*".replace("\\", "") for line in lines)
    content = f"BT /F1 12 Tf 72 740 Td 18 TL {shown} ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Courier>>",
    ]
    octets, places = bytearray(b"%PDF-1.4\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(octets))
        octets += b"%d 0 obj %b endobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(octets) + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer <</Size %d/Root 1 0 R>>\n"
        b"startxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table, len(objects) + 1, len(octets))
    )
