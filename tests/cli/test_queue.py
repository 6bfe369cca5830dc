"""`pillarbox queue`: on a spool that nobody runs, and on one of a relay that runs."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pillarbox.cli import pillarbox
from pillarbox.cli.queue_view import TableView
from pillarbox.relay.spool import (
    NewMessage,
    NewRecipient,
    QueuedMessage,
    QueuedRecipient,
    RecipientState,
)
from pillarbox.relay.sqlite import SqliteSpool
from tests.cli.program import Client, error_in_process, run_in_process
from tests.cli.test_relay import MESSAGE, free_port, mails, relaying, sinking, until

NEXT = "smtp://127.0.0.1:9"
CREATED = 1_800_000_000.123
TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def message(sender: str, *recipients: str, created: float = CREATED, **facts: Any) -> NewMessage:
    return NewMessage(
        mail_from=sender,
        recipients=tuple(NewRecipient(address=address, destination=NEXT) for address in recipients),
        created=created,
        expires=created + 432_000,
        **facts,
    )


THREE = (
    message("ann@example.org", "ben@example.net", "cleo@example.net"),
    message("ann@example.org", "dan@example.com", is_held=True),
    message("", "ann@example.org", origin="notification by relay.test"),
)


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Fill a spool in the test's folder with three messages; give their ids."""
    return fill(tmp_path, *THREE)


def fill(folder: Path, *messages: NewMessage, octets: bytes = MESSAGE) -> list[str]:
    async def filled() -> list[str]:
        spool = await SqliteSpool.open(folder / "spool", min_free_bytes=0, min_free_files=0)
        try:
            return [(await spool.put(one, octets)).id for one in messages]
        finally:
            await spool.close()

    return asyncio.run(filled())


def queue(folder: Path, *words: str) -> str:
    return run_in_process("queue", *words, "--spool", str(folder / "spool"))


def json_of(folder: Path, *words: str) -> Any:
    return json.loads(queue(folder, *words, "--json"))


def listed(folder: Path, *words: str) -> list[str]:
    return [one["id"] for one in json_of(folder, "list", *words)]


def error(folder: Path, *words: str) -> str:
    return error_in_process("queue", *words, "--spool", str(folder / "spool"))


# Looking.


def test_a_list_for_programs(tmp_path: Path, ids: list[str]) -> None:
    output = queue(tmp_path, "list", "--json")
    assert output.isascii()
    found = json.loads(output)
    assert [one["id"] for one in found] == ids
    assert found[0] == {
        "id": ids[0],
        "mail_from": "ann@example.org",
        "size": len(MESSAGE),
        "created": "2027-01-15T08:00:00.123Z",
        "hold": False,
        "recipients": [
            {
                "address": address,
                "state": "queued",
                "destination": NEXT,
                "attempts": 0,
                "next_attempt": "2027-01-15T08:00:00.123Z",
                "last_reply": "",
            }
            for address in ("ben@example.net", "cleo@example.net")
        ],
    }
    assert [one["hold"] for one in found] == [False, True, False]


def test_options_stand_anywhere(tmp_path: Path, ids: list[str]) -> None:
    spool = str(tmp_path / "spool")
    one = run_in_process("queue", "--spool", spool, "--json", "list")
    assert one == queue(tmp_path, "list", "--json")
    env = {"PILLARBOX_SPOOL": spool}
    assert run_in_process("queue", "list", "--json", env=env) == one
    assert len(ids) == 3


def test_a_list_for_people(tmp_path: Path, ids: list[str]) -> None:
    lines = queue(tmp_path, "list").splitlines()
    assert lines[0].split() == ["ID", "Age", "Size", "From", "To", "State", "Last", "reply"]
    assert [line.split()[0] for line in lines[1:]] == [ids[0], "cleo@example.net", *ids[1:]]
    assert "held" in lines[3]
    assert "<>" in lines[4]


def test_a_list_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def queued(reply: str, *to: str) -> QueuedMessage:
        return QueuedMessage(
            id="660C78AD36DCD",
            mail_from="newsletter@example.org",
            size=156,
            created=CREATED,
            expires=CREATED + 432_000,
            is_held=False,
            origin="",
            recipients=tuple(
                QueuedRecipient(
                    address=one,
                    state=RecipientState.QUEUED,
                    destination=NEXT,
                    attempts=len(reply) and 1,
                    next_attempt=CREATED,
                    last_reply=reply,
                )
                for one in to
            ),
        )

    view = TableView(now=CREATED + 60, width=80)
    view.begin()
    view.add(queued("451 4.3.0 Later", "ben@example.net", "cleo@example.net"))
    view.add(queued("", *(f"r{number}@example.net" for number in range(30))))
    view.end()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].rstrip().endswith("  Size  From, to, last reply")
    column = lines[0].index("From")
    said = [line[column:].rstrip() for line in lines[1:]]
    assert said[:6] == [
        "newsletter@example.org",
        "to ben@example.net, due, tried 1 x",
        "451 4.3.0 Later",  # which was said of both
        "to cleo@example.net, due, tried 1 x",
        "newsletter@example.org",
        "to r0@example.net, due",
    ]
    assert said[-1] == "and 10 more"


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((), [0, 1, 2]),
        (("--to", "*@example.net"), [0]),
        (("--to", "cleo@example.net"), [0]),
        (("--to", "*@example.net", "--from", "nobody@*"), []),
        (("--from", "ann@*"), [0, 1]),
        (("--from", "<>"), [2]),
        (("--limit", "2"), [0, 1]),
        (("--limit", "0"), [0, 1, 2]),
    ],
)
def test_chosen(tmp_path: Path, ids: list[str], words: tuple[str, ...], numbers: list[int]) -> None:
    assert listed(tmp_path, *words) == [ids[number] for number in numbers]


def test_chosen_by_id(tmp_path: Path, ids: list[str]) -> None:
    assert listed(tmp_path, ids[2], ids[0].lower()) == [ids[0], ids[2]]


def test_an_empty_list(tmp_path: Path) -> None:
    fill(tmp_path)
    assert queue(tmp_path, "list") == "Nothing waits.\n"
    assert queue(tmp_path, "list", "--json") == "[]\n"


def test_a_long_list(tmp_path: Path) -> None:
    many = [f"r{number}@example.net" for number in range(30)]
    fill(tmp_path, *[message("ann@example.org", "ben@example.net")] * 600)
    fill(tmp_path, message("ann@example.org", *many))
    assert len(listed(tmp_path)) == 601
    assert queue(tmp_path, "list").endswith("\nThe oldest 100 are shown; --limit 0 shows all.\n")
    lines = queue(tmp_path, "list", "--limit", "0").splitlines()
    assert len(lines) == 1 + 600 + 20 + 1
    assert lines[-1].strip() == "and 10 more"


def test_what_could_drive_a_terminal(tmp_path: Path) -> None:
    octets = b"Subject: \x1b[2J\r\n\ttab\r\n\r\n[bold]:smile:\xff\r\n"
    [name] = fill(tmp_path, message("a[red]b@x", '"\x9b:smile:"@[192.0.2.1]'), octets=octets)
    for output in (queue(tmp_path, "list"), queue(tmp_path, "show", name)):
        assert "a[red]b@x" in output
        assert r'"\x9b:smile:"@[192.0.2.1]' in output
        assert all(line.isprintable() for line in output.splitlines())
    shown = queue(tmp_path, "show", name)
    assert "Subject: \\x1b[2J\n        tab\n\n[bold]:smile:\ufffd\n" in shown


def test_one_message(tmp_path: Path, ids: list[str]) -> None:
    shown = queue(tmp_path, "show", ids[2])
    assert re.search(rf"^ID +{ids[2]} *$", shown, re.MULTILINE)
    assert "2027-01-15T08:00:00.123Z from notification by relay.test" in shown
    assert "Subject: Lunch\n\nAt noon?\n" in shown
    assert "; it is held" in queue(tmp_path, "show", ids[1])
    fields = json_of(tmp_path, "show", ids[0])
    assert fields["octets"] == MESSAGE.decode()
    assert fields["expires"] == "2027-01-20T08:00:00.123Z"
    assert fields["recipients"] == json_of(tmp_path, "list")[0]["recipients"]


def test_the_octets_alone(tmp_path: Path) -> None:
    octets = bytes(range(256)) * 1000
    [name] = fill(tmp_path, THREE[0], octets=octets)
    arguments = ["queue", "show", "--raw", name, "--spool", str(tmp_path / "spool")]
    assert CliRunner().invoke(pillarbox, arguments).stdout_bytes == octets
    assert "--raw gives all of it." in queue(tmp_path, "show", name)


def test_how_much_waits(tmp_path: Path, ids: list[str]) -> None:
    queue(tmp_path, "suspend", NEXT)
    assert json_of(tmp_path, "stats") == {
        "messages": 3,
        "octets": 3 * len(MESSAGE),
        "held": 1,
        "oldest": "2027-01-15T08:00:00.123Z",
        "destinations": [
            {"destination": NEXT, "queued": 4, "active": 0, "suspended": True},
        ],
    }
    shown = queue(tmp_path, "stats")
    assert re.search(rf"^{NEXT} +4 +0 +suspended", shown, re.MULTILINE)
    assert "3 messages wait, 84 B, the oldest for " in shown
    assert shown.endswith("; 1 held\n")
    assert len(ids) == 3


# Changing.


def test_hold_and_release(tmp_path: Path, ids: list[str]) -> None:
    assert queue(tmp_path, "hold", ids[0]) == "1 message held\n"
    assert [one["hold"] for one in json_of(tmp_path, "list")] == [True, True, False]
    assert json_of(tmp_path, "release", "--from", "ann@*") == {"action": "release", "messages": 2}
    assert not any(one["hold"] for one in json_of(tmp_path, "list"))
    assert queue(tmp_path, "hold", "--all") == "3 messages held\n"


def test_retry(tmp_path: Path) -> None:
    [name] = fill(tmp_path, message("a@x", "b@y", created=time.time() + 10_000))
    before = json_of(tmp_path, "list")[0]["recipients"][0]["next_attempt"]
    assert queue(tmp_path, "retry", name) == "1 message due now\n"
    assert json_of(tmp_path, "list")[0]["recipients"][0]["next_attempt"] < before


def test_delete(tmp_path: Path, ids: list[str]) -> None:
    assert queue(tmp_path, "delete", ids[0], ids[2]) == "2 messages deleted\n"
    assert listed(tmp_path) == [ids[1]]
    assert queue(tmp_path, "delete", "--to", "nobody@*") == "0 messages deleted\n"
    assert queue(tmp_path, "delete", "--all") == "1 message deleted\n"
    assert listed(tmp_path) == []


def test_bounce(tmp_path: Path, ids: list[str]) -> None:
    host = ("--hostname", "relay.test")
    assert queue(tmp_path, "bounce", ids[0], ids[1], *host) == "2 messages bounced\n"
    after = json_of(tmp_path, "list", "--from", "<>")
    assert ids[0] not in listed(tmp_path)
    assert [[to["address"] for to in one["recipients"]] for one in after] == [
        ["ann@example.org"]
    ] * 3
    assert {to["destination"] for one in after for to in one["recipients"]} == {NEXT}
    report = message_from_bytes(json_of(tmp_path, "show", after[1]["id"])["octets"].encode())
    assert report["From"] == "Mail delivery <MAILER-DAEMON@relay.test>"
    status: Any = report.get_payload(1)
    assert [block["Final-Recipient"] for block in status.get_payload()[1:]] == [
        "rfc822; ben@example.net",
        "rfc822; cleo@example.net",
    ]
    # Of a notification there is none.
    assert queue(tmp_path, "bounce", "--all") == "3 messages bounced\n"
    assert listed(tmp_path) == []


def test_no_notification_is_bounced_with_what_it_tells_of(tmp_path: Path) -> None:
    fill(tmp_path, *[message("ann@example.org", "ben@example.net")] * 3)
    assert queue(tmp_path, "bounce", "--to", "*") == "3 messages bounced\n"
    assert len(listed(tmp_path, "--from", "<>")) == 3


def test_what_is_being_tried_is_not_bounced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = silent.getsockname()[1]
        with relaying(tmp_path, to=to) as (_, port), Client(port) as client:
            name = client.deliver(MESSAGE).rpartition(" ")[2]
            until(lambda: "being tried" in queue(tmp_path, "list"))
            arguments = ["queue", "bounce", name, "--spool", str(tmp_path / "spool")]
            result = CliRunner().invoke(pillarbox, arguments)
    assert (result.exit_code, result.stdout) == (0, "0 messages bounced\n")
    assert result.stderr == (
        "pillarbox: 1 message is being tried now, and may be delivered; bounce again what is not\n"
    )


def test_bounce_by_dns(tmp_path: Path) -> None:
    to = NewRecipient(address="b@example.net", destination="example.net")
    one = NewMessage(mail_from="A@Example.ORG", recipients=(to,), created=1.0, expires=2.0)
    fill(tmp_path, one)
    queue(tmp_path, "bounce", "--all")
    [report] = json_of(tmp_path, "list")
    assert report["recipients"][0]["destination"] == "example.org"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (NEXT, NEXT),
        ("127.0.0.1:9", NEXT),
        ("Example.ORG", "example.org"),
        ("smtps://ann@SMTP.example:465", "smtps://ann@smtp.example:465"),
        ("[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_destinations(tmp_path: Path, ids: list[str], text: str, name: str) -> None:
    assert queue(tmp_path, "suspend", text) == f"{name} is suspended\n"
    suspended = [one for one in json_of(tmp_path, "stats")["destinations"] if one["suspended"]]
    assert [one["destination"] for one in suspended] == [name]
    assert json_of(tmp_path, "resume", text) == {
        "action": "resume",
        "destination": name,
        "changed": True,
    }
    arguments = ["queue", "resume", text, "--spool", str(tmp_path / "spool")]
    result = CliRunner().invoke(pillarbox, arguments)
    assert (result.exit_code, result.stdout) == (1, f"{name} was not suspended\n")
    assert len(ids) == 3


# Questions, and what is wrong.


def test_some_of_the_ids_are_there(tmp_path: Path, ids: list[str]) -> None:
    arguments = ["queue", "hold", ids[0], "FFFF", "--spool", str(tmp_path / "spool")]
    result = CliRunner().invoke(pillarbox, arguments)
    assert (result.exit_code, result.stdout) == (1, "1 message held\n")
    assert result.stderr.startswith("pillarbox: there is no message 'FFFF' in ")


@pytest.mark.parametrize(("answer", "left"), [("n", 3), ("y", 0)])
def test_all_is_asked_for_on_a_terminal(
    tmp_path: Path, ids: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    # CliRunner puts its own standard input there; a terminal is what we say it is.
    monkeypatch.setattr("pillarbox.cli.queue.is_terminal", lambda: True)
    arguments = ["queue", "delete", "--all", "--spool", str(tmp_path / "spool")]
    result = CliRunner().invoke(pillarbox, arguments, input=f"{answer}\n")
    assert "delete all 3 messages? [y/N]" in result.stderr
    assert result.exit_code == (0 if left == 0 else 1)
    assert len(listed(tmp_path)) == left
    assert queue(tmp_path, "delete", "--all", "--yes").endswith("deleted\n")
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("lst",), "there is no action 'lst'; write one of list, show, hold, release, retry,"),
        (("show",), "show takes one message, by its id; write 'pillarbox queue show ID'"),
        (("show", "A", "B"), "show takes one message, by its id; write"),
        (("show", "--all"), "show takes one message, by its id; write"),
        (("suspend", ""), "suspend takes one destination, as 'queue stats' has it; write"),
        (("suspend",), "suspend takes one destination, as 'queue stats' has it; write"),
        (("resume", "a", "b"), "resume takes one destination, as 'queue stats' has it; write"),
        (("stats", "A"), "stats takes nothing else; write 'pillarbox queue stats'"),
        (("hold",), "which messages to hold is not said; write ids, --to, --from or --all"),
        (("delete", "A", "--all"), "--all means all of them; leave it out, or the others"),
        (("delete", "--to", "a", "--all"), "--all means all of them; leave it out, or the"),
        (("hold", "--raw", "A"), "--raw is for show; leave it out of hold"),
        (("stats", "--limit", "3"), "--limit is for list; leave it out of stats"),
        (("list", "--limit", "x"), "--limit: 'x' is not a valid integer"),
        (("show", "FFFF"), "there is no message 'FFFF' in "),
        (("hold", "no id"), "there is no message 'no id' in "),
        (("suspend", "http://x:1"), "'http://x:1' begins with none of smtp://, "),
        (("bounce", "--all", "--hostname", "a b"), "--hostname 'a b' is no host name; write"),
        ((), "missing argument 'ACTION'; see 'pillarbox queue --help'"),
    ],
)
def test_wrong_words(tmp_path: Path, ids: list[str], words: tuple[str, ...], text: str) -> None:
    assert error(tmp_path, *words).startswith(text)
    assert len(listed(tmp_path)) == len(ids)


def test_an_id_that_the_patterns_do_not_mean(tmp_path: Path, ids: list[str]) -> None:
    assert error(tmp_path, "hold", ids[0], "--to", "x@*").endswith(
        ", or none that --to and --from mean; 'pillarbox queue list' tells what there is"
    )


def test_no_spool(tmp_path: Path) -> None:
    assert error(tmp_path, "list").startswith(f"there is no spool in {tmp_path}/spool; name the")
    (tmp_path / "spool").write_text("x")
    assert error(tmp_path, "list").startswith(f"--spool {tmp_path}/spool: it is a file; name a")


# While the relay runs.


def test_a_live_spool(tmp_path: Path) -> None:
    to = free_port()
    with relaying(tmp_path, to=to) as (program, port):
        with Client(port) as client:
            name = client.deliver(MESSAGE).rpartition(" ")[2]
            other = client.say("RSET") and _again(client)
        assert listed(tmp_path) == [name, other]
        until(lambda: "Connection refused" in queue(tmp_path, "list"))
        assert queue(tmp_path, "hold", name) == "1 message held\n"
        assert queue(tmp_path, "delete", other) == "1 message deleted\n"
        with sinking(tmp_path / "out", to):
            queue(tmp_path, "release", name)
            queue(tmp_path, "retry", "--all")  # it may be on its way already
            until(lambda: len(mails(tmp_path / "out")) == 1)
            until(lambda: listed(tmp_path) == [])
        assert program.stop()[0] == 0


def _again(client: Client) -> str:
    client.begin()
    client.send(MESSAGE + b".\r\n")
    return client.reply().rpartition(" ")[2]


def test_a_destination_of_a_live_relay(tmp_path: Path) -> None:
    with sinking(tmp_path / "out") as to, relaying(tmp_path, to=to) as (program, port):
        queue(tmp_path, "suspend", f"127.0.0.1:{to}")
        until(lambda: "is suspended" in program.line())
        with Client(port) as client:
            assert client.deliver(MESSAGE).startswith("250 ")
        [waiting] = json_of(tmp_path, "list")
        assert waiting["recipients"][0]["state"] == "queued"
        queue(tmp_path, "resume", f"127.0.0.1:{to}")
        until(lambda: len(mails(tmp_path / "out")) == 1)
        assert program.stop()[0] == 0


def test_times_are_of_rfc_3339(tmp_path: Path, ids: list[str]) -> None:
    output = queue(tmp_path, "list", "--json")
    times = re.findall(r'"(?:created|next_attempt)": "([^"]*)"', output)
    assert len(times) == 3 + 4
    assert all(TIMES.fullmatch(one) for one in times)
    assert len(ids) == 3
