"""The server for tests: what it catches, how one waits for it, and how it fails on purpose."""

from __future__ import annotations

import asyncio
import smtplib
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from pillarbox import Reply
from pillarbox.catcher.rules import Stage
from pillarbox.testing.mail import MailServer


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def mail(server: MailServer) -> Iterator[MailServer]:
    server.clear()
    yield server
    server.clear()


def send(
    mail: MailServer,
    to: str = "ann@example.org",
    subject: str = "Hello",
    text: str = "Hello Ann",
    *,
    login: str | None = None,
    **headers: str,
) -> None:
    message = EmailMessage()
    message["From"] = "Shop <shop@example.org>"
    message["To"] = to
    message["Subject"] = subject
    for name, value in headers.items():
        message[name] = value
    message.set_content(text)
    with smtplib.SMTP(mail.host, mail.port) as client:
        if login is not None:
            client.login(login, "any")
        client.send_message(message)


def test_a_message_is_there_with_all_it_has(mail: MailServer) -> None:
    send(mail, "Ann <ann@example.org>", "Grüße", "Your code is 482913", Bcc="boss@example.org")
    [message] = mail.messages
    assert (message.subject, message.from_, message.to) == (
        "Grüße",
        "shop@example.org",
        ["ann@example.org"],
    )
    assert message.rcpt_tos == ("ann@example.org", "boss@example.org")
    assert message.bcc == ["boss@example.org"]
    assert message.text == "Your code is 482913\n"
    assert message.header("from") == "Shop <shop@example.org>"
    assert message.eml.endswith(b"Your code is 482913\r\n")
    assert message.code() == "482913"
    assert message.code(r"is (\d\d)") == "48"
    assert (message.identity, message.tls, message.html, message.attachments) == (
        None,
        None,
        "",
        (),
    )


def test_a_link_is_found_by_a_part_of_it(mail: MailServer) -> None:
    send(mail, text="https://shop.test/news\nhttps://shop.test/reset?t=1")
    [message] = mail.messages
    assert message.link("/reset") == "https://shop.test/reset?t=1"
    assert message.link() == "https://shop.test/news"
    with pytest.raises(
        AssertionError, match=r"no link with '/confirm'(.|\n)*https://shop.test/news"
    ):
        message.link("/confirm")
    with pytest.raises(AssertionError, match="no code"):
        message.code()
    with pytest.raises(AssertionError, match="nothing matches"):
        message.code("[0-9]{6}")


def test_messages_stand_in_the_order_of_their_arrival(mail: MailServer) -> None:
    for number in range(3):
        send(mail, subject=str(number))
    assert [message.subject for message in mail] == ["0", "1", "2"]
    assert len(mail) == 3
    mail.clear()
    assert mail.messages == []


def test_waiting_for_what_is_sent_later(mail: MailServer) -> None:
    def send_two() -> None:
        send(mail, subject="No")
        send(mail, subject="Yes")

    sender = threading.Thread(target=send_two)
    sender.start()
    assert (
        mail.wait_for(to="ANN@example.org", subject="Ye", from_="shop@example.org").subject == "Yes"
    )
    sender.join()
    assert [one.subject for one in mail.wait_for_all(2)] == ["No", "Yes"]


def test_waiting_ends_and_tells_what_came(mail: MailServer) -> None:
    with pytest.raises(AssertionError, match="no mail came at all"):
        mail.wait_for(to="bob@example.org", timeout=0)
    send(mail)
    expected = r"no message to bob@example.org within 0 seconds; what came:\n  <message 'Hello'"
    with pytest.raises(AssertionError, match=expected):
        mail.wait_for(to="bob@example.org", timeout=0)
    with pytest.raises(AssertionError, match="of that kind"):
        mail.wait_for(where=lambda message: "x" in message.subject, timeout=0)


def test_none_is_asserted(mail: MailServer) -> None:
    mail.assert_none()
    send(mail)
    mail.assert_none(to="bob@example.org")
    mail.assert_none(subject="Bye", within=0.01)
    with pytest.raises(AssertionError, match="there is mail"):
        mail.assert_none(to="ann@example.org")
    with pytest.raises(AssertionError, match="there is mail"):
        mail.assert_none(within=30)  # comes back at once


def test_waiting_lets_the_event_loop_go_on(mail: MailServer) -> None:
    async def run() -> str:
        waiting = asyncio.create_task(mail.wait_for_async(subject="Later"))
        await asyncio.to_thread(send, mail, subject="Later")
        return (await waiting).subject

    assert asyncio.run(run()) == "Later"


def test_every_login_is_taken(mail: MailServer) -> None:
    send(mail, login="ann")
    assert mail.messages[0].identity == "ann"


def test_mail_is_saved(mail: MailServer, tmp_path: Path) -> None:
    assert mail.save(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    send(mail)
    [path] = mail.save(tmp_path / "some" / "folder")
    assert path.read_bytes() == mail.messages[0].eml


# Failures on purpose


def test_a_recipient_is_refused_twice(mail: MailServer) -> None:
    rule = mail.fail(to="ann@*", count=2)
    for _ in range(2):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(mail)
        assert refused.value.recipients["ann@example.org"][0] == 451
    send(mail, "bob@example.org")
    send(mail)
    assert mail.rules.tally(rule.id) == (3, 2)
    assert [message.to for message in mail] == [["bob@example.org"], ["ann@example.org"]]


@pytest.mark.parametrize(
    ("stage", "pattern", "error"),
    [
        (Stage.CONNECT, "127.*", smtplib.SMTPConnectError),
        (Stage.AUTH, "ann", smtplib.SMTPAuthenticationError),
        (Stage.MAIL, "shop@*", smtplib.SMTPSenderRefused),
        (Stage.RCPT, "ann@*", smtplib.SMTPRecipientsRefused),
        (Stage.MESSAGE, "ann@*", smtplib.SMTPDataError),
    ],
)
def test_each_stage_fails(
    mail: MailServer, stage: Stage, pattern: str, error: type[Exception]
) -> None:
    mail.fail(Reply(554, "5.7.1", "No"), stage=stage, to=pattern)
    with pytest.raises(error):
        send(mail, login="ann")
    mail.assert_none()
    mail.clear()
    send(mail, login="ann")
    assert len(mail) == 1


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.MAIL, Stage.RCPT, Stage.MESSAGE])
def test_a_connection_is_lost(mail: MailServer, stage: Stage) -> None:
    mail.fail(stage=stage, drops=True, count=1)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        send(mail)
    mail.assert_none()
    send(mail)


def test_421_closes(mail: MailServer) -> None:
    mail.fail(Reply(421, "4.3.2", "Going down"), stage=Stage.MAIL)
    with smtplib.SMTP(mail.host, mail.port) as client:
        client.ehlo()
        assert client.mail("ann@example.org")[0] == 421
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


def test_a_delay_alone_lets_mail_pass(mail: MailServer) -> None:
    mail.fail(delay_seconds=0.01)
    send(mail)
    assert len(mail) == 1


def test_settings_of_frameworks_lead_here(mail: MailServer) -> None:
    assert mail.environment()["SMTP_PORT"] == str(mail.port)
    assert mail.django_settings()["EMAIL_PORT"] == mail.port
    assert mail.flask_mail_settings()["MAIL_PORT"] == mail.port
    assert mail.fastapi_mail_settings()["MAIL_PORT"] == mail.port
