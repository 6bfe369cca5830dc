"""`pillarbox catch --http`: the page and its API, beside the mail."""

from __future__ import annotations

import http.client
import json
import smtplib
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import TIME_LIMIT_SECONDS, Program
from tests.cli.program import error_in_process as error

LOCAL = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")


def ask(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection(address.removeprefix("http://"), timeout=TIME_LIMIT_SECONDS)
    try:
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def listed(address: str) -> list[Any]:
    status, body = ask(address, "/api/v1/messages")
    assert status == 200
    messages: list[Any] = json.loads(body)["messages"]
    return messages


def send(port: int, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=TIME_LIMIT_SECONDS) as client:
        client.sendmail("ann@example.org", ["bob@example.org"], f"Subject: {subject}\r\n\r\n")


def test_what_is_caught_is_on_the_page() -> None:
    with Program("catch", *LOCAL) as program:
        port, page = program.ready_port(), program.ready()
        send(port, "Hello")
        assert [message["Subject"] for message in listed(page)] == ["Hello"]
        status, body = ask(page, "/api/x/server")
        assert (status, json.loads(body)["SMTP"]) == (200, [f"127.0.0.1:{port}"])
        info = json.loads(ask(page, "/api/v1/info")[1])
        assert info["RuntimeStats"]["SMTPAccepted"] == 1
        assert program.stop() == (0, [])


def test_the_page_goes_on_when_nobody_reads_the_terminal() -> None:
    with Program("catch", *LOCAL) as program:
        port, page = program.ready_port(), program.ready()
        assert program.process.stdout is not None
        program.process.stdout.close()
        send(port, "one")
        assert "messages are kept, and shown no more" in program.line()
        send(port, "two")
        assert len(listed(page)) == 2
        assert program.stop() == (0, [])


def test_mail_in_a_file(tmp_path: Path) -> None:
    arguments = ("catch", "--db", str(tmp_path / "mails.db"), *LOCAL)
    for number in range(2):
        with Program(*arguments) as program:
            port, page = program.ready_port(), program.ready()
            assert len(listed(page)) == number
            send(port, "Hello")
            assert program.stop() == (0, [])


def test_no_page() -> None:
    with Program("catch", "--http", "none", *LOCAL[:2]) as program:
        send(program.ready_port(), "Hello")
        assert program.stop() == (0, [])


def test_several_processes_show_no_page() -> None:
    default = {"PILLARBOX_CATCH_HTTP": ""}
    with Program("catch", "--workers", "2", *LOCAL[:2], env=default) as program:
        assert program.line().endswith(
            "WARNING no page: several processes cannot show one mailbox; leave --workers out,"
            " or write --http none"
        )
        program.ready()
        assert program.stop() == (0, [])


def test_names_and_logins() -> None:
    more = ("--http-host", "mail.test", "--http-auth", "ann:secret")
    with Program("catch", *more, *LOCAL) as program:
        program.ready()
        page = program.ready()
        login = "Basic YW5uOnNlY3JldA=="
        assert ask(page, "/api/v1/messages")[0] == 401
        assert ask(page, "/api/v1/messages", Authorization=login)[0] == 200
        assert ask(page, "/livez", Host="mail.test")[0] == 200
        assert ask(page, "/livez", Host="other.test")[0] == 403


def put(address: str, path: str, value: Any, method: str = "PUT") -> int:
    client = http.client.HTTPConnection(address.removeprefix("http://"), timeout=TIME_LIMIT_SECONDS)
    try:
        client.request(method, path, body=json.dumps(value))
        answer = client.getresponse()
        answer.read()
        return answer.status
    finally:
        client.close()


def test_failures_on_purpose() -> None:
    with Program("catch", "--chaos", *LOCAL) as program:
        port, page = program.ready_port(), program.ready()
        send(port, "one")
        for name, reply in (
            ("Sender", b"Chaos sender error"),
            ("Recipient", b"Chaos recipient error"),
        ):
            assert put(page, "/api/v1/chaos", {name: {"ErrorCode": 550, "Probability": 100}}) == 200
            with smtplib.SMTP("127.0.0.1", port, timeout=TIME_LIMIT_SECONDS) as client:
                client.ehlo()
                said = client.mail("ann@example.org")
                if name == "Recipient":
                    said = client.rcpt("bob@example.org")
                assert said == (550, reply)
        chaos = {"Authentication": {"Probability": 100}}
        assert put(page, "/api/v1/chaos", chaos) == 200
        with smtplib.SMTP("127.0.0.1", port, timeout=TIME_LIMIT_SECONDS) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as raised:
                client.login("ann", "secret")
            assert raised.value.smtp_error == b"Chaos authentication error"
        assert put(page, "/api/v1/chaos", {}) == 200
        rule = {"Stage": "rcpt", "Pattern": "bob@*", "Code": 452, "Count": 1}
        assert put(page, "/api/x/rules", rule, "POST") == 200
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(port, "two")
        send(port, "three")
        assert [message["Subject"] for message in listed(page)] == ["three", "one"]
        status, log = program.stop()
        assert (status, all("Chaos authentication error" in line for line in log)) == (0, True)


def test_release() -> None:
    with Program("catch", *LOCAL) as real:
        server, real_page = real.ready().removeprefix("smtp://"), real.ready()
        with Program("catch", "--relay-to", server, *LOCAL) as program:
            port, page = program.ready_port(), program.ready()
            send(port, "Hello")
            path = "/api/v1/message/latest/release"
            assert put(page, path, {"To": ["cy@example.org"]}, "POST") == 200
            [message] = listed(real_page)
            assert message["Subject"] == "Hello"
            assert [one["Address"] for one in message["Bcc"]] == ["cy@example.org"]
            assert program.stop() == (0, [])
        assert real.stop() == (0, [])


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Program("catch", "--listen", "127.0.0.1:0", "--http", address) as program:
            assert program.ended() == (
                2,
                [
                    f"pillarbox: error: --http {address}: another program listens there; stop it"
                    " or choose another port, 0 for a free one"
                ],
            )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--http 8025",
            "--http: '8025' has no host or no port; write '127.0.0.1:8025' for this machine only,"
            " or '[::]:8025' for every interface",
        ),
        ("--http unix:/tmp/x", "--http listens on a port; write HOST:PORT, or none"),
        (
            "--http 127.0.0.1:0 --workers 2",
            "--http: several processes cannot show one mailbox; leave --workers out, or write"
            " --http none",
        ),
        (
            "--relay-to smtp.test",
            "--relay-to: 'smtp.test' has no port; write one such as smtp.test:25",
        ),
        (
            "--http none --chaos",
            "--chaos is ruled by the API, and there is none; leave --http none out",
        ),
        (
            "--http 127.0.0.1:0 --http-auth ann",
            "--http-auth has no user or no password; write one such as ann:secret",
        ),
    ],
)
def test_wrong_options(arguments: str, message: str) -> None:
    assert error("catch", "--listen", "127.0.0.1:0", *arguments.split()) == message
