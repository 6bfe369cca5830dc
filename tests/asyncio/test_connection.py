"""One connection: time, back-pressure, the end. In memory, so that nothing waits for anything."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from pillarbox import Body, Disconnect, Envelope, Message, Reject, Reply, Session
from pillarbox.asyncio.connection import HIGH_WATER_OCTETS
from pillarbox.asyncio.wire import LINGER_SECONDS
from pillarbox.protocol.extension import Offer
from pillarbox.testing import Recorder
from tests.asyncio.wire import BEGIN, InMemory, turns
from tests.grammar import split_answers

pytestmark = pytest.mark.usefixtures("new_loop")

# The time is looked at once a second: nobody is cut short, and nobody has much more.
TICKS = 2

IDLE = b"421 4.4.2 Idle too long\r\n"
TOO_SLOW = b"421 4.4.2 Too slow\r\n"

TALKATIVE = Offer(hostname="mx.test", max_idle_commands=1_000_000)


def codes(octets: bytes) -> list[int]:
    return [answer.code for answer in split_answers(octets)]


class Waits:
    """A handler that waits where it is told, until it is told to go on."""

    def __init__(self, *where: str) -> None:
        self.where = where
        self.go_on = asyncio.Event()
        self.waiting: list[str] = []
        self.messages: list[bytes] = []
        self.disconnected = 0

    async def wait(self, name: str) -> None:
        if name in self.where:
            self.waiting.append(name)
            await self.go_on.wait()

    async def connect(self, _session: Session) -> None:
        await self.wait("connect")

    async def mail(self, _session: Session, _mail: object) -> None:
        await self.wait("mail")

    async def rcpt(self, _session: Session, _rcpt: object) -> None:
        await self.wait("rcpt")

    async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
        await self.wait("message")
        self.messages.append(await body.read())

    async def disconnect(self, _session: Session) -> None:
        self.disconnected += 1


# The batch.


async def test_a_batch_is_answered_in_one_write(in_memory: InMemory) -> None:
    memory = in_memory(Recorder())
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\n")
    assert codes(client.heard()) == [220, 250, 250, 250, 354]
    # One greeting, and one write for the batch.
    assert client.writes == 2


async def test_a_batch_that_waits_is_answered_in_order(in_memory: InMemory) -> None:
    handler = Waits("mail")
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"NOOP\r\n")
    await turns()
    assert handler.waiting == ["mail"]
    client.feed(b"DATA\r\nx\r\n.\r\n")
    await turns()
    assert handler.waiting == ["mail"]
    handler.go_on.set()
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 250, 354, 250]
    assert handler.messages == [b"x\r\n"]


@pytest.mark.parametrize("where", ["connect", "mail", "rcpt", "message"])
async def test_a_handler_that_waits_anywhere(in_memory: InMemory, where: str) -> None:
    handler = Waits(where)
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\nQUIT\r\n")
    await turns()
    assert handler.waiting == [where]
    assert not client.is_closing()
    handler.go_on.set()
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250, 221]
    assert client.is_lost
    assert handler.disconnected == 1


# Time.


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("where", ["connect", "mail", "rcpt", "message"])
async def test_a_handler_that_disconnects(in_memory: InMemory, where: str, waits: bool) -> None:
    disconnected: list[Session] = []

    def leaves(*_: object) -> None:
        raise Disconnect

    async def leaves_later(*_: object) -> None:
        await asyncio.sleep(0)
        raise Disconnect

    handler = SimpleNamespace(message=lambda *_: None, disconnect=disconnected.append)
    setattr(handler, where, leaves_later if waits else leaves)
    client = in_memory(handler).connect()
    client.feed(BEGIN + b"DATA\r\nHi\r\n.\r\nNOOP\r\n")
    await turns()
    assert client.is_closing()
    assert b"451" not in client.heard()
    assert len(disconnected) == 1


async def test_the_dialogue_is_kept_where_it_is_asked_for(in_memory: InMemory) -> None:
    dialogues: list[tuple[str, ...]] = []

    def keep(message: Message) -> None:
        dialogues.append(message.session.dialogue)

    for keeps in (False, True):
        client = in_memory(keep, keeps_dialogue=keeps).connect()
        client.feed(BEGIN + b"DATA\r\n")
        client.feed(b"Hi\r\n.\r\n")
    without, lines = dialogues
    assert without == ()
    assert lines[0].startswith("S: 220 ")
    assert lines[-3].startswith("S: 354 ")
    assert lines[-2:] == ("C: (4 octets of message)", "C: .")
    assert "C: DATA" in lines


async def test_idle(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), idle_timeout_seconds=300)
    client = memory.connect()
    client.heard()
    memory.wait(300)
    assert not client.is_closing()
    memory.wait(TICKS)
    assert client.heard() == IDLE
    await turns()
    assert client.is_lost
    assert memory.server.questions.disconnect is not None


async def test_octets_begin_the_wait_anew(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), idle_timeout_seconds=300)
    client = memory.connect()
    for _ in range(3):
        memory.wait(299)
        client.feed(b"NOOP\r\n")
    memory.wait(299)
    assert not client.is_closing()
    memory.wait(1 + TICKS)
    assert client.heard().endswith(IDLE)


async def test_octets_of_one_command_do_not_begin_its_wait_anew(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), idle_timeout_seconds=300)
    client = memory.connect()
    for _ in range(2):
        client.feed(b"N")
        memory.wait(150)
    assert not client.is_closing()
    client.feed(b"N")
    memory.wait(TICKS)
    assert client.heard().endswith(TOO_SLOW)


async def test_commands_that_every_tick_cuts_are_not_slow(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), TALKATIVE)
    client = memory.connect()
    for _ in range(500):
        client.feed(b"NOO")
        memory.wait(1)
        client.feed(b"P\r\nN")
        memory.wait(1)
        client.feed(b"OOP\r\n")
    assert not client.is_closing()


async def test_messages_one_after_the_other_are_not_slow(in_memory: InMemory) -> None:
    # Each tick finds one that has just begun.
    memory = in_memory(Recorder())
    client = memory.connect()
    client.feed(b"EHLO client.test\r\n")
    for _ in range(100):
        client.feed(b"MAIL FROM:<>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\n")
        memory.wait(1)
        client.feed(b"x\r\n.\r\n")
    assert not client.is_closing()


@pytest.mark.parametrize("command", [b"DATA", b"BDAT 1000000", b"MAIL FROM:<a@b>\r\nBDAT 999999"])
async def test_a_message_that_drips_in(in_memory: InMemory, command: bytes) -> None:
    memory = in_memory(Recorder(), min_message_rate=100)
    client = memory.connect()
    begin = BEGIN if not command.startswith(b"MAIL") else b"EHLO client.test\r\n"
    client.feed(begin + command + b"\r\n")
    for _ in range(300):
        client.feed(b"x" * 110)
        memory.wait(1)
    assert not client.is_closing()
    for _ in range(300):
        client.feed(b"x")
        memory.wait(1)
    assert client.heard().endswith(TOO_SLOW)


async def test_a_message_that_begins_late(in_memory: InMemory) -> None:
    # RFC 5321 §4.5.3.2.5: a client may take three minutes over a block of data.
    client = (memory := in_memory(Recorder(), min_message_rate=100)).connect()
    client.feed(BEGIN + b"DATA\r\n")
    memory.wait(180)
    client.feed(b"x" * 200)
    memory.wait(1)
    assert not client.is_closing()


async def test_the_longest_session(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), max_session_seconds=100)
    client = memory.connect()
    for _ in range(10):
        memory.wait(10)
        client.feed(b"NOOP\r\n")
    assert not client.is_closing()
    memory.wait(TICKS)
    assert client.heard().endswith(b"421 4.4.2 This session has lasted long enough\r\n")


LONG_ENOUGH = b"421 4.4.2 This session has lasted long enough\r\n"


@pytest.mark.parametrize(
    ("command", "keeps_on"),
    [
        (b"RCPT TO:<ben@example.org>\r\n", b"RCPT TO:<cat@example.org>\r\n"),
        (b"RCPT TO:<ben@example.org>\r\nDATA\r\n", b"x" * 998 + b"\r\n"),
        (b"RCPT TO:<ben@example.org>\r\n", b"BDAT 1000\r\n" + b"x" * 1000),
    ],
    ids=["recipients", "data", "chunks"],
)
async def test_an_open_transaction_may_end(
    in_memory: InMemory, command: bytes, keeps_on: bytes
) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, max_session_seconds=100)
    client = memory.connect()
    client.feed(b"EHLO client.test\r\n")
    memory.wait(95)
    client.feed(b"MAIL FROM:<ann@example.org>\r\n" + command)
    for _ in range(9):
        memory.wait(10)
        client.feed(keeps_on)
    assert not client.is_closing()
    client.feed(b".\r\n" if b"DATA" in command else b"BDAT 0 LAST\r\n")
    assert len(recorder.messages) == 1
    memory.wait(TICKS)
    assert client.heard().endswith(LONG_ENOUGH)


async def test_a_transaction_that_brings_no_message_ends(in_memory: InMemory) -> None:
    class Later(Recorder):
        def rcpt(self, _session: Session, _rcpt: object) -> Reply:
            return Reply(450, "4.2.1", "Later")

    memory = in_memory(Later(), max_session_seconds=100)
    client = memory.connect()
    client.feed(b"EHLO client.test\r\n")
    memory.wait(50)
    client.feed(b"MAIL FROM:<ann@example.org>\r\n")
    for _ in range(10):
        client.feed(b"RCPT TO:<ben@example.org>\r\n")
        memory.wait(10)
    assert not client.is_closing()
    memory.wait(TICKS)
    assert client.heard().endswith(LONG_ENOUGH)


@pytest.mark.parametrize(
    "octets", [b"", b"EHLO", BEGIN, BEGIN + b"DATA\r\nx", BEGIN + b"BDAT 9\r\nx", b"BDAT 9\r\nx"]
)
async def test_idle_anywhere(in_memory: InMemory, octets: bytes) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, idle_timeout_seconds=10)
    client = memory.connect()
    client.feed(octets)
    memory.wait(10 + TICKS)
    await turns()
    assert client.heard().endswith(IDLE)
    assert client.is_lost
    assert recorder.messages == []
    assert recorder.calls.count("disconnect") == 1


@pytest.mark.parametrize("where", ["connect", "mail", "rcpt", "message"])
async def test_a_slow_handler_is_not_the_clients_fault(in_memory: InMemory, where: str) -> None:
    handler = Waits(where)
    memory = in_memory(handler, idle_timeout_seconds=10)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    await turns()
    memory.wait(100)
    assert not client.is_closing()
    handler.go_on.set()
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250]
    memory.wait(9)
    assert not client.is_closing()
    memory.wait(1 + TICKS)
    assert client.is_closing()


async def test_idle_while_a_handler_waits_for_more(in_memory: InMemory) -> None:
    handler = Waits()
    memory = in_memory(
        handler, Offer(hostname="mx.test", whole_body_octets=0, idle_timeout_seconds=10)
    )
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx")
    await turns()
    memory.wait(10 + TICKS)
    assert client.heard().endswith(IDLE)
    await turns()
    assert handler.messages == []
    assert handler.disconnected == 1


async def test_a_client_that_does_not_read_our_last_words_is_not_waited_for(
    in_memory: InMemory,
) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, idle_timeout_seconds=10)
    client = memory.connect()
    client.is_read = False
    memory.wait(10 + TICKS)
    await turns()
    assert client.is_closing()
    assert not client.is_lost
    memory.wait(LINGER_SECONDS)
    await turns()
    assert not client.is_lost
    memory.wait(TICKS)
    await turns()
    assert client.is_lost
    assert recorder.calls == ["connect", "disconnect"]


async def test_a_client_that_does_not_read_goodbye_is_not_waited_for(in_memory: InMemory) -> None:
    recorder = Recorder()
    memory = in_memory(recorder)
    client = memory.connect()
    client.is_read = False
    memory.wait(100)
    client.feed(b"QUIT\r\n")
    memory.wait(LINGER_SECONDS + TICKS)
    await turns()
    assert client.is_lost
    assert recorder.calls == ["connect", "disconnect"]


# Back-pressure.


async def test_what_a_busy_handler_does_not_take_is_not_read(in_memory: InMemory) -> None:
    handler = Waits("mail")
    memory = in_memory(handler, TALKATIVE)
    client = memory.connect()
    client.feed(BEGIN)
    await turns()
    for _ in range(100):
        client.feed(b"NOOP\r\n" * 1000)
    assert client.is_paused
    assert HIGH_WATER_OCTETS <= memory_of(client) < HIGH_WATER_OCTETS + 6000
    assert client.waiting_octets > 0
    handler.go_on.set()
    await turns(1000)
    assert not client.is_paused
    assert client.waiting_octets == 0
    assert codes(client.heard()) == [220, 250, 250, 250] + [250] * 100_000


def memory_of(client: object) -> int:
    """Tell how much the core has of what was received."""
    buffered = client._protocol.protocol.buffered_octets  # type: ignore[attr-defined]
    assert isinstance(buffered, int)
    return buffered


async def test_a_large_message_that_nobody_reads_is_not_read(in_memory: InMemory) -> None:
    handler = Waits("message")
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\n")
    for _ in range(1000):
        client.feed(b"x" * 10_000)
    await turns()
    assert client.is_paused
    assert memory_of(client) <= HIGH_WATER_OCTETS + 10_000
    assert handler.waiting == ["message"]
    handler.go_on.set()
    await turns(3000)
    client.feed(b"\r\n.\r\n")
    await turns()
    assert handler.messages == [b"x" * 10_000_000 + b"\r\n"]
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250]


async def test_a_client_that_never_reads(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), idle_timeout_seconds=10)
    client = memory.connect(high_water=10_000)
    client.is_read = False
    for _ in range(1000):
        client.feed(b"HELP\r\n" * 1000)
    assert client.is_paused
    assert client.waiting_octets > 0
    # A batch of replies above the mark, and not more.
    assert client.get_write_buffer_size() < 10_000 + 256 * 100
    memory.wait(10 + TICKS)
    memory.wait(LINGER_SECONDS + TICKS)
    await turns()
    assert client.is_lost


async def test_a_client_that_reads_late_loses_nothing(in_memory: InMemory) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, TALKATIVE)
    client = memory.connect(high_water=10_000)
    client.is_read = False
    client.feed(b"HELP\r\n" * 5000 + BEGIN + b"DATA\r\nx\r\n.\r\nQUIT\r\n")
    await turns()
    assert client.is_paused
    client.is_read = True
    await turns(1000)
    assert codes(client.heard()) == [220] + [214] * 5000 + [250, 250, 250, 354, 250, 221]
    assert client.is_lost
    assert len(recorder.messages) == 1


async def test_a_client_that_reads_late_and_a_handler_that_waits(in_memory: InMemory) -> None:
    handler = Waits("mail")
    memory = in_memory(handler, TALKATIVE)
    client = memory.connect(high_water=1000)
    client.is_read = False
    client.feed(BEGIN)
    await turns()
    client.feed(b"HELP\r\n" * 2000 + b"QUIT\r\n")
    handler.go_on.set()
    await turns()
    assert not client.is_closing()
    client.is_read = True
    await turns(1000)
    assert codes(client.heard()) == [220, 250, 250, 250] + [214] * 2000 + [221]


async def test_chunks_that_are_many_and_small(in_memory: InMemory) -> None:
    # More replies than are kept for a write, while a handler reads the body.
    handler = Waits()
    memory = in_memory(handler, Offer(hostname="mx.test", whole_body_octets=0))
    client = memory.connect()
    client.feed(BEGIN + b"BDAT 1\r\nx" * 1000 + b"NOOP\r\n" * 1000 + b"BDAT 0 LAST\r\n")
    await turns(3000)
    assert handler.messages == [b"x" * 1000]
    assert codes(client.heard()) == [220, 250, 250, 250] + [250] * 2001


async def test_chunks_of_a_client_that_never_reads(in_memory: InMemory) -> None:
    handler = Waits()
    memory = in_memory(
        handler, Offer(hostname="mx.test", whole_body_octets=0), idle_timeout_seconds=10
    )
    client = memory.connect(high_water=1000)
    client.is_read = False
    client.feed(BEGIN + b"BDAT 1\r\nx")
    await turns()
    for _ in range(100):
        client.feed(b"HELP\r\n" * 1000)
        await turns()
    assert client.is_paused
    assert client.get_write_buffer_size() < 200_000


# The end.


async def test_disconnect_is_told_once(in_memory: InMemory) -> None:
    recorder = Recorder()
    memory = in_memory(recorder)
    for end in ("lose", "feed_eof", "abort", "close"):
        client = memory.connect()
        getattr(client, end)()
        getattr(client, end)()
        await turns()
        assert client.is_lost
        assert recorder.calls == ["connect", "disconnect"], end
        recorder.calls.clear()


async def test_what_was_whole_is_handled_though_the_client_is_gone(in_memory: InMemory) -> None:
    handler = Waits("message")
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    await turns()
    client.lose()
    await turns()
    assert handler.disconnected == 0
    handler.go_on.set()
    await turns()
    assert handler.messages == [b"x\r\n"]
    assert handler.disconnected == 1


@pytest.mark.parametrize("where", ["connect", "mail", "rcpt"])
async def test_a_client_that_leaves_while_a_handler_thinks(in_memory: InMemory, where: str) -> None:
    handler = Waits(where)
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    await turns()
    client.lose()
    await turns()
    handler.go_on.set()
    await turns()
    assert handler.waiting == [where]
    assert handler.messages == []
    assert handler.disconnected == 1


async def test_eof_behind_a_batch(in_memory: InMemory) -> None:
    recorder = Recorder()
    memory = in_memory(recorder)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    client.feed_eof()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250]
    assert client.is_lost


async def test_eof_while_a_handler_thinks(in_memory: InMemory) -> None:
    handler = Waits("rcpt")
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\nQUIT\r\n")
    await turns()
    client.feed_eof()
    await turns()
    assert not client.is_closing()
    handler.go_on.set()
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250, 221]
    assert client.is_lost
    assert handler.disconnected == 1


async def test_eof_while_a_handler_reads(in_memory: InMemory) -> None:
    handler = Waits()
    memory = in_memory(handler, Offer(hostname="mx.test", whole_body_octets=0))
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx")
    await turns()
    client.feed_eof()
    await turns()
    assert client.is_lost
    assert handler.messages == []
    assert handler.disconnected == 1


# Handlers that do what they should not.


async def test_the_log_has_the_traceback_and_the_client_has_not(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_message: Message) -> None:
        raise RuntimeError("secret")

    memory = in_memory(fails)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    await turns()
    assert client.heard().endswith(b"451 4.3.0 Local error; try again later\r\n")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.name == "pillarbox"
    assert "the handler failed on BodyPart" in record.getMessage()
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


WRONG = {
    "text": "250 OK",
    "True": True,
    "False": False,
    "number": 250,
    "octets": b"250 OK",
    "a list": [],
    "3xx": Reply(354, None, "Go on"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_answer_that_is_none(
    in_memory: InMemory, answer: object, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Answers:
        def mail(self, _session: Session, _mail: object) -> object:
            return self.later() if is_async else answer

        async def later(self) -> object:
            return answer

    memory = in_memory(Answers())
    client = memory.connect()
    client.feed(b"EHLO c\r\nMAIL FROM:<a@b>\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 451, 250]
    assert "return a 2xx, 4xx or 5xx Reply, or None for the ordinary one" in caplog.text


TAKEN = Reply(250, "2.1.5", "Taken")


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("octets", [1, 100_000])
async def test_more_or_fewer_replies_than_recipients(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture, count: int, octets: int
) -> None:
    """Whose reply is whose, nobody knows: each recipient is to be tried again."""

    class Answers:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> object:
            await body.read()
            return [TAKEN] * count

    memory = in_memory(Answers(), is_lmtp=True)
    client = memory.connect()
    client.feed(BEGIN.replace(b"EHLO", b"LHLO") + b"RCPT TO:<cleo@example.org>\r\n")
    client.feed(b"DATA\r\n" + b"x" * octets + b"\r\n.\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 250, 354, 451, 451, 250]
    [record] = caplog.records
    assert "the handler answered BodyPart with [" in record.getMessage()
    counters = memory.server.counters
    assert (counters.recipients_deferred, counters.handler_errors) == (2, 1)


async def test_a_handler_that_cancels_itself(in_memory: InMemory) -> None:
    class Cancels:
        async def mail(self, _session: Session, _mail: object) -> None:
            # What awaiting a task does that somebody has cancelled.
            raise asyncio.CancelledError

    memory = in_memory(Cancels())
    client = memory.connect()
    client.feed(b"EHLO c\r\nMAIL FROM:<a@b>\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 451, 250]


@pytest.mark.parametrize("where", ["connect", "mail", "rcpt", "message"])
async def test_a_task_that_is_cancelled_leaves_no_client_waiting(
    in_memory: InMemory, where: str
) -> None:
    handler = Waits(where)
    memory = in_memory(handler)
    client = memory.connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    await turns()
    assert handler.waiting == [where]
    (connection,) = memory.server.admission.everyone
    assert connection._task is not None
    connection._task.cancel()
    await turns()
    assert client.heard().endswith(b"421 4.3.0 Local error; try again later\r\n")
    assert client.is_lost
    assert handler.messages == []
    assert handler.disconnected == 1


async def test_rejects(in_memory: InMemory) -> None:
    class Rejects:
        async def connect(self, _session: Session) -> None:
            pass

        def mail(self, _session: Session, _mail: object) -> None:
            raise Reject(550, "5.7.1", "Not from you")

    memory = in_memory(Rejects())
    client = memory.connect()
    await turns()
    client.feed(b"EHLO c\r\nMAIL FROM:<a@b>\r\n")
    assert client.heard().endswith(b"550 5.7.1 Not from you\r\n")


async def test_a_421_of_a_handler_closes(in_memory: InMemory) -> None:
    class Closes:
        async def mail(self, _session: Session, _mail: object) -> None:
            raise Reject(421, "4.7.0", "Enough")

    memory = in_memory(Closes())
    client = memory.connect()
    client.feed(b"EHLO c\r\nMAIL FROM:<a@b>\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 421]
    assert client.is_lost


async def test_a_disconnect_that_fails_is_logged(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails:
        def __init__(self, is_async: bool) -> None:
            self.is_async = is_async

        def connect(self, _session: Session) -> None:
            pass

        def disconnect(self, _session: Session) -> object:
            if self.is_async:
                return self.later()
            raise RuntimeError("at once")

        async def later(self) -> None:
            raise RuntimeError("later")

    for is_async in (False, True):
        client = in_memory(Fails(is_async)).connect()
        client.lose()
        await turns()
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        "at once",
        "later",
    ]


# What a handler knows.


async def test_the_session(in_memory: InMemory) -> None:
    sessions: list[Session] = []

    class Notes:
        def connect(self, session: Session) -> None:
            sessions.append(session)
            assert session.domain is None
            session.state["number"] = len(sessions)

        def mail(self, session: Session, _mail: object) -> None:
            assert session is sessions[session.state["number"] - 1]
            assert (session.domain, session.is_extended) == ("client.test", True)

    memory = in_memory(Notes())
    for port in (1, 2):
        client = memory.connect(peername=("192.0.2.7", port, 0, 0))
        client.feed(BEGIN)
        assert codes(client.heard()) == [220, 250, 250, 250]
    assert [session.peer for session in sessions] == [("192.0.2.7", 1), ("192.0.2.7", 2)]
    assert sessions[0].local == ("192.0.2.25", 25)
    assert sessions[0].id != sessions[1].id
    assert repr(sessions[0]) == f"<Session {sessions[0].id} from ('192.0.2.7', 1)>"


async def test_the_session_that_nobody_asked_for_before_its_end(in_memory: InMemory) -> None:
    peers: list[object] = []

    class Notes:
        def message(self, _session: Session, _envelope: Envelope, _body: Body) -> None:
            pass

        def disconnect(self, session: Session) -> None:
            peers.append(session.peer)

    client = in_memory(Notes()).connect()
    client.lose()
    await turns()
    assert peers == [("192.0.2.1", 49152)]
