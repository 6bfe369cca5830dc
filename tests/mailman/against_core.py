"""Both front ends before a real GNU Mailman 3 Core: `make mailman-tests`, which names this file.

The name begins with no `test_`, so the ordinary run leaves it out: Mailman has to be installed and
takes half a minute to start. What is sent on goes to a sink, and so does what Mailman sends.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import itertools
import json
import re
import signal
import smtplib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.cli.test_relay import listed
from tests.mailman.core import DOMAIN, ROOT, Core
from tests.smtpd.under_test import SMTPD_FILE

ANN, BEN, STRANGER = "ann@example.org", "ben@example.com", "eve@example.net"
DEV, TEAM, NEWS, TRAP = (f"{name}@{DOMAIN}" for name in ("dev", "dev-team", "news", "trap-owner"))
LISTS = (DEV, TEAM, NEWS, TRAP)
NOBODY, ELSEWHERE = f"nobody@{DOMAIN}", "cleo@example.net"
BODY = "one\n.dot\n..two dots\nGrüße, 8 bits\n"

# Mailman looks at its queues each second, and a post goes through four of them.
ARRIVES_SECONDS = 60.0
QUIET_SECONDS = 5.0
LOOKUP_SECONDS = 0.020

_numbers = itertools.count(1)


def until(condition: Callable[[], object], seconds: float = ARRIVES_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def token() -> str:
    """Give a subject that no other message has."""
    return f"subject-{next(_numbers):04}-end"


# Servers


@dataclass(frozen=True)
class Arrived:
    """What a sink took."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


@dataclass(frozen=True)
class Sink:
    """A server that keeps all it gets."""

    folder: Path
    port: int

    def find(self, subject: str) -> list[Arrived]:
        """Find messages whose subject, or whose text, has this."""
        found = []
        for file in sorted(self.folder.glob("*.json")):
            octets = file.with_suffix(".eml").read_bytes()
            if subject.encode() in octets:
                envelope = json.loads(file.read_text())
                message = email.message_from_bytes(octets, policy=email.policy.default)
                assert isinstance(message, EmailMessage)
                found.append(Arrived(envelope["mail_from"], tuple(envelope["rcpt_tos"]), message))
        return found

    def recipients(self, subject: str) -> list[str]:
        """Give who has got it, as often as they got it."""
        return sorted(one for found in self.find(subject) for one in found.recipients)

    def to(self, address: str) -> list[Arrived]:
        """Find what came for an address."""
        return [one for one in self.find("") if address in one.recipients]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mailman")


@contextlib.contextmanager
def sinking(folder: Path) -> Iterator[Sink]:
    with Program("sink", "--listen", "127.0.0.1:0", "--dump", str(folder)) as program:
        yield Sink(folder, program.ready_port())


@pytest.fixture(scope="module")
def after(folder: Path) -> Iterator[Sink]:
    """The next server, for what is not Mailman's."""
    with sinking(folder / "next") as sink:
        yield sink


@pytest.fixture(scope="module")
def out(folder: Path) -> Iterator[Sink]:
    """What Mailman sends."""
    with sinking(folder / "out") as sink:
        yield sink


@pytest.fixture(scope="module")
def core(folder: Path, out: Sink) -> Iterator[Core]:
    with Core(folder / "core", out.port) as core:
        yield core
        assert core.queued("shunt", "bad") == [], core.said()


# Front ends

CLASS = """
import sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import asyncore, pathlib, smtpd
after, lmtp, domains, unknown = sys.argv[1:]
proxy = smtpd.MailmanProxy(
    ("127.0.0.1", 0),
    ("127.0.0.1", int(after)),
    mailman_lmtp=("127.0.0.1", int(lmtp)),
    mailman_domains=pathlib.Path(domains),
    unknown=unknown,
    negative_ttl=0,
    mailman_timeout=3,
)
print(proxy.socket.getsockname()[1], flush=True)
asyncore.loop(use_poll=True)
"""


@dataclass(frozen=True)
class Front:
    """A front end that runs."""

    kind: str
    port: int
    kill: Callable[[], None]

    def post(
        self,
        *recipients: str,
        sender: str = ANN,
        subject: str = "",
        header: str = "",
        body: str = BODY,
    ) -> str:
        """Post; give the subject."""
        subject = subject or token()
        # Mailman holds what does not name its list, and reads tokens and VERP here.
        is_told = re.search(r"-(bounces|confirm)\+", recipients[0])
        to = recipients[0] if is_told else ", ".join(LISTS)
        text = f"From: {sender or STRANGER}\nTo: {to}\nSubject: {subject}\n"
        mime = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        mime += "Content-Transfer-Encoding: 8bit\n"
        data = f"{text}Message-ID: <{token()}@example.org>\n{header or mime}\n{body}"
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            options = ["BODY=8BITMIME"]
            refused = client.sendmail(
                sender, recipients, data.encode().replace(b"\n", b"\r\n"), mail_options=options
            )
        assert refused == {}
        return subject

    def ask(self, *recipients: str) -> list[tuple[int, str]]:
        """Give what is said of each recipient."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.ehlo()
            client.mail("<>")
            answers = [client.rcpt(one) for one in recipients]
        return [(code, text.decode()) for code, text in answers]


@contextlib.contextmanager
def program(core: Core, after: Sink, folder: Path, unknown: str) -> Iterator[Front]:
    options = ("--mailman-lmtp", f"127.0.0.1:{core.lmtp}", "--unknown", unknown)
    with Program(
        *("mailman", "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{after.port}"),
        *("--mailman-domains-file", str(core.domains_file), *options),
        *("--spool", str(folder / "spool"), "--first-retry", "1s", "--longest-retry", "2s"),
    ) as running:

        def kill() -> None:
            running.signal(signal.SIGKILL)
            running.process.wait()

        yield Front("program", running.ready_port(), kill)


@contextlib.contextmanager
def old_class(core: Core, after: Sink, _folder: Path, unknown: str) -> Iterator[Front]:
    arguments = (str(after.port), str(core.lmtp), str(core.domains_file), unknown)
    with subprocess.Popen(
        [sys.executable, "-c", CLASS, *arguments],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(SMTPD_FILE.parent), "PATH": ""},
        cwd=ROOT,
    ) as process:

        def kill() -> None:
            process.kill()
            process.wait()

        try:
            assert process.stdout is not None
            yield Front("class", int(process.stdout.readline()), kill)
        finally:
            kill()


FRONTS = {"program": program, "class": old_class}


@pytest.fixture(scope="module", params=sorted(FRONTS))
def front(request: pytest.FixtureRequest, core: Core, after: Sink, folder: Path) -> Iterator[Front]:
    with FRONTS[request.param](core, after, folder / request.param, "relay") as running:
        yield running


# Mail


@pytest.mark.parametrize(
    "address", [DEV, "DEV@LISTS.Example.ORG", TEAM, TRAP, f'"dev"@{DOMAIN}', f"dev+x@{DOMAIN}"]
)
def test_a_post(front: Front, out: Sink, address: str) -> None:
    subject = front.post(address)
    until(lambda: out.recipients(subject) == [ANN, BEN])
    for arrived in out.find(subject):
        text = arrived.message.get_content()
        assert text.replace("\r\n", "\n").startswith(BODY), "octets and dots are as they were"
        assert arrived.message["X-Peer"] is None


def test_a_list_twice_is_once(front: Front, out: Sink) -> None:
    subject = front.post(DEV, DEV.upper(), "Dev@Lists.Example.Org")
    until(lambda: out.recipients(subject) == [ANN, BEN])
    time.sleep(QUIET_SECONDS)  # time enough for another
    assert out.recipients(subject) == [ANN, BEN]


def test_help(front: Front, out: Sink) -> None:
    before = len(out.to(ANN))
    front.post(f"dev-request@{DOMAIN}", subject="help")
    until(lambda: any("results of your email" in answers(one) for one in out.to(ANN)[before:]))


def answers(arrived: Arrived) -> str:
    return f"{arrived.message['Subject']}\n{arrived.message.get_body().as_string()}"  # type: ignore[union-attr]  # there is one


def test_join_and_leave(front: Front, core: Core, out: Sink) -> None:
    address = f"new-{front.kind}@example.org"

    def is_member() -> bool:
        return address in [one["email"] for one in core.members("news")]

    assert not is_member()
    front.post(f"news-join@{DOMAIN}", sender=address, subject="join")
    confirm(front, out, address, 1)
    until(is_member)
    front.post(f"news-leave@{DOMAIN}", sender=address, subject="leave")
    confirm(front, out, address, 2)
    until(lambda: not is_member())


def confirm(front: Front, out: Sink, address: str, count: int) -> None:
    """Answer what Mailman asks, at the address that has the token."""

    def asked() -> list[str]:
        found = (str(one.message["From"]) for one in out.to(address))
        matches = (re.search(r"news-confirm\+[0-9a-f]+@[a-z.]+", text) for text in found)
        return [match[0] for match in matches if match]

    until(lambda: len(asked()) == count)
    front.post(asked()[-1], sender=address, subject="Re: confirm")


def test_the_owner(front: Front, out: Sink) -> None:
    subject = front.post(f"dev-owner@{DOMAIN}", sender=STRANGER)
    until(lambda: out.recipients(subject) == ["owner@example.net"])


REPORT_HEADER = """\
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=x
"""
REPORT = """\
--x
Content-Type: text/plain

No such mailbox.
--x
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

Final-Recipient: rfc822; ben@example.com
Action: failed
Status: 5.1.1
--x--
"""


def test_a_bounce_counts(front: Front, core: Core) -> None:
    name = {"program": "dev", "class": "dev-team"}[front.kind]

    def score() -> int:
        [found] = [one["bounce_score"] for one in core.members(name) if one["email"] == BEN]
        return int(found)

    assert score() == 0
    verp = f"{name}-bounces+ben=example.com@{DOMAIN}"
    front.post(verp, sender="", header=REPORT_HEADER, body=REPORT)
    until(score)
    assert score() == 1
    # One without an address goes to Mailman as well, whatever it makes of it.
    front.post(f"{name}-bounces@{DOMAIN}", sender="")


def test_a_strangers_post_is_held(front: Front, core: Core, out: Sink) -> None:
    subject = front.post(TEAM, sender=STRANGER)
    until(lambda: subject in [one["subject"] for one in core.held("dev-team")])
    assert not {ANN, BEN} & set(out.recipients(subject))


def test_what_it_does_not_know_is_passed_on(front: Front, after: Sink) -> None:
    subject = front.post(NOBODY, f"dev-admin@{DOMAIN}", f"x-request@{DOMAIN}")
    until(lambda: len(after.recipients(subject)) == 3)


def test_another_domain(front: Front, after: Sink, out: Sink) -> None:
    subject = front.post(ELSEWHERE, f"dev@sub.{DOMAIN}")
    until(lambda: after.recipients(subject) == [ELSEWHERE, f"dev@sub.{DOMAIN}"])
    assert out.recipients(subject) == []


def test_some_of_each(front: Front, after: Sink, out: Sink) -> None:
    subject = front.post(DEV, ELSEWHERE, NOBODY, TEAM)
    until(lambda: after.recipients(subject) == [ELSEWHERE, NOBODY])
    until(lambda: len(out.recipients(subject)) == 4)
    time.sleep(QUIET_SECONDS)
    assert out.recipients(subject) == [ANN, ANN, BEN, BEN]
    assert after.recipients(subject) == [ELSEWHERE, NOBODY]


def test_a_defective_message_to_two_lists(front: Front, after: Sink, out: Sink) -> None:
    defective = "Content-Type: multipart/mixed\n"
    subject = token()
    begun = time.monotonic()
    if front.kind == "class":
        with pytest.raises(smtplib.SMTPDataError) as error:
            front.post(DEV, TEAM, subject=subject, header=defective)
        assert error.value.args == (501, b"Message has defects")
    else:
        front.post(DEV, TEAM, subject=subject, header=defective)
        until(lambda: after.recipients(subject) == [ANN], 10)
        [report] = after.find(subject)
        assert report.sender == ""
        assert report.message.as_string().count("smtp; 501 Message has defects") == 2
    assert time.monotonic() - begun < 10, "one answer for two is waited for briefly"
    assert out.find(subject) == []


def test_lookups_take_little_time(front: Front, core: Core) -> None:
    with (
        smtplib.SMTP("127.0.0.1", front.port) as client,
        smtplib.LMTP("127.0.0.1", core.lmtp) as mailman,
    ):
        for session in (client, mailman):
            session.ehlo()
            session.mail("<>")
            session.rcpt(f"first@{DOMAIN}")  # opens our session with Mailman
        # In turns, and the best of several: others work on this machine as well.
        rounds = [(took(client, turn), took(mailman, turn)) for turn in range(5)]
    ours, its = (min(one) for one in zip(*rounds, strict=True))
    print(  # noqa: T201  # for people
        f"\n{front.kind}: a lookup costs a client {ours * 1000:.1f} ms,"
        f" of which Mailman takes {its * 1000:.1f} ms"
    )
    assert ours < LOOKUP_SECONDS


def took(session: smtplib.SMTP, turn: int) -> float:
    """Ask for recipients that nobody has asked for; give the median of what that took."""
    times = []
    for number in range(20):
        begun = time.perf_counter()
        assert session.rcpt(f"nobody-{turn}-{number}@{DOMAIN}")[0] in (250, 550)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


@pytest.mark.parametrize("kind", sorted(FRONTS))
def test_unknown_addresses_are_refused(core: Core, after: Sink, folder: Path, kind: str) -> None:
    with FRONTS[kind](core, after, folder / f"{kind}-reject", "reject") as front:
        said = front.ask(NOBODY, f"dev-admin@{DOMAIN}", DEV, ELSEWHERE)
        assert [code for code, _ in said] == [550, 550, 250, 250]
        assert said[0][1].startswith("5.1.1 ")


# When Mailman is not there, or we are not


@pytest.mark.parametrize("kind", sorted(FRONTS))
def test_mailman_is_frozen(core: Core, after: Sink, out: Sink, folder: Path, kind: str) -> None:
    with FRONTS[kind](core, after, folder / f"{kind}-frozen", "relay") as front:
        assert front.ask(DEV)[0][0] == 250  # which the program remembers
        core.freeze()
        try:
            said = front.ask(NEWS, ELSEWHERE)
            assert (said[0][0], said[0][1][:5], said[1][0]) == (451, "4.3.0", 250)
            subject = front.post(ELSEWHERE)
            until(lambda: after.recipients(subject) == [ELSEWHERE])
            waiting = front.post(DEV, ELSEWHERE) if kind == "program" else ""
            if waiting:
                until(lambda: after.recipients(waiting) == [ELSEWHERE])
        finally:
            core.thaw()
        if waiting:
            until(lambda: out.recipients(waiting) == [ANN, BEN])
        until(lambda: front.ask(NEWS)[0][0] == 250)
        subject = front.post(NEWS)
        until(lambda: out.recipients(subject) == [ANN, BEN])
        assert not waiting or len(after.find(waiting)) == 1


def test_mailman_is_stopped_and_back(core: Core, after: Sink, out: Sink, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        fronts = [
            stack.enter_context(FRONTS[kind](core, after, folder / f"{kind}-stopped", "relay"))
            for kind in sorted(FRONTS)
        ]
        waiting = []
        for front in fronts:
            assert front.ask(DEV)[0][0] == 250
        core.stop()
        for front in fronts:
            if front.kind == "program":
                waiting.append(front.post(DEV, ELSEWHERE))  # known, and kept
            said = front.ask(NEWS, ELSEWHERE)
            assert (said[0][0], said[0][1][:5], said[1][0]) == (451, "4.3.0", 250)
            subject = front.post(ELSEWHERE)
            until(lambda subject=subject: after.recipients(subject) == [ELSEWHERE])  # type: ignore[misc]  # of this turn
        core.start()
        for subject in waiting:
            until(lambda subject=subject: out.recipients(subject) == [ANN, BEN])  # type: ignore[misc]  # the same
            assert after.recipients(subject) == [ELSEWHERE]
        for front in fronts:
            subject = front.post(NEWS)
            until(lambda subject=subject: out.recipients(subject) == [ANN, BEN])  # type: ignore[misc]  # the same


def test_the_program_is_killed_in_the_middle(
    core: Core, after: Sink, out: Sink, folder: Path
) -> None:
    place = folder / "killed"
    subjects = []
    with program(core, after, place, "relay") as front:
        assert front.ask(DEV)[0][0] == 250
        core.freeze()
        try:
            subjects = [front.post(DEV, ELSEWHERE) for _ in range(10)]
            front.kill()
        finally:
            core.thaw()
    assert listed(place) != []
    with program(core, after, place, "relay"):
        for subject in subjects:
            until(lambda subject=subject: len(out.recipients(subject)) >= 2)  # type: ignore[misc]  # of this turn
            until(lambda subject=subject: after.recipients(subject) != [])  # type: ignore[misc]  # the same
        until(lambda: listed(place) == [])
        time.sleep(QUIET_SECONDS)
    for subject in subjects:
        assert out.recipients(subject) == [ANN, BEN], "nothing is lost, and no post is doubled"
        assert after.recipients(subject)


def test_the_class_is_killed_in_the_middle(
    core: Core, after: Sink, out: Sink, folder: Path
) -> None:
    with old_class(core, after, folder, "relay") as front:
        kept = [front.post(DEV, ELSEWHERE) for _ in range(3)]
        core.freeze()
        try:
            with smtplib.SMTP("127.0.0.1", front.port, timeout=30) as client:
                client.ehlo()
                client.mail(ANN)
                assert client.rcpt(DEV)[0] == 250
                assert client.rcpt(ELSEWHERE)[0] == 250
                client.putcmd("data")
                assert client.getreply()[0] == 354
                lost = token()
                client.send(f"From: {ANN}\r\nSubject: {lost}\r\n\r\nx\r\n.\r\n".encode())
                until(lambda: after.recipients(lost) == [ELSEWHERE])
                front.kill()
                with pytest.raises(smtplib.SMTPServerDisconnected):
                    client.getreply()
        finally:
            core.thaw()
    with old_class(core, after, folder, "relay") as front:
        # What was not acknowledged is the client's to send again; the list gets it once.
        front.post(DEV, ELSEWHERE, subject=lost)
        for subject in (*kept, lost):
            until(lambda subject=subject: len(out.recipients(subject)) >= 2)  # type: ignore[misc]  # of this turn
        time.sleep(QUIET_SECONDS)
    for subject in (*kept, lost):
        assert out.recipients(subject) == [ANN, BEN]
    assert [len(after.recipients(subject)) for subject in (*kept, lost)] == [1, 1, 1, 2]
