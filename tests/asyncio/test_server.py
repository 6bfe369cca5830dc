"""The server: where it listens, whom it lets in, how it ends. On real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from pathlib import Path

import pytest

import pillarbox.asyncio.server
from pillarbox import Body, Envelope, Message, Server, Session, serve
from pillarbox.listen import open_sockets, open_unix_socket
from pillarbox.testing import FakeClock, Recorder
from tests.asyncio.wire import BEGIN, InMemory, Wire, config, connected, on_the_wire, turns
from tests.grammar import split_answers

pytestmark = pytest.mark.usefixtures("new_loop")

HAS_IPV6 = socket.has_ipv6 and "::1" in {
    found[4][0] for found in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
}
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="has no UNIX sockets")


async def deliver(wire: Wire, octets: bytes = b"x\r\n") -> None:
    await wire.send(BEGIN + b"DATA\r\n")
    assert await wire.codes(4) == [250, 250, 250, 354]
    assert await wire.ask(octets + b".\r\n") == 250


# Listening.


async def test_a_free_port() -> None:
    recorder = Recorder()
    async with serve(recorder, port=0, config=config()) as server:
        assert server.port > 0
        assert server.addresses == [("127.0.0.1", server.port)]
        async with connected(server) as wire:
            await deliver(wire)
    (message,) = recorder.messages
    assert message.data == b"x\r\n"
    assert message.session.local == ("127.0.0.1", server.port)
    assert isinstance(message.session.peer, tuple)
    assert message.session.peer[0] == "127.0.0.1"


async def test_a_name_of_several_addresses() -> None:
    async with serve(Recorder(), "localhost", 0, config=config()) as server:
        assert {address[0] for address in server.addresses} <= {"127.0.0.1", "::1"}
        assert len({address[1] for address in server.addresses}) == 1
        for address in server.addresses:
            assert isinstance(address, tuple)
            wire = Wire(*await asyncio.open_connection(*address))
            assert (await wire.reply()).code == 220
            await wire.close()


async def test_several_addresses_of_one_server() -> None:
    recorder = Recorder()
    server = Server(recorder, config=config())
    await server.listen("127.0.0.1", 0)
    await server.listen("127.0.0.1", 0)
    assert len({address[1] for address in server.addresses}) == 2
    for address in server.addresses:
        assert isinstance(address, tuple)
        wire = Wire(*await asyncio.open_connection(*address))
        assert (await wire.reply()).code == 220
        await deliver(wire)
        await wire.close()
    await server.close()
    assert len(recorder.messages) == 2


@pytest.mark.skipif(not HAS_IPV6, reason="has no IPv6")
async def test_ipv6() -> None:
    recorder = Recorder()
    async with serve(recorder, "::1", 0, config=config()) as server:
        assert server.addresses == [("::1", server.port)]
        async with connected(server) as wire:
            await deliver(wire)
    assert isinstance(recorder.messages[0].session.peer, tuple)
    assert recorder.messages[0].session.peer[0] == "::1"


async def test_an_address_that_is_taken() -> None:
    async with serve(Recorder(), port=0, config=config()) as server:
        with pytest.raises(OSError, match="in use"):
            async with serve(Recorder(), port=server.port, config=config()):
                pass
        gc.collect()


async def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match=r"assign|address"):
        async with serve(Recorder(), "192.0.2.1", 0, config=config()):
            pass


async def test_a_socket_that_cannot_listen_is_closed() -> None:
    (first,) = open_sockets("127.0.0.1", 0)
    # Two that are bound to one port are allowed, as long as neither listens.
    (second,) = open_sockets("127.0.0.1", first.getsockname()[1])
    server = Server(Recorder(), config=config())
    await server.listen_on(first)
    with pytest.raises(OSError, match="in use"):
        await server.listen_on(second)
    assert second.fileno() == -1
    async with connected(server) as wire:
        assert await wire.ask(b"NOOP\r\n") == 250
    await server.close()
    assert server.addresses == [("127.0.0.1", server.port)]


async def test_a_name_of_which_one_address_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = open_sockets("127.0.0.1", 0)
    sockets = [*open_sockets("127.0.0.1", 0), *open_sockets("127.0.0.1", taken.getsockname()[1])]
    sockets += open_sockets("127.0.0.1", 0)
    taken.listen()
    monkeypatch.setattr(pillarbox.asyncio.server, "open_sockets", lambda *_: list(sockets))
    with pytest.raises(OSError, match="in use"):
        async with serve(Recorder(), "name.test", 0, config=config()):
            pass
    assert [sock.fileno() for sock in sockets] == [-1, -1, -1]
    taken.close()


async def test_no_port_before_listening() -> None:
    server = Server(Recorder(), config=config())
    with pytest.raises(RuntimeError, match=r"await server.listen\(host, port\)"):
        _ = server.port
    assert server.addresses == []
    await server.close()


async def test_no_handler() -> None:
    with pytest.raises(TypeError, match="is no handler"):
        async with serve(object(), port=0):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match="is no handler"):
        async with serve(Recorder, port=0):  # type: ignore[arg-type]
            pass


@needs_unix
async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    recorder = Recorder()
    server = Server(recorder, config=config())
    await server.listen_unix(str(path))
    assert server.addresses == [str(path)]
    with pytest.raises(RuntimeError, match="no TCP port"):
        _ = server.port
    async with connected(server) as wire:
        await deliver(wire)
    await server.close()
    assert not path.exists()
    assert recorder.messages[0].session.peer == ""
    assert recorder.messages[0].session.local == str(path)


@needs_unix
async def test_a_unix_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    open_unix_socket(path).close()
    recorder = Recorder()
    server = Server(recorder, config=config())
    await server.listen_unix(path)
    async with connected(server):
        other = Server(Recorder(), config=config())
        with pytest.raises(OSError, match="in use"):
            await other.listen_unix(path)
    # The other one looked whether somebody answers.
    await until(lambda: recorder.calls.count("disconnect") == 2)
    await server.close()


@needs_unix
async def test_a_file_is_not_replaced_by_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    server = Server(Recorder(), config=config())
    with pytest.raises(OSError, match="in use"):
        await server.listen_unix(str(path))
    assert path.read_text() == "data"


# Whom it lets in.


async def test_connections_in_all() -> None:
    recorder = Recorder()
    async with on_the_wire(recorder, max_connections=2) as (server, first):
        async with connected(server) as second:
            for _ in range(3):
                async with connected(server, reads_greeting=False) as third:
                    assert await third.rest() == (
                        b"421 4.7.0 Too many connections; try again later\r\n"
                    )
            # Everybody else goes on.
            await deliver(first)
            await deliver(second)
        await until(lambda: recorder.calls.count("disconnect") == 1)
        async with connected(server) as fourth:
            await deliver(fourth)
    assert len(recorder.messages) == 3
    assert recorder.calls.count("connect") == recorder.calls.count("disconnect") == 3


async def until(condition: object) -> None:
    """Let the loop go round until something is so; the test's time limit ends it."""
    assert callable(condition)
    while not condition():
        await turns(1)


async def test_connections_from_one_address(in_memory: InMemory) -> None:
    recorder = Recorder()
    memory = in_memory(recorder, max_connections_per_ip=2)
    one, two = (memory.connect(peername=("192.0.2.1", port)) for port in (1, 2))
    refused = memory.connect(peername=("192.0.2.1", 3))
    assert refused.heard() == b"421 4.7.0 Too many connections from your address\r\n"
    await turns()
    assert refused.is_lost
    other = memory.connect(peername=("192.0.2.2", 1))
    for client in (one, two, other):
        client.feed(BEGIN + b"DATA\r\n.\r\n")
        assert client.heard().endswith(b"250 2.0.0 Message accepted\r\n")
    one.lose()
    await turns()
    again = memory.connect(peername=("192.0.2.1", 4))
    assert again.heard().startswith(b"220 ")
    assert recorder.calls.count("connect") == 4


async def test_a_refused_connection_is_no_ones(in_memory: InMemory) -> None:
    """It is not counted, not checked, and the handler never hears of it."""
    recorder = Recorder()
    memory = in_memory(recorder, max_connections=1)
    memory.connect()
    refused = memory.connect()
    refused.feed(b"NOOP\r\n")
    refused.feed_eof()
    memory.wait(10)
    await turns()
    assert refused.is_lost
    assert len(split_answers(refused.heard())) == 1
    assert recorder.calls == ["connect"]


async def test_connections_by_a_unix_socket_have_no_address(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), max_connections_per_ip=1)
    clients = [memory.connect(peername="", sockname="/run/s") for _ in range(3)]
    assert all(client.heard().startswith(b"220 ") for client in clients)


# Time.


async def test_idle_on_the_wire() -> None:
    clock = FakeClock()
    recorder = Recorder()
    server = Server(recorder, config=config(idle_timeout_seconds=300), clock=clock)
    await server.listen("127.0.0.1", 0)
    async with connected(server) as idle, connected(server) as busy:
        clock.advance(299)
        server.check_deadlines()
        assert await busy.ask(b"NOOP\r\n") == 250
        clock.advance(3)
        server.check_deadlines()
        assert await idle.rest() == b"421 4.4.2 Idle too long\r\n"
        assert await busy.ask(b"NOOP\r\n") == 250
    await server.close()
    assert recorder.calls == ["connect", "connect", "disconnect", "disconnect"]


async def test_the_clock_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillarbox.asyncio.server, "TICK_SECONDS", 0)
    async with on_the_wire(Recorder(), idle_timeout_seconds=0.001) as (_server, wire):
        assert await wire.rest() == b"421 4.4.2 Idle too long\r\n"


# A client that closes its side.


async def test_half_close_behind_a_batch() -> None:
    recorder = Recorder()
    async with on_the_wire(recorder) as (_server, wire):
        wire.writer.write(BEGIN + b"DATA\r\nx\r\n.\r\nQUIT\r\n")
        wire.writer.write_eof()
        said = await wire.rest()
    codes = [answer.code for answer in split_answers(said)]
    assert codes == [250, 250, 250, 354, 250, 221]
    assert len(recorder.messages) == 1
    assert recorder.calls.count("disconnect") == 1


@pytest.mark.parametrize("octets", [b"", b"NOOP\r\n", BEGIN, BEGIN + b"DATA\r\nx"])
async def test_half_close_anywhere(octets: bytes) -> None:
    recorder = Recorder()
    async with on_the_wire(recorder) as (_server, wire):
        wire.writer.write(octets)
        wire.writer.write_eof()
        await wire.rest()
    assert recorder.messages == []
    assert recorder.calls.count("disconnect") == 1


async def test_half_close_while_a_handler_thinks() -> None:
    go_on = asyncio.Event()
    asked = asyncio.Event()

    async def thinks(_message: Message) -> None:
        asked.set()
        await go_on.wait()

    async with on_the_wire(thinks) as (_server, wire):
        wire.writer.write(BEGIN + b"DATA\r\nx\r\n.\r\n")
        wire.writer.write_eof()
        await asked.wait()
        go_on.set()
        codes = [answer.code for answer in split_answers(await wire.rest())]
    assert codes == [250, 250, 250, 354, 250]


async def test_resets_leave_nothing_behind() -> None:
    recorder = Recorder()
    async with serve(recorder, port=0, config=config()) as server:
        for octets in (b"", b"NO", BEGIN, BEGIN + b"DATA\r\nx", BEGIN + b"BDAT 9\r\nx"):
            async with connected(server) as wire:
                await wire.send(octets)
                wire.reset()
        await until(lambda: recorder.calls.count("disconnect") == 5)
        assert not server.admission.everyone
        assert not server.admission.clients
    assert recorder.messages == []


# Closing.


class Slow:
    """A handler of messages that take as long as the test says."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = asyncio.Event()
        self.calls: list[str] = []

    async def message(self, _session: Session, _envelope: Envelope, body: Body) -> None:
        self.asked.set()
        try:
            await self.go_on.wait()
            await body.read()
        except asyncio.CancelledError:
            await turns()  # tidying up takes a while, too
            self.calls.append("cancelled")
            raise
        self.calls.append("message")

    async def disconnect(self, _session: Session) -> None:
        await turns()
        self.calls.append("disconnect")


async def test_close_says_goodbye() -> None:
    recorder = Recorder()
    server = Server(recorder, config=config())
    await server.listen("127.0.0.1", 0)
    async with connected(server) as greeted, connected(server) as ready:
        assert await ready.ask(b"EHLO c\r\n") == 250
        await server.close()
        for wire in (greeted, ready):
            assert await wire.rest() == b"421 4.3.2 Shutting down\r\n"
    assert recorder.calls.count("disconnect") == 2
    with pytest.raises(OSError):  # noqa: PT011  # each loop says it in its own words
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_close_lets_a_transaction_end() -> None:
    recorder = Recorder()
    server = Server(recorder, config=config())
    await server.listen("127.0.0.1", 0)
    async with connected(server) as wire:
        await wire.send(BEGIN)
        await wire.codes(3)
        closing = asyncio.create_task(server.close())
        await turns()
        assert not closing.done()
        assert await wire.ask(b"DATA\r\n") == 354
        assert await wire.ask(b"x\r\n.\r\n") == 250
        assert await wire.rest() == b"421 4.3.2 Shutting down\r\n"
        await closing
    assert len(recorder.messages) == 1
    assert recorder.calls[-1] == "disconnect"


async def test_close_waits_for_a_handler() -> None:
    slow = Slow()
    server = Server(slow, config=config())
    await server.listen("127.0.0.1", 0)
    async with connected(server) as wire:
        await wire.send(BEGIN + b"DATA\r\nx\r\n.\r\n")
        await slow.asked.wait()
        closing = asyncio.create_task(server.close())
        await turns()
        assert not closing.done()
        slow.go_on.set()
        await closing
        codes = [answer.code for answer in split_answers(await wire.rest())]
    assert codes == [250, 250, 250, 354, 250, 421]
    assert slow.calls == ["message", "disconnect"]


async def test_close_waits_for_a_handler_whose_client_is_gone() -> None:
    """A message that was whole is the handler's: it may be on its way to disk."""
    slow = Slow()
    server = Server(slow, config=config())
    await server.listen("127.0.0.1", 0)
    async with connected(server) as wire:
        await wire.send(BEGIN + b"DATA\r\nx\r\n.\r\n")
        await slow.asked.wait()
        wire.reset()
    await until(lambda: not server.admission.everyone)
    closing = asyncio.create_task(server.close())
    await turns()
    assert not closing.done()
    slow.go_on.set()
    await closing
    assert slow.calls == ["message", "disconnect"]


async def test_close_waits_so_long_and_not_longer(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    server = Server(slow, config=config(drain_seconds=0))
    await server.listen("127.0.0.1", 0)
    async with connected(server) as wire, connected(server) as open_transaction:
        await wire.send(BEGIN + b"DATA\r\nx\r\n.\r\n")
        await slow.asked.wait()
        assert (await open_transaction.codes(0)) == []
        await open_transaction.send(BEGIN)
        assert await open_transaction.codes(3) == [250, 250, 250]
        await server.close()
        # The handler had time to tidy up, and heard of the end.
        assert slow.calls.count("cancelled") == 1
        assert slow.calls.count("disconnect") == 2
        assert "message" not in slow.calls
    assert caplog.text.count("aborted, its transaction took too long") == 2


async def test_close_does_not_wait_for_a_handler_that_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pillarbox.asyncio.server, "ABORT_SECONDS", 0.01)

    class Endless(Slow):
        async def disconnect(self, _session: Session) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    server = Server(Endless(), config=config(drain_seconds=0))
    await server.listen("127.0.0.1", 0)
    async with connected(server):
        await server.close()


async def test_close_of_a_client_that_reads_nothing(in_memory: InMemory) -> None:
    memory = in_memory(Recorder(), drain_seconds=0)
    client = memory.connect()
    client.is_read = False
    client.feed(BEGIN)
    await memory.server.close()
    assert client.is_lost


@pytest.mark.parametrize("number", [0, 10])
async def test_a_client_that_comes_in_at_the_last_moment(number: int) -> None:
    recorder = Recorder()
    server = Server(recorder, config=config())
    await server.listen("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port)):
        await turns(number)
        await server.close()
        await turns()
        gc.collect()
    assert recorder.calls.count("connect") == recorder.calls.count("disconnect")


@pytest.mark.parametrize("number", range(6))
async def test_nobody_hangs_who_was_about_to_be_let_in(number: int) -> None:
    # asyncio makes a transport some turns after it has accepted, and fails if the server was closed
    # in between: the client then waited until the garbage was collected.
    server = Server(Recorder(), config=config())
    await server.listen("127.0.0.1", 0)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            for _ in range(20)
        ]
        await turns(number)
        gc.disable()
        try:
            await server.close()
            await turns()
            for client in clients:
                client.setblocking(False)
                with contextlib.suppress(ConnectionResetError):
                    while await server.loop.sock_recv(client, 4096):
                        pass
        finally:
            gc.enable()
    assert not server.admission.everyone


async def test_close_twice() -> None:
    server = Server(Recorder(), config=config())
    await server.listen("127.0.0.1", 0)
    await server.close()
    await server.close()


async def test_close_with_no_connection_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with serve(Recorder(), port=0, config=config(drain_seconds=0)):
        pass
    assert caplog.records == []


# Two servers in one process share nothing.


async def test_two_servers_share_nothing() -> None:
    one, two = Recorder(), Recorder()
    async with (
        on_the_wire(one, max_connections=1, max_message_bytes=10) as (first, wire_one),
        serve(two, port=0, config=config(max_connections=2, max_message_bytes=20)) as second,
        connected(second) as wire_two,
    ):
        assert b"SIZE 10\r\n" in await hello(wire_one)
        assert b"SIZE 20\r\n" in await hello(wire_two)
        await deliver(wire_one)
        await deliver(wire_two)
        async with connected(first, reads_greeting=False) as refused:
            assert (await refused.rest()).startswith(b"421 ")
        async with connected(second):
            pass
        await first.close()
        await deliver(wire_two)
    assert (len(one.messages), len(two.messages)) == (1, 2)
    ids = {message.session.id.split("-")[0] for message in (*one.messages, *two.messages)}
    assert len(ids) == 2


async def hello(wire: Wire) -> bytes:
    wire.writer.write(b"EHLO client.test\r\n")
    return await wire.reader.readuntil(b"250 HELP\r\n")


@pytest.mark.parametrize("name", ["server", "connection", "body", "thread"])
def test_no_module_has_state(name: str) -> None:
    module = sys.modules[f"pillarbox.asyncio.{name}"]
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__ and isinstance(value, type):
            shared = [
                key
                for key, attribute in vars(value).items()
                if isinstance(attribute, list | dict | set) and not key.startswith("__")
            ]
            assert shared == []


async def test_many_clients_at_once() -> None:
    recorder = Recorder()

    async def client(server: Server, number: int) -> None:
        async with connected(server) as wire:
            for _ in range(5):
                await deliver(wire, b"%d\r\n" % number)
            assert await wire.ask(b"QUIT\r\n") == 221
            assert await wire.rest() == b""

    async with serve(recorder, port=0, config=config()) as server, asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(client(server, number))
    assert len(recorder.messages) == 250
    assert recorder.calls.count("disconnect") == 50


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="has no /proc")
async def test_no_descriptor_is_left_open() -> None:
    async with serve(Recorder(), port=0, config=config()):
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with on_the_wire(Recorder()) as (_server, wire):
            await deliver(wire)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
