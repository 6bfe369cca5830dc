"""Mail as programs send it every day."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from pillarbox.catcher.arrival import Arrival
from tests.catcher.ugly import lines

__all__ = ["MAILS", "arrival"]

TIME = datetime(2026, 5, 1, 12, 34, 56, 789012, tzinfo=UTC)


def arrival(octets: bytes, mail_from: str = "ann@example.org", *rcpt_tos: str) -> Arrival:
    return Arrival(
        id="1",
        time=TIME,
        mail_from=mail_from,
        rcpt_tos=rcpt_tos or ("ben@example.org",),
        peer=("127.0.0.1", 40000),
        helo="client.test",
        octets=octets,
    )


_PDF = base64.b64encode(b"%PDF-1.4" + b"\0" * 12_000).decode()
_PNG = base64.b64encode(b"\x89PNG" + b"\0" * 60).decode()

MAILS = {
    "plain": arrival(
        lines("""
            From: Ann Example <ann@example.org>
            To: ben@example.org
            Subject: Lunch
            Date: Fri, 1 May 2026 12:34:56 +0000
            Message-ID: <1@example.org>

            Hello Ben,

            lunch at noon?

            \tAnn
        """)
    ),
    "alternative": arrival(
        lines("""
            From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <joerg@example.org>
            To: "Ben, of course" <ben@example.org>, carl@example.org
            Cc: dora@example.org
            Reply-To: office@example.org
            Subject: =?utf-8?b?R3LDvMOfZSDwn5iA?=
            MIME-Version: 1.0
            Content-Type: multipart/alternative; boundary=b

            --b
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: quoted-printable

            Sch=C3=B6ne Gr=C3=BC=C3=9Fe aus =E6=9D=B1=E4=BA=AC
            --b
            Content-Type: text/html; charset=utf-8

            <p>Schöne <b>Grüße</b> aus 東京</p>
            --b--
        """),
        "joerg@example.org",
        "ben@example.org",
        "carl@example.org",
        "dora@example.org",
        "eve@example.org",
    ),
    "attachments": arrival(
        lines(f"""
            From: ann@example.org
            To: ben@example.org
            Subject: Report
            Content-Type: multipart/mixed; boundary=b

            --b
            Content-Type: text/plain

            Here it is.
            --b
            Content-Type: application/pdf
            Content-Transfer-Encoding: base64
            Content-Disposition: attachment; filename*=utf-8''B%C3%A4rlauch.pdf

            {_PDF}
            --b
            Content-Type: image/png
            Content-ID: <logo>
            Content-Transfer-Encoding: base64

            {_PNG}
            --b
            Content-Type: application/octet-stream

            --b--
        """)
    ),
    "HTML": arrival(
        lines("""
            From: Shop <shop@example.org>
            To: ben@example.org
            Subject: Your order
            Content-Type: text/html; charset=utf-8

            <html><head><title>Order</title><style>p { color: red }</style></head>
            <body><h1>Thank you!</h1>
            <p>Your order <b>4711</b> is on its way:
            <a href="https://shop.example.org/track?id=4711&amp;l=en">follow it</a>.</p>
            <table><tr><th>Pieces</th><th>Article</th></tr>
            <tr><td>2</td><td>Pillar box, red</td></tr></table>
            <ul><li>Questions? <a href="mailto:help@example.org">help@example.org</a></li>
            <li><a href="https://example.org"><img src="cid:1" alt="Our shop"></a></li></ul>
            <script>alert(1)</script>
            </body></html>
        """),
        "bounces+4711@lists.example.org",
    ),
    "bounce": arrival(
        lines("""
            From: Mail Delivery System <MAILER-DAEMON@mx.example.org>
            To: ann@example.org
            Subject: Undelivered Mail Returned to Sender
            Auto-Submitted: auto-replied
            MIME-Version: 1.0
            Content-Type: multipart/report; report-type=delivery-status; boundary="b/mx"

            This is a MIME-encapsulated message.

            --b/mx
            Content-Description: Notification
            Content-Type: text/plain; charset=us-ascii

            Your message could not be delivered.

            <nobody@example.net>: 550 5.1.1 No such mailbox
            --b/mx
            Content-Description: Delivery report
            Content-Type: message/delivery-status

            Reporting-MTA: dns; mx.example.org

            Final-Recipient: rfc822; nobody@example.net
            Action: failed
            Status: 5.1.1
            --b/mx
            Content-Description: Undelivered Message
            Content-Type: message/rfc822

            From: ann@example.org
            To: nobody@example.net
            Subject: Anybody there?

            Hello?
            --b/mx--
        """),
        "",
        "ann@example.org",
    ),
    "no headers": arrival(b"Hello\r\n", "ann@example.org", "ben@example.org", "carl@example.org"),
    "nothing": arrival(b"", "", "ben@example.org"),
    "hostile": arrival(
        lines(f"""
            From: "\x1b]0;you are owned\x07" <ann@example.org>
            To: ben@example.org
            Subject: =?utf-8?q?=1B[2J=0D=0AFrom:_the_boss=C2=9B31m?= [red]:skull:[/red]
            Content-Type: multipart/mixed; boundary=b

            --b
            Content-Type: text/plain; charset=utf-8

            \x1b[31mred\x1b[0m [bold red]markup[/] \x9b2J \x08\x08 \x00 {"a" * 8}\r{"b" * 8}
            \u202egpj.exe\u202c [link=file:///etc/passwd]x[/link]
            --b
            Content-Type: application/x-\x1b[5m
            Content-Disposition: attachment; filename="\u202egpj\x07.exe"

            --b--
        """)
    ),
}
