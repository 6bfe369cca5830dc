"""TLS on real sockets: STARTTLS, from the first octet, certificates, PROXY headers, logins."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
import scramp

from pillarbox import ConfigError, Message, Server, Session
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.server import Listener
from pillarbox.asyncio.tls import TlsLayer
from pillarbox.certificate import CertificateFiles, Certificates
from pillarbox.login import Logins, make_secret
from pillarbox.protocol.sasl import (
    Credentials,
    ScramSecret,
    ScramUser,
)
from pillarbox.testing import FakeClock, MemoryTransport, Recorder
from tests.asyncio.secure import (
    AUTHORITY,
    LOOPBACK,
    client_context,
    files,
    open_wire,
    secured,
    write,
)
from tests.asyncio.wire import BEGIN, Wire, config, turns

pytestmark = pytest.mark.usefixtures("new_loop")

HELLO = b"EHLO client.test\r\n"
V1 = b"PROXY TCP4 192.0.2.9 198.51.100.2 49152 25\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 9, 198, 51, 100, 2]) + b"\xc0\0\0\x19"
)
SOURCE = ("192.0.2.9", 49152)


async def start_tls(
    wire: Wire, context: ssl.SSLContext | None = None, name: str = "mx.test"
) -> None:
    assert await wire.ask(b"STARTTLS\r\n") == 220
    await wire.writer.start_tls(context or client_context(), server_hostname=name)


async def deliver(wire: Wire) -> None:
    wire.writer.write(BEGIN + b"DATA\r\n")
    assert await wire.codes(4) == [250, 250, 250, 354]
    assert await wire.ask(b"x\r\n.\r\n") == 250
    assert await wire.ask(b"QUIT\r\n") == 221
    assert await wire.rest() == b""


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_starttls(tmp_path: Path, version: str) -> None:
    messages: list[Message] = []
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    async with secured(messages.append, files(tmp_path)) as server, open_wire(server) as wire:
        assert (await wire.reply()).code == 220
        assert await wire.ask(HELLO) == 250
        await start_tls(wire, context)
        assert await wire.ask(b"MAIL FROM:<>\r\n") == 503
        await deliver(wire)
    (message,) = messages
    assert message.session.tls is not None
    assert message.session.tls.version == version.replace("v1_", "v1.")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_implicit_tls(tmp_path: Path, version: str) -> None:
    messages: list[Message] = []
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    async with (
        secured(messages.append, files(tmp_path), is_tls=True) as server,
        open_wire(server, ssl=context, server_hostname="mx.test") as wire,
    ):
        assert (await wire.reply()).code == 220
        assert await wire.ask(b"STARTTLS\r\n") == 503
        await deliver(wire)
    assert len(messages) == 1


async def test_a_large_message_both_ways(tmp_path: Path) -> None:
    recorder = Recorder()
    async with (
        secured(recorder, files(tmp_path), is_tls=True) as server,
        open_wire(server, ssl=client_context(), server_hostname="mx.test") as wire,
    ):
        await wire.reply()
        wire.writer.write(BEGIN + b"DATA\r\n")
        assert await wire.codes(4) == [250, 250, 250, 354]
        await wire.send(b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * 3000 + b".\r\n")
        assert (await wire.reply()).code == 250
        wire.writer.write(b"HELP\r\n" * 900)
        assert await wire.codes(900) == [214] * 900
    assert len(recorder.messages[0].data) == 3_001_000


async def test_commands_behind_starttls_are_never_run(tmp_path: Path) -> None:
    recorder = Recorder()
    async with secured(recorder, files(tmp_path)) as server, open_wire(server) as wire:
        await wire.reply()
        assert await wire.ask(HELLO) == 250
        # They are no ClientHello: what is behind STARTTLS in its packet is dropped.
        assert await wire.ask(b"STARTTLS\r\n" + BEGIN + b"DATA\r\nx\r\n.\r\n") == 220
        await wire.writer.start_tls(client_context(), server_hostname="mx.test")
        assert await wire.ask(b"NOOP\r\n") == 250
        assert "mail" not in recorder.calls


async def test_a_failed_handshake_closes(tmp_path: Path) -> None:
    recorder = Recorder()
    async with secured(recorder, files(tmp_path)) as server:
        async with open_wire(server) as wire:
            await wire.reply()
            assert await wire.ask(b"STARTTLS\r\n") == 220
            wire.writer.write(b"NOOP\r\n" * 10)
            assert b"250" not in await wire.rest()
        old = client_context()
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        async with open_wire(server) as wire:
            await wire.reply()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await start_tls(wire, old)


async def test_sni(tmp_path: Path) -> None:
    other = CertificateFiles(certificate=write(tmp_path, "other.test"))
    messages: list[Message] = []
    async with secured(messages.append, files(tmp_path, names={"other.test": other})) as server:
        for name in ("mx.test", "other.test", "OTHER.test"):
            async with open_wire(server) as wire:
                await wire.reply()
                await start_tls(wire, name=name)
                await deliver(wire)
    names = [message.session.tls and message.session.tls.server_name for message in messages]
    assert [name and name.lower() for name in names] == ["mx.test", "other.test", "other.test"]


async def test_a_login_is_bound_to_the_certificate_that_was_shown(tmp_path: Path) -> None:
    other = CertificateFiles(certificate=write(tmp_path, "other.test"))
    bindings: list[bytes | None] = []
    shown: list[bytes] = []

    async with secured(Recorder(), files(tmp_path, names={"other.test": other})) as server:
        give = server.channel_bindings

        def note(tls: TlsLayer) -> dict[str, bytes]:
            found = give(tls)
            bindings.append(found.get("tls-server-end-point"))
            return found

        server.channel_bindings = note  # type: ignore[method-assign]
        for name in ("mx.test", "other.test"):
            async with open_wire(server) as wire:
                await wire.reply()
                await start_tls(wire, name=name)
                der = wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                shown.append(hashlib.sha256(der).digest())
                await wire.ask(HELLO)
    assert bindings == shown
    assert shown[0] != shown[1]


async def serial(server: Server) -> object:
    async with open_wire(server) as wire:
        await wire.reply()
        await start_tls(wire)
        return wire.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]


async def test_a_certificate_that_changes_on_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with secured(Recorder(), files(tmp_path)) as server:
        first = await serial(server)
        assert await serial(server) == first
        path = write(tmp_path, "mx.test")
        server.check_deadlines()
        second = await serial(server)
        assert second != first
        # One that cannot be used is told of, once, and the old one stays.
        path.write_text("no certificate")
        os.utime(path, (1, 1))
        for _ in range(3):
            server.check_deadlines()
        assert await serial(server) == second
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage()[:31] for record in errors] == ["the new certificate is not used"]


async def test_the_clients_certificate(tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    AUTHORITY.cert_pem.write_to_path(authorities)
    messages: list[Message] = []
    certificate = files(tmp_path, client_authorities=authorities)
    async with secured(messages.append, certificate) as server:
        for is_known in (True, False):
            context = client_context()
            if is_known:
                AUTHORITY.issue_cert("client.test").configure_cert(context)
            async with open_wire(server) as wire:
                await wire.reply()
                await start_tls(wire, context)
                await deliver(wire)
    known, unknown = (message.session.tls for message in messages)
    assert known is not None
    assert unknown is not None
    assert "client.test" in str(known.client_certificate)
    assert unknown.client_certificate is None


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a PEM file that this user may read"):
        CertificateFiles(certificate=tmp_path / "none.pem")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(ConfigError, match="both as PEM"):
        Certificates(CertificateFiles(certificate=wrong))
    with pytest.raises(ConfigError, match="give certificates as PEM"):
        Certificates(files(tmp_path, client_authorities=wrong))


async def test_a_tls_listener_needs_a_certificate() -> None:
    with pytest.raises(ConfigError, match="needs a certificate"):
        await Server(Recorder()).listen("127.0.0.1", 0, is_tls=True)


# Time, and the end, in memory.


def in_memory(
    tmp_path: Path, *, is_tls: bool = True, **values: Any
) -> tuple[Server, FakeClock, MemoryTransport, Recorder]:
    clock, recorder = FakeClock(), Recorder()
    server = Server(
        recorder,
        config=config(handshake_timeout_seconds=30, **values),
        certificates=Certificates(files(tmp_path)),
        clock=clock,
    )
    return server, clock, MemoryTransport(Connection(server, Listener(is_tls))), recorder


def wait(server: Server, clock: FakeClock, seconds: int) -> None:
    clock.advance(seconds)
    server.check_deadlines()


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01"])
async def test_a_handshake_that_takes_too_long(tmp_path: Path, is_tls: bool, octets: bytes) -> None:
    server, clock, client, recorder = in_memory(tmp_path, is_tls=is_tls)
    if not is_tls:
        client.feed(b"STARTTLS\r\n")
        assert client.heard().endswith(b"220 2.0.0 Ready to start TLS\r\n")
    for _ in range(3):
        client.feed(octets)
        wait(server, clock, 10)
    assert not client.is_closing()
    wait(server, clock, 2)
    await turns()
    assert client.is_lost
    assert recorder.calls == ([] if is_tls else ["connect"]) + ["disconnect"]
    await server.close()


@pytest.mark.parametrize("octets", [b"", V1[:-1], V2[:-1]])
async def test_a_proxy_header_that_takes_too_long(tmp_path: Path, octets: bytes) -> None:
    networks = LOOPBACK
    server, clock, _, recorder = in_memory(tmp_path, is_tls=False, proxy_networks=networks)
    client = MemoryTransport(Connection(server, Listener(False)), peername=("127.0.0.1", 1))
    client.feed(octets)
    wait(server, clock, 30)
    assert not client.is_closing()
    wait(server, clock, 2)
    await turns()
    assert client.is_lost
    assert client.heard() == b""
    assert recorder.calls == ["connect"]  # the other one, which came without a proxy
    await server.close()


async def test_closing_does_not_wait_for_handshakes_and_headers(tmp_path: Path) -> None:
    server, _, client, _ = in_memory(tmp_path, proxy_networks=LOOPBACK, drain_seconds=1000)
    proxied = MemoryTransport(Connection(server, Listener(False)), peername=("127.0.0.1", 1))
    await server.close()
    assert client.is_lost
    assert proxied.is_lost


async def test_one_connection_too_many_behind_a_proxy(tmp_path: Path) -> None:
    server, _, _, recorder = in_memory(
        tmp_path, is_tls=False, proxy_networks=LOOPBACK, max_connections=1
    )
    client = MemoryTransport(Connection(server, Listener(False)), peername=("127.0.0.1", 1))
    client.feed(V1 + BEGIN)
    await turns()
    assert client.heard().startswith(b"421 ")
    assert client.is_lost
    assert recorder.calls == ["connect"]
    await server.close()


class Peer:
    """The client's TLS in memory, and what the server sends it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="mx.test")

    def begin(self) -> bytes:
        """Give the first flight."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def say(self, data: bytes) -> bytes:
        """Give the octets that carry this."""
        self.tls.write(data)
        return self.outgoing.read()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_the_end_of_the_handshake_and_the_greeting_leave_in_one(
    tmp_path: Path, version: str
) -> None:
    server, _, client, _ = in_memory(tmp_path)
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    peer = Peer(context)
    client.feed(peer.begin())
    peer.incoming.write(client.heard())
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    assert client.writes == 1
    client.feed(peer.outgoing.read())
    assert client.writes == 2
    peer.incoming.write(client.heard())
    peer.tls.do_handshake()
    assert peer.tls.read() == b"220 mx.test ESMTP\r\n"
    # A ticket is work for us, and opens recorded sessions to whoever gets hold of our memory.
    if version == "TLSv1_3":
        assert peer.tls.session is not None
        assert not peer.tls.session.has_ticket
    client.lose()
    await turns()
    await server.close()


@pytest.mark.parametrize("size", [1, 17, 1000, 16_384, 16_385, 40_000])
def test_records_however_they_are_cut(tmp_path: Path, size: int) -> None:
    layer = TlsLayer(Certificates(files(tmp_path)).context)
    peer = Peer(client_context())
    layer.receive(peer.begin())
    peer.incoming.write(layer.data_to_send())
    peer.tls.do_handshake()
    clear = b"".join(b"%d\r\n" % number for number in range(size))[:size] * 3
    wire = peer.outgoing.read() + b"".join(
        peer.say(clear[at : at + 30_000]) for at in range(0, len(clear), 30_000)
    )
    cut = 7 if size <= 1000 else 4099
    heard = [layer.receive(wire[at : at + cut]) for at in range(0, len(wire), cut)]
    assert b"".join(heard) == clear
    assert not layer.is_closed
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.tls.unwrap()
    assert layer.receive(peer.outgoing.read()) == b""
    assert layer.is_closed


async def test_a_client_that_reads_late_within_a_handshake(tmp_path: Path) -> None:
    server, _, client, _ = in_memory(tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="mx.test")
    client._high_water = 10
    client.is_read = False
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client.feed(outgoing.read())
    assert client.is_paused
    client.is_read = True
    await turns()
    incoming.write(client.heard())
    tls.do_handshake()
    client.feed(outgoing.read())
    await turns()
    incoming.write(client.heard())
    assert tls.read() == b"220 mx.test ESMTP\r\n"
    client.lose()
    await turns()
    await server.close()


# PROXY.


class Peers(Recorder):
    """Takes down whom the connection is from."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[object] = []

    def connect(self, session: Session) -> None:
        super().connect(session)
        self.peers.append(session.peer)


@pytest.mark.parametrize("header", [V1, V2])
async def test_proxy(tmp_path: Path, header: bytes) -> None:
    handler = Peers()
    async with (
        secured(handler, files(tmp_path), proxy_networks=LOOPBACK) as server,
        open_wire(server) as wire,
    ):
        wire.writer.write(header)
        assert (await wire.reply()).code == 220
        assert await wire.ask(HELLO) == 250
        await start_tls(wire)
        await deliver(wire)
    assert handler.peers == [SOURCE]
    assert handler.messages[0].session.peer == SOURCE
    assert handler.messages[0].session.local == ("198.51.100.2", 25)


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("cut", [0, 1, 20])
async def test_proxy_and_implicit_tls(tmp_path: Path, header: bytes, cut: int) -> None:
    handler = Peers()
    async with (
        secured(handler, files(tmp_path), is_tls=True, proxy_networks=LOOPBACK) as server,
        open_wire(server) as wire,
    ):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname="mx.test")
        waiting = header
        said = b""
        for step in (tls.do_handshake, lambda: tls.read(100)):
            while not said:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    # The header and the ClientHello in one packet, or cut in the header.
                    octets, waiting = waiting + outgoing.read(), b""
                    wire.writer.write(octets[:cut])
                    await wire.writer.drain()
                    wire.writer.write(octets[cut:])
                    incoming.write(await wire.reader.read(65536))
                else:
                    said = result or b""
                    break
        assert said == b"220 mx.test ESMTP\r\n"
    assert handler.peers == [SOURCE]


@pytest.mark.parametrize("octets", [HELLO, b"PROXY TCP9 x\r\n", V2[:11] + b"\r" + V2[12:]])
async def test_what_is_no_header_is_no_smtp(tmp_path: Path, octets: bytes) -> None:
    handler = Peers()
    async with (
        secured(handler, files(tmp_path), proxy_networks=LOOPBACK) as server,
        open_wire(server) as wire,
    ):
        wire.writer.write(octets + BEGIN)
        with contextlib.suppress(ConnectionResetError):
            assert await wire.rest() == b""
    assert handler.calls == []


async def test_a_peer_that_is_not_listed(tmp_path: Path) -> None:
    async with secured(Recorder(), files(tmp_path)) as server, open_wire(server) as wire:
        assert (await wire.reply()).code == 220
        assert await wire.ask(V1) == 500


# Logins.


class Users(Logins):
    """Ann may log in, by each mechanism that knows passwords."""

    def __init__(self) -> None:
        super().__init__({"ann": make_secret("secret")})
        self.identities: list[str | None] = []

    def message(self, session: Session, _envelope: object, _body: object) -> None:
        self.identities.append(session.identity)


def coded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


@pytest.mark.parametrize(("password", "code"), [(b"secret", 235), (b"wrong", 535), (b"", 535)])
@pytest.mark.parametrize("user", [b"ann", b"nobody"])
async def test_plain(tmp_path: Path, user: bytes, password: bytes, code: int) -> None:
    handler = Users()
    async with secured(handler, files(tmp_path)) as server, open_wire(server) as wire:
        await wire.reply()
        assert await wire.ask(HELLO) == 250
        command = b"AUTH PLAIN " + coded(b"\0" + user + b"\0" + password) + b"\r\n"
        assert await wire.ask(command) == 538
        await start_tls(wire)
        assert await wire.ask(HELLO) == 250
        expected = code if user == b"ann" else 535
        assert await wire.ask(command) == expected
        await deliver(wire)
    assert handler.identities == ["ann" if expected == 235 else None]


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize(("user", "password"), [("ann", "secret"), ("ann", "x"), ("bob", "secret")])
async def test_scram(tmp_path: Path, name: str, user: str, password: str) -> None:
    handler = Users()
    async with secured(handler, files(tmp_path)) as server, open_wire(server) as wire:
        await wire.reply()
        await start_tls(wire)
        assert await wire.ask(HELLO) == 250
        binding = None
        if name.endswith("-PLUS"):
            der = wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            binding = "tls-server-end-point", hashlib.sha256(der).digest()
        client = scramp.ScramClient([name], user, password, channel_binding=binding)
        wire.writer.write(
            b"AUTH %b %b\r\n" % (name.encode(), coded(client.get_client_first().encode()))
        )
        reply = await wire.reply()
        assert reply.code == 334
        client.set_server_first(base64.b64decode(reply.lines[0]).decode())
        wire.writer.write(coded(client.get_client_final().encode()) + b"\r\n")
        reply = await wire.reply()
        if (user, password) != ("ann", "secret"):
            assert reply.code == 535
            return
        assert reply.code == 334
        client.set_server_final(base64.b64decode(reply.lines[0]).decode())
        assert await wire.ask(b"\r\n") == 235
        await deliver(wire)
    assert handler.identities == ["ann"]


async def test_what_was_pipelined_behind_a_failed_login(tmp_path: Path) -> None:
    # The answers are held back; the connection is lost before they are given.
    class Nobody(Recorder):
        def auth(self, _session: Session, _credentials: Credentials) -> None: ...

    handler = Nobody()
    server = Server(handler, config=config(auth_delay_seconds=0), clock=FakeClock())
    client = MemoryTransport(Connection(server, Listener(False)))
    client.feed(HELLO)
    client.heard()
    client.feed(b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\nNOOP\r\n")
    assert client.heard() == b""
    client.feed(BEGIN + b"DATA\r\nx\r\n.\r\n")
    client.lose()
    await asyncio.sleep(0.01)
    assert handler.messages == []
    assert handler.calls == ["connect", "disconnect"]
    await server.close()


async def test_a_failed_login_and_starttls_in_one_packet(tmp_path: Path) -> None:
    handler = Users()
    wrong = b"AUTH PLAIN " + coded(b"\0ann\0wrong") + b"\r\n"
    async with (
        secured(handler, files(tmp_path), allows_plaintext_auth=True) as server,
        open_wire(server) as wire,
    ):
        await wire.reply()
        assert await wire.ask(HELLO) == 250
        wire.writer.write(wrong + b"STARTTLS\r\n")
        assert await wire.codes(2) == [535, 220]
        await wire.writer.start_tls(client_context(), server_hostname="mx.test")
        await deliver(wire)


def test_secrets_are_found_by_name() -> None:
    secret = Users().scram_secret(None, ScramUser("ann"))  # type: ignore[arg-type]  # not asked
    assert isinstance(secret, ScramSecret)
