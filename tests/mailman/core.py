"""A real GNU Mailman 3 Core for the tests: made in a folder, on free ports, ended by its own pids.

It is installed by tools/mailman.py into an environment of its own, whose Python runs core_admin.py
as well: Mailman's own client makes the lists. What Mailman sends goes to a port of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["DOMAIN", "ENVIRONMENT", "Core"]

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".mailman/venv"
ADMIN = Path(__file__).with_name("core_admin.py")
DOMAIN = "lists.example.org"

START_SECONDS = 120.0
STOP_SECONDS = 60.0

CONFIG = """\
[mailman]
site_owner: site@example.net
layout: tests

[paths.tests]
var_dir: {folder}/var
bin_dir: {bin}

[mta]
smtp_host: 127.0.0.1
smtp_port: {smtp}
lmtp_host: 127.0.0.1
lmtp_port: {lmtp}
configuration: {folder}/postfix.cfg

[webservice]
hostname: 127.0.0.1
port: {rest}
workers: 1
admin_pass: tests
configuration: {folder}/gunicorn.cfg

[runner.bounces]
sleep_time: 1s

[runner.archive]
start: no

[runner.digest]
start: no
"""
POSTFIX = "[postfix]\ntransport_file_type: regex\npostmap_command: /bin/true\n"
GUNICORN = "[gunicorn]\ncontrol_socket_disable = True\n"


def free_ports(count: int) -> list[int]:
    """Find ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [one.getsockname()[1] for one in sockets]


class Core:
    """Mailman, from its start to its end.

    Args:
        folder: Where it keeps all that it has.
        smtp: The port that its own mail goes to.
    """

    def __init__(self, folder: Path, smtp: int) -> None:
        self.folder = folder
        self.lmtp, self.rest = free_ports(2)
        self.config = folder / "mailman.cfg"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        names = {"folder": folder, "bin": ENVIRONMENT / "bin"}
        ports = {"smtp": smtp, "lmtp": self.lmtp, "rest": self.rest}
        self.config.write_text(CONFIG.format(**names, **ports))
        (folder / "postfix.cfg").write_text(POSTFIX)
        (folder / "gunicorn.cfg").write_text(GUNICORN)

    @property
    def domains_file(self) -> Path:
        """Its file of domains."""
        return self.folder / "var/data/postfix_domains"

    def __enter__(self) -> Core:
        try:
            self.start()
            self.admin("setup", DOMAIN)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.thaw()
            self.stop()

    # What it goes through

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Its daemon would keep a pipe open for ever, so what it says goes into a file.
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [ENVIRONMENT / "bin/master", "-C", self.config, "--force"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.folder,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self._answers(self.lmtp) and self._answers(self.rest)):
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def _answers(self, port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    def stop(self) -> None:
        """End it, and all of its processes."""
        assert self._process is not None
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def freeze(self) -> None:
        """Stop all of its processes where they are."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    # What it tells

    def said(self) -> str:
        """Give its logs."""
        files = [self.folder / "output", *sorted((self.folder / "var/logs").glob("*.log"))]
        return "\n".join(f"{file.name}:\n{file.read_text()[-4000:]}" for file in files)

    def admin(self, *arguments: str) -> Any:
        """Have Mailman's own client do something, and give what it says."""
        done = subprocess.run(
            [ENVIRONMENT / "bin/python", ADMIN, f"http://127.0.0.1:{self.rest}/3.1", *arguments],
            stdout=subprocess.PIPE,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode == 0, self.said()
        return json.loads(done.stdout)

    def queued(self, *queues: str) -> list[str]:
        """Give the messages in these queues."""
        found = [(self.folder / "var/queue" / name).glob("*.pck") for name in queues]
        return [file.name for files in found for file in files]

    def ask(self, path: str) -> Any:
        """Ask its REST service, faster than by its client."""
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        url = f"http://127.0.0.1:{self.rest}/3.1/{path}"
        passwords.add_password(None, url, "restadmin", "tests")
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        with opener.open(url, timeout=30) as answer:
            return json.load(answer)

    def members(self, name: str) -> Iterator[dict[str, Any]]:
        """Give the members of a list."""
        yield from self.ask(f"lists/{name}@{DOMAIN}/roster/member").get("entries", ())

    def held(self, name: str) -> list[dict[str, Any]]:
        """Give the messages that it holds for a moderator."""
        found: list[dict[str, Any]] = self.ask(f"lists/{name}@{DOMAIN}/held").get("entries", [])
        return found
