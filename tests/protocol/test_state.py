"""The table of commands: every verb has an answer in every state in which commands are read."""

from __future__ import annotations

import pytest

from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.state import COMMANDS, LMTP_COMMANDS, State, commands_of

COMMAND_STATES = [state for state in State if state <= State.CHUNKS]

# What is legal after the greeting, written down a second time (RFC 5321 §4.1.4, RFC 3030 §2).
LEGAL = {
    State.REFUSED: "QUIT",
    State.HELLO: "EHLO HELO STARTTLS XCLIENT RSET NOOP VRFY EXPN HELP QUIT",
    State.READY: "EHLO HELO STARTTLS AUTH XCLIENT RSET NOOP VRFY EXPN HELP QUIT MAIL",
    State.MAIL: "EHLO HELO RSET NOOP VRFY EXPN HELP QUIT RCPT",
    State.RCPT: "EHLO HELO RSET NOOP VRFY EXPN HELP QUIT RCPT DATA BDAT",
    State.CHUNKS: "EHLO HELO RSET NOOP VRFY EXPN HELP QUIT BDAT",
}


@pytest.mark.parametrize("state", COMMAND_STATES, ids=lambda state: state.name)
def test_legal(state: State) -> None:
    legal = {verb.decode() for verb, row in COMMANDS.items() if state in row.legal}
    assert legal == set(LEGAL[state].split())


@pytest.mark.parametrize("state", COMMAND_STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("verb", COMMANDS, ids=bytes.decode)
def test_every_command_is_legal_or_refused(verb: bytes, state: State) -> None:
    row = COMMANDS[verb]
    assert state in row.legal or state in row.refusals
    if state in row.refusals:
        assert (row.refusals[state].code, row.refusals[state].enhanced) == (503, "5.5.1")
        assert "{" not in row.refusals[state].text


def test_the_refusal_names_the_command() -> None:
    assert COMMANDS[b"DATA"].refusals[State.READY].text == "DATA needs a MAIL command first"


def test_lmtp_says_lhlo() -> None:
    assert set(LMTP_COMMANDS) == set(COMMANDS) - {b"EHLO", b"HELO"} | {b"LHLO"}
    texts = {row.refusals[state].text for row in LMTP_COMMANDS.values() for state in row.refusals}
    assert "Say LHLO first" in texts
    assert not any("EHLO" in text for text in texts)


def test_commands_are_read_up_to_chunks() -> None:
    # server.py asks `state <= CHUNKS` on its fast path.
    assert set(COMMAND_STATES) == set(LEGAL)


@pytest.mark.parametrize("is_lmtp", [False, True])
def test_longer_addresses(*, is_lmtp: bool) -> None:
    """RFC 5321 §4.5.3.1.1 has 64 octets; §4.5.3.1 would rather have no limit at all."""
    usual = commands_of(is_lmtp=is_lmtp, max_local_part_octets=64)
    assert usual == (LMTP_COMMANDS if is_lmtp else COMMANDS)
    longer = commands_of(is_lmtp=is_lmtp, max_local_part_octets=200)
    assert set(longer) == set(usual)
    for verb, argument in ((b"MAIL", b"FROM:<%b@x.test>"), (b"RCPT", b"TO:<%b@x.test>")):
        assert (longer[verb].legal, longer[verb].refusals) == (
            usual[verb].legal,
            usual[verb].refusals,
        )
        with pytest.raises(RemoteProtocolError, match="Local part over 64 octets"):
            usual[verb].parse(argument % (b"a" * 65))
        parsed = longer[verb].parse(argument % (b"a" * 200))
        assert isinstance(parsed, Mail | Rcpt)
        assert parsed.path.local_part == "a" * 200
        with pytest.raises(RemoteProtocolError, match="Local part over 200 octets"):
            longer[verb].parse(argument % (b"a" * 201))
