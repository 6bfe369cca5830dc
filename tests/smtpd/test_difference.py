"""Side by side with CPython's module, where that is: the same dialogues, the same of everything.

What differs on purpose is left out here and tested in test_faults.py: dialogues that raise an
exception in CPython's module, empty messages, messages that are too large, and a few others that
`differs_on_purpose` names.
"""

from __future__ import annotations

import importlib.util
import random
import sys
import sysconfig
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.smtpd.test_cost import Connection
from tests.smtpd.under_test import ours_only, smtpd

pytestmark = ours_only

CPYTHON = Path(sysconfig.get_path("stdlib")) / "smtpd.py"

VERBS = [
    *("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP"),
    *("FOO", "mail", "rcpt", "data", "helo"),
]
PIECES = [
    *("FROM:", "TO:", "from:", "to: ", " ", "@", "<", ">", "(c)", "MAIL", "RCPT", "host", "é"),
    *("<a@b>", "<a.b@c.d>", "a@b", "<>", '"a b"@c', '<"a"@b>', "<@x:a@b>", "<a@[1.2.3.4]>"),
    *("<a..b@c>", "<é@ü>", "<a,b@c>", " SIZE=10", " SIZE=x", " SIZE=99999999", " SIZE=0"),
    *(" BODY=8BITMIME", " BODY=7BIT", " BODY=X", " SMTPUTF8", " SMTPUTF8=1", " FOO=BAR", " ="),
]
TEXT = ["x", ".", "..", "\r\n", "\n", "\r", ".x", "abc", "é", "\r\n..", "\r\n\r\n", "x\r\n.x"]
MODES: list[dict[str, Any]] = [
    {},
    {"decode_data": True},
    {"enable_SMTPUTF8": True},
    {"data_size_limit": 10_000},
    {"data_size_limit": None},
]


@pytest.fixture(scope="module")
def cpython() -> ModuleType:
    if not CPYTHON.exists():
        pytest.skip("this Python has no smtpd of its own any more")
    spec = importlib.util.spec_from_file_location("cpythons_smtpd", CPYTHON)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        spec.loader.exec_module(module)
    return module


def some_dialogue(any_of: random.Random) -> list[bytes]:
    """Make commands and messages, right and wrong."""
    packets = [any_of.choice(["EHLO h", "EHLO h", "HELO h", "NOOP"]) + "\r\n"]
    for _ in range(any_of.randint(1, 12)):
        if any_of.random() < 0.3:
            options = any_of.choice(["", "", " SIZE=5", " BODY=8BITMIME", " SMTPUTF8"])
            packets += [f"MAIL FROM:<a@b>{options}\r\n", "RCPT TO:<c@d>\r\n", "DATA\r\n"]
            text = "".join(any_of.choices(TEXT, k=any_of.randint(0, 8)))
            packets.append(f"x{text}\r\n.\r\n")
        else:
            verb, space = any_of.choice(VERBS), any_of.choice(["", " ", " ", " ", "  "])
            arguments = "".join(any_of.choices(PIECES, k=any_of.randint(0, 3)))
            packets.append(f"{verb}{space}{arguments}\r\n")
    return [packet.encode() for packet in packets]


def cut(packets: list[bytes], any_of: random.Random) -> list[bytes]:
    """Let it arrive in pieces of any size."""
    octets, pieces = b"".join(packets), []
    most = any_of.choice([5, 50, 1000])
    while octets:
        size = any_of.randint(1, most)
        pieces.append(octets[:size])
        octets = octets[size:]
    return pieces


def play(module: Any, packets: list[bytes], mode: dict[str, Any]) -> dict[str, Any] | None:
    """Give all that can be seen of a channel; `None` where it raised an exception."""
    sent: list[bytes] = []
    messages: list[Any] = []

    class Server:
        def process_message(self, *arguments: Any, **keywords: Any) -> None:
            messages.append((arguments, keywords))

    class Channel(module.SMTPChannel):  # type: ignore[misc]  # of either module
        def recv(self, _size: int) -> bytes:
            return waiting.pop(0)

        def send(self, data: bytes) -> int:
            sent.append(bytes(data))
            return len(data)

    waiting = list(packets)
    channel = Channel(Server(), Connection(), "test", map={}, **mode)
    try:
        while waiting:
            channel.handle_read()
    except Exception:
        return None
    names = ("smtp_state", "mailfrom", "rcpttos", "seen_greeting", "extended_smtp", "num_bytes")
    state = {name: getattr(channel, name) for name in names}
    state["collected"] = channel._emptystring.join(channel.received_lines), channel.ac_in_buffer
    state["options"] = [getattr(channel, f"{name}_options", None) for name in ("mail", "rcpt")]
    return {"sent": sent, "messages": messages, **state}


def differs_on_purpose(sent: list[bytes]) -> bool:
    # A verb with a control in it is repeated escaped.
    return any(b"\r" in line[:-2] or b"\n" in line[:-2] for line in sent)


@pytest.mark.parametrize("seed", range(10))
def test_side_by_side(seed: int, cpython: ModuleType) -> None:
    any_of = random.Random(seed)
    compared = 0
    for _ in range(300):
        mode = any_of.choice(MODES)
        packets = some_dialogue(any_of)
        if not mode.get("decode_data") and any_of.random() < 0.7:
            packets = cut(packets, any_of)  # with decode_data, see fault 8
        theirs, ours = play(cpython, packets, mode), play(smtpd, packets, mode)
        assert ours is not None, packets
        if theirs is not None and not differs_on_purpose(theirs["sent"]):
            assert ours == theirs, packets
            compared += 1
    assert compared > 150
