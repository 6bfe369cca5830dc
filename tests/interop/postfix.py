"""Postfix as a next hop: its smtp-sink, and the whole of it in folders and on a port of its own.

Nothing here touches a Postfix that runs on this machine. It comes with no server of logins, so it
asks one here, which speaks what Dovecot speaks with it.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.test_relay import free_port
from tests.interop.sending import HOST, LOGIN, TIME_LIMIT_SECONDS, Installed, leave

__all__ = ["POSTFIX", "postfix", "smtp_sink"]

DAEMONS = Path("/usr/lib/postfix/sbin")
# Debian has them where the PATH of who is not root does not lead.
COMMANDS = Path("/usr/sbin")

POSTFIX = Installed(
    name="Postfix",
    needs=("test", "-x", str(COMMANDS / "smtp-sink"), "-a", "-x", str(DAEMONS / "master")),
    debian=("postfix",),
)

SERVICES = """
{host}:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
tlsmgr unix - - n - 1 tlsmgr
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
retry unix - - n - - error
error unix - - n - - error
smtp unix - - n - - smtp
"""

SETTINGS = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {commands}
daemon_directory = {daemons}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = loopback-only
default_transport = smtp:[{host}]:{to}
local_header_rewrite_clients =
message_size_limit = 20000000
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {certificate}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:{host}:{logins}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions =
  check_recipient_access inline:{{ {{ nobody@example.net = 550 5.1.1 Nobody }} }}
"""


@contextmanager
def postfix(certificate: Path, *, to: int) -> Iterator[int]:
    """Run Postfix, which wants TLS and a login, and sends on to a port; give its own."""
    POSTFIX.want()
    if os.geteuid() != 0:
        leave("Postfix can be started by root alone")
    with scratch() as folder, logins() as logins_port:
        for name in ("etc", "queue", "data"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        own = folder / "etc/certificate.pem"
        shutil.copyfile(certificate, own)
        own.chmod(0o600)
        port = free_port()
        (folder / "etc/master.cf").write_text(SERVICES.format(host=HOST, port=port))
        (folder / "etc/main.cf").write_text(
            SETTINGS.format(
                folder=folder,
                host=HOST,
                to=to,
                certificate=own,
                logins=logins_port,
                commands=COMMANDS,
                daemons=DAEMONS,
            )
        )
        command = [str(COMMANDS / "postfix"), "-c", str(folder / "etc")]
        with running([*command, "start-fg"], port, log=folder / "log"):
            try:
                yield port
            finally:
                subprocess.run([*command, "abort"], check=False, capture_output=True)


@contextmanager
def smtp_sink(*options: str) -> Iterator[tuple[int, Path]]:
    """Run smtp-sink; give its port, and the folder where it puts what it gets."""
    POSTFIX.want()
    with scratch() as folder:
        user: tuple[str, ...] = ()
        if os.geteuid() == 0:  # it does not run as root
            shutil.chown(folder, "nobody")
            user = ("-u", "nobody")
        port = free_port()
        program = str(COMMANDS / "smtp-sink")
        place = ("-d", f"{folder}/%M.", f"{HOST}:{port}", "100")
        with running([program, *user, *options, *place], port, log=folder / "log"):
            yield port, folder


@contextmanager
def running(command: list[str], port: int, *, log: Path) -> Iterator[None]:
    """Run a server, and wait until it answers."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            deadline = time.monotonic() + TIME_LIMIT_SECONDS
            while not greets(port):
                said = log.read_text() if log.exists() else ""
                assert process.poll() is None, f"{command[0]} has ended: {said}"
                assert time.monotonic() < deadline, said
                os.sched_yield()
            yield
        finally:
            process.terminate()


def greets(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=TIME_LIMIT_SECONDS) as client:
            return client.recv(4).startswith(b"220")
    except OSError:
        return False


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that other users may enter: those of pytest are for its own user."""
    with tempfile.TemporaryDirectory(prefix="next-hop-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class _Logins(socketserver.StreamRequestHandler):
    """Dovecot's protocol for logins, as far as PLAIN in one step needs it."""

    def handle(self) -> None:
        self.say("VERSION\t1\t1", "MECH\tPLAIN\tplaintext", "SPID\t1", "CUID\t1", "COOKIE\t1")
        self.say("DONE")
        while line := self.rfile.readline().decode().rstrip("\n"):
            verb, *fields = line.split("\t")
            if verb != "AUTH":
                continue
            number = fields[0]
            [resp] = [field[5:] for field in fields if field.startswith("resp=")]
            _, user, password = base64.b64decode(resp).decode().split("\0")
            if (user, password) == LOGIN:
                self.say(f"OK\t{number}\tuser={user}")
            else:
                self.say(f"FAIL\t{number}\tuser={user}")

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\n" for line in lines).encode())


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def logins() -> Iterator[int]:
    """Serve LOGIN to Postfix; give the port."""
    with _Threads((HOST, 0), _Logins) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(TIME_LIMIT_SECONDS)
