"""Large messages, streamed: in bounded memory, at the handler's pace, to a true end or none."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from pillarbox import Body, Envelope, IncompleteBody, Message, Reject, Reply, Session, streaming
from pillarbox.protocol.extension import Offer
from tests.asyncio.wire import BEGIN, InMemory, connected, on_the_wire, turns
from tests.grammar import split_answers

pytestmark = pytest.mark.usefixtures("new_loop")

STREAMING = Offer(hostname="mx.test", whole_body_octets=0)
NO = Reply(550, "5.7.1", "No")


def codes(octets: bytes) -> list[int]:
    return [answer.code for answer in split_answers(octets)]


class Reads:
    """A handler that reads its body in parts, as it is told, and notes what became of it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.failures: list[Reply | None] = []
        self.turns: asyncio.Queue[None] = asyncio.Queue()
        self.ended = 0

    def go_on(self, times: int = 1) -> None:
        for _ in range(times):
            self.turns.put_nowait(None)

    async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
        try:
            await self.turns.get()
            async for part in body:
                self.parts.append(part)
                await self.turns.get()
        except IncompleteBody as error:
            self.failures.append(error.reply)
            raise
        finally:
            self.ended += 1


async def test_parts_as_they_come(in_memory: InMemory) -> None:
    handler = Reads()
    client = in_memory(handler, STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\none")
    handler.go_on(10)
    await turns()
    assert handler.parts == [b"one"]
    client.feed(b"two\r\n..")
    await turns()
    assert handler.parts == [b"one", b"two\r\n."]
    client.feed(b"\r\n.\r\nQUIT\r\n")
    await turns()
    assert b"".join(handler.parts) == b"onetwo\r\n.\r\n"
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250, 221]
    assert handler.ended == 1


async def test_chunks_are_no_different(in_memory: InMemory) -> None:
    handler = Reads()
    client = in_memory(handler, STREAMING).connect()
    handler.go_on(10)
    client.feed(BEGIN + b"BDAT 3\r\none")
    await turns()
    client.feed(b"BDAT 3\r\ntw")
    await turns()
    client.feed(b"oBDAT 0 LAST\r\n")
    await turns()
    assert b"".join(handler.parts) == b"onetwo"
    assert codes(client.heard()) == [220, 250, 250, 250, 250, 250, 250]


async def test_nothing_is_read_that_nobody_asks_for(in_memory: InMemory) -> None:
    handler = Reads()
    client = in_memory(handler, STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    client.feed(b"x" * 1_000_000)
    assert client.is_paused
    client.feed(b"y" * 1_000_000)
    assert client.waiting_octets == 1_000_000
    handler.go_on(2)
    await turns()
    assert handler.parts[0] == b"begin"
    handler.go_on(10)
    await turns()
    client.feed(b"\r\n.\r\n")
    await turns()
    assert b"".join(handler.parts) == b"begin" + b"x" * 1_000_000 + b"y" * 1_000_000 + b"\r\n"
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250]


class Counts:
    """A handler that counts octets, and lets others run in between."""

    def __init__(self) -> None:
        self.octets = 0

    async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
        async for part in body:
            self.octets += len(part)
            await turns(3)


MEBIBYTE = 1 << 20


@pytest.mark.parametrize("way", ["DATA", "BDAT"])
async def test_memory_is_bounded(way: str) -> None:
    handler = Counts()
    number = 24
    async with on_the_wire(handler) as (_server, wire):
        await wire.send(BEGIN)
        await wire.codes(3)
        line = b"x" * 1022 + b"\r\n"
        chunk = line * 1024
        tracemalloc.start()
        if way == "DATA":
            assert await wire.ask(b"DATA\r\n") == 354
            for _ in range(number):
                await wire.send(chunk)
            assert await wire.ask(b".\r\n") == 250
        else:
            for _ in range(number * 16):
                await wire.send(b"BDAT %d\r\n" % (64 * 1024) + line * 64)
            await wire.send(b"BDAT 0 LAST\r\n")
            assert await wire.codes(number * 16 + 1) == [250] * (number * 16 + 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert handler.octets == number * MEBIBYTE
    # The client's own buffers are counted with it.
    assert peak < 6 * MEBIBYTE


async def test_a_handler_that_does_not_read_stops_the_client() -> None:
    handler = Reads()
    async with on_the_wire(handler, max_message_bytes=0) as (server, wire):
        await wire.send(BEGIN + b"DATA\r\n")
        await wire.codes(4)
        sent = 0

        async def send() -> None:
            nonlocal sent
            wire.writer.transport.set_write_buffer_limits(0)
            for _ in range(64):
                await wire.send(b"x" * MEBIBYTE)
                sent += MEBIBYTE
            await wire.send(b"\r\n.\r\n")

        sending = asyncio.create_task(send())
        connection = next(iter(server.admission.everyone))
        while not connection._is_paused:
            await turns(1)
        # As much as the kernel takes, and not more.
        await turns(100)
        assert sent < 32 * MEBIBYTE
        assert connection.protocol.buffered_octets < MEBIBYTE
        handler.go_on(10_000)
        await sending
        assert await wire.codes(1) == [250]
    assert sum(map(len, handler.parts)) == 64 * MEBIBYTE + 2


@pytest.mark.parametrize("answer", [None, NO, Reply(250, "2.0.0", "Enough")])
@pytest.mark.parametrize("reads", [0, 1])
async def test_an_early_answer_is_kept_until_the_rest_is_there(
    in_memory: InMemory, answer: Reply | None, reads: int
) -> None:
    class Hasty:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> Reply | None:
            for _ in range(reads):
                await anext(aiter(body))
            return answer

    client = in_memory(Hasty(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    client.heard()
    for _ in range(100):
        client.feed(b"QUIT\r\n" * 1000)
        await turns()
        assert not client.is_paused
    assert client.heard() == b""
    client.feed(b".\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [answer.code if answer else 250, 250]


async def test_an_early_reject_of_chunks(in_memory: InMemory) -> None:
    class Refuses:
        async def message(self, _session: Session, _envelope: Envelope, _body: Body) -> None:
            raise Reject(NO)

    client = in_memory(Refuses(), STREAMING).connect()
    client.feed(BEGIN + b"BDAT 9\r\nbegin")
    await turns()
    client.heard()
    client.feed(b"restBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [550, 503, 503, 250]


async def test_an_early_421_closes_at_once(in_memory: InMemory) -> None:
    class Closes:
        async def message(self, _session: Session, _envelope: Envelope, _body: Body) -> None:
            raise Reject(421, "4.3.2", "Going down")

    client = in_memory(Closes(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 421]
    assert client.is_lost


async def test_a_handler_that_fails_midway(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
            await anext(aiter(body))
            raise RuntimeError("secret")

    client = in_memory(Fails(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    client.feed(b"end\r\n.\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 451]
    assert "secret" in caplog.text


# IncompleteBody.


async def test_a_client_that_goes_away(in_memory: InMemory) -> None:
    handler = Reads()
    memory = in_memory(handler, STREAMING)
    for end in ("lose", "feed_eof"):
        client = memory.connect()
        handler.go_on(2)
        client.feed(BEGIN + b"DATA\r\nbegin")
        await turns()
        getattr(client, end)()
        await turns()
        assert client.is_lost
    assert handler.failures == [None, None]
    assert handler.ended == 2


async def test_a_client_that_goes_away_while_the_handler_is_busy(in_memory: InMemory) -> None:
    handler = Reads()
    client = in_memory(handler, STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    client.lose()
    await turns()
    assert handler.ended == 0
    handler.go_on(2)
    await turns()
    assert handler.parts == [b"begin"]
    assert handler.failures == [None]


async def test_a_client_that_goes_away_on_the_wire() -> None:
    handler = Reads()
    handler.go_on(10_000)
    for is_reset in (False, True):
        async with on_the_wire(handler) as (server, wire):
            await wire.send(BEGIN + b"DATA\r\n" + b"x" * 200_000)
            await wire.codes(4)
            while not handler.parts:
                await turns(1)
            if is_reset:
                wire.reset()
            else:
                await wire.close()
            while handler.ended <= is_reset:
                await turns(1)
            async with connected(server) as other:
                assert await other.ask(b"NOOP\r\n") == 250
    assert handler.failures == [None, None]


@pytest.mark.parametrize("line", [b"RSET\r\n", b"EHLO c\r\n", b"QUIT\r\n"])
async def test_a_client_that_changes_its_mind_between_chunks(
    in_memory: InMemory, line: bytes
) -> None:
    handler = Reads()
    client = in_memory(handler, STREAMING).connect()
    handler.go_on(10)
    client.feed(BEGIN + b"BDAT 5\r\nbegin")
    await turns()
    client.feed(line + b"NOOP\r\n")
    await turns()
    assert handler.failures == [None]
    ending = [221] if line == b"QUIT\r\n" else [250, 250]
    assert codes(client.heard()) == [220, 250, 250, 250, 250, *ending]


async def test_a_reset_while_the_handler_is_busy(in_memory: InMemory) -> None:
    handler = Reads()
    client = in_memory(handler, STREAMING).connect()
    client.feed(BEGIN + b"BDAT 5\r\nbegin" + b"RSET\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250]
    handler.go_on(10)
    await turns()
    assert handler.failures == [None]
    assert codes(client.heard()) == [250, 250, 250]


BROKEN = {"bare newline": b"a\nb", "too large": b"x" * 100}


@pytest.mark.parametrize("octets", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
async def test_a_rule_broken_midway(in_memory: InMemory, octets: bytes, way: str) -> None:
    handler = Reads()
    limited = Offer(hostname="mx.test", whole_body_octets=0, max_message_bytes=50)
    client = in_memory(handler, limited).connect()
    handler.go_on(10)
    size = 5 + len(octets) + 6
    client.feed(BEGIN + (b"DATA\r\n" if way == "DATA" else b"BDAT %d\r\n" % size) + b"begin")
    await turns()
    client.heard()
    client.feed(octets)
    await turns()
    code = 550 if b"\n" in octets else 552
    assert [reply and reply.code for reply in handler.failures] == [code]
    assert client.heard() == b""
    client.feed(b"QUIT\r\n")
    client.feed(b".\r\nNOOP\r\n" if way == "DATA" else b"NOOP\r\n")
    await turns()
    assert codes(client.heard()) == [code, 250]


async def test_whatever_a_handler_says_to_an_incomplete_body(in_memory: InMemory) -> None:
    class Forgives:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> Reply:
            with pytest.raises(IncompleteBody):
                await body.read()
            with pytest.raises(IncompleteBody):
                await body.read()
            return Reply(250, "2.0.0", "Fine")

    limited = Offer(hostname="mx.test", whole_body_octets=0, max_message_bytes=10)
    client = in_memory(Forgives(), limited).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    client.feed(b"x" * 10)
    await turns()
    client.feed(b"\r\n.\r\nNOOP\r\n")
    await turns()
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 552, 250]


async def test_incomplete_bodies_are_not_logged(
    in_memory: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    async def takes(body: Body) -> None:
        await body.read()

    class Takes:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
            await takes(body)

    client = in_memory(Takes(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nbegin")
    await turns()
    client.lose()
    await turns()
    assert caplog.records == []


# Who gets a whole body, and who a stream.


async def test_a_body_that_is_whole(in_memory: InMemory) -> None:
    bodies: list[tuple[bool, bytes, bytes, bytes]] = []

    class Takes:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
            bodies.append((body.is_whole, body.data, await body.read(), await body.read()))

    client = in_memory(Takes()).connect()
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n" + BEGIN + b"DATA\r\n.\r\n")
    await turns()
    assert bodies == [(True, b"x\r\n", b"x\r\n", b""), (True, b"", b"", b"")]


async def test_a_body_that_is_coming_in_has_no_data_yet(in_memory: InMemory) -> None:
    found: list[object] = []

    class Takes:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
            found.append(body.is_whole)
            with pytest.raises(RuntimeError, match=r"use `await body.read\(\)`"):
                _ = body.data
            found.append(await body.read())

    client = in_memory(Takes(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\none")
    await turns()
    client.feed(b"two\r\n.\r\n")
    await turns()
    assert found == [False, b"onetwo\r\n"]


async def test_plain_methods_and_functions_get_whole_bodies(in_memory: InMemory) -> None:
    taken: list[bytes] = []

    class Plain:
        def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
            assert body.is_whole
            taken.append(body.data)

    class PlainButAsync:
        def message(self, _session: Session, _envelope: Envelope, body: Body) -> object:
            return self.later(body)

        async def later(self, body: Body) -> None:
            taken.append(body.data)

    async def function(message: Message) -> None:
        taken.append(message.data)

    for handler in (Plain(), PlainButAsync(), function, lambda message: taken.append(message.data)):
        client = in_memory(handler, STREAMING).connect()
        client.feed(BEGIN + b"DATA\r\none")
        await turns()
        client.feed(b"two\r\n.\r\n")
        await turns()
        assert taken.pop() == b"onetwo\r\n"
        assert codes(client.heard())[-1:] == [250]


async def test_a_plain_method_that_streams(in_memory: InMemory) -> None:
    taken: list[bytes] = []

    class Streams:
        @streaming
        def message(self, _session: Session, _envelope: Envelope, body: Body) -> object:
            if not body.is_whole:
                return self.later(body)
            taken.append(body.data)
            return None

        async def later(self, body: AsyncIterator[bytes]) -> None:
            taken.extend([part async for part in body])

    client = in_memory(Streams(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\nwhole\r\n.\r\n")
    await turns()
    client.feed(BEGIN + b"DATA\r\none")
    await turns()
    client.feed(b"two\r\n.\r\n")
    await turns()
    assert taken == [b"whole\r\n", b"one", b"two\r\n"]
    assert codes(client.heard())[-1:] == [250]


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_body_that_is_read_after_the_answer(in_memory: InMemory, is_late: bool) -> None:
    """It must not take from the protocol what is not its own."""
    found: list[object] = []
    tasks: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()

    class Careless:
        async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
            tasks.append(asyncio.create_task(self.read(body)))
            if not is_late:
                await turns()

        async def read(self, body: Body) -> None:
            if is_late:
                await go_on.wait()
            try:
                found.append(await body.read())
            except IncompleteBody:
                found.append("incomplete")

        def mail(self, _session: Session, _mail: object) -> None:
            found.append("mail")

    client = in_memory(Careless(), STREAMING).connect()
    client.feed(BEGIN + b"DATA\r\none")
    await turns(20)
    go_on.set()
    client.feed(b"two\r\n.\r\nMAIL FROM:<>\r\nNOOP\r\n")
    await turns(20)
    assert codes(client.heard()) == [220, 250, 250, 250, 354, 250, 250, 250]
    assert sorted(map(str, found)) == ["incomplete", "mail", "mail"]
    assert all(task.done() for task in tasks)
