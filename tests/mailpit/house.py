"""What pytest-mailpit's own tests want of the machine, made of what is here.

A plugin for pytest, in the environment of tools/mailpit-clients.py: its container of Mailpit is
our program, and its browser is the system's Chromium.
"""

# mypy: ignore-errors

from __future__ import annotations

import os
import subprocess
import sys
import types

CHROMIUM = os.environ.get("PILLARBOX_CHROMIUM", "")


class MailpitContainer:
    """Testcontainers' class, as far as the plugin uses it."""

    def __init__(self, image: str) -> None:
        self.image = image

    def with_env(self, name: str, value: str) -> MailpitContainer:
        return self

    def start(self) -> MailpitContainer:
        command = os.environ["PILLARBOX_CATCH"].split("\n")
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        ports = [self._process.stderr.readline().rpartition(":")[2] for _ in range(2)]
        self._smtp, self._http = map(int, ports)
        return self

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def get_base_api_url(self) -> str:
        return f"http://127.0.0.1:{self._http}"

    def get_container_host_ip(self) -> str:
        return "127.0.0.1"

    def get_exposed_smtp_port(self) -> int:
        return self._smtp


module = types.ModuleType("testcontainers.community.mailpit")
module.MailpitContainer = MailpitContainer
for name in ("testcontainers", "testcontainers.community"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[module.__name__] = module

if CHROMIUM:
    from playwright.sync_api import BrowserType

    launch = BrowserType.launch

    def launch_ours(self, **options):
        return launch(self, executable_path=CHROMIUM, args=["--no-sandbox"], **options)

    BrowserType.launch = launch_ours
