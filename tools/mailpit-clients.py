"""Mailpit's clients, as they come from PyPI and npm, on the real program: `make mailpit-clients`.

pytest-mailpit brings its own suite, which is run whole; of mailpit-api-client (PyPI) and of
mailpit-api (npm) every call is made by the scripts in tests/mailpit, and nodemailer sends while the
events are listened to. All of it is installed into .interop, which git ignores; nothing of it is
ours.

Exits 1 if something fails. What cannot be installed is told and left out, unless --all is given.
"""

# ruff: noqa: T201

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".interop/mailpit"
PYTHON = CACHE / "venv/bin/python"
SUITE = CACHE / "pytest_mailpit-0.4.1"
OURS = ROOT / "tests/mailpit"
TIME_LIMIT_SECONDS = 300
FROM_PYPI = (
    *("pytest-mailpit==0.4.1", "mailpit-api-client==1.0.0"),
    # What the suite uses.
    *("allure-pytest", "playwright", "pytest-html", "pytest-xdist", "responses"),
)
FROM_NPM = ("mailpit-api@2.1.0", "nodemailer@7", "ws@8")
CATCH = [
    *(sys.executable, "-m", "pillarbox", "catch", "--quiet", "--log-level", "error"),
    *("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--chaos", "--allow-internal-requests"),
]


def main() -> int:
    """Install, run all, tell what failed."""
    failed = False
    for name, install, run in (
        ("PyPI", install_from_pypi, run_python),
        ("npm", install_from_npm, run_node),
    ):
        try:
            install()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"mailpit-clients: nothing from {name}: {error}", file=sys.stderr)
            failed = failed or "--all" in sys.argv
            continue
        failed = with_server(run) or failed
    return int(failed)


def install_from_pypi() -> None:
    """Make an environment of its own, and unpack the suite."""
    if SUITE.exists():
        return
    call(sys.executable, "-m", "venv", CACHE / "venv")
    pip = (PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check")
    call(*pip, "install", *FROM_PYPI)
    call(*pip, "download", "--no-deps", "--no-binary", ":all:", "--dest", CACHE, FROM_PYPI[0])
    with tarfile.open(next(CACHE.glob("pytest_mailpit-*.tar.gz"))) as archive:
        archive.extractall(CACHE, filter="data")


def install_from_npm() -> None:
    """Install the packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise FileNotFoundError("node and npm are not here")
    if not all((CACHE / "node_modules" / name.partition("@")[0]).exists() for name in FROM_NPM):
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"private": true}\n')
        call("npm", "install", "--no-audit", "--no-fund", *FROM_NPM, cwd=CACHE)


def call(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a program that has to succeed."""
    subprocess.run([str(part) for part in command], check=True, timeout=TIME_LIMIT_SECONDS, cwd=cwd)


def with_server(run: Callable[[str, str, str], bool]) -> bool:
    """Run something beside our program; tell whether it failed."""
    server = subprocess.Popen(CATCH, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        smtp, http = (server.stderr.readline().rpartition("listening on ")[2] for _ in range(2))
        host, _, port = smtp.strip().removeprefix("smtp://").rpartition(":")
        return run(http.strip(), host, port)
    finally:
        server.terminate()
        server.wait()


def run_python(url: str, host: str, port: str) -> bool:
    """Run pytest-mailpit's suite, then mailpit-api-client."""
    # Its tests of links name the port inside of Mailpit's container.
    checks = SUITE / "tests/integration/test_quality_checks.py"
    text = checks.read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith(("WORKING = ", "MISSING = ")):
            name, _, address = line.partition(' = "')
            rest = "/" + address.split("/", 3)[3]
            text = text.replace(line, f'{name} = "{url}{rest}')
    checks.write_text(text, encoding="utf-8")
    chromium = shutil.which("chromium") or ""
    environment = {
        **os.environ,
        "MAILPIT_URL": url,
        "MAILPIT_SMTP": f"{host}:{port}",
        "PILLARBOX_CATCH": "\n".join(CATCH),
        "PILLARBOX_CHROMIUM": chromium,
        "PYTHONPATH": str(OURS),
    }
    suite = [
        *(str(PYTHON), "-m", "pytest", "-q", "-p", "pytester", "-p", "house", "-m", "integration"),
        *("-p", "no:cacheprovider", "tests/integration"),
    ]
    if not chromium:
        print("mailpit-clients: no chromium here, so the suite's tests in a browser are left out")
        suite += ["--ignore", "tests/integration/test_browser.py"]
    return any(
        [
            failed(suite, SUITE, environment),
            failed([str(PYTHON), str(OURS / "api_client.py"), url, host, port], ROOT, environment),
        ]
    )


def run_node(url: str, host: str, port: str) -> bool:
    """Run mailpit-api, and nodemailer."""
    return failed(["node", str(OURS / "api_client.mjs"), url, host, port], CACHE, dict(os.environ))


def failed(command: list[str], folder: Path, environment: dict[str, str]) -> bool:
    """Run something; tell whether it failed."""
    done = subprocess.run(
        command, cwd=folder, env=environment, timeout=TIME_LIMIT_SECONDS, check=False
    )
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
