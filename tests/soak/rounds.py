"""Rounds of a soak in one process: servers, a hundred clients, chaos, a drain; then the reckoning.

Each round ends with nothing left: no task, descriptor, connection, count. Time goes a hundred times
as fast as outside, so that every time-out comes true.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import ipaddress
import logging
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import trustme

from pillarbox import Server
from pillarbox.asyncio.body import BodyStream
from pillarbox.asyncio.connection import Connection
from pillarbox.asyncio.tls import TlsLayer
from pillarbox.certificate import CertificateFiles, Certificates
from pillarbox.config import Config
from pillarbox.envelope import Session
from pillarbox.protocol.server import ServerConnection
from tests.soak.chaos import Chaos, Ledger, WholeChaos
from tests.soak.client import Client, Outcome, Target

__all__ = ["Authority", "Surroundings", "check_mail", "run_round", "run_rounds"]

SPEED = 100.0
CLIENTS = 300
AT_ONCE = 150
MESSAGES = 3
HANG_SECONDS = 20.0
OURS = (Connection, ServerConnection, BodyStream, TlsLayer, Session, Client, ssl.SSLObject)


class Authority:
    """Certificates that change, and the clients' trust in them.

    Args:
        folder: Where to keep the server's certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mx.pem"
        authority = trustme.CA()
        self._contents = [
            authority.issue_cert("mx.test").private_key_and_cert_chain_pem.bytes() for _ in range(2)
        ]
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        self.change(0)

    def change(self, number: int) -> None:
        """Renew the certificate; a number beyond the second spoils it."""
        self.path.write_bytes((*self._contents, b"none\n")[number])


class Surroundings:
    """What is there before a round, and has to be so after it."""

    def __init__(self) -> None:
        gc.collect()
        self._descriptors = _descriptors()
        self._objects = _our_objects()

    def check(self) -> None:
        """Compare.

        Raises:
            AssertionError: Something was left behind.
        """
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        objects = _our_objects()
        assert objects == self._objects, objects
        left = dict(_descriptors().items() - self._descriptors.items())
        assert left == {}, left


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _our_objects() -> dict[str, int]:
    counts = dict.fromkeys((kind.__name__ for kind in OURS), 0)
    for thing in gc.get_objects():
        if isinstance(thing, OURS):
            counts[type(thing).__name__] += 1
    return counts


def resident_octets() -> int:
    """Tell how much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_mail(ledger: Ledger, outcome: Outcome) -> int:
    """Compare what clients know with what the handler took; tell how many replies were lost.

    Raises:
        AssertionError: A message was lost, doubled, spoiled, or taken though it was refused.
    """
    assert ledger.spoiled == []
    taken = set(ledger.kept) | ledger.unread
    assert [number for number, times in ledger.kept.items() if times > 1] == []
    assert sorted(set(outcome.acknowledged) - taken) == []
    assert sorted(set(outcome.refused) & taken) == []
    lost = taken - set(outcome.acknowledged)
    assert lost <= set(outcome.unanswered)
    return len(lost)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Chaos fills the log."""
    logger = logging.getLogger("pillarbox")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def run_round(seed: str, first: int, authority: Authority, *, drains: bool) -> Outcome:
    """Run one round on the running loop, and see that nothing is left of it.

    Args:
        seed: Where all dice begin.
        first: The number of the first message.
        authority: The certificates.
        drains: The servers close in the middle.

    Raises:
        AssertionError: Something is wrong or left behind.
    """
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    listener = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    listener.close()  # uvloop keeps a descriptor of its own from the first one on
    del listener
    await asyncio.sleep(0)
    surroundings = Surroundings()
    dice = random.Random(seed)
    ledger, outcome = Ledger(), Outcome()
    async with _servers(seed, ledger, authority) as servers:
        targets = await _listen(servers)
        waking = loop.create_task(_keep_time(servers, authority, dice))
        clients = [
            Client(
                dice.choice(targets),
                f"{seed}-{number}",
                range(first + number * MESSAGES, first + number * MESSAGES + dice.randint(1, 3)),
                outcome,
                authority.context,
            )
            for number in range(CLIENTS)
        ]
        drains_at = dice.randint(CLIENTS // 2, CLIENTS - 1) if drains else CLIENTS
        await _run_clients(clients, servers, drains_at)
        del clients
        waking.cancel()
        await asyncio.wait([waking])
    accepted = sum(server.counters.messages_accepted for server in servers)
    assert len(outcome.acknowledged) <= accepted <= len(ledger.kept) + len(ledger.unread)
    for server in servers:
        assert server.counters.connections_open == 0
        assert server.counters.memory_octets == 0
        assert not server.admission.everyone
        assert not server.admission.clients
        assert not server._orphans
        assert not server._tasks
        assert server._ticking is None
    del server, servers
    check_mail(ledger, outcome)
    assert ledger.connected.keys() <= ledger.disconnected.keys()
    assert set(ledger.disconnected.values()) <= {1}
    await asyncio.sleep(0.05)  # transports close at the next turn; a held reply, a little later
    assert faults == [], faults
    surroundings.check()
    loop.set_exception_handler(None)
    return outcome


@contextlib.asynccontextmanager
async def _servers(
    seed: str, ledger: Ledger, authority: Authority
) -> AsyncIterator[tuple[Server, ...]]:
    def clock() -> float:
        return time.monotonic() * SPEED

    def make(chaos: Chaos, **values: Any) -> Server:
        config = Config(
            hostname="mx.test",
            max_connections=70,
            max_connections_per_ip=65,
            idle_timeout_seconds=60,
            handshake_timeout_seconds=30,
            max_session_seconds=10_000,
            min_message_rate=1000,
            max_memory_bytes=500_000,
            auth_delay_seconds=0.01,
            drain_seconds=0.5,
            max_message_bytes=1_000_000,
            allows_plaintext_auth=True,
            **values,
        )
        certificates = Certificates(CertificateFiles(certificate=authority.path))
        server = Server(chaos, config=config, certificates=certificates, clock=clock)
        # Those who never read are to fill every buffer before they are told to go.
        server.offer = dataclasses.replace(server.offer, max_idle_commands=1_000_000)
        return server

    authority.change(0)
    loopback = ipaddress.ip_network("127.0.0.0/8")
    servers = (
        make(Chaos(f"{seed}-streams", ledger)),
        make(WholeChaos(f"{seed}-whole", ledger), proxy_networks=(loopback,)),
    )
    try:
        yield servers
    finally:
        for server in servers:
            await server.close()


async def _listen(servers: tuple[Server, ...]) -> list[Target]:
    targets = []
    for server in servers:
        for is_tls in (False, True):
            await server.listen("127.0.0.1", 0, is_tls=is_tls)
            address = server.addresses[-1]
            assert isinstance(address, tuple)
            is_proxied = bool(server.config.proxy_networks)
            targets.append(Target(address[1], is_tls=is_tls, is_proxied=is_proxied))
    return targets


async def _keep_time(
    servers: tuple[Server, ...], authority: Authority, dice: random.Random
) -> None:
    """Let the fast clock tick as it does, and change the certificate now and then."""
    while True:
        await asyncio.sleep(1 / SPEED)
        if dice.random() < 0.05:
            authority.change(dice.choice((0, 1, 1, 2)))
        for server in servers:
            server.check_deadlines()


async def _run_clients(clients: list[Client], servers: tuple[Server, ...], drains_at: int) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    closing: list[asyncio.Task[None]] = []

    async def run(number: int, client: Client) -> None:
        async with gate:
            if number == drains_at:
                closing.extend(asyncio.create_task(server.close()) for server in servers)
            try:
                async with asyncio.timeout(HANG_SECONDS):
                    await client.run()
            except TimeoutError:
                raise AssertionError(f"a client hangs: {client.doing}") from None

    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(run(number, client))
    if closing:
        await asyncio.wait(closing)
        return
    # Nobody has to close the server for what is over to be over.
    async with asyncio.timeout(HANG_SECONDS):
        while any(one.admission.everyone or one._orphans or one._tasks for one in servers):
            await asyncio.sleep(0.01)


def run_rounds(
    seed: str,
    seconds: float,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Run rounds for so long, at least two; give the number of sessions.

    Raises:
        AssertionError: With the seed of the round in a note.
    """
    authority = Authority(folder)
    began = time.monotonic()
    rounds = 0
    at_first = 0
    with _quiet(), asyncio.Runner(loop_factory=new_loop) as runner:
        while rounds < 2 or time.monotonic() - began < seconds:
            name = f"{seed}-{rounds}"
            try:
                first = rounds * CLIENTS * MESSAGES
                drains = rounds % 2 == 1
                outcome = runner.run(run_round(name, first, authority, drains=drains))
            except BaseException as error:
                error.add_note(f"the seed is {name!r}")
                raise
            rounds += 1
            tell(f"round {rounds}: {summary(outcome)}, {resident_octets() // 1000} kB")
            if rounds == 10:
                at_first = resident_octets()
    if rounds > 20:
        grown = resident_octets() - at_first
        assert grown < 10_000_000, f"{grown} octets more than after ten rounds"
    return rounds * CLIENTS


def summary(outcome: Outcome) -> str:
    """Tell what became of the messages."""
    return (
        f"{len(outcome.acknowledged)} accepted, {len(outcome.refused)} refused,"
        f" {len(outcome.unanswered)} without an answer"
    )
