"""An SMTP server on asyncore, and a proxy that passes mail on.

Usage: %(program)s [options] [localhost:localport [remotehost:remoteport]]

Listens on localhost:localport (localhost:8025 where it is not given) and passes what it receives
to remotehost:remoteport (localhost:25), or does with it what the class of --class does.

Options:

    -n, --nosetuid
        Stay the user that started the program. Without it the program becomes `nobody' once it
        listens, which only root can.

    -c CLASSNAME, --class=CLASSNAME
        The class that serves: DebuggingServer prints each message, PureProxy (the default) passes
        it on, MailmanProxy hands what GNU Mailman on this machine knows to it and passes on the
        rest, and package.module.Class is imported.

    -s LIMIT, --size=LIMIT
        The most octets that a message may have, announced to clients by the SIZE extension
        (RFC 1870). 33554432 where it is not given; 0 is no limit.

    -u, --smtputf8
        Offer SMTPUTF8 (RFC 6531): addresses and headers beyond ASCII.

    -d, --debug
        Print the dialogue on standard error.

    -V, --version
        Print the version and exit.

    -h, --help
        Print this text and exit.

Version: %(__version__)s
"""

# This is the module that Python 3.12 removed, for programs that were written for it: names,
# signatures, reply texts and debugging output are CPython's, code is not. One file, because such
# programs look at `__module__`, at `smtpd.socket` and at `python -m smtpd`. From top to bottom:
# values, what has come in (_Input, _Collected), SMTPChannel (one client), SMTPServer (the
# listener), DebuggingServer, PureProxy, MailmanProxy, the command line. What is ours is kept off
# the classes, or is called _smtpd_something: programs put whatever they like on their subclasses.

# The names are not ours to choose, and printing is what DebuggingServer is for.
# ruff: noqa: A002, N802, N803, N815, T201

from __future__ import annotations

import codecs
import collections
import contextlib
import errno
import functools
import getopt
import importlib
import io
import os
import re
import socket
import sys
import time
import typing
import warnings
from collections.abc import Callable
from email._header_value_parser import get_addr_spec, get_angle_addr
from typing import Any, NamedTuple, NoReturn, Protocol

from pillarbox.protocol.reply import Reply

if typing.TYPE_CHECKING:  # by its module's name: a constant of ours would have to be in __all__
    import ssl

    from pillarbox.lists import AnyDomains
    from pillarbox.lmtp import LmtpSession
    from pillarbox.protocol.client_event import RecipientOutcome

# Python 3.11 warns that these two will go. Where they are gone, pyasyncore and pyasynchat bring
# them back, and they come with us: nobody has to do anything.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import asynchat
    import asyncore

__all__ = ["DebuggingServer", "MailmanProxy", "PureProxy", "SMTPChannel", "SMTPServer"]

program = sys.argv[0] if sys.argv else ""
__version__ = "Python SMTP proxy version 0.3"


class Devnull:
    """Where debugging output goes while nobody wants it."""

    def write(self, msg: str) -> None:
        """Forget a text."""

    def flush(self) -> None:
        """Do nothing."""


class _Stream(Protocol):
    def write(self, msg: str, /) -> object: ...
    def flush(self) -> object: ...


# Programs assign a stream to this one, and another module to `smtpd.socket`: both are looked up
# each time they are used.
DEBUGSTREAM: _Stream = Devnull()
NEWLINE = "\n"
COMMASPACE = ", "
DATA_SIZE_DEFAULT = 33_554_432

_CRLF = b"\r\n"
_END_OF_DATA = b"\r\n.\r\n"
_EMPTY_MESSAGE = b".\r\n"
# Clients that send all their commands before they read a reply exist, and 100,000 replies fit in
# here. Where more wait, the channel stops reading until some are taken.
_MAX_OUTPUT_OCTETS = 1 << 20
# Replies that have to wait are joined up to here: a bytes object for each `250 OK` takes six times
# its octets.
_JOIN_OCTETS = 4096
_PIECE_OCTETS = 1 << 18
_BACKLOG = 128
_ACCEPT_PAUSE_SECONDS = 1.0
_UPSTREAM_TIMEOUT_SECONDS = 300.0  # RFC 5321 §4.5.3.2 has five minutes for most replies

# What accept() fails with while the listener itself is well: descriptors or memory are short, or
# the one connection that would have been accepted is broken already (accept(2), "Error handling").
_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_BROKEN = {
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
        *("ENONET", "ENOPROTOOPT", "EPERM", "EPROTO"),
    )
    if hasattr(errno, name)
}

# Nearly every address looks like this, and reading it here takes a fiftieth of the time that the
# `email` package takes. It must not read one otherwise than `email` does, so it knows no comments,
# no quotes, no odd dots and no odd spaces.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\xa1-\u2027\u2030-\ud7ff\ue000-\U0010ffff-]++"
_PLAIN_ADDRESS = re.compile(
    rf"(<)?+({_ATOM}(?:\.{_ATOM})*+@{_ATOM}(?:\.{_ATOM})*+)(?(1)>)(?:\Z| ++(?=[A-Za-z0-9]|\Z))"
)
# Nothing that ends a line or works on a terminal belongs in an address.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNPRINTABLE = re.compile(r"[^ -~]")


if not typing.TYPE_CHECKING:  # a type checker would take any name from it

    def __getattr__(name: str) -> str:
        if name == "EMPTYSTRING":  # Python 3.4 and before had it; programs still import it
            return ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def usage(code: int, msg: object = "") -> NoReturn:
    """Print how the program is called, and a message, on standard error; exit with `code`."""
    print((__doc__ or "") % globals(), file=sys.stderr)
    if msg:
        print(msg, file=sys.stderr)
    sys.exit(code)


class _Limits(NamedTuple):
    """What a server may be told beyond the old interface; by default nothing of it is on."""

    idle_timeout_seconds: float | None = None
    max_connections: int | None = None
    max_recipients: int | None = None
    ssl_context: ssl.SSLContext | None = None
    starttls: bool = False
    announce_size: bool = True

    def check(self) -> None:
        if self.idle_timeout_seconds is not None and self.idle_timeout_seconds <= 0:
            raise ValueError(
                "idle_timeout_seconds has to be more than 0; leave it out for no limit"
            )
        for name in ("max_connections", "max_recipients"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise ValueError(f"{name} is {limit}; the least is 1, and None is no limit")
        if self.starttls and self.ssl_context is None:
            raise ValueError("starttls=True needs a certificate: give an ssl_context as well")


def _debugging() -> bool:
    # Formatting a line that nobody reads made RCPT quadratic: all recipients so far, each time.
    return type(DEBUGSTREAM) is not Devnull


def _debug(*values: object) -> None:
    if type(DEBUGSTREAM) is not Devnull:
        print(*values, file=DEBUGSTREAM)


_known_fqdn: tuple[Callable[[], str], str] | None = None


def _fqdn() -> str:
    """Give this machine's full name, which may take DNS many seconds: it is asked once.

    It is asked again where another `socket` module or function stands in for the one that was.
    """
    global _known_fqdn
    ask = socket.getfqdn
    if _known_fqdn is None or _known_fqdn[0] is not ask:
        _known_fqdn = (ask, ask())
    return _known_fqdn[1]


def _is_tls_waiting(error: OSError) -> bool:
    """Tell whether this is TLS that needs more octets before it can give or take any."""
    ssl = sys.modules.get("ssl")  # whoever has a TLS socket has loaded it
    return ssl is not None and isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError))


def _printable(text: str) -> str:
    """Make what a client sent fit to be repeated in a reply."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class _Input:
    """What was received and not looked at: octets, and how far we are in them.

    asynchat cuts its buffer anew for each line, which takes a packet of short commands quadratic
    time. Here the buffer stays and we go on in it.
    """

    __slots__ = ("is_data_start", "octets", "start")

    def __init__(self) -> None:
        self.octets = b""
        self.start = 0
        # The octets behind the DATA command begin a line, so that a dot and CRLF there are the
        # end already: of an empty message.
        self.is_data_start = False

    def rest(self) -> bytes:
        """Give what is left, in a buffer of its own."""
        if self.start:
            self.octets = self.octets[self.start :]
            self.start = 0
        return self.octets

    def replace(self, octets: bytes) -> None:
        self.octets = octets
        self.start = 0

    def hand_out(self, channel: SMTPChannel) -> None:
        """Give the channel all lines that are complete, and what there is of the next one.

        Each call of a channel's method may change all that is looked at here.
        """
        while self.start < len(self.octets):
            if channel.producer_fifo and _is_output_full(channel):
                return
            terminator: Any = channel.get_terminator()
            if not terminator:
                self._collect(len(self.octets), 0, channel)
            elif isinstance(terminator, int):
                self._count(terminator, channel)
            elif not self._look_for(terminator, channel):
                return

    def _look_for(self, terminator: bytes, channel: SMTPChannel) -> bool:
        """Hand out what is before the terminator; tell whether there is something to go on with."""
        start = self.start
        if self.is_data_start:
            head = self.octets[start : start + len(_EMPTY_MESSAGE)]
            if head == _EMPTY_MESSAGE:
                self._collect(start, len(head), channel)
                self._end_line(channel)
                return True
            if _EMPTY_MESSAGE.startswith(head):
                return False
        end = self.octets.find(terminator, start)
        if end >= 0:
            self._collect(end, len(terminator), channel)
            self._end_line(channel)
            return True
        end = len(self.octets) - self._begun(terminator)
        if end == start:
            return False
        self._collect(end, 0, channel)
        return True

    def _begun(self, terminator: bytes) -> int:
        """Count the octets at the end that may be the beginning of the terminator."""
        for octets in range(len(terminator) - 1, 0, -1):
            if self.octets.endswith(terminator[:octets], self.start):
                return octets
        return 0

    def _count(self, octets: int, channel: SMTPChannel) -> None:
        missing = max(self.start + octets - len(self.octets), 0)
        self._collect(self.start + octets - missing, 0, channel)
        channel.set_terminator(missing)
        if not missing:
            self._end_line(channel)

    def _collect(self, end: int, skipped: int, channel: SMTPChannel) -> None:
        """Hand out what is before `end`, and go on so many octets behind it."""
        data = self.octets[self.start : end]
        self.start = end + skipped
        if self.start == len(self.octets):
            self.replace(b"")  # nobody has to keep it in memory while a message is worked on
        self.is_data_start = False
        if data:
            channel.collect_incoming_data(data)

    def _end_line(self, channel: SMTPChannel) -> None:
        collected = channel._smtpd_collected
        collected.finish()
        channel.found_terminator()
        collected.is_undecodable = False


class _Collected:
    """What there is of a line or a message that is coming in.

    Programs see a list of pieces, `received_lines`. While none of them looks, a message is one
    object that grows: a list of what single packets brought may take twenty times the message,
    and joining it takes another copy.
    """

    __slots__ = ("body", "decoder", "is_undecodable", "lines")

    def __init__(self, *, decode: bool) -> None:
        self.lines: list[Any] = []
        self.body: io.BytesIO | None = None
        self.decoder = codecs.getincrementaldecoder("utf-8")() if decode else None
        self.is_undecodable = False

    def replace(self, lines: list[Any]) -> None:
        self.lines = lines
        self.body = None

    def as_lines(self) -> list[Any]:
        if self.body is not None:
            octets, self.body = self.body.getvalue(), None
            self.lines.append(self._decoded(octets))
        return self.lines

    def add_to_line(self, octets: bytes) -> None:
        self.as_lines().append(self._decoded(octets))

    def add_to_message(self, octets: bytes) -> None:
        if self.lines:  # somebody has looked
            self.add_to_line(octets)
            return
        if self.body is None:
            self.body = io.BytesIO()
        self.body.write(octets)

    def finish(self) -> None:
        """Decode what waits for the rest of a character: it will not come."""
        if self.decoder is not None and (rest := self._decoded(b"", is_last=True)):
            self.as_lines().append(rest)

    def _decoded(self, octets: bytes, is_last: bool = False) -> Any:
        if self.decoder is None:
            return octets
        # A character that two packets share is decoded when both are here.
        try:
            return self.decoder.decode(octets, is_last)
        except UnicodeDecodeError:
            self.decoder.reset()
            self.is_undecodable = True
            return octets.decode("utf-8", "replace")

    def take_line(self, empty: Any) -> Any:
        """Give the line; `None` where it is not UTF-8."""
        lines = self.as_lines()
        self.finish()
        self.replace([])
        if self.is_undecodable:
            self.is_undecodable = False
            return None
        return empty.join(lines)

    def take_body(self) -> Any:
        """Give the message without its dots and CRs; `None` where it is not UTF-8."""
        body, self.body = self.body, None
        assert body is not None
        _unstuff(body)
        if self.decoder is None:
            return body.getvalue()  # the object itself: BytesIO copies it when it is changed later
        with body.getbuffer() as octets:
            try:
                return str(octets, "utf-8")
            except UnicodeDecodeError:
                return None


def _unstuff(body: io.BytesIO) -> None:
    """Take one leading dot off each line and make CRLF LF (RFC 5321 §4.5.2).

    It happens in place, piece by piece: a second copy of a large message is what hurts.
    """
    read = written = 0
    is_line_start = True
    with body.getbuffer() as octets:
        while read < len(octets):
            end = min(read + _PIECE_OCTETS, len(octets))
            if octets[end - 1 : end + 1] == _CRLF:  # not between the two
                end += 1
            piece = bytes(octets[read:end])
            read = end
            dot = 1 if is_line_start and piece.startswith(b".") else 0
            is_line_start = piece.endswith(_CRLF)
            if b"\r\n." in piece:
                piece = piece.replace(b"\r\n.", _CRLF)
            piece = piece[dot:].replace(_CRLF, b"\n")
            octets[written : written + len(piece)] = piece
            written += len(piece)
    body.truncate(written)


def _unstuffed_line(line: Any, linesep: Any, dot: Any, newline: Any) -> Any:
    """Do the same to a message that a program has looked at, or has collected in its own way."""
    lines = line.split(linesep)
    return newline.join([text[1:] if text and text[0] == dot else text for text in lines])


def _is_output_full(channel: SMTPChannel) -> bool:
    waiting = channel.producer_fifo
    if len(waiting) < 2:
        return False
    octets = sum(len(item) for item in waiting if isinstance(item, (bytes, bytearray)))
    return octets > _MAX_OUTPUT_OCTETS


class _Handshake:
    """A TLS handshake that goes on as the loop finds octets for it."""

    __slots__ = ("wants_to_write",)

    def __init__(self) -> None:
        self.wants_to_write = False

    def go_on(self, channel: SMTPChannel) -> bool:
        """Go on; tell whether it is over, and well."""
        try:
            channel.conn.do_handshake()
        except OSError as error:
            if _is_tls_waiting(error):
                self.wants_to_write = type(error).__name__ == "SSLWantWriteError"
            else:
                _debug("TLS with", repr(channel.peer), "failed:", error)
                channel.handle_close()
            return False
        channel._smtpd_handshake = None
        channel.initiate_send()
        return True


def _renamed(old: str, new: str) -> property:
    """Make what is left of an attribute's first name."""

    def read(self: object) -> Any:
        warnings.warn(
            f"Access to {old} attribute on SMTPChannel is deprecated, use '{new}' instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(self, new)

    def write(self: object, value: Any) -> None:
        warnings.warn(
            f"Setting {old} attribute on SMTPChannel is deprecated, set '{new}' instead",
            DeprecationWarning,
            stacklevel=2,
        )
        setattr(self, new, value)

    return property(read, write)


class SMTPChannel(asynchat.async_chat):
    """One client: its dialogue, and the transaction it is in.

    A subclass changes what a command does by its method `smtp_COMMAND(arg)`, which answers by
    `push()`; name the subclass in `SMTPServer.channel_class`.

    Args:
        server: Has the `process_message()` that gets each message.
        conn: The connection.
        addr: Where it comes from.
        data_size_limit: The most octets of a message; 0 or `None` is no limit.
        map: The map of the asyncore loop that serves the channel; the global one by default.
        enable_SMTPUTF8: Offer SMTPUTF8. Not together with `decode_data`.
        decode_data: Give messages as `str`, decoded from UTF-8, instead of `bytes`.
    """

    COMMAND = 0
    DATA = 1

    command_size_limit = 512
    # Each channel makes its own of it; all shared this one once.
    command_size_limits: collections.defaultdict[str, int] = collections.defaultdict(lambda: 512)  # noqa: RUF012

    producer_fifo: collections.deque[Any]
    mailfrom: str | None
    rcpttos: list[str]
    received_data: Any
    mail_options: list[str]
    rcpt_options: list[str]

    def __init__(
        self,
        server: Any,
        conn: Any,
        addr: Any,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: dict[int, Any] | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
    ) -> None:
        _check_decoding(enable_SMTPUTF8=enable_SMTPUTF8, decode_data=decode_data)
        self._decode_data = decode_data
        self._smtpd_last_heard = time.monotonic()
        limits = getattr(server, "_smtpd_limits", None)
        self._smtpd_limits = limits if isinstance(limits, _Limits) else _Limits()
        # A reply goes out line by line, and Nagle's algorithm would let each line after the first
        # wait for the client's acknowledgement, which takes up to 40 ms.
        with contextlib.suppress(OSError, AttributeError):
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_connected = True
        try:
            if self._smtpd_limits.ssl_context is not None and not self._smtpd_limits.starttls:
                conn = _begin_tls(self, conn)
            asynchat.async_chat.__init__(self, conn, map=map)
            peer = conn.getpeername()
        except OSError:
            # The other end was gone before we could ask for its name. Whatever the system calls
            # that, it is this connection's trouble and must not reach the listener.
            is_connected = False
            peer = addr
        self.smtp_server = server
        self.conn = conn
        self.addr = addr
        self.peer = peer
        self.data_size_limit = data_size_limit
        self.enable_SMTPUTF8 = enable_SMTPUTF8
        self._emptystring: Any = "" if decode_data else b""
        self._linesep: Any = "\r\n" if decode_data else _CRLF
        self._dotsep: Any = "." if decode_data else ord(b".")
        self._newline: Any = NEWLINE if decode_data else b"\n"
        self._set_rset_state()
        self.seen_greeting = ""
        self.extended_smtp = False
        self.command_size_limits = self.command_size_limits.copy()  # one of our own
        self.command_size_limits.clear()
        self.fqdn = _fqdn()
        if not is_connected:
            self.close()
            return
        _debug("Peer:", repr(self.peer))
        self.push(f"220 {self.fqdn} {__version__}")

    # A program's own __init__() may be one that never calls ours: these make themselves.

    _smtpd_limits = _Limits()
    _smtpd_last_heard = 0.0
    _smtpd_handshake: _Handshake | None = None

    @functools.cached_property
    def _smtpd_input(self) -> _Input:
        return _Input()

    @functools.cached_property
    def _smtpd_collected(self) -> _Collected:
        return _Collected(decode=getattr(self, "_decode_data", False))

    def _set_post_data_state(self) -> None:
        """Begin a new transaction."""
        self.smtp_state = self.COMMAND
        self.mailfrom = None
        self.rcpttos = []
        self.require_SMTPUTF8 = False
        self.num_bytes = 0
        self.set_terminator(_CRLF)

    def _set_rset_state(self) -> None:
        """Forget everything but the greeting."""
        self._set_post_data_state()
        self.received_data = ""
        self.received_lines = []

    @property
    def received_lines(self) -> list[Any]:
        """What has come in of a line or a message, in pieces: `str` with `decode_data`."""
        return self._smtpd_collected.as_lines()

    @received_lines.setter
    def received_lines(self, lines: list[Any]) -> None:
        self._smtpd_collected.replace(lines)

    @property
    def ac_in_buffer(self) -> bytes:
        """What was received and not looked at. A program's own STARTTLS has to empty it."""
        return self._smtpd_input.rest()

    @ac_in_buffer.setter
    def ac_in_buffer(self, octets: bytes) -> None:
        self._smtpd_input.replace(octets)

    @property
    def max_command_size_limit(self) -> int:
        """The most octets that any command may have."""
        return max(self.command_size_limits.values(), default=self.command_size_limit)

    # The names that these had before Python 3.3.
    __server = _renamed("__server", "smtp_server")
    __line = _renamed("__line", "received_lines")
    __state = _renamed("__state", "smtp_state")
    __greeting = _renamed("__greeting", "seen_greeting")
    __mailfrom = _renamed("__mailfrom", "mailfrom")
    __rcpttos = _renamed("__rcpttos", "rcpttos")
    __data = _renamed("__data", "received_data")
    __fqdn = _renamed("__fqdn", "fqdn")
    __peer = _renamed("__peer", "peer")
    __conn = _renamed("__conn", "conn")
    __addr = _renamed("__addr", "addr")

    # Octets in and out.

    def set_terminator(self, term: bytes | int | None) -> None:
        """Say what ends the next line or message: octets, a number of them, or nothing."""
        asynchat.async_chat.set_terminator(self, term)
        self._smtpd_input.is_data_start = term == _END_OF_DATA

    def handle_read(self) -> None:
        """Take what has arrived, and answer the commands in it."""
        handshake = self._smtpd_handshake
        if handshake is not None and not handshake.go_on(self):
            return
        try:
            data = self.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError:
            self.handle_error()
            return
        waiting = self._smtpd_input.rest()
        self._smtpd_input.replace(waiting + data if waiting else data)
        self._smtpd_input.hand_out(self)

    def recv(self, buffer_size: int) -> bytes:
        """Take octets from the system."""
        try:
            data = asynchat.async_chat.recv(self, buffer_size)
        except OSError as error:
            if _is_tls_waiting(error):
                raise BlockingIOError(errno.EAGAIN, "TLS needs more octets") from error
            raise
        self._smtpd_last_heard = time.monotonic()
        return data

    def collect_incoming_data(self, data: bytes) -> None:
        """Keep octets of a line or a message until its end is found."""
        limit: int | None = None
        is_message = self.smtp_state == self.DATA
        if is_message:
            limit = self.data_size_limit
        elif self.smtp_state == self.COMMAND:
            limit = self.max_command_size_limit
        if limit:
            if self.num_bytes > limit:
                return
            self.num_bytes += len(data)
        if is_message:
            self._smtpd_collected.add_to_message(data)
        else:
            self._smtpd_collected.add_to_line(data)

    def push(self, msg: str) -> None:  # type: ignore[override]  # async_chat takes bytes
        """Send a reply, as it is, with CRLF behind it; at once if the client takes it."""
        octets = (msg + "\r\n").encode("utf-8" if self.require_SMTPUTF8 else "ascii")
        waiting = self.producer_fifo
        if waiting and isinstance(waiting[-1], bytes) and len(waiting[-1]) < _JOIN_OCTETS:
            waiting[-1] += octets
            self.initiate_send()
        else:
            asynchat.async_chat.push(self, octets)

    def initiate_send(self) -> None:
        """Send what waits."""
        if self._smtpd_handshake is None:
            asynchat.async_chat.initiate_send(self)

    def send(self, data: Any) -> int:
        """Give octets to the system; tell how many it took."""
        try:
            sent = asynchat.async_chat.send(self, data)
        except OSError as error:
            if _is_tls_waiting(error):
                return 0
            raise
        if sent:
            self._smtpd_last_heard = time.monotonic()
        return sent

    def handle_write(self) -> None:
        """Send what waits, and go on with the commands that were waiting for it."""
        handshake = self._smtpd_handshake
        if handshake is not None and not handshake.go_on(self):
            return
        self.initiate_send()
        if self._smtpd_input.octets and not _is_output_full(self):
            self._smtpd_input.hand_out(self)

    def readable(self) -> bool:
        """Tell the loop whether to read: not from a client that does not take its replies."""
        limit = self._smtpd_limits.idle_timeout_seconds
        if limit is not None and time.monotonic() - self._smtpd_last_heard > limit:
            self.discard_buffers()
            self.push("421 Error: idle for too long, closing connection")
            self.close()
            return False
        return not (self.producer_fifo and _is_output_full(self))

    def writable(self) -> bool:
        """Tell the loop whether there is something to send."""
        if self._smtpd_handshake is not None:
            return self._smtpd_handshake.wants_to_write
        return bool(asynchat.async_chat.writable(self))

    # What was received.

    def found_terminator(self) -> None:
        """Take a command, or a message, that is complete."""
        if _debugging():
            print("Data:", repr(self._emptystring.join(self.received_lines)), file=DEBUGSTREAM)
        if self.smtp_state == self.DATA:
            _end_message(self)
            return
        line = self._smtpd_collected.take_line(self._emptystring)
        octets, self.num_bytes = self.num_bytes, 0
        if self.smtp_state != self.COMMAND:
            self.push("451 Internal confusion")
            return
        if isinstance(line, bytes):
            try:
                line = line.decode("utf-8")
            except UnicodeDecodeError:
                line = None
        if not line:
            self.push("500 Error: bad syntax")
            return
        verb, space, rest = line.partition(" ")
        command = verb.upper()
        method = getattr(self, f"smtp_{command}", None)
        limit = self.command_size_limit
        if self.extended_smtp and (method is not None or command in self.command_size_limits):
            limit = self.command_size_limits[command]
        if octets > limit:
            self.push("500 Error: line too long")
        elif method is None:
            self.push(f'500 Error: command "{_printable(command)}" not recognized')
        else:
            method(rest.strip() if space else None)

    # Commands. What is said, and in which order it is checked, is CPython's.

    def smtp_HELO(self, arg: str | None) -> None:
        """Greet a client that knows no extensions."""
        if _greet(self, "HELO", arg):
            self.push(f"250 {self.fqdn}")

    def smtp_EHLO(self, arg: str | None) -> None:
        """Greet a client, and tell which extensions there are."""
        if not _greet(self, "EHLO", arg):
            return
        self.extended_smtp = True
        self.push(f"250-{self.fqdn}")
        if self.data_size_limit:
            if self._smtpd_limits.announce_size:
                self.push(f"250-SIZE {self.data_size_limit}")
            self.command_size_limits["MAIL"] += 26
        if not self._decode_data:
            self.push("250-8BITMIME")
        if self.enable_SMTPUTF8:
            self.push("250-SMTPUTF8")
            self.command_size_limits["MAIL"] += 10
        if _is_tls_offered(self):
            self.push("250-STARTTLS")
        self.push("250 HELP")

    def smtp_STARTTLS(self, arg: str | None) -> None:
        """Begin TLS (RFC 3207), where the server has `starttls=True`."""
        if not self._smtpd_limits.starttls:
            self.push('500 Error: command "STARTTLS" not recognized')
        elif arg:
            self.push("501 Syntax: STARTTLS")
        elif not _is_tls_offered(self):
            self.push("503 Error: TLS is on already")
        else:
            self.push("220 Ready to start TLS")
            # What came in plain text behind the command is not the client's word (RFC 3207 §4.2),
            # and what did not go out before the handshake never would.
            self.ac_in_buffer = b""
            if self.producer_fifo:
                self.close()
                return
            self.socket = self.conn = _begin_tls(self, self.conn)
            self._set_rset_state()
            self.seen_greeting = ""
            self.extended_smtp = False
            self.command_size_limits.clear()

    def smtp_NOOP(self, arg: str | None) -> None:
        """Do nothing."""
        self.push("501 Syntax: NOOP" if arg else "250 OK")

    def smtp_QUIT(self, arg: str | None) -> None:
        """Say goodbye, and close."""
        self.push("221 Bye")
        self.close_when_done()

    def smtp_HELP(self, arg: str | None) -> None:
        """Tell the commands, or the syntax of one."""
        commands = "Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY"
        extended = " [SP <mail-parameters>]" if self.extended_smtp else ""
        syntax = {
            "EHLO": "EHLO hostname",
            "HELO": "HELO hostname",
            "MAIL": f"MAIL FROM: <address>{extended}",
            "RCPT": f"RCPT TO: <address>{extended}",
            "DATA": "DATA",
            "RSET": "RSET",
            "NOOP": "NOOP",
            "QUIT": "QUIT",
            "VRFY": "VRFY <address>",
        }
        if not arg:
            self.push(f"250 {commands}")
        elif arg.upper() in syntax:
            self.push(f"250 Syntax: {syntax[arg.upper()]}")
        else:
            self.push(f"501 {commands}")

    def smtp_VRFY(self, arg: str | None) -> None:
        """Say nothing about an address, politely."""
        if arg and self._getaddr(arg)[0]:
            self.push("252 Cannot VRFY user, but will accept message and attempt delivery")
        else:
            self.push("501 Syntax: VRFY <address>")

    def smtp_EXPN(self, arg: str | None) -> None:
        """Say nothing about a list."""
        self.push("502 EXPN not implemented")

    def smtp_MAIL(self, arg: str | None) -> None:
        """Begin a transaction: the sender."""
        if not self.seen_greeting:
            self.push("503 Error: send HELO first")
            return
        _debug("===> MAIL", arg)
        read = _read_path(self, "FROM:", arg)
        syntax = _syntax(self, "MAIL FROM")
        if read is None:
            self.push(syntax)
            return
        if self.mailfrom:
            self.push("503 Error: nested MAIL command")
            return
        address, options = read
        self.mail_options = options
        parameters = self._getparams(options)
        refusal = syntax if parameters is None else _refuse_mail(self, parameters, syntax)
        if refusal is not None:
            self.push(refusal)
            return
        self.require_SMTPUTF8 = self.enable_SMTPUTF8 and "SMTPUTF8" in options
        self.mailfrom = address
        _debug("sender:", address)
        self.push("250 OK")

    def smtp_RCPT(self, arg: str | None) -> None:
        """Add a recipient."""
        if not self.seen_greeting:
            self.push("503 Error: send HELO first")
            return
        _debug("===> RCPT", arg)
        if not self.mailfrom:
            self.push("503 Error: need MAIL command")
            return
        read = _read_path(self, "TO:", arg)
        if read is None:
            self.push(_syntax(self, "RCPT TO"))
            return
        address, self.rcpt_options = read
        parameters = self._getparams(self.rcpt_options)
        most = self._smtpd_limits.max_recipients
        server = self.smtp_server
        if parameters is None:
            self.push(_syntax(self, "RCPT TO"))
        elif parameters:
            self.push("555 RCPT TO parameters not recognized or not implemented")
        elif most is not None and len(self.rcpttos) >= most:
            self.push("452 Error: too many recipients")
        elif isinstance(server, MailmanProxy) and (refusal := server._smtpd_refusal(address)):
            self.push(refusal)
        else:
            self.rcpttos.append(address)
            _debug("recips:", self.rcpttos)
            self.push("250 OK")

    def _strip_command_keyword(self, keyword: str, arg: str) -> str:
        if arg[: len(keyword)].upper() == keyword:
            return arg[len(keyword) :].strip()
        return ""

    def _getaddr(self, arg: str | None) -> tuple[str, str]:
        """Read an address; give it and what follows, or two empty texts if there is none."""
        if not arg:
            return "", ""
        if plain := _PLAIN_ADDRESS.match(arg):
            return plain[2], arg[plain.end() :]
        if "=?" in arg:
            # The `email` package would decode `=?utf-8?q?a?=@b`, as in a header. In SMTP these
            # characters stand for themselves, and decoded they may be anything: line ends, too.
            return "", ""
        read = get_angle_addr if arg.lstrip().startswith("<") else get_addr_spec
        try:
            token, rest = read(arg)
            address = token.addr_spec
        except Exception:
            # HeaderParseError, but IndexError and AttributeError as well: it was written for
            # headers, where somebody above catches them all.
            return "", ""
        if not address or _CONTROL.search(address + arg[: len(arg) - len(rest)].rstrip()):
            return "", ""
        return address, rest

    def _getparams(self, params: list[str]) -> dict[str, Any] | None:
        """Read parameters: each has a text or is `True`; `None` if one is not well formed."""
        result: dict[str, Any] = {}
        for param in params:
            keyword, equals, value = param.partition("=")
            if not keyword.isalnum() or (equals and not value):
                return None
            result[keyword] = value if equals else True
        return result

    def smtp_RSET(self, arg: str | None) -> None:
        """Give up the transaction."""
        if arg:
            self.push("501 Syntax: RSET")
            return
        self._set_rset_state()
        self.push("250 OK")

    def smtp_DATA(self, arg: str | None) -> None:
        """Let the message come."""
        if not self.seen_greeting:
            self.push("503 Error: send HELO first")
        elif not self.rcpttos:
            self.push("503 Error: need RCPT command")
        elif arg:
            self.push("501 Syntax: DATA")
        else:
            self.received_data = ""  # the message before this one need not be kept any longer
            self.smtp_state = self.DATA
            self.set_terminator(_END_OF_DATA)
            self.push("354 End data with <CR><LF>.<CR><LF>")


def _check_decoding(*, enable_SMTPUTF8: bool, decode_data: bool) -> None:
    if enable_SMTPUTF8 and decode_data:
        raise ValueError(
            "enable_SMTPUTF8 and decode_data cannot be true at the same time: leave decode_data out"
            " and take the message as bytes"
        )


def _begin_tls(channel: SMTPChannel, conn: Any) -> Any:
    context = channel._smtpd_limits.ssl_context
    assert context is not None
    conn.setblocking(False)
    channel._smtpd_handshake = _Handshake()
    return context.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)


def _is_tls_offered(channel: SMTPChannel) -> bool:
    return channel._smtpd_limits.starttls and not hasattr(channel.conn, "do_handshake")


def _greet(channel: SMTPChannel, command: str, arg: str | None) -> bool:
    if not arg:
        channel.push(f"501 Syntax: {command} hostname")
        return False
    if channel.seen_greeting:
        channel.push("503 Duplicate HELO/EHLO")
        return False
    channel._set_rset_state()
    channel.seen_greeting = arg
    return True


def _syntax(channel: SMTPChannel, command: str) -> str:
    extended = " [SP <mail-parameters>]" if channel.extended_smtp else ""
    return f"501 Syntax: {command}: <address>{extended}"


def _read_path(channel: SMTPChannel, keyword: str, arg: str | None) -> tuple[str, list[str]] | None:
    """Read the address and the parameters of MAIL or RCPT; `None` for what is wrong."""
    if arg is None:
        return None
    address, rest = channel._getaddr(channel._strip_command_keyword(keyword, arg))
    if not address or (rest and not channel.extended_smtp):
        return None
    return address, rest.upper().split()


def _refuse_mail(channel: SMTPChannel, parameters: dict[str, Any], syntax: str) -> str | None:
    """Give the reply to parameters of MAIL that cannot be met; `None` if all can."""
    if not channel._decode_data and parameters.pop("BODY", "7BIT") not in ("7BIT", "8BITMIME"):
        return "501 Error: BODY can only be one of 7BIT, 8BITMIME"
    if channel.enable_SMTPUTF8 and parameters.pop("SMTPUTF8", True) is not True:
        return "501 Error: SMTPUTF8 takes no arguments"
    if size := parameters.pop("SIZE", None):
        # "²" is a digit and "٣" a number to str; RFC 1870 means neither.
        if not (isinstance(size, str) and size.isascii() and size.isdigit()):
            return syntax
        if channel.data_size_limit and int(size) > channel.data_size_limit:
            return "552 Error: message size exceeds fixed maximum message size"
    if parameters:
        return "555 MAIL FROM parameters not recognized or not implemented"
    return None


def _end_message(channel: SMTPChannel) -> None:
    """Hand a complete message to the server, and its answer to the client."""
    if channel.data_size_limit and channel.num_bytes > channel.data_size_limit:
        channel.received_lines = []
        channel._set_post_data_state()
        channel.push("552 Error: Too much mail data")
        return
    collected = channel._smtpd_collected
    if collected.body is not None:
        message = collected.take_body()
    elif (line := collected.take_line(channel._emptystring)) is not None:
        message = _unstuffed_line(line, channel._linesep, channel._dotsep, channel._newline)
    else:
        message = None
    if message is None:
        channel._set_post_data_state()
        channel.push("554 Error: the message is not valid UTF-8")
        return
    channel.received_data = message
    options: dict[str, Any] = {}
    if not channel._decode_data:
        # A program's own smtp_MAIL or smtp_RCPT need not know of options.
        options["mail_options"] = getattr(channel, "mail_options", [])
        options["rcpt_options"] = getattr(channel, "rcpt_options", [])
    del message
    status = channel.smtp_server.process_message(
        channel.peer, channel.mailfrom, channel.rcpttos, channel.received_data, **options
    )
    # The reply belongs to this message still: it may be beyond ASCII if the message was.
    utf8 = channel.require_SMTPUTF8
    channel._set_post_data_state()
    channel.require_SMTPUTF8 = utf8
    try:
        channel.push(status or "250 OK")
    finally:
        channel.require_SMTPUTF8 = False


class SMTPServer(asyncore.dispatcher):
    """A listener, which hands each connection to a channel, and gets each message.

    To be subclassed: `process_message()` does something with the mail. Making a server binds it
    and puts it in the map of an asyncore loop; `asyncore.loop()` then serves. With more than a
    thousand connections, that needs `asyncore.loop(use_poll=True)`.

    Args:
        localaddr: Host and port to listen on. A name is looked up, and may have an IPv6 address.
        remoteaddr: Host and port of the next server, for a proxy.
        data_size_limit: The most octets of a message; 0 or `None` is no limit.
        map: The map of the asyncore loop; the global one by default.
        enable_SMTPUTF8: Offer SMTPUTF8. Not together with `decode_data`.
        decode_data: Give messages as `str`, decoded from UTF-8, instead of `bytes`.
        idle_timeout_seconds: Close the connection of a client that was silent for so long. The
            clock is looked at whenever the asyncore loop turns: give `loop()` a timeout no longer.
        max_connections: The most connections at once; one more gets 421.
        max_recipients: The most recipients of a message; one more gets 452.
        ssl_context: A certificate: TLS from the first octet on, or after STARTTLS.
        starttls: Offer STARTTLS instead of beginning with TLS.

    Raises:
        OSError: The address cannot be listened on.
        ValueError: Arguments that do not go together.
    """

    channel_class: type[SMTPChannel] = SMTPChannel

    _map: dict[int, Any]
    _smtpd_limits = _Limits()
    _smtpd_accepts_after = 0.0

    def __init__(
        self,
        localaddr: tuple[Any, ...],
        remoteaddr: Any,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: dict[int, Any] | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
        *,
        idle_timeout_seconds: float | None = None,
        max_connections: int | None = None,
        max_recipients: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        starttls: bool = False,
    ) -> None:
        self._localaddr = localaddr
        self._remoteaddr = remoteaddr
        self.data_size_limit = data_size_limit
        self.enable_SMTPUTF8 = enable_SMTPUTF8
        self._decode_data = decode_data
        _check_decoding(enable_SMTPUTF8=enable_SMTPUTF8, decode_data=decode_data)
        self._smtpd_limits = _Limits(
            idle_timeout_seconds, max_connections, max_recipients, ssl_context, starttls
        )
        self._smtpd_limits.check()
        asyncore.dispatcher.__init__(self, map=map)
        try:
            found = socket.getaddrinfo(localaddr[0], localaddr[1], type=socket.SOCK_STREAM)
            family, kind, *_ = found[0]
            self.create_socket(family, kind)
            self.set_reuse_addr()
            self.bind(localaddr)
            self.listen(_BACKLOG)
        except BaseException:
            self.close()
            raise
        if _debugging():
            print(
                f"{self.__class__.__name__} started at {time.ctime()}\n"
                f"\tLocal addr: {localaddr}\n\tRemote addr:{remoteaddr}",
                file=DEBUGSTREAM,
            )

    def handle_accept(self) -> None:
        """Accept a connection, unless there are too many."""
        try:
            pair = self.accept()
        except OSError as error:
            if not _is_passing(self, error):
                raise
            return
        if pair is None:
            return
        most = self._smtpd_limits.max_connections
        if most is not None and _count_channels(self) >= most:
            conn, _addr = pair
            conn.setblocking(False)
            with conn, contextlib.suppress(OSError):
                if self._smtpd_limits.ssl_context is None or self._smtpd_limits.starttls:
                    conn.send(b"421 Error: too many connections, try again later\r\n")
        else:
            self.handle_accepted(*pair)

    def handle_accepted(self, conn: Any, addr: Any) -> None:
        """Make the channel of a connection."""
        _debug("Incoming connection from", repr(addr))
        self.channel_class(
            self,
            conn,
            addr,
            self.data_size_limit,
            self._map,
            self.enable_SMTPUTF8,
            self._decode_data,
        )

    def readable(self) -> bool:
        """Tell the loop whether to accept: not shortly after descriptors ran out."""
        return time.monotonic() >= self._smtpd_accepts_after

    def handle_error(self) -> None:
        """Log an error and close; go on listening if it only was a bad time to accept."""
        error = sys.exc_info()[1]
        # A program's own handle_accept() comes here.
        if not (isinstance(error, OSError) and self.accepting and _is_passing(self, error)):
            asyncore.dispatcher.handle_error(self)

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> str | None:
        """Take a message; subclasses say what that means.

        Args:
            peer: Where the client connects from: host and port.
            mailfrom: The sender's address as the client gave it; `<>` for a bounce.
            rcpttos: The recipients' addresses.
            data: The message: `bytes`, or `str` with `decode_data`. Lines end in LF, the last one
                in nothing, and the dots that SMTP puts before dots are gone.
            **kwargs: `mail_options` and `rcpt_options`, the parameters of MAIL and of the last
                RCPT in capitals, such as `['BODY=8BITMIME']`; nothing with `decode_data`.

        Returns:
            The reply, such as `"550 No such mailbox"`; `None` for `250 OK`.

        Raises:
            NotImplementedError: Always, here.
        """
        raise NotImplementedError("subclass SMTPServer and write process_message()")


def _count_channels(server: SMTPServer) -> int:
    return sum(getattr(item, "smtp_server", None) is server for item in server._map.values())


def _is_passing(server: SMTPServer, error: OSError) -> bool:
    """Tell whether accepting may go on after this error, which then is logged."""
    if error.errno in _SHORT:
        # The connection that could not be accepted stays in the queue, and the loop would come
        # back for it at once, for ever.
        server._smtpd_accepts_after = time.monotonic() + _ACCEPT_PAUSE_SECONDS
    elif error.errno not in _BROKEN:
        return False
    server.log_info(f"cannot accept a connection ({error}); trying again", "error")
    return True


class DebuggingServer(SMTPServer):
    """A server that prints each message on standard output."""

    def _print_message_content(self, peer: Any, data: Any) -> None:
        is_header = True
        is_text = isinstance(data, str)
        for line in data.splitlines():
            if is_header and not line:
                header = f"X-Peer: {peer[0]}"
                print(header if is_text else repr(header.encode("utf-8")))
                is_header = False
            print(line if is_text else repr(line))

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> str | None:
        """Print the message, and the parameters that came with it."""
        print("---------- MESSAGE FOLLOWS ----------")
        if kwargs.get("mail_options"):
            print(f"mail options: {kwargs['mail_options']}")
        if kwargs.get("rcpt_options"):
            print(f"rcpt options: {kwargs['rcpt_options']}\n")
        self._print_message_content(peer, data)
        print("------------ END MESSAGE ------------")
        return None


class PureProxy(SMTPServer):
    """A server that passes each message on to `remoteaddr`, and tells what came of it.

    The client hears 250 when the next server has taken the message, the next server's own refusal
    when that refuses, and 451 while it cannot be reached or does not want to be. The answer is
    waited for, and all other clients wait with it: `pillarbox relay` is for more than a few.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("enable_SMTPUTF8") or any(args[4:5]):
            raise ValueError(f"{type(self).__name__} does not support SMTPUTF8.")
        super().__init__(*args, **kwargs)

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> str | None:
        """Pass the message on, with a header that tells where it came from."""
        refused = self._deliver(mailfrom, rcpttos, _with_peer(data, peer[0]))
        _debug("we got some refusals:", refused)
        if not refused:
            return None
        if all(rcpt in refused for rcpt in rcpttos):
            return _refusal([refused[rcpt] for rcpt in rcpttos])
        # The others have it. There is one reply for all, and 250 is the one that sends nobody the
        # message twice.
        self.log_info(f"passed on, but not to these recipients: {refused}", "error")
        return None

    def _deliver(self, mailfrom: str, rcpttos: list[str], data: Any) -> dict[str, tuple[int, Any]]:
        """Send the message; give the recipients that did not get it, each with a code and a text.

        -1 is the code where the next server gave none.
        """
        import smtplib

        # smtplib would give up all of the message for one such address.
        refused = {rcpt: (553, b"Needs SMTPUTF8") for rcpt in rcpttos if not rcpt.isascii()}
        if not mailfrom.isascii():
            return dict.fromkeys(rcpttos, (553, b"Needs SMTPUTF8"))
        if not (rest := [rcpt for rcpt in rcpttos if rcpt not in refused]):
            return refused
        upstream = smtplib.SMTP()
        upstream.timeout = socket.getdefaulttimeout() or _UPSTREAM_TIMEOUT_SECONDS
        try:
            reply = upstream.connect(self._remoteaddr[0], self._remoteaddr[1])
            if isinstance(reply, tuple) and reply[0] != 220:
                raise smtplib.SMTPConnectError(*reply)
            sent = upstream.sendmail(mailfrom, rest, _for_sending(data))
            return {**refused, **sent} if refused else sent
        except smtplib.SMTPRecipientsRefused as error:
            _debug("got SMTPRecipientsRefused")
            # After a 421 this has the recipients up to there only, and nobody got the message.
            no_reply = (-1, "ignore")
            return {**refused, **{rcpt: error.recipients.get(rcpt, no_reply) for rcpt in rest}}
        except (OSError, smtplib.SMTPException) as error:
            _debug("got", error.__class__)
            code = getattr(error, "smtp_code", -1)
            text = getattr(error, "smtp_error", "ignore")
            return {**refused, **dict.fromkeys(rest, (code, text))}
        finally:
            # A server that has taken the message and fails at the goodbye still has it.
            with contextlib.suppress(OSError, smtplib.SMTPException):
                upstream.quit()


class MailmanProxy(PureProxy):
    """A proxy that hands what GNU Mailman 3 knows to it by LMTP, and passes on the rest.

    Mailman is asked of each recipient at RCPT. Its lists and their sub-addresses, such as
    `-request` and `-bounces`, go to Mailman with the original envelope, and nothing is changed in
    the message. What Mailman does not know goes to `remoteaddr`, as `PureProxy` does it. While
    Mailman is down its domains hear 451, and all else goes on.

    Nothing is kept: the client hears 250 when everybody has the message. It is passed on first and
    handed to Mailman last, so that no post is made twice; but where Mailman then cannot take it,
    the client sends it again and the other recipients get it twice. Each answer is waited for, and
    all other clients wait with it. `pillarbox mailman` keeps what it takes, and has none of these
    limits.

    Args:
        localaddr: Where to listen.
        remoteaddr: The next server, for what is not Mailman's.
        args: As `SMTPServer` takes them, and `kwargs` as well.
        mailman_lmtp: Where Mailman's LMTP runner listens, version 3.3.6 or later.
        mailman_domains: Mailman's domains: names, a function that is given a domain in small
            letters, or the path (`pathlib.Path`) of Mailman's `data/postfix_domains`, which is read
            again when it changes. With `None` Mailman is asked of every address, and while it is
            down nothing is taken.
        unknown: What to do with an address in these domains that Mailman does not know: `"relay"`,
            or `"reject"` with 550.
        legacy_admin: Take `list-admin` for `list-owner`, as Mailman 2.0 did.
        lookup_ttl: For how many seconds an address is known once Mailman knows it.
        negative_ttl: For how many it is not. That Mailman did not answer is never remembered.
        mailman_timeout: How many seconds to wait for Mailman. Where it has just been waited for in
            vain, it is one.

    Raises:
        ValueError: `enable_SMTPUTF8` is true, or `unknown` is none of the two.
        OSError: The file cannot be read, or it cannot listen.
    """

    def __init__(
        self,
        *args: Any,
        mailman_lmtp: tuple[str, int] = ("127.0.0.1", 8024),
        mailman_domains: AnyDomains = None,
        unknown: str = "relay",
        legacy_admin: bool = False,
        lookup_ttl: float = 30,
        negative_ttl: float = 5,
        mailman_timeout: float = 10,
        **kwargs: Any,
    ) -> None:
        # Here and not at the top: programs without Mailman need not load them, and the command line
        # gives up its rights after this.
        from pillarbox.lists import ListDomains, Verdicts

        if unknown not in ("relay", "reject"):
            raise ValueError(f"unknown is {unknown!r}; write 'relay' or 'reject'")
        self._smtpd_domains = ListDomains(mailman_domains)
        self._smtpd_rejects = unknown == "reject"
        self._smtpd_mailman = _Mailman(
            mailman_lmtp,
            mailman_timeout,
            Verdicts(lookup_ttl=lookup_ttl, negative_ttl=negative_ttl),
            legacy_admin=legacy_admin,
        )
        super().__init__(*args, **kwargs)

    def close(self) -> None:
        """Stop listening, and say goodbye to Mailman."""
        self._smtpd_mailman.close()
        super().close()

    def _smtpd_refusal(self, rcpt: str) -> str:
        """Tell why a recipient is not taken; empty where it is."""
        _address, refusal = self._smtpd_look_up(rcpt)
        return refusal

    def _smtpd_look_up(self, rcpt: str) -> tuple[str, str]:
        """Give Mailman's address for a recipient, and a refusal; both are empty for all others."""
        if not self._smtpd_domains.has(rcpt.rpartition("@")[2]):
            return "", ""
        if not rcpt.isascii():
            return "", "" if self._smtpd_domains.is_any else _LIST_NEEDS_SMTPUTF8
        try:
            address = self._smtpd_mailman.find(rcpt)
        except OSError as error:
            self.log_info(f"Mailman does not answer ({error}); its mail has to wait", "error")
            return "", _MAILMAN_IS_DOWN
        return address, _NO_SUCH_LIST if not address and self._smtpd_rejects else ""

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> str | None:
        """Pass the message on, then hand it to Mailman; tell what came of both."""
        lists: dict[str, str] = {}  # one post to a list, however often and in what case it is named
        others: list[str] = []
        for rcpt in rcpttos:
            address, refusal = self._smtpd_look_up(rcpt)
            if refusal:
                return refusal
            if address:
                lists.setdefault(address.lower(), address)
            else:
                others.append(rcpt)
        if not lists:
            return super().process_message(peer, mailfrom, rcpttos, data, **kwargs)
        # 250 only where everybody has it; and the list, where nobody is to get it twice, last.
        if others and (refused := self._deliver(mailfrom, others, _with_peer(data, peer[0]))):
            _debug("we got some refusals:", refused)
            return _refusal(list(refused.values()))
        return self._smtpd_mailman.deliver(mailfrom, list(lists.values()), data)


_MAILMAN_IS_DOWN = "451 4.3.0 Mailman cannot take mail now, try again later"
_NO_SUCH_LIST = "550 5.1.1 No such list"
_LIST_NEEDS_SMTPUTF8 = "553 5.6.7 Mailman takes no addresses beyond ASCII"
# Mailman only writes the message to a file before it answers; who waits less makes two posts.
_MAILMAN_END_SECONDS = 60.0
_SHORT_PATIENCE_SECONDS = 1.0


class _Mailman:
    """Asks Mailman over one connection, and hands it each message over another."""

    def __init__(
        self, lmtp: tuple[str, int], timeout: float, verdicts: Any, *, legacy_admin: bool
    ) -> None:
        from pillarbox import lists
        from pillarbox.lmtp import LmtpSession
        from pillarbox.protocol.address import Path

        self._lmtp = lmtp
        self._timeout = timeout
        self._verdicts = verdicts
        self._legacy_admin = legacy_admin
        self._lists = lists
        self._open = LmtpSession
        self._path = Path
        self._session: LmtpSession | None = None
        self._is_slow_until = 0.0

    def find(self, rcpt: str) -> str:
        """Give what Mailman knows a recipient by; empty where it knows none.

        Raises:
            OSError: It cannot be asked, or does not say.
        """
        if self._knows(rcpt):
            return rcpt
        local_part, _, domain = rcpt.rpartition("@")
        if self._legacy_admin and local_part.lower().endswith("-admin"):
            owner = f"{local_part[: -len('admin')]}owner@{domain}"
            if self._knows(owner):
                return owner
        return ""

    def _knows(self, address: str) -> bool:
        key = self._lists.list_key(self._path(address.encode()))
        found = self._verdicts.get(key)
        if found is None:
            try:
                found = self._lists.verdict(self._ask(address))
            except self._lists.MailmanSilent as error:
                raise ConnectionError(str(error)) from None
            except ValueError:
                return False  # it cannot be put into a command, so no list has this name
            self._verdicts.put(key, is_known=found)
        return bool(found)

    def _ask(self, address: str) -> RecipientOutcome:
        begun = time.monotonic()
        try:
            answer = None
            if self._session is not None and self._session.is_open:
                answer = self._session.ask(address).recipients[0]
            # The other end may have closed what was idle for minutes; that says nothing of now.
            is_fast = time.monotonic() < begun + self._patience / 2
            if self._session is None or (not self._session.is_open and is_fast):
                self.close()
                self._session = self._connect()
                answer = self._session.ask(address).recipients[0]
            assert answer is not None
            return answer
        finally:
            if self._session is not None and not self._session.is_open:
                self.close()
            if time.monotonic() >= begun + self._patience:
                # It hangs: all clients wait while we do. It is asked all the same.
                self._is_slow_until = time.monotonic() + self._timeout * 3

    @property
    def _patience(self) -> float:
        if time.monotonic() < self._is_slow_until:
            return min(self._timeout, _SHORT_PATIENCE_SECONDS)
        return self._timeout

    def _connect(self, **more: float) -> LmtpSession:
        from pillarbox.protocol.client_state import Timeouts

        seconds = dict.fromkeys(Timeouts.__slots__, self._patience)
        return self._open(
            self._lmtp,
            timeouts=Timeouts(**{**seconds, **more}),
            lone_refusal_seconds=self._lists.LONE_REFUSAL_SECONDS,
        )

    def close(self) -> None:
        """Say goodbye, until there is something to ask again."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def deliver(self, mailfrom: str, rcpttos: list[str], data: Any) -> str | None:
        """Hand a message over; give the refusal, or `None`."""
        if isinstance(data, str):
            data = data.encode("utf-8")
        sender = "" if mailfrom == "<>" else mailfrom
        try:
            with self._connect(end=max(self._timeout, _MAILMAN_END_SECONDS)) as session:
                outcome = session.send(sender, rcpttos, _for_sending(data))
        except (OSError, ValueError) as error:
            _debug("Mailman does not take it:", error)
            return _MAILMAN_IS_DOWN
        replies = [one.reply for one in outcome.refused]
        if not replies:
            return None
        if any(one.reply.is_transient for one in outcome.refused):
            return _MAILMAN_IS_DOWN
        return _refusal([(one.code, f"{one.enhanced or ''} {one.text}".strip()) for one in replies])


def _with_peer(data: Any, host: str) -> Any:
    """Put the X-Peer header behind the last header."""
    newline: Any = NEWLINE if isinstance(data, str) else b"\n"
    header: Any = f"X-Peer: {host}"
    if not isinstance(data, str):
        header = header.encode("utf-8")
    if not data or data.startswith(newline):
        return header + newline + data
    end = data.find(newline + newline)
    if end < 0 and not data.endswith(newline):
        return data + newline + header
    end = end + 1 if end >= 0 else len(data)
    return data[:end] + header + newline + data[end:]


def _for_sending(data: Any) -> Any:
    """Give a message as smtplib needs it: `str` in ASCII, or `bytes` with CRLF."""
    if isinstance(data, str):
        if data.isascii():
            return data
        data = data.encode("utf-8")
    # A bare CR or LF must not come through: the next server might see an end of data in it.
    return data.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)


def _refusal(replies: list[tuple[int, Any]]) -> str:
    """Make one reply of what the next server said to each recipient.

    One that may succeed later makes all of it a matter of trying again. 421 would close our
    client's connection, which did nothing wrong.
    """
    temporary = [reply for reply in replies if not 500 <= reply[0] <= 599]
    code, text = (temporary or replies)[0]
    if code == 421 or not 400 <= code <= 599:
        code, text = 451, "Error: the next server cannot take mail now, try again later"
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    lines = [_printable(line) for line in str(text).splitlines()]
    return Reply(code, None, "\n".join(lines)).wire.decode("ascii").removesuffix("\r\n")


class Options:
    """What the command line says."""

    setuid = True
    classname = "PureProxy"
    size_limit: int | None = None
    enable_SMTPUTF8 = False
    localhost: str
    localport: int
    remotehost: str
    remoteport: int


def parseargs() -> Options:
    """Read the command line; exit with what is wrong with it."""
    global DEBUGSTREAM
    try:
        opts, args = getopt.getopt(
            sys.argv[1:],
            "nVhc:s:du",
            ["class=", "nosetuid", "version", "help", "size=", "debug", "smtputf8"],
        )
    except getopt.error as error:
        usage(1, error)
    options = Options()
    for opt, arg in opts:
        match opt:
            case "-h" | "--help":
                usage(0)
            case "-V" | "--version":
                print(__version__)
                sys.exit(0)
            case "-n" | "--nosetuid":
                options.setuid = False
            case "-c" | "--class":
                options.classname = arg
            case "-d" | "--debug":
                DEBUGSTREAM = sys.stderr
            case "-u" | "--smtputf8":
                options.enable_SMTPUTF8 = True
            case _:  # -s, --size
                try:
                    options.size_limit = int(arg)
                except ValueError:
                    print(f"Invalid size: {arg}", file=sys.stderr)
                    sys.exit(1)
    if len(args) > 2:
        usage(1, f"Invalid arguments: {COMMASPACE.join(args)}")
    local, remote = [*args, *("localhost:8025", "localhost:25")[len(args) :]]
    options.localhost, options.localport = _host_and_port("local", local)
    options.remotehost, options.remoteport = _host_and_port("remote", remote)
    return options


def _host_and_port(which: str, spec: str) -> tuple[str, int]:
    host, colon, port = spec.partition(":")
    if not colon:
        usage(1, f"Bad {which} spec: {spec}")
    try:
        return host, int(port)
    except ValueError:
        usage(1, f"Bad {which} port: {spec}")


def _find_class(name: str) -> Any:
    module, dot, attribute = name.rpartition(".")
    if dot:
        return getattr(importlib.import_module(module), attribute)
    import __main__

    found = getattr(__main__, name, None) or globals().get(name)
    if found is None:
        usage(
            1, f"No class {name}; one of another module needs that before it: package.module.{name}"
        )
    return found


def _become_nobody() -> None:
    """Give up root's rights, groups first: a user who is not root cannot give them up any more."""
    try:
        import pwd
    except ImportError:
        print('Cannot import module "pwd"; try running with -n option.', file=sys.stderr)
        sys.exit(1)
    try:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    except (KeyError, PermissionError):
        print('Cannot setuid "nobody"; try running with -n option.', file=sys.stderr)
        sys.exit(1)


def _main() -> None:
    options = parseargs()
    limit = options.size_limit
    proxy = _find_class(options.classname)(
        (options.localhost, options.localport),
        (options.remotehost, options.remoteport),
        DATA_SIZE_DEFAULT if limit is None else limit,
        enable_SMTPUTF8=options.enable_SMTPUTF8,
    )
    # A class of another module is made of the `smtpd` that it has imported, and we are `__main__`.
    limits = getattr(proxy, "_smtpd_limits", None)
    if limit is None and limits is not None:
        # A limit that nobody asked for is kept, but not announced: clients answer SIZE by a
        # parameter of MAIL, and what DebuggingServer prints by default has never had that.
        proxy._smtpd_limits = limits._replace(announce_size=False)
    if options.setuid:
        with contextlib.suppress(ImportError):
            import smtplib  # noqa: F401  # `nobody` may not be allowed to read it
        _become_nobody()
    with contextlib.suppress(KeyboardInterrupt):
        # select(), the default, ends the program at the thousandth connection.
        asyncore.loop(use_poll=True)


if __name__ == "__main__":
    _main()
