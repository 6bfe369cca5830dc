"""What the server says by itself, in one place: replies are values, made once (RFC 5321 §4.2.3).

The enhanced codes are RFC 3463's; AUTH's are RFC 4954's. What is said of a command out of order
stands in the table of state.py, what is said of a message in body.py.
"""

from __future__ import annotations

from pillarbox.protocol.reply import Reply

__all__ = [
    "ACCEPTED",
    "AUTH_DONE",
    "AUTH_FAILED",
    "AUTH_NEEDS_TLS",
    "AUTH_SUCCEEDED",
    "AUTH_UNKNOWN",
    "BARE_NEWLINE",
    "CANNOT_VERIFY",
    "GOODBYE",
    "LINE_TOO_LONG",
    "MESSAGE_ACCEPTED",
    "NEEDS_AUTH",
    "NEEDS_BDAT",
    "NEEDS_EHLO",
    "NEEDS_TLS",
    "NO_AUTH",
    "NO_EHLO_HERE",
    "NO_EXPANSION",
    "NO_HTTP_HERE",
    "NO_LHLO_HERE",
    "NO_REQUIRETLS",
    "NO_TLS",
    "READY_FOR_TLS",
    "RECIPIENT_OK",
    "SENDER_OK",
    "START_MAIL_INPUT",
    "TLS_ACTIVE",
    "TOO_LARGE",
    "TOO_MANY_COMMANDS",
    "TOO_MANY_ERRORS",
    "TOO_MANY_FAILURES",
    "TOO_MANY_RECIPIENTS",
    "UNKNOWN_COMMAND",
    "XCLIENT_FORBIDDEN",
]

ACCEPTED = Reply(250, "2.0.0", "OK")
MESSAGE_ACCEPTED = Reply(250, "2.0.0", "Message accepted")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
START_MAIL_INPUT = Reply(354, None, "End data with <CR><LF>.<CR><LF>")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot verify, but will take mail for it")
NO_EXPANSION = Reply(502, "5.5.1", "Lists are not shown")
GOODBYE = Reply(221, "2.0.0", "Goodbye")
UNKNOWN_COMMAND = Reply(500, "5.5.1", "Command not recognized")
LINE_TOO_LONG = Reply(500, "5.5.6", "Line too long")
BARE_NEWLINE = Reply(500, "5.5.2", "Only CRLF ends a line")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
TOO_LARGE = Reply(552, "5.3.4", "Message too large")
NEEDS_BDAT = Reply(503, "5.5.1", "BODY=BINARYMIME goes by BDAT")
NO_LHLO_HERE = Reply(500, "5.5.1", "This is SMTP; say EHLO")
NO_EHLO_HERE = Reply(500, "5.5.1", "This is LMTP; say LHLO")
NO_HTTP_HERE = Reply(421, "4.7.0", "This is a mail server, not a web server")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands without a message")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
TLS_ACTIVE = Reply(503, "5.5.1", "TLS is active already")
NO_TLS = Reply(502, "5.5.1", "STARTTLS is not offered")
NEEDS_TLS = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
NO_REQUIRETLS = Reply(555, "5.5.4", "REQUIRETLS needs TLS")
NO_AUTH = Reply(502, "5.5.1", "AUTH is not offered")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Encryption required; say STARTTLS first")
AUTH_UNKNOWN = Reply(504, "5.5.4", "Mechanism not offered")
AUTH_DONE = Reply(503, "5.5.1", "Authenticated already")
AUTH_SUCCEEDED = Reply(235, "2.7.0", "Authentication succeeded")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication credentials invalid")
TOO_MANY_FAILURES = Reply(421, "4.7.0", "Too many failed logins")
NEEDS_AUTH = Reply(530, "5.7.0", "Authentication required")
NEEDS_EHLO = Reply(555, "5.5.4", "Parameters need EHLO")
XCLIENT_FORBIDDEN = Reply(550, "5.7.0", "XCLIENT is not for you")
