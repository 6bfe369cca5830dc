r"""Fakes and transcripts: tests of a server or a handler without a network and without waiting.

A transcript is a dialogue as people write it down, and `play()` holds it::

    from pillarbox.testing import MemoryServer, Recorder, play

    play(
        r'''
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C! "NOOP\r\nQUIT\r\n"
        S: 250 2.0.0 OK
        S: 221 2.0.0 Goodbye
        S: [closed]
        ''',
        MemoryServer(Recorder()),
    )

The stream may be a `MemoryServer`, which is the protocol core and a handler with nothing between
them, or a connected socket. `MemoryTransport` and `FakeClock` do for the asyncio driver what
`MemoryServer` does for the core. Transcripts: transcript.py; the fakes: memory.py, transport.py.
"""

from pillarbox.testing.memory import MemoryServer, Recorder
from pillarbox.testing.transcript import Stream, Transcript, TranscriptError, Way, play
from pillarbox.testing.transport import FakeClock, MemoryTransport

__all__ = [
    "FakeClock",
    "MemoryServer",
    "MemoryTransport",
    "Recorder",
    "Stream",
    "Transcript",
    "TranscriptError",
    "Way",
    "play",
]
