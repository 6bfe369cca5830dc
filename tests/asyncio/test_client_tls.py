"""The client's TLS and logins: with our own server, and with scripted ones that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from pillarbox import Server
from pillarbox.asyncio.client import Client, connect, connect_unix
from pillarbox.asyncio.client_error import (
    CertificateRefused,
    LoginFailed,
    SessionLost,
    SessionRefused,
    TlsFailed,
    TlsUnavailable,
)
from pillarbox.certificate import CertificateFiles, Certificates
from pillarbox.login import Logins
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.sasl import External, Password, Token
from pillarbox.testing import Recorder
from tests.asyncio.secure import AUTHORITY, client_context, files, secured
from tests.asyncio.wire import config

pytestmark = pytest.mark.usefixtures("new_loop")

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TEXT = b"Subject: hi\r\n\r\ntext\r\n"
ANN = Password("ann", "secret")
SOON = Timeouts.all(0.2)
SECONDS = 10.0


class Known(Recorder):
    """A recorder that knows Ann, by each mechanism or by some."""

    def __init__(self, *mechanisms: str) -> None:
        super().__init__()
        logins = Logins.read(["ann:secret"])
        self.auth = logins.auth
        self.scram_secret = logins.scram_secret
        known = logins.auth_mechanisms
        self.auth_mechanisms = {name: known[name] for name in mechanisms or known}


@pytest.fixture
def certificate(tmp_path: Path) -> CertificateFiles:
    """Make a certificate for mx.test."""
    return files(tmp_path)


def client_of(server: Server, **options: Any) -> Client:
    options = {"context": client_context(), "server_hostname": "mx.test", **options}
    return connect("127.0.0.1", server.port, hostname="client.test", **options)


# TLS with our own server


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_message(certificate: CertificateFiles, mode: str, version: ssl.TLSVersion) -> None:
    recorder = Recorder()
    lines: list[str] = []
    context = client_context()
    context.maximum_version = version
    async with secured(recorder, certificate, is_tls=mode == "implicit") as server:
        client = client_of(server, tls=mode, context=context, trace=lines.append)
        assert client.tls is None
        async with client:
            assert client.tls is not None
            assert client.tls.version == version.name.replace("_", ".")
            assert (client.tls.server_hostname, client.tls.is_verified) == ("mx.test", True)
            assert client.tls.certificate is not None
            assert client.tls.certificate["subjectAltName"] == (("DNS", "mx.test"),)
            assert client.tls.der is not None
            assert "REQUIRETLS" in client.extensions
            assert "STARTTLS" not in client.extensions
            for _ in range(2):
                outcome = await client.send("ann@x", ["bob@x"], TEXT, requires_tls=True)
                assert outcome.is_accepted
    assert [message.data for message in recorder.messages] == [TEXT] * 2
    assert recorder.messages[0].session.tls is not None
    assert recorder.messages[0].session.tls.server_name == "mx.test"
    assert recorder.messages[0].envelope.mail.requires_tls
    facts = f"T: {client.tls.version}, {client.tls.cipher}, the certificate is verified for mx.test"
    if mode == "implicit":
        assert lines[0] == facts
    else:
        at = lines.index(facts)
        around = [lines[at - 2], lines[at + 1]]
        assert around == ["C: STARTTLS", "C: EHLO client.test"]
    assert lines[-1] == "S: 221 2.0.0 Goodbye"


async def test_a_large_message_in_parts(certificate: CertificateFiles) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 30_000 + b"\r\n"

    recorder = Recorder()
    async with secured(recorder, certificate) as server:
        for chunking in (True, False):
            async with client_of(server, tls="starttls") as client:
                outcome = await client.send("", ["bob@x"], parts(), chunking=chunking)
                assert outcome.is_accepted
    assert [len(message.data) for message in recorder.messages] == [3_000_200] * 2


async def test_tls_where_it_is_offered(certificate: CertificateFiles) -> None:
    """What a relay does: look, and encrypt if that can be."""
    async with secured(Recorder(), certificate) as server, client_of(server) as client:
        assert "STARTTLS" in client.extensions
        await client.start_tls()
        assert client.tls is not None
        with pytest.raises(LocalProtocolError, match="is encrypted already"):
            await client.start_tls()
        assert (await client.send("", ["bob@x"], TEXT)).is_accepted
    server = Server(Recorder(), config=config())
    await server.listen("127.0.0.1", 0)
    try:
        async with client_of(server) as client:
            with pytest.raises(TlsUnavailable, match="The server offers no STARTTLS"):
                await client.start_tls()
            assert (await client.send("", ["bob@x"], TEXT)).is_accepted
        with pytest.raises(TlsUnavailable, match="The server offers no STARTTLS"):
            await client_of(server, tls="starttls").open()
    finally:
        await server.close()


async def test_unix_socket(certificate: CertificateFiles, tmp_path: Path) -> None:
    server = Server(Recorder(), config=config(), certificates=Certificates(certificate))
    path = str(tmp_path / "smtp")
    await server.listen_unix(path)
    try:
        with pytest.raises(ValueError, match="give server_hostname"):
            await connect_unix(path, tls="starttls", context=client_context()).open()
        async with connect_unix(
            path, tls="starttls", context=client_context(), server_hostname="mx.test"
        ) as client:
            assert client.tls is not None
    finally:
        await server.close()


# Certificates


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("name", "is_trusted", "reason"),
    [
        ("mx.test", False, "unable to get local issuer certificate"),
        ("other.test", True, "Hostname mismatch"),
        ("127.0.0.1", True, "IP address mismatch"),
    ],
)
async def test_a_certificate_that_does_not_verify(
    certificate: CertificateFiles, mode: str, name: str, *, is_trusted: bool, reason: str
) -> None:
    lines: list[str] = []
    context = client_context() if is_trusted else ssl.create_default_context()
    async with secured(Known(), certificate, is_tls=mode == "implicit") as server:
        client = client_of(
            server, tls=mode, context=context, server_hostname=name, login=ANN, trace=lines.append
        )
        with pytest.raises(CertificateRefused, match="connect by a name that it has") as caught:
            await client.open()
    assert reason in caught.value.reason
    assert caught.value.reply.is_transient
    assert not client.is_open
    assert client.tls is None
    assert not any("AUTH" in line for line in lines if line.startswith("C"))


async def test_the_host_is_the_name(tmp_path: Path) -> None:
    issued = AUTHORITY.issue_cert("127.0.0.1")
    path = tmp_path / "cert.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    async with secured(Recorder(), CertificateFiles(certificate=path)) as server:
        client = connect("127.0.0.1", server.port, tls="starttls", context=client_context())
        async with client:
            assert client.tls is not None
            assert client.tls.server_hostname == "127.0.0.1"


async def test_nobody_looks_at_the_certificate(certificate: CertificateFiles) -> None:
    lines: list[str] = []
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with (
        secured(Recorder(), certificate) as server,
        client_of(server, tls="starttls", context=context, trace=lines.append) as client,
    ):
        assert client.tls is not None
        assert not client.tls.is_verified
        assert client.tls.certificate is None
        assert client.tls.der is not None
    [facts] = [line for line in lines if line.startswith("T: ")]
    assert facts.endswith("the certificate is not verified")


async def test_the_systems_authorities_are_trusted(certificate: CertificateFiles) -> None:
    """By default, which ours is not one of."""
    async with secured(Recorder(), certificate) as server:
        with pytest.raises(CertificateRefused):
            await client_of(server, tls="starttls", context=None).open()


# Scripted servers


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    tasks: list[asyncio.Task[None]] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await script(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(follow(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks)


def says(*lines: bytes) -> Script:
    """Make a server that says each of these after the next thing it hears, and then listens on."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line)
            await reader.readline()
        await reader.read()

    return script


def starttls(port: int, **options: Any) -> Client:
    return connect("127.0.0.1", port, tls="starttls", context=client_context(), **options)


OFFERS = (b"220 mx.test\r\n", b"250-mx.test\r\n250 STARTTLS\r\n")


@pytest.mark.parametrize("more", [b"250-evil\r\n250 AUTH PLAIN\r\n", b"2"])
async def test_words_put_in_before_the_handshake(more: bytes) -> None:
    async with scripted(says(*OFFERS, b"220 Go\r\n" + more)) as port:
        with pytest.raises(SessionLost, match="octets in the clear came where the TLS handshake"):
            await starttls(port).open()


async def test_clear_text_in_the_handshake() -> None:
    async with scripted(says(*OFFERS, b"220 Go\r\n", b"250 OK\r\n")) as port:
        with pytest.raises(TlsFailed, match="said in the clear: 250 OK") as caught:
            await starttls(port).open()
        assert caught.value.said == "250 OK"


async def test_implicit_tls_with_a_server_that_begins_in_the_clear() -> None:
    async with scripted(says(b"220 mx.test ESMTP\r\n")) as port:
        with pytest.raises(TlsFailed) as caught:
            await connect("127.0.0.1", port, tls="implicit").open()
        assert caught.value.said == "220 mx.test ESMTP"


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"\x16\x03\x03\xff\xff", r"TLS failed: [a-z]"),
        (b"\x15\x03\x03\x00\x02\x02\x28", r"TLS failed: .*handshake failure"),
    ],
)
async def test_a_handshake_that_is_none(octets: bytes, error: str) -> None:
    async with scripted(says(*OFFERS, b"220 Go\r\n", octets)) as port:
        with pytest.raises(TlsFailed, match=error) as caught:
            await starttls(port).open()
        assert caught.value.said is None


async def test_a_server_that_hangs_up_in_the_handshake() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in (*OFFERS, b"220 Go\r\n"):
            writer.write(line)
            await reader.readline()

    async with scripted(script) as port:
        with pytest.raises(TlsFailed, match="closed the connection in the handshake"):
            await starttls(port).open()


async def test_a_server_that_is_silent_in_the_handshake() -> None:
    timeouts = Timeouts(tls=0.05)
    async with scripted(says(*OFFERS, b"220 Go\r\n")) as port:
        with pytest.raises(TlsFailed, match="did not answer the handshake in time"):
            await starttls(port, timeouts=timeouts).open()
    async with scripted(says()) as port:
        with pytest.raises(TlsFailed, match="did not answer the handshake in time"):
            await connect("127.0.0.1", port, tls="implicit", timeouts=timeouts).open()


async def test_starttls_refused() -> None:
    async with scripted(says(*OFFERS, b"454 4.7.0 Not now\r\n", b"221 Bye\r\n")) as port:
        with pytest.raises(TlsUnavailable, match=r"there is no TLS: 454 4.7.0 Not now"):
            await starttls(port).open()


def server_context(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files(tmp_path).certificate)
    return context


def within_tls(context: ssl.SSLContext, *lines: bytes, before: bytes = b"") -> Script:
    """Make a server that says these within TLS, and then something that is none."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in (*OFFERS, b"220 Go\r\n"):
            writer.write(line)
            await writer.drain()
            if line != b"220 Go\r\n":
                await reader.readline()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        # The client's EHLO may have come in the last packet of the handshake.
        for line in lines:
            tls.write(line)
        writer.write(outgoing.read() + before)
        await reader.read()

    return script


async def test_ehlo_is_refused_within_tls(tmp_path: Path) -> None:
    context = server_context(tmp_path)
    script = within_tls(context, b"450 4.3.2 Busy\r\n", b"221 Bye\r\n")
    async with scripted(script) as port:
        with pytest.raises(SessionRefused, match=r"refuses the session: 450 4.3.2 Busy"):
            await starttls(port, server_hostname="mx.test").open()


async def test_tls_that_breaks_later(tmp_path: Path) -> None:
    context = server_context(tmp_path)
    script = within_tls(context, before=b"\x17\x03\x03\x00\x05bogus")
    async with scripted(script) as port:
        with pytest.raises(SessionLost, match=r"the server closed the connection: .*SSL"):
            await starttls(port, server_hostname="mx.test").open()


async def test_the_greeting_may_come_with_the_end_of_the_handshake(tmp_path: Path) -> None:
    """What is behind the handshake in one packet is not lost, nor taken for clear text."""
    context = server_context(tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the server has the last word of it

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            incoming.write(await reader.read(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
        tls.write(b"220 mx.test\r\n")
        writer.write(outgoing.read())
        incoming.write(await reader.read(65536))
        assert tls.read(100) == b"EHLO client.test\r\n"
        tls.write(b"250 mx.test\r\n")
        writer.write(outgoing.read())
        incoming.write(await reader.read(65536))
        assert tls.read(100) == b"QUIT\r\n"
        tls.write(b"221 Bye\r\n")
        # TLS says goodbye as well.
        writer.write(outgoing.read())
        incoming.write(await reader.read(65536))
        assert tls.read(100) == b""

    async with (
        scripted(script) as port,
        connect(
            "127.0.0.1",
            port,
            hostname="client.test",
            tls="implicit",
            context=client_context(),
            server_hostname="mx.test",
        ) as client,
    ):
        assert client.is_open
    assert client.protocol.closing_reply is not None


# Logins


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_login(
    certificate: CertificateFiles, mechanism: str, version: ssl.TLSVersion
) -> None:
    recorder = Known(mechanism)
    lines: list[str] = []
    context = client_context()
    context.maximum_version = version
    async with secured(recorder, certificate) as server:
        options = {"tls": "starttls", "context": context, "trace": lines.append}
        async with client_of(server, login=ANN, **options) as client:
            assert (await client.send("", ["bob@x"], TEXT)).is_accepted
        with pytest.raises(LoginFailed, match=r"the login failed: 535 5\.7\.8") as caught:
            await client_of(server, login=Password("ann", "Secret"), **options).open()
        assert caught.value.mechanism == mechanism
    assert [message.session.identity for message in recorder.messages] == ["ann"]
    said = "\n".join(lines)
    assert f"C: AUTH {mechanism}" in said
    assert "secret" not in said.lower().replace("(credentials)", "")


async def test_the_strongest_mechanism_is_taken(certificate: CertificateFiles) -> None:
    async with secured(Known(), certificate) as server:
        async with client_of(server, tls="starttls") as client:
            assert (await client.login(ANN)).mechanism == "SCRAM-SHA-256-PLUS"
        async with client_of(server, tls="starttls") as client:
            with pytest.raises(LoginFailed) as caught:
                await client.login(Password("ann", "wrong"))
            assert caught.value.mechanism == "SCRAM-SHA-256-PLUS"
            assert client.is_open
            await client.login(ANN)
            with pytest.raises(LocalProtocolError, match="is logged in already"):
                await client.login(ANN)
            with pytest.raises(LoginFailed, match="offers no mechanism"):
                async with client_of(server, tls="starttls", login=Token("ann", "x")):
                    pytest.fail("there is no login")


async def test_no_password_in_the_clear() -> None:
    lines: list[str] = []
    server = Server(Known("PLAIN"), config=config(allows_plaintext_auth=True))
    await server.listen("127.0.0.1", 0)
    options: dict[str, Any] = {"login": ANN, "trace": lines.append}
    try:
        with pytest.raises(LoginFailed, match="keeps a secret without TLS") as caught:
            await client_of(server, **options).open()
        assert caught.value.mechanism is None
        assert lines[-2:] == ["C: QUIT", "S: 221 2.0.0 Goodbye"]
        async with client_of(server, **options, allow_plaintext_login=True) as client:
            assert client.protocol.is_logged_in
    finally:
        await server.close()


async def test_credentials_that_cannot_be_sent(certificate: CertificateFiles) -> None:
    async with secured(Known(), certificate) as server:
        for password in ("\0", "\ud800", "\u0627a"):
            client = client_of(server, tls="starttls", login=Password("ann", password))
            with pytest.raises(ValueError, match=r"SCRAM does not allow"):
                await client.open()
            assert not client.is_open


async def test_external(tmp_path: Path, certificate: CertificateFiles) -> None:
    class Trusting(Recorder):
        auth_mechanisms = ("EXTERNAL",)

        def auth(self, session: Any, credentials: Any) -> str | None:
            return "ann" if session.tls.client_certificate else None

    path = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    asking = files(tmp_path, client_authorities=path)
    context = client_context()
    AUTHORITY.issue_cert("client.test").configure_cert(context)
    recorder = Trusting()
    async with secured(recorder, asking) as server:
        async with client_of(server, tls="starttls", context=context, login=External()) as client:
            assert (await client.send("", ["bob@x"], TEXT)).is_accepted
        with pytest.raises(LoginFailed):
            await client_of(server, tls="starttls", login=External()).open()
    assert recorder.messages[0].session.identity == "ann"


async def test_a_login_that_breaks_the_session() -> None:
    plain = (b"220 a\r\n", b"250-a\r\n250 AUTH PLAIN\r\n", b"421 4.7.0 Enough\r\n")
    async with scripted(says(*plain)) as port:
        with pytest.raises(LoginFailed, match=r"421 4.7.0 Enough"):
            await connect("127.0.0.1", port, login=ANN, allow_plaintext_login=True).open()
    async with scripted(says(*plain[:2], b"250-a\r\n")) as port:
        with pytest.raises(SessionLost, match="did not answer in time"):
            await connect(
                "127.0.0.1", port, login=ANN, allow_plaintext_login=True, timeouts=SOON
            ).open()


async def test_lmtp() -> None:
    recorder = Recorder({})
    server = Server(recorder, config=config(is_lmtp=True))
    await server.listen("127.0.0.1", 0)
    try:
        async with client_of(server, is_lmtp=True) as client:
            for chunking in (True, False):
                outcome = await client.send("", ["bob@x", "ben@x"], TEXT, chunking=chunking)
                assert [one.reply.code for one in outcome.recipients] == [250, 250]
    finally:
        await server.close()
    assert len(recorder.messages) == 2


async def test_a_session_is_for_so_many_messages() -> None:
    lines = (
        b"220 a\r\n",
        b"250-a\r\n250 LIMITS MAILMAX=1\r\n",
        *(b"250 OK\r\n", b"250 OK\r\n", b"354 Go\r\n"),
    )

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line)
            await reader.readline()
        while await reader.readline() != b".\r\n":
            pass
        writer.write(b"250 OK\r\n")
        assert await reader.readline() == b"QUIT\r\n"
        writer.write(b"221 Bye\r\n")

    async with scripted(script) as port, connect("127.0.0.1", port) as client:
        assert client.is_open
        assert (await client.send("", ["bob@x"], TEXT)).is_accepted
        assert not client.is_open
        outcome = await client.send("", ["bob@x"], TEXT)
        assert [str(one.reply)[:9] for one in outcome.refused] == ["452 4.5.3"]
