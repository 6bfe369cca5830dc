"""The command line: `pillarbox COMMAND`, each command a module of this folder.

Here is what `pillarbox --help` shows; a command's module is loaded when it is used. How a command
is made: options.py.
"""

from __future__ import annotations

import cloup

from pillarbox import __version__
from pillarbox.cli.command import CommandGroup, config_option, remember_file

__all__ = ["main", "pillarbox"]

SECTIONS = {
    "Receive mail": (
        ("catch", "pillarbox.cli.catch:catch", "Catch all mail and show it (the default)."),
        ("sink", "pillarbox.cli.sink:sink", "Accept mail and discard it, or keep it as files."),
        ("serve", "pillarbox.cli.serve:serve", "Run a handler of your own."),
    ),
    "Pass mail on": (
        ("relay", "pillarbox.cli.relay:relay", "Keep mail safely and deliver it."),
        ("mailman", "pillarbox.cli.mailman:mailman", "Relay, with GNU Mailman 3 behind it."),
        ("queue", "pillarbox.cli.queue:queue", "Look at a relay's spool and control it."),
    ),
    "Send mail": (("send", "pillarbox.cli.send:send", "Send a message and show the dialogue."),),
    "Look after it": (
        ("passwd", "pillarbox.cli.passwd:passwd", "Make a line for a file of logins."),
    ),
}
EXAMPLES = """\b
Examples:
  pillarbox                          catch mail on 127.0.0.1:1025 and show it
  pillarbox serve myapp:handler      run the handler of myapp.py
  pillarbox sink --help              all about a command

\b
Each option can also stand in the environment (PILLARBOX_LISTEN, or
PILLARBOX_SINK_LISTEN for one command) and in a TOML file (--config).
"""


@cloup.group(
    "pillarbox",
    cls=CommandGroup,
    sections=SECTIONS,
    default_command="catch",
    subcommand_metavar="[COMMAND]",
    params=[config_option(remember_file)],
    epilog=EXAMPLES,
    context_settings={
        "show_default": True,
        "max_content_width": 100,
        "help_option_names": ["-h", "--help"],
    },
)
@cloup.version_option(__version__, message="pillarbox %(version)s")
def pillarbox() -> None:
    """The SMTP server for Python: receive mail, look at it, hand it to a program."""


def main() -> None:
    """Run the command line, and end the program with its exit status."""
    pillarbox.main()
