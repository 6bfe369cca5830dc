"""Clients that are programs: how each is told to send, and what it is not made for.

Those that take a message whole are given one. mutt, s-nail and git send-email write the header
themselves: they are given a subject and a body. Certificates are always verified.
"""

from __future__ import annotations

from urllib.parse import quote

from tests.interop.sending import HOST, Client, Sending, run

__all__ = ["PERL_PACKAGES", "PROGRAMS"]


def swaks(sending: Sending) -> None:
    # It takes one line of one dot from the end, if there is one.
    path = sending.folder / "data"
    path.write_bytes(sending.mail.octets.removesuffix(b"\r\n") + b"\r\n.")
    options = {
        "none": (),
        "starttls": ("--tls", "--tls-verify", "--tls-ca-path", sending.authority),
        "tls": ("--tls-on-connect", "--tls-verify", "--tls-ca-path", sending.authority),
    }[sending.security]
    login = (
        ("--auth", sending.mechanism, "-au", sending.user, "-ap", sending.password)
        if sending.mechanism
        else ()
    )
    run(
        sending,
        *("swaks", "--silent", "1", "--server", HOST, "--port", str(sending.port)),
        *("--protocol", "LMTP" if sending.is_lmtp else "ESMTP", *options, *login),
        *(("--pipeline",) if sending.is_pipelined else ()),
        *("--helo", "client.test", "--from", sending.mail_from, "--to", ",".join(sending.rcpt_tos)),
        *("--data", f"@{path}"),
    )


def msmtp(sending: Sending) -> None:
    options = {
        "none": ("--tls=off",),
        "starttls": ("--tls=on", "--tls-starttls=on", f"--tls-trust-file={sending.authority}"),
        "tls": ("--tls=on", "--tls-starttls=off", f"--tls-trust-file={sending.authority}"),
    }[sending.security]
    login = (
        (
            f"--auth={sending.mechanism.lower()}",
            f"--user={sending.user}",
            f"--passwordeval=echo {sending.password}",
        )
        if sending.mechanism
        else ()
    )
    run(
        sending,
        *("msmtp", "--file=/dev/null", f"--host={HOST}", f"--port={sending.port}"),
        *(f"--protocol={'lmtp' if sending.is_lmtp else 'smtp'}", "--domain=client.test"),
        *("--set-date-header=off", "--set-msgid-header=off"),
        *(*options, *login, f"--from={sending.mail_from}", "--", *sending.rcpt_tos),
        stdin=sending.mail.octets.replace(b"\r\n", b"\n"),
    )


def curl(sending: Sending) -> None:
    scheme = "smtps" if sending.security == "tls" else "smtp"
    one = [
        *(("--ssl-reqd",) if sending.security == "starttls" else ()),
        *("--silent", "--show-error", "--fail-early", "--cacert", str(sending.authority)),
        *("--mail-from", sending.mail_from),
        *(part for path in sending.rcpt_tos for part in ("--mail-rcpt", path)),
    ]
    if sending.mechanism:
        one += ["--user", f"{sending.user}:{sending.password}"]
        one += ["--login-options", f"AUTH={sending.mechanism}"]
    command = ["curl", "--disable"]
    for number, path in enumerate(sending.files()):
        command += ["--next"] if number else []
        command += [*one, "--upload-file", str(path)]
        command += [f"{scheme}://{HOST}:{sending.port}/client.test"]
    run(sending, *command)


def s_nail(sending: Sending) -> None:
    scheme = "smtps" if sending.security == "tls" else "smtp"
    login = f"{quote(sending.user)}:{quote(sending.password)}@" if sending.mechanism else ""
    settings = {
        "v15-compat": "y",
        # It does not look for an IP address in a certificate.
        "mta": f"{scheme}://{login}localhost:{sending.port}",
        "smtp-auth": sending.mechanism.lower() if sending.mechanism else "none",
        "tls-ca-file": str(sending.authority),
        "tls-ca-no-defaults": "y",
        "tls-verify": "strict",
        "ttycharset": "utf-8",
        "sendcharsets": "utf-8",
        "mime-encoding": "8bit",
        "hostname": "client.test",
        "sendwait": "",
        "DEAD": "/dev/null",
    }
    if sending.security == "starttls":
        settings["smtp-use-starttls"] = ""
    run(
        sending,
        *("s-nail", "-:/"),
        *(part for name, value in settings.items() for part in ("-S", f"{name}={value}")),
        *("-s", sending.mail.subject, "-r", sending.mail_from, "-.", *sending.rcpt_tos),
        stdin=sending.mail.body.replace(b"\r\n", b"\n"),
    )


def mutt(sending: Sending) -> None:
    scheme = "smtps" if sending.security == "tls" else "smtp"
    login = f"{quote(sending.user)}:{quote(sending.password)}@" if sending.mechanism else ""
    lines = [
        f'set smtp_url = "{scheme}://{login}{HOST}:{sending.port}"',
        f"set ssl_starttls = {'yes' if sending.security == 'starttls' else 'no'}",
        f"set ssl_force_tls = {'no' if sending.security == 'none' else 'yes'}",
        f'set ssl_ca_certificates_file = "{sending.authority}"',
        "set ssl_verify_host = yes",
        f'set smtp_authenticators = "{(sending.mechanism or "").lower()}"',
        f'set from = "{sending.mail_from}"',
        "set use_envelope_from = yes",
        f'set envelope_from_address = "{sending.mail_from}"',
        'set hostname = "client.test"',
        'set charset = "utf-8"',
        'set send_charset = "us-ascii:utf-8"',
        "set copy = no",
        "set abort_nosubject = no",
    ]
    path = sending.folder / "muttrc"
    path.write_text("\n".join(lines) + "\n")
    run(
        sending,
        *("mutt", "-n", "-F", str(path), "-s", sending.mail.subject, "--", *sending.rcpt_tos),
        stdin=sending.mail.body.replace(b"\r\n", b"\n"),
    )


def git_send_email(sending: Sending) -> None:
    options = {
        "none": ("--smtp-encryption=none",),
        "starttls": ("--smtp-encryption=tls", f"--smtp-ssl-cert-path={sending.authority}"),
        "tls": ("--smtp-encryption=ssl", f"--smtp-ssl-cert-path={sending.authority}"),
    }[sending.security]
    login = (
        (
            f"--smtp-auth={sending.mechanism}",
            f"--smtp-user={sending.user}",
            f"--smtp-pass={sending.password}",
        )
        if sending.mechanism
        else ("--smtp-auth=none",)
    )
    for path in sending.files(line_end=b"\n"):  # it would send to whoever is in the header, too
        path.write_bytes(path.read_bytes().replace(b"To: ben@example.org\n", b""))
    run(
        sending,
        *("git", "send-email", f"--smtp-server={HOST}", f"--smtp-server-port={sending.port}"),
        *("--smtp-domain=client.test", *options, *login),
        *("--quiet", "--confirm=never", "--no-validate", "--no-thread", "--suppress-cc=all"),
        *("--8bit-encoding=UTF-8", "--transfer-encoding=8bit"),
        *(f"--from={sending.mail_from}", f"--envelope-sender={sending.mail_from}"),
        *(f"--to={path}" for path in sending.rcpt_tos),
        *sorted(sending.folder.glob("*.eml")),
        env={"GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_NAME": "Ann", "EMAIL": sending.mail_from},
    )


PERL_PACKAGES = ("libio-socket-ssl-perl", "libauthen-sasl-perl")

_NO_LMTP = {"lmtp": "no LMTP", "lmtp-2-recipients": "no LMTP"}
_NO_SCRAM = {"login-scram-sha-256": "no SCRAM"}
_NO_SMTPUTF8 = {"smtputf8-address": "no SMTPUTF8"}
_NO_BDAT = {"bdat": "no BDAT"}
_NO_PIPELINING = {"pipelining": "no PIPELINING"}
_ONE_MESSAGE = {"3-messages": "one message a run"}

PROGRAMS = (
    Client(
        name="swaks",
        send=swaks,
        needs=("swaks", "--version"),
        debian=("swaks",),
        cannot={**_NO_SCRAM, **_NO_SMTPUTF8, **_NO_BDAT, **_ONE_MESSAGE},
    ),
    Client(
        name="msmtp",
        send=msmtp,
        needs=("msmtp", "--version"),
        debian=("msmtp",),
        cannot={**_NO_SMTPUTF8, **_NO_BDAT, **_ONE_MESSAGE},
    ),
    Client(
        name="curl",
        send=curl,
        needs=("curl", "--version"),
        debian=("curl",),
        cannot={**_NO_LMTP, **_NO_SCRAM, **_NO_BDAT, **_NO_PIPELINING},
    ),
    Client(
        name="s-nail",
        send=s_nail,
        needs=("s-nail", "--version"),
        debian=("s-nail",),
        composes=True,
        cannot={
            **_NO_LMTP,
            **_NO_SCRAM,
            **_NO_SMTPUTF8,
            **_NO_BDAT,
            **_NO_PIPELINING,
            **_ONE_MESSAGE,
        },
    ),
    Client(
        name="mutt",
        send=mutt,
        needs=("mutt", "-v"),
        debian=("mutt",),
        composes=True,
        cannot={**_NO_LMTP, **_NO_BDAT, **_NO_PIPELINING, **_ONE_MESSAGE},
    ),
    Client(
        name="git send-email",
        send=git_send_email,
        needs=(
            "sh",
            "-c",
            "git send-email --dump-aliases && perl -MIO::Socket::SSL -MAuthen::SASL -e 1",
        ),
        debian=("git-email", "libmailtools-perl", *PERL_PACKAGES),
        composes=True,
        cannot={**_NO_LMTP, **_NO_SCRAM, **_NO_SMTPUTF8, **_NO_BDAT, **_NO_PIPELINING},
    ),
)
