"""DKIM: signatures that dkimpy itself verifies, made once for all attempts."""

from __future__ import annotations

import base64
import logging

import pytest

from pillarbox.config import ConfigError
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.protocol.address import Path as MailPath
from pillarbox.protocol.event import Mail
from pillarbox.protocol.reply import Reply
from pillarbox.relay.intake import Intake
from pillarbox.relay.permission import Permission
from tests.asyncio.wire import InMemory
from tests.relay.network import House, turns

dkim = pytest.importorskip("dkim")

from pillarbox.relay.sign import LARGE_OCTETS, DkimSigner  # noqa: E402

ENVELOPE = Envelope(Mail(MailPath(b"")), [])
MESSAGE = b"From: <ann@example.org>\r\nSubject: Lunch\r\n\r\nAt noon?\r\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Make a key; give it, and what DNS has of it."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption()
    )
    public = key.public_key().public_bytes(
        form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


def verify(octets: bytes, record: bytes) -> bool:
    def lookup(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"mail._domainkey.example.org."
        return record

    return bool(dkim.verify(octets, dnsfunc=lookup))


def signer(key: bytes) -> DkimSigner:
    return DkimSigner(key, selector="mail", domain="example.org")


@pytest.mark.parametrize(
    "octets",
    [MESSAGE, MESSAGE + b"x" * 70 + b"\r\n" * LARGE_OCTETS, b"From: a@b\r\n\r\n", b"From: a@b\r\n"],
    ids=["small", "large", "no body", "no blank line"],
)
async def test_a_signature(keys: tuple[bytes, bytes], octets: bytes) -> None:
    made = await signer(keys[0])(ENVELOPE, octets)
    assert made.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org;")
    assert made.endswith(b"\r\n")
    assert made.count(b"\n") == made.count(b"\r\n")
    assert verify(made + octets, keys[1])
    assert not verify(made + octets.replace(b"From: ", b"From: x"), keys[1])


async def test_a_received_line_in_front_does_no_harm(keys: tuple[bytes, bytes]) -> None:
    made = await signer(keys[0])(ENVELOPE, MESSAGE)
    assert verify(b"Received: from a by b; today\r\n" + made + MESSAGE, keys[1])


@pytest.mark.parametrize(
    "octets",
    [b"Subject: x\r\n\r\nx\r\n", b"no header", b"", b"\xff\r\n\r\n", b": x\r\nFrom: a\r\n\r\n"],
)
async def test_what_cannot_be_signed_goes_without(
    keys: tuple[bytes, bytes], octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pillarbox")
    assert await signer(keys[0])(ENVELOPE, octets) == b""
    [record] = caplog.records
    assert record.getMessage().startswith("a message goes out without a DKIM signature: ")


@pytest.mark.parametrize("key", [b"", b"x", b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n", b"\xff"])
def test_what_is_no_key(key: bytes) -> None:
    with pytest.raises(ConfigError, match="make one by 'openssl genrsa -traditional"):
        signer(key)


def test_what_are_no_names(keys: tuple[bytes, bytes]) -> None:
    with pytest.raises(ConfigError, match="'a b' is no selector; write it as it stands in DNS"):
        DkimSigner(keys[0], selector="a b", domain="example.org")
    with pytest.raises(ConfigError, match="'' is no domain; write it as it stands in DNS"):
        DkimSigner(keys[0], selector="mail", domain="")


@pytest.mark.usefixtures("new_loop")
async def test_every_attempt_sends_the_same_octets(
    in_memory: InMemory, keys: tuple[bytes, bytes]
) -> None:
    attempts: list[bytes] = []

    class NotYet:
        def message(self, _session: Session, _envelope: Envelope, body: Body) -> Reply | None:
            attempts.append(body.data)
            return Reply(451, "4.3.0", "Later") if len(attempts) < 4 else None

    async with House() as house:
        house.network.serve("192.0.2.25:25", NotYet())
        handler = Intake(
            house.relay,
            house.spool,
            permission=Permission(),
            hostname="relay.test",
            header=b"X-Site: here\r\n",
            hooks=(signer(keys[0]),),
            now=house.clock.now,
        )
        client = in_memory(handler).connect(peername=("127.0.0.1", 49152))
        client.feed(
            b"EHLO x\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
        )
        await turns()
        client.feed(MESSAGE + b".\r\n")
        await house.until(lambda: bool(attempts))
        await house.clock.advance(7200, each=20)
        assert len(attempts) == 4
        assert await house.queued() == []
    assert set(attempts) == {attempts[0]}
    assert attempts[0].endswith(b"\r\nX-Site: here\r\n" + MESSAGE)
    assert verify(attempts[0], keys[1])
