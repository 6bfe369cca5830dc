"""A crowd: thousands of connections that wait, up to the cap, with the program in its own process.

At the cap a newcomer hears why not, everybody inside goes on, and a place that is left is taken.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from tests.cli.program import Client, Program

__all__ = ["crowd", "room_for"]

# 10,000 of them in 100 MB, which is several times what they take.
LIMIT_OCTETS_EACH = 10_000
_SPARE_DESCRIPTORS = 100


def room_for(connections: int) -> int:
    """Give so many connections, or as many as this process may open; it may open them then.

    Raises:
        AssertionError: They would be so few that nothing is shown.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A client's socket and the file around it are one descriptor.
    wanted = connections + _SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    assert wanted > 500, "ulimit -Hn is too low"
    return wanted - _SPARE_DESCRIPTORS


def crowd(connections: int, *options: str) -> int:
    """Fill a server to its cap; give what that took, in octets a connection.

    Raises:
        AssertionError: Somebody was refused too early or let in too late, or hindered by the crowd,
            or it took too much memory.
    """
    limits = ["--max-connections", str(connections), "--max-connections-per-ip", str(connections)]
    # As whoever starts it from a shell: the program asks for the descriptors that it needs.
    prefix = ("sh", "-c", 'ulimit -S -n 256; exec "$@"', "-")
    with (
        Program("sink", "--listen", "127.0.0.1:0", *limits, *options, prefix=prefix) as program,
        contextlib.ExitStack() as stack,
    ):
        port = program.ready_port()
        with Client(port) as client:
            assert client.deliver(b"x\r\n").startswith("250")
            assert client.say("QUIT").startswith("221")
            assert client.reply() == ""
        base = _resident_octets(program.process.pid)
        inside = []
        for number in range(connections):
            inside.append(stack.enter_context(Client(port)))
            assert inside[-1].greeting.startswith("220"), f"{number}: {inside[-1].greeting!r}"
        each = (_resident_octets(program.process.pid) - base) / connections
        for _ in range(10):
            with Client(port) as newcomer:
                assert newcomer.greeting == "421 4.7.0 Too many connections; try again later"
                assert newcomer.reply() == ""
        for client in (*inside[:20], *inside[:: connections // 50], *inside[-20:]):
            assert client.deliver(b"x\r\n").startswith("250")
        assert inside[connections // 2].say("QUIT").startswith("221")
        assert inside[connections // 2].reply() == ""
        successor = stack.enter_context(Client(port))
        assert successor.deliver(b"x\r\n").startswith("250")
        status, lines = program.stop()
        assert status == 0
        assert not any("Traceback" in line for line in lines)
    assert each < LIMIT_OCTETS_EACH, f"{each:.0f} octets a connection"
    return round(each)


def _resident_octets(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
