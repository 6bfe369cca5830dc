"""How sessions are opened: TLS, logins, and what an operator reads when that fails."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from pillarbox.protocol.reply import Reply
from pillarbox.relay.pool import Pool, Unreachable
from pillarbox.relay.route import Hop, NoRoute, TlsPolicy
from pillarbox.relay.spool import Backoff
from pillarbox.testing import Recorder
from tests.asyncio.secure import client_context, files, secured
from tests.asyncio.test_client_tls import Known
from tests.relay.network import FakeResolver, Network, StillClock
from tests.relay.next_hop import serving
from tests.relay.sending import Sending, between, relaying, waiting

pytestmark = pytest.mark.usefixtures("new_loop")

HERE = FakeResolver(addresses={"mx.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})


@pytest.fixture
def trusting() -> dict[str, Any]:
    """Options of a relay that trusts our certificates, and knows where mx.test is."""
    return {"context": client_context(), "resolver": HERE}


async def why(sending: Sending, caplog: pytest.LogCaptureFixture) -> str:
    """Submit a message that cannot go; give the line that tells why."""
    await sending.put()
    async with asyncio.timeout(10):
        while not (await sending.queued())[0].recipients[0].last_reply:
            await asyncio.sleep(0.001)
    [queued] = await sending.queued()
    assert queued.recipients[0].attempts == 0
    [line] = [record.getMessage() for record in caplog.records if record.name == "pillarbox"]
    return line


# TLS that has to be


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_verified_tls(tmp_path: Path, trusting: dict[str, Any], scheme: str) -> None:
    recorder = Recorder()
    async with (
        secured(recorder, files(tmp_path), is_tls=scheme == "smtps") as server,
        relaying(f"{scheme}://mx.test:{server.port}", **trusting) as sending,
    ):
        assert (await sending.results(requires_tls=True))[0][0] == "delivered"
        [message] = recorder.messages
        assert message.session.tls is not None
        assert message.envelope.mail.requires_tls


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
async def test_a_login(tmp_path: Path, trusting: dict[str, Any], scheme: str) -> None:
    known = Known()
    async with secured(
        known, files(tmp_path), is_tls=scheme == "smtps", requires_auth=True
    ) as server:
        to = f"{scheme}://ann@mx.test:{server.port}"
        async with relaying(to, passwords={to: "secret"}, **trusting) as sending:
            assert (await sending.results())[0][0] == "delivered"
            assert known.messages[0].session.identity == "ann"


async def test_a_wrong_password(
    tmp_path: Path, trusting: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with secured(Known(), files(tmp_path)) as server:
        to = f"smtp://ann@mx.test:{server.port}"
        async with relaying(to, passwords={to: "wrong"}, **trusting) as sending:
            line = await why(sending, caplog)
            assert "the login as ann failed: 535 5.7.8" in line
            assert "check the name in --to and the password in --to-password-file" in line
            assert "none is lost" in line
            assert "wrong" not in line


async def test_a_password_that_nobody_gave(
    trusting: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with relaying("smtps://ann@mx.test:465", **trusting) as sending:
        line = await why(sending, caplog)
        assert "no password is known for smtps://ann@mx.test:465" in line


async def test_a_certificate_that_nobody_trusts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    async with secured(recorder, files(tmp_path), is_tls=True) as server:
        context = ssl.create_default_context()
        to = f"smtps://mx.test:{server.port}"
        async with relaying(to, context=context, resolver=HERE) as sending:
            line = await why(sending, caplog)
    assert "the certificate does not verify: " in line
    assert "give who issued it by --ca-file FILE, or renew it there" in line
    assert recorder.messages == []


async def test_a_certificate_for_somebody_else(
    tmp_path: Path, trusting: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        secured(Recorder(), files(tmp_path), is_tls=True) as server,
        relaying(f"smtps://other.test:{server.port}", **trusting) as sending,
    ):
        line = await why(sending, caplog)
    assert "name the next hop as its certificate does" in line


async def test_no_login_in_the_clear(
    trusting: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(extensions=("AUTH PLAIN",)) as server:
        to = f"smtp://ann@mx.test:{server.port}"
        async with relaying(to, passwords={to: "secret"}, **trusting) as sending:
            line = await why(sending, caplog)
        assert not any(command.startswith("AUTH") for command in server.commands)
    assert "without TLS no login is sent: write smtps://" in line


async def test_a_server_that_speaks_first(
    trusting: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serving() as server,
        relaying(f"smtps://mx.test:{server.port}", **trusting) as sending,
    ):
        line = await why(sending, caplog)
    assert "it began without TLS, by '220 next.test'" in line


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls"])
async def test_a_server_that_waits_for_tls(
    tmp_path: Path, trusting: dict[str, Any], caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    trusting["timeouts"] = waiting("greeting")
    async with (
        secured(Recorder(), files(tmp_path), is_tls=True) as server,
        relaying(f"{scheme}://mx.test:{server.port}", **trusting) as sending,
    ):
        line = await why(sending, caplog)
    assert "did not answer in time; does it speak SMTP there? If it begins with TLS, write" in line


async def test_lmtp_spoken_to_a_server_of_smtp(caplog: pytest.LogCaptureFixture) -> None:
    faults = {"EHLO": "what?"}
    async with between(faults, scheme="lmtp") as (_server, sending):
        line = await why(sending, caplog)
    assert "does it speak LMTP there?" in line


# TLS where it can be


async def test_opportunistic_tls_trusts_anybody(tmp_path: Path) -> None:
    recorder = Recorder()
    async with (
        secured(recorder, files(tmp_path)) as server,
        relaying(f"smtp://other.test:{server.port}", resolver=HERE) as sending,
    ):
        assert (await sending.results())[0][0] == "delivered"
        assert recorder.messages[0].session.tls is not None
        # Of whom nobody knows who it is, REQUIRETLS cannot be asked (RFC 8689 §4.2.1).
        assert await sending.results(requires_tls=True) == [
            ("failed", "550 5.7.30 The message needs REQUIRETLS, which the server does not offer")
        ]


async def test_to_this_machine_in_the_clear(tmp_path: Path) -> None:
    recorder = Recorder()
    async with (
        secured(recorder, files(tmp_path)) as server,
        relaying(f"smtp://127.0.0.1:{server.port}") as sending,
    ):
        assert (await sending.results())[0][0] == "delivered"
        assert recorder.messages[0].session.tls is None


async def test_a_handshake_that_fails_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    async with serving({"STAR": "220 Go\r\nGarbage"}, extensions=("STARTTLS",)) as server:
        to = f"smtp://mx.test:{server.port}"
        async with relaying(to, resolver=HERE) as sending:
            for _ in range(3):
                assert (await sending.results())[0][0] == "delivered"
        assert server.commands.count("STARTTLS") == 1
        assert "going on in the clear, for an hour" in caplog.text
        assert server.sessions == 2


async def test_a_server_that_refuses_starttls() -> None:
    async with serving({"STAR": "454 4.7.0 Not now"}, extensions=("STARTTLS",)) as server:
        to = f"smtp://mx.test:{server.port}"
        async with relaying(to, resolver=HERE) as sending:
            assert (await sending.results())[0][0] == "delivered"
        assert server.sessions == 1


# Servers that are left alone


class OneHop:
    """A route to the same servers, or to none."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.error: NoRoute | None = None
        self.asked = 0

    def destination(self, _address: str) -> str:
        return "example.org"

    async def hops(self, _destination: str) -> list[Hop]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [Hop(host=host, port=25, tls=TlsPolicy.NEVER) for host in self.hosts]


def pool_of(route: OneHop, network: Network, clock: StillClock) -> Pool:
    backoff = Backoff(first_seconds=10, most_seconds=40, jitter=0)
    return Pool(
        route,
        clock=clock,
        chance=lambda: 0.5,
        connector=network.connector,
        backoff=backoff,
        hostname="relay.test",
    )


async def test_each_server_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    network, clock = Network(), StillClock()
    pool = pool_of(OneHop("192.0.2.1", "192.0.2.2"), network, clock)
    network.serve("192.0.2.2:25", Recorder())
    for _ in range(2):
        session = await pool.open("example.org")
        assert session.hop.host == "192.0.2.2"
        await pool.close(session)
    assert network.dialled == ["192.0.2.1:25", "192.0.2.2:25", "192.0.2.2:25"]
    del network.servers["192.0.2.2:25"]
    start = clock.now()
    with pytest.raises(Unreachable) as caught:
        await pool.open("example.org")
    assert caught.value.until == start + 10
    await clock.advance(10)
    with pytest.raises(Unreachable) as caught:
        await pool.open("example.org")
    assert caught.value.until == start + 30  # twice as long, as it is the second time
    network.serve("192.0.2.1:25", Recorder())
    pool.retry()
    assert (await pool.open("example.org")).hop.host == "192.0.2.1"
    assert "192.0.2.1:25 answers again" in caplog.text
    assert (pool.opened, pool.failed) == (3, 4)


async def test_what_routing_said_is_kept_for_a_minute() -> None:
    network, clock, route = Network(), StillClock(), OneHop("192.0.2.1")
    pool = pool_of(route, network, clock)
    network.serve("192.0.2.1:25", Recorder())
    await pool.open("example.org")
    await pool.open("example.org")
    assert route.asked == 1
    await clock.advance(61)
    await pool.open("example.org")
    assert route.asked == 2


async def test_no_route() -> None:
    network, clock, route = Network(), StillClock(), OneHop()
    pool = pool_of(route, network, clock)
    with pytest.raises(NoRoute):  # an answer without any server
        await pool.open("example.org")
    pool.retry()
    route.error = NoRoute(Reply(550, "5.1.2", "No such domain"))
    for _ in range(2):
        with pytest.raises(NoRoute, match="No such domain"):
            await pool.open("example.org")
    assert route.asked == 2
    pool.retry()
    route.error = NoRoute(Reply(451, "4.4.3", "Not now"), "mend DNS")
    with pytest.raises(Unreachable, match="Not now") as caught:
        await pool.open("example.org")
    assert caught.value.until == clock.now() + 60


async def test_a_server_is_full(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    network, clock = Network(), StillClock()
    pool = pool_of(OneHop("192.0.2.1"), network, clock)
    network.serve("192.0.2.1:25", Recorder(), max_connections=2)
    sessions = [await pool.open("example.org") for _ in range(2)]
    for _ in range(3):
        with pytest.raises(Unreachable, match="421") as caught:
            await pool.open("example.org")
        assert caught.value.until == clock.now() + 10
    assert len(network.dialled) == 3
    assert "192.0.2.1:25: takes no more sessions than 2 now (421 " in caplog.text
    assert "no mail goes there" not in caplog.text
    await pool.close(sessions.pop())
    sessions.append(await pool.open("example.org"))
    await clock.advance(11)
    with pytest.raises(Unreachable) as caught:
        await pool.open("example.org")
    assert caught.value.until == clock.now() + 20
    pool.retry()
    with pytest.raises(Unreachable):
        await pool.open("example.org")
    assert len(network.dialled) == 6
    # Without any session that works it is down.
    for session in sessions:
        await pool.close(session)
    del network.servers["192.0.2.1:25"]
    with pytest.raises(Unreachable):
        await pool.open("example.org")
    assert "no mail goes there for 10 seconds" in caplog.text
    await clock.advance(100)
    pool.forget()
    assert len(pool._servers) == 0


async def test_a_server_is_blamed_for_its_sessions(caplog: pytest.LogCaptureFixture) -> None:
    network, clock = Network(), StillClock()
    pool = pool_of(OneHop("192.0.2.1"), network, clock)
    network.serve("192.0.2.1:25", Recorder())
    session = await pool.open("example.org")
    until = pool.blame(session.hop, "it broke")
    assert until == clock.now() + 10
    assert pool.blame(session.hop, "it broke again") == until  # of the same trouble
    with pytest.raises(Unreachable, match="it broke"):
        await pool.open("example.org")
    assert "192.0.2.1:25: its sessions break: it broke; see what its log says" in caplog.text


async def test_nothing_is_remembered_for_ever() -> None:
    network, clock = Network(), StillClock()
    pool = pool_of(OneHop("192.0.2.1"), network, clock)
    with pytest.raises(Unreachable):
        await pool.open("example.org")
    pool.forget()
    assert (len(pool._servers), len(pool._known)) == (1, 1)
    await clock.advance(100)
    pool.forget()
    assert (len(pool._servers), len(pool._known)) == (0, 0)
