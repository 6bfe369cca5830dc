"""Names, signatures and values that programs rely on."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
import warnings
from typing import Any

import pytest

from tests.smtpd.house import House
from tests.smtpd.under_test import (
    IS_STDLIB,
    SMTPD_FILE,
    asynchat,
    asyncore,
    mended,
    ours_only,
    smtpd,
)


def test_names() -> None:
    # Python 3.11 dropped it, since it was for Mailman 2.
    mailman = set() if IS_STDLIB else {"MailmanProxy"}
    names = {"SMTPServer", "SMTPChannel", "DebuggingServer", "PureProxy", *mailman}
    assert set(smtpd.__all__) == names
    for name in (*names, "Devnull", "Options"):
        assert getattr(smtpd, name).__module__ == "smtpd"


def test_values() -> None:
    assert smtpd.__version__ == "Python SMTP proxy version 0.3"
    assert smtpd.program == sys.argv[0]
    assert (smtpd.NEWLINE, smtpd.COMMASPACE) == ("\n", ", ")
    assert smtpd.DATA_SIZE_DEFAULT == 33554432
    assert type(smtpd.DEBUGSTREAM) is smtpd.Devnull
    options = smtpd.Options
    assert (options.setuid, options.classname) == (True, "PureProxy")
    assert (options.size_limit, options.enable_SMTPUTF8) == (None, False)


def test_modules() -> None:
    for name in ("socket", "asyncore", "asynchat"):
        assert getattr(smtpd, name) is sys.modules[name]
    assert smtpd.SMTPServer.__bases__ == (asyncore.dispatcher,)
    assert smtpd.SMTPChannel.__bases__ == (asynchat.async_chat,)


@ours_only
def test_a_name_of_python_3_4() -> None:
    from smtpd import EMPTYSTRING  # type: ignore[attr-defined]  # an old program does this

    assert EMPTYSTRING == ""
    with pytest.raises(AttributeError, match="module 'smtpd' has no attribute 'EMPTYSTRIN'"):
        smtpd.EMPTYSTRIN  # type: ignore[attr-defined]  # noqa: B018


@ours_only
def test_importing_it_warns_of_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import smtpd; print(smtpd.__file__)"],
        env={"PYTHONPATH": str(SMTPD_FILE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == str(SMTPD_FILE)


SERVER = [
    ("localaddr", inspect.Parameter.empty),
    ("remoteaddr", inspect.Parameter.empty),
    ("data_size_limit", 33554432),
    ("map", None),
    ("enable_SMTPUTF8", False),
    ("decode_data", False),
]
CHANNEL = [
    ("server", inspect.Parameter.empty),
    ("conn", inspect.Parameter.empty),
    ("addr", inspect.Parameter.empty),
    *SERVER[2:],
]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (smtpd.SMTPServer, SERVER),
        (smtpd.DebuggingServer, SERVER),
        (smtpd.SMTPChannel, CHANNEL),
    ],
)
def test_positional_parameters(made: Any, expected: list[tuple[str, object]]) -> None:
    parameters = inspect.signature(made).parameters.values()
    assert [(p.name, p.default) for p in parameters if p.kind is not p.KEYWORD_ONLY] == expected
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert not parameter.default, "what is new is off"


@pytest.mark.parametrize("made", [smtpd.SMTPServer, smtpd.DebuggingServer])
def test_smtputf8_and_decoding_do_not_go_together(made: type[smtpd.SMTPServer]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        made(("127.0.0.1", 0), None, map={}, enable_SMTPUTF8=True, decode_data=True)


def test_a_server_that_cannot_listen_leaves_nothing_behind() -> None:
    with House() as house:
        other: dict[int, Any] = {}
        with pytest.raises(OSError, match="in use"):
            smtpd.SMTPServer(house.address, None, map=other)
        assert other == {}


def test_attributes_of_a_channel() -> None:
    with House() as house:
        client = house.connect("HELO")
        channel = house.channel
        state = (channel.smtp_server, channel.conn, channel.addr, channel.peer)
        assert state == (house.server, channel.socket, channel.peer, client.socket.getsockname())
        assert (channel.data_size_limit, channel.enable_SMTPUTF8) == (33554432, False)
        assert (channel.smtp_state, channel.COMMAND, channel.DATA) == (0, 0, 1)
        assert (channel.seen_greeting, channel.extended_smtp) == ("client.test", False)
        assert (channel.mailfrom, channel.rcpttos, channel.received_lines) == (None, [], [])
        assert (channel.received_data, channel.num_bytes) == ("", 0)
        assert channel.require_SMTPUTF8 is False
        assert (channel.command_size_limit, channel.max_command_size_limit) == (512, 512)
        assert not hasattr(channel, "mail_options")
        assert not hasattr(channel, "rcpt_options")


def test_what_a_channel_has_of_its_mode() -> None:
    names = ("_decode_data", "_emptystring", "_linesep", "_dotsep", "_newline")
    with House(decode_data=True) as house:
        house.connect()
        assert [getattr(house.channel, name) for name in names] == [True, "", "\r\n", ".", "\n"]
    with House() as house:
        house.connect()
        assert [getattr(house.channel, name) for name in names] == [False, b"", b"\r\n", 46, b"\n"]


def test_reading_an_argument() -> None:
    with House() as house:
        house.connect()
        channel = house.channel
        assert channel._strip_command_keyword("FROM:", "from:  <a@b> X ") == "<a@b> X"
        assert channel._strip_command_keyword("FROM:", "<a@b>") == ""
        assert channel._getaddr("") == ("", "")
        assert channel._getaddr("<a@b> X=1") == ("a@b", "X=1")
        assert channel._getaddr("a@b X=1") == ("a@b", "X=1")
        assert channel._getaddr("<>") == ("<>", "")
        assert channel._getparams([]) == {}
        assert channel._getparams(["A=1", "B", "C=D=E"]) == {"A": "1", "B": True, "C": "D=E"}
        for wrong in ("=", "A=", "A-B=1", "=1"):
            assert channel._getparams(["A=1", wrong]) is None


OLD_NAMES = {
    "__server": "smtp_server",
    "__line": "received_lines",
    "__state": "smtp_state",
    "__greeting": "seen_greeting",
    "__mailfrom": "mailfrom",
    "__rcpttos": "rcpttos",
    "__data": "received_data",
    "__fqdn": "fqdn",
    "__peer": "peer",
    "__conn": "conn",
    "__addr": "addr",
}


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_old_name(old: str) -> None:
    with House() as house:
        house.connect()
        channel = house.channel
        mangled, new = f"_SMTPChannel{old}", OLD_NAMES[old]
        value = getattr(channel, new)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert getattr(channel, mangled) is value
            setattr(channel, mangled, ["new"])
        assert getattr(channel, new) == ["new"]
        setattr(channel, new, value)
        assert [(w.category, w.filename) for w in caught] == [(DeprecationWarning, __file__)] * 2
        assert [str(w.message) for w in caught] == [
            f"Access to {old} attribute on SMTPChannel is deprecated, use '{new}' instead",
            f"Setting {old} attribute on SMTPChannel is deprecated, set '{new}' instead",
        ]


def test_the_lines_that_come_in_are_a_list() -> None:
    with House(decode_data=True) as house:
        client = house.connect()
        channel = house.channel
        client.send(b"NO")
        assert channel.received_lines == ["NO"]
        client.send(b"O")
        assert channel.received_lines == ["NO", "O"]
        channel.received_lines[1] = "OP"
        assert client.ask(b"\r\n") == "250 OK"
        assert channel.received_lines == []


@pytest.mark.parametrize(
    ("arguments", "text"), [({}, b"one\ntwo"), ({"decode_data": True}, "one\ntwo")]
)
def test_a_message_can_be_looked_at_while_it_comes_in(
    arguments: dict[str, Any], text: str | bytes
) -> None:
    with House(**arguments) as house:
        client = house.connect()
        channel = house.channel
        client.ask(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3)
        client.send(b"one\r\n")
        seen = channel._emptystring.join(channel.received_lines)
        assert seen == ("one\r\n" if arguments else b"one\r\n")[: len(seen)]
        assert len(seen) >= 3
        client.send(b"two")
        assert client.ask(b"\r\n.\r\n") == "250 OK"
        assert channel.received_data == text
        assert channel.received_lines == []


def test_what_was_received_is_kept_until_the_next_message() -> None:
    with House() as house:
        client = house.connect()
        client.deliver(b"x")
        client.ask(b"NOOP\r\n")
        assert house.channel.received_data == b"x"
        assert house.channel.received_data is house.server.messages[0][2]
        client.ask(b"RSET\r\n")
        assert house.channel.received_data == ""


def test_repr() -> None:
    with House() as house:
        house.connect()
        assert repr(house.server).startswith(
            "<tests.smtpd.house.Collector listening 127.0.0.1:0 at"
        )
        assert repr(house.channel).startswith("<smtpd.SMTPChannel connected 127.0.0.1:")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_host_names(host: str) -> None:
    server = smtpd.SMTPServer((host, 0), None, map={})
    server.close()
    assert server._localaddr == (host, 0)


def trace(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Any]:
    stream = io.StringIO()
    monkeypatch.setattr(smtpd, "DEBUGSTREAM", stream)
    with House(**arguments) as house:
        client = house.connect("HELO")
        client.deliver(b"..x\r\ny")
        house.turn()
        return stream.getvalue().splitlines(), client.socket.getsockname()


@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}])
def test_debugstream(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lines, peer = trace(arguments, monkeypatch)
    b = "" if arguments else "b"
    assert lines[0].startswith("Collector started at ")
    assert lines[1:] == [
        "\tLocal addr: ('127.0.0.1', 0)",
        "\tRemote addr:('nowhere.invalid', 25)",
        f"Incoming connection from {peer!r}",
        f"Peer: {peer!r}",
        f"Data: {b}'HELO client.test'",
        f"Data: {b}'MAIL FROM:<ann@example.org>'",
        "===> MAIL FROM:<ann@example.org>",
        "sender: ann@example.org",
        f"Data: {b}'RCPT TO:<ben@example.org>'",
        "===> RCPT TO:<ben@example.org>",
        "recips: ['ben@example.org']",
        f"Data: {b}'DATA'",
        f"Data: {b}'..x\\r\\ny'",
    ]


@mended(11)
def test_nothing_is_formatted_for_nobody() -> None:
    class Address(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise AssertionError("nobody reads this")

        __str__ = __repr__

    class Channel(smtpd.SMTPChannel):
        def _getaddr(self, arg: str | None) -> tuple[str, str]:
            return Address("a@b"), ""

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        assert client.ask(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n", 2) == "250 OK\n250 OK"
    assert IS_STDLIB or issubclass(Channel, asynchat.async_chat)
