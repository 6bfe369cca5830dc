"""What a process costs, from outside: CPU and memory of a process tree, read from Linux's /proc.

Knows no SMTP and starts nothing. Also chooses the cores that server and client are kept on.
"""

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
SUPPORTED = (PROC / "self/stat").exists()

# The scheduler's own account is in nanoseconds. A kernel built without it leaves the ticks of
# /proc/PID/stat, mostly 10 ms: measurements have to last longer then to mean as much.
NANOSECONDS = (PROC / "self/schedstat").exists()
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process and its descendants have used so far."""
    total = 0.0
    for member in process_tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended: its parent has its time
            total += _cpu_seconds_of_one(member)
    return total


def resident_octets(pid: int) -> int:
    """Memory that is in RAM now, exact to the page (`status` is allowed to lag behind)."""
    return _sum_of_field(pid, "smaps_rollup", "Rss")


def peak_octets(pid: int) -> int:
    """The most memory that was in RAM at once since `forget_peak`."""
    return _sum_of_field(pid, "status", "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin again at what is resident now."""
    for member in process_tree(pid):
        (PROC / str(member) / "clear_refs").write_text("5")


def process_tree(pid: int) -> list[int]:
    """The process, its children, their children and so on."""
    tree = [pid]
    for parent in tree:  # grows while it is walked
        for children in (PROC / str(parent) / "task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                tree.extend(int(child) for child in children.read_text().split())
    return tree


def choose_cores() -> tuple[int, int] | None:
    """Choose a core for the server and another for the client, or None where there is one only."""
    client, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return None
    # Two threads of one core slow each other down: take another core if there is one.
    siblings = _thread_siblings(client)
    server = next((core for core in reversed(others) if core not in siblings), others[-1])
    return server, client


def _cpu_seconds_of_one(pid: int) -> float:
    # The command name, in parentheses, may hold anything: count the fields from behind it.
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    user, system, *ended_children = (int(ticks) / _TICKS_PER_SECOND for ticks in fields[11:15])
    if NANOSECONDS:
        # Threads that have ended are not in here; no server of ours ends threads under load.
        threads = (PROC / str(pid) / "task").glob("*/schedstat")
        own = sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    else:
        own = user + system
    return own + sum(ended_children)


def _sum_of_field(pid: int, file: str, field: str) -> int:
    total = 0
    for member in process_tree(pid):
        for line in (PROC / str(member) / file).read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                total += int(value.removesuffix("kB")) * 1024
    return total


def _thread_siblings(core: int) -> set[int]:
    siblings: set[int] = set()
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    if path.exists():
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            siblings.update(range(int(first), int(last or first) + 1))
    return siblings
