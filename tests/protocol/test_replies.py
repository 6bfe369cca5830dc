"""The replies of our own: each can be sent, and says by its codes what it says in words."""

from __future__ import annotations

import pytest

from pillarbox.protocol import replies
from pillarbox.protocol.reply import Reply
from tests.grammar import split_answers

ALL: dict[str, Reply] = {name: getattr(replies, name) for name in replies.__all__}


@pytest.mark.parametrize("reply", ALL.values(), ids=ALL)
def test_a_reply_can_be_sent(reply: Reply) -> None:
    (answer,) = split_answers(reply.wire)
    assert answer.code == reply.code
    assert len(reply.wire) <= 512
    assert reply.wire.isascii()


@pytest.mark.parametrize("reply", ALL.values(), ids=ALL)
def test_the_enhanced_code_is_of_the_same_class(reply: Reply) -> None:
    # RFC 2034 §4: on every 2xx, 4xx and 5xx reply, and on no other.
    if reply.code == 354:
        assert reply.enhanced is None
    else:
        assert reply.enhanced is not None
        assert reply.enhanced[0] == str(reply.code)[0]


def test_every_reply_is_listed() -> None:
    assert {name: value for name, value in vars(replies).items() if isinstance(value, Reply)} == ALL
