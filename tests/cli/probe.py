"""A command that only tells what it was told."""

from __future__ import annotations

import click
import cloup

from pillarbox.cli.command import CommandGroup, command, config_option, remember_file
from pillarbox.cli.options import Listening, listening_options

__all__ = ["group", "probe"]


@command("probe", example="pillarbox probe")
@cloup.option("--quiet", is_flag=True)
@cloup.option("--from", "sender", multiple=True)
@cloup.option("--to")
@listening_options
def probe(listening: Listening, quiet: bool, sender: tuple[str, ...], to: str | None) -> None:
    """Tell."""
    config = listening.config
    for name, value in {
        "listen": " ".join(f"{a.path or a.host}:{a.port}" for a in listening.addresses),
        "hostname": config.hostname,
        "limits": f"{config.max_message_bytes} {config.max_recipients} {config.max_connections}"
        f" {config.max_connections_per_ip} {config.idle_timeout_seconds}",
        "running": f"{listening.workers} {listening.loop} {listening.log_format}"
        f" {listening.log_level}",
        "own": f"{quiet} {' '.join(sender)} {to}",
    }.items():
        click.echo(f"{name}: {value}")


@cloup.group(
    "pillarbox",
    cls=CommandGroup,
    sections={
        "Probes": [
            ("probe", "tests.cli.probe:probe", "Tell."),
            ("broken", "tests.cli.no_such_module:broken", "Cannot be loaded."),
        ]
    },
    default_command="probe",
    params=[config_option(remember_file)],
)
def group() -> None:
    """Probe."""
