"""The grammar of replies, written down a second time (RFC 5321 §4.2, RFC 2034 §4, RFC 6531 §3.7).

Shares nothing with reply.py, so that one may find the other wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Answer", "check_session", "split_answers"]

# Reply-code = %x32-35 %x30-35 %x30-39; textstring = 1*(%d09 / %d32-126), UTF-8 by RFC 6531.
LINE = re.compile(rb"([2-5][0-5][0-9])(?:([ -])([\t\x20-\x7e\x80-\xff]*))?\r\n")
ENHANCED = re.compile(r"([245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2}))(?: |\Z)")
MAX_LINE_OCTETS = 512


@dataclass(frozen=True)
class Answer:
    """One reply as a client sees it."""

    code: int
    lines: tuple[str, ...]

    @property
    def enhanced(self) -> str | None:
        """The enhanced code, which must be the same on every line."""
        found = {match[1] if match else None for match in map(ENHANCED.match, self.lines)}
        assert len(found) == 1, f"lines of one reply disagree: {self}"
        return found.pop()


def split_answers(octets: bytes) -> list[Answer]:
    """Take apart what a server said; an assertion fails where it is not made of whole replies."""
    answers: list[Answer] = []
    lines: list[str] = []
    start = 0
    code = None
    while start < len(octets):
        found = LINE.match(octets, start)
        assert found, f"no reply line: {octets[start : start + 600]!r}"
        assert len(found[0]) <= MAX_LINE_OCTETS, f"a line of {len(found[0])} octets"
        assert code in (None, found[1]), f"a reply with two codes: {octets!r}"
        code = found[1]
        lines.append((found[3] or b"").decode())
        if found[2] != b"-":
            answers.append(Answer(int(code), tuple(lines)))
            lines, code = [], None
        start = found.end()
    assert not lines, f"a reply without an end: {octets!r}"
    return answers


def check_session(octets: bytes) -> list[Answer]:
    """Look at all that a server said in one session: grammar and enhanced codes."""
    answers = split_answers(octets)
    for number, answer in enumerate(answers):
        is_hello = answer.code == 250 and answer.lines[0] == "mx.test"
        # XCLIENT is answered as a new connection is, by the greeting.
        is_greeting = answer.code == 220 and answer.lines[0].startswith("mx.test ")
        if number and answer.code // 100 != 3 and not is_hello and not is_greeting:
            assert answer.enhanced, f"no enhanced code: {answer}"
            assert answer.enhanced[0] == str(answer.code)[0], answer
    return answers
