"""A server on a thread of its own, for programs that wait."""

from __future__ import annotations

import gc
import socket
import threading

import pytest

from pillarbox import Config, Message, ThreadServer
from pillarbox.testing import Recorder, play
from tests.conftest import TIME_LIMIT_SECONDS

DIALOGUE = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 ...
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 ...
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 ...
    C: DATA
    S: 354 ...
    C: x
    C: .
    S: 250 2.0.0 ...
    C: QUIT
    S: 221 2.0.0 Goodbye
    S: [closed]
"""
CONFIG = Config(hostname="mx.test")


def deliver(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), TIME_LIMIT_SECONDS) as client:
        play(DIALOGUE, client)


def test_a_message() -> None:
    messages: list[Message] = []
    with ThreadServer(messages.append, config=CONFIG) as server:
        assert server.addresses == [("127.0.0.1", server.port)]
        deliver(server.port)
        deliver(server.port)
    assert [message.data for message in messages] == [b"x\r\n"] * 2


def test_start_and_close() -> None:
    recorder = Recorder()
    server = ThreadServer(recorder, config=CONFIG)
    server.start()
    deliver(server.port)
    port = server.port
    server.close()
    server.close()
    assert recorder.calls[-1] == "disconnect"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), TIME_LIMIT_SECONDS)


def test_the_handler_runs_on_the_servers_thread() -> None:
    threads: list[threading.Thread] = []

    async def handler(_message: Message) -> None:
        threads.append(threading.current_thread())

    with ThreadServer(handler, config=CONFIG) as server:
        deliver(server.port)
    assert threads
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()


def test_two_at_once() -> None:
    one, two = Recorder(), Recorder()
    with ThreadServer(one, config=CONFIG) as first, ThreadServer(two, config=CONFIG) as second:
        assert first.port != second.port
        deliver(first.port)
        deliver(second.port)
        deliver(second.port)
    assert (len(one.messages), len(two.messages)) == (1, 2)


def test_before_it_runs() -> None:
    server = ThreadServer(Recorder())
    for name in ("port", "addresses"):
        with pytest.raises(RuntimeError, match=r"use `with` or call start\(\)"):
            getattr(server, name)
    server.close()


def test_one_that_never_ran_leaves_nothing_behind() -> None:
    ThreadServer(Recorder())
    ThreadServer(Recorder()).close()
    gc.collect()


def test_not_twice() -> None:
    with ThreadServer(Recorder()) as server, pytest.raises(RuntimeError, match="make another"):
        server.start()


def test_an_address_that_is_taken() -> None:
    with ThreadServer(Recorder()) as server:
        with pytest.raises(OSError, match="in use"):
            ThreadServer(Recorder(), port=server.port).start()
        with pytest.raises(OSError, match="in use"), ThreadServer(Recorder(), port=server.port):
            pass
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "pillarbox"]


def test_no_handler() -> None:
    with pytest.raises(TypeError, match="is no handler"):
        ThreadServer(object()).start()  # type: ignore[arg-type]
    gc.collect()


def test_the_address_of_choice() -> None:
    with ThreadServer(Recorder(), "localhost", config=CONFIG) as server:
        deliver(server.port)
