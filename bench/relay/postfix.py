"""Postfix as a relay beside ours: the machine's programs, and everything else of its own.

Configuration, queue, data and ports are private to the bench; nothing of the system is written, and
its service, if there is one, goes on. Tuned as one would who wants much through: nothing is held
back on the way in, and a next hop has 20 sessions from the beginning, as many as ours.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.fetch import Unavailable
from bench.servers import Server, ServerError

TUNED = {
    "in_flow_delay": "0",
    "initial_destination_concurrency": "20",
    "default_destination_concurrency_limit": "20",
}

_MASTER = """
{listen} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_LEFT_OUT = "Postfix is left out: "


def version() -> str:
    """Tell which one it is.

    Raises:
        Unavailable: There is none to run.
    """
    if shutil.which("postfix") is None:
        raise Unavailable(
            f"{_LEFT_OUT}DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends"
            " postfix (its own service need not run)"
        )
    if os.geteuid() != 0:
        raise Unavailable(f"{_LEFT_OUT}its master has to be started by root")
    return _said("postconf", "-d", "-h", "mail_version")


def postfix(folder: Path, next_hop: int, environment: Mapping[str, str]) -> Server:
    """Give a Postfix that relays to a port of this machine.

    Args:
        folder: Where everything of it goes; emptied.
        next_hop: That port.
        environment: What its programs are to have in their environment.
    """
    installed = version()
    master = Path(_said("postconf", "-d", "-h", "daemon_directory")) / "master"
    configuration = folder / "configuration"

    def command(port: int, _security: object) -> list[str]:
        _prepare(folder, configuration, port, next_hop, environment)
        return [str(master), "-c", str(configuration), "-d"]

    return Server("postfix", command, versions={"postfix": installed})


def _prepare(
    folder: Path, configuration: Path, port: int, next_hop: int, environment: Mapping[str, str]
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for part in (configuration, folder / "queue", folder / "data"):
        part.mkdir(parents=True)
    shutil.chown(folder / "data", "postfix")
    imported = " ".join(f"{name}={value}" for name, value in environment.items())
    parameters = {
        "compatibility_level": "3.6",
        "queue_directory": folder / "queue",
        "data_directory": folder / "data",
        "myhostname": "relay.bench.invalid",
        "mydestination": "",
        "local_recipient_maps": "",
        "alias_maps": "",
        "alias_database": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "loopback-only",
        "inet_protocols": "ipv4",
        "relayhost": f"[127.0.0.1]:{next_hop}",
        "import_environment": f"MAIL_CONFIG TZ LANG=C {imported}",
        **TUNED,
    }
    lines = [f"{name} = {value}" for name, value in parameters.items()]
    (configuration / "main.cf").write_text("\n".join(lines) + "\n")
    (configuration / "master.cf").write_text(_MASTER.format(listen=f"127.0.0.1:{port}"))
    checked = subprocess.run(
        ["postfix", "-c", str(configuration), "check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if checked.returncode:
        raise ServerError(f"postfix check said: {checked.stderr.strip().splitlines()[-1:]}")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
