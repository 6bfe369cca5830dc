"""Writing in order, whole, and without the event loop waiting for the reader."""

from __future__ import annotations

import asyncio
import functools
import os
import threading

import pytest

from pillarbox.catcher.printer import MAX_WAITING, Printer


class Pieces:
    """A stream that takes some octets at a time, and none every other time."""

    def __init__(self, at_once: int) -> None:
        self.written = bytearray()
        self._at_once = at_once
        self._is_full = False
        self._reader, self._writer = os.pipe()

    def write(self, octets: memoryview, /) -> int | None:
        self._is_full = not self._is_full
        if self._is_full:
            return None
        self.written += octets[: self._at_once]
        return min(len(octets), self._at_once)

    def fileno(self) -> int:
        return self._writer  # which can always be written to

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class Reader:
    """A stream of which the reader has stopped to read."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.may_read = threading.Event()
        self.is_asked = threading.Event()

    def write(self, octets: memoryview, /) -> int | None:
        self.is_asked.set()
        assert self.may_read.wait(20)
        self.written += octets
        return len(octets)

    def fileno(self) -> int:
        raise NotImplementedError


def test_all_is_written_in_order() -> None:
    stream = Pieces(at_once=7)

    async def main() -> None:
        printer = Printer(stream)
        texts = [f"{number} Zeile äöü\n" for number in range(50)]
        await asyncio.gather(*(printer.print(functools.partial(str, text)) for text in texts))
        assert stream.written.decode() == "".join(texts)

    try:
        asyncio.run(main())
    finally:
        stream.close()


def test_characters_that_the_terminal_lacks() -> None:
    stream = Pieces(at_once=100)

    async def main() -> None:
        await Printer(stream, encoding="latin-1").print(lambda: "ä € 😀")

    try:
        asyncio.run(main())
    finally:
        stream.close()
    assert stream.written == b"\xe4 \\u20ac \\U0001f600"


def test_reader_that_waits_holds_up_nobody_else() -> None:
    stream = Reader()

    async def main() -> None:
        printer = Printer(stream)
        printing = asyncio.create_task(printer.print(lambda: "text"))
        await asyncio.to_thread(stream.is_asked.wait)
        assert not printing.done()
        stream.may_read.set()
        await printing
        assert stream.written == b"text"

    asyncio.run(main())


def test_who_waits_can_be_cancelled_and_the_next_is_written() -> None:
    stream = Reader()

    async def main() -> None:
        printer = Printer(stream)
        printing = asyncio.create_task(printer.print(lambda: "one "))
        await asyncio.to_thread(stream.is_asked.wait)
        printing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await printing
        stream.may_read.set()
        await printer.print(lambda: "two")
        assert stream.written == b"one two"

    asyncio.run(main())


def test_loop_that_ended_meanwhile() -> None:
    stream = Reader()
    printer = Printer(stream)

    async def begin() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await printer.print(lambda: "one ")

    async def go_on() -> None:
        stream.may_read.set()
        await printer.print(lambda: "two")

    asyncio.run(begin())
    asyncio.run(go_on())
    assert stream.written == b"one two"


def test_failure_is_the_callers() -> None:
    stream = Reader()
    stream.may_read.set()

    def broken() -> str:
        raise ValueError("broken")

    async def main() -> None:
        printer = Printer(stream)
        with pytest.raises(ValueError, match="broken"):
            await printer.print(broken)
        await printer.print(lambda: "next")
        assert stream.written == b"next"

    asyncio.run(main())


# What need not be waited for


def fail(failure: Exception) -> None:
    raise AssertionError from failure


def test_what_is_printed_soon_is_written_together() -> None:
    stream = Reader()
    stream.may_read.set()

    async def main() -> None:
        printer = Printer(stream)
        for text in ("one ", "two "):
            await printer.print_soon(functools.partial(str, text), fail)
        assert stream.written == b""
        while stream.written != b"one two ":
            await asyncio.sleep(0)
        await printer.print_soon(lambda: "three", fail)
        printer.finish(20)
        printer.finish(20)
        assert stream.written == b"one two three"

    asyncio.run(main())


def test_much_that_is_not_read_has_to_be_waited_for() -> None:
    stream = Reader()

    async def main() -> None:
        printer = Printer(stream)
        for _ in range(MAX_WAITING):
            await printer.print_soon(lambda: "x", fail)
        one_more = asyncio.create_task(printer.print_soon(lambda: "y", fail))
        await asyncio.to_thread(stream.is_asked.wait)
        assert not one_more.done()
        stream.may_read.set()
        await one_more
        assert stream.written == b"x" * MAX_WAITING + b"y"
        await printer.print_soon(lambda: "z", fail)  # there is room again
        printer.finish(20)

    asyncio.run(main())


def test_at_the_end_nobody_waits_for_who_does_not_read() -> None:
    stream = Reader()
    printer = Printer(stream)

    async def main() -> None:
        await printer.print_soon(lambda: "x", fail)

    asyncio.run(main())
    printer.finish(0)
    stream.may_read.set()
    printer.finish(20)
    assert stream.written == b"x"


def test_failure_of_one_keeps_no_other_away() -> None:
    stream = Reader()
    stream.may_read.set()
    failures: list[str] = []

    def broken() -> str:
        raise ValueError("broken")

    async def main() -> None:
        printer = Printer(stream)
        for render in (lambda: "one ", broken, lambda: "two"):
            await printer.print_soon(render, lambda failure: failures.append(str(failure)))
        while not failures:
            await asyncio.sleep(0)
        assert stream.written == b"one two"
        assert failures == ["broken"]

    asyncio.run(main())
