"""Getting what Pillarbox is compared with: aiosmtpd from PyPI, Postfix's test programs from Debian.

Everything lands in the ignored folder .bench/ and is kept there; nothing is installed into the
system and no service is started. Delete the folder to fetch again.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
_TIMEOUT_SECONDS = 180


class Unavailable(Exception):
    """A part of the comparison cannot be had here; the text is one line that names the remedy."""


@dataclass(frozen=True, slots=True)
class Aiosmtpd:
    """An interpreter that can import aiosmtpd and uvloop."""

    python: Path
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Postfix:
    """Postfix's two test programs, which run from where the package was unpacked."""

    smtp_source: Path
    smtp_sink: Path
    environment: dict[str, str]
    version: str


@cache
def fetch_aiosmtpd() -> Aiosmtpd:
    """Make an environment with aiosmtpd and uvloop, for the Python that runs this."""
    home = CACHE / "aiosmtpd-{}.{}.{}".format(*sys.version_info)
    python = home / "bin" / "python"
    ask = (
        "import aiosmtpd.smtp, uvloop; from importlib.metadata import version;"
        "print(version('aiosmtpd'), version('uvloop'))"
    )
    if not python.exists() or not _works([python, "-c", ask]):
        try:
            _run([sys.executable, "-m", "venv", "--clear", home])
            _run([python, "-m", "pip", "install", "-q", "--retries=1", "aiosmtpd", "uvloop"])
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(
                f"aiosmtpd is left out: {_reason(error)}; "
                "python -m venv and pip must work, with network on the first run"
            ) from error
    aiosmtpd, uvloop = _run([python, "-c", ask]).split()
    return Aiosmtpd(python, {"aiosmtpd": aiosmtpd, "uvloop (aiosmtpd's)": uvloop})


@cache
def fetch_postfix() -> Postfix:
    """Download Debian's postfix package and unpack it, with the libraries the system lacks."""
    home = CACHE / "postfix"
    try:
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            (home / "debs").mkdir(parents=True)
            _unpack(["postfix"], home)
            if "not found" in _run(["ldd", _program(home, "smtp-source")], _environment(home)):
                _unpack(_libraries(home), home)
            (home / "complete").touch()
        version = _run(["dpkg-deb", "-f", *_debs(home, "postfix"), "Version"]).strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(
            f"smtp-sink and workloads a to e (sent by smtp-source) are left out: {_reason(error)}; "
            "they need Debian's or Ubuntu's apt-get download and dpkg-deb (try apt-get update)"
        ) from error
    return Postfix(
        _program(home, "smtp-source"), _program(home, "smtp-sink"), _environment(home), version
    )


def _program(home: Path, name: str) -> Path:
    return home / "root" / "usr" / "sbin" / name


def _environment(home: Path) -> dict[str, str]:
    root = home / "root"
    folders = [
        root / "usr/lib/postfix",
        *root.glob("usr/lib/*-linux-*"),
        *root.glob("lib/*-linux-*"),
    ]
    return {"LD_LIBRARY_PATH": ":".join(str(folder) for folder in folders)}


def _unpack(packages: Sequence[str], home: Path) -> None:
    # As root, apt downloads as a user who may not write here, and complains: stay who we are.
    user = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    _run(["apt-get", "-q", *user, "download", *packages], cwd=home / "debs")
    for package in packages:
        for deb in _debs(home, package):
            _run(["dpkg-deb", "-x", deb, home / "root"])


def _debs(home: Path, package: str) -> list[Path]:
    return list((home / "debs").glob(f"{package}_*.deb"))


def _libraries(home: Path) -> list[str]:
    """Name the libraries that postfix needs and theirs, but for the C library itself."""
    depends = _run(["dpkg-deb", "-f", *_debs(home, "postfix"), "Depends"]).split(",")
    direct = [entry.split()[0] for entry in depends]
    others = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    listing = _run(
        ["apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in others)]
        + [name for name in direct if name.startswith("lib") and name != "libc6"]
    )
    # Packages stand at the margin, what they depend on is indented below them.
    return [name for name in listing.splitlines() if name.startswith("lib") and name != "libc6"]


def _run(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, cwd: Path = ROOT
) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    return done.stdout


def _works(command: Sequence[str | Path]) -> bool:
    try:
        _run(command)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or error.stdout or "").strip().splitlines()
        return f"{Path(error.cmd[0]).name} said: {said[-1]}" if said else str(error)
    return str(error)
