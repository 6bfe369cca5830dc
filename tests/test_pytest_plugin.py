"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SEND = """
    import smtplib

    def send(mailbox, to="ann@example.org"):
        with smtplib.SMTP(mailbox.host, mailbox.port) as client:
            client.sendmail("me@example.org", [to], "Subject: Hi\\r\\n\\r\\nHello\\r\\n")
"""


def run(pytester: pytest.Pytester, test: str, *args: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=SEND + test)
    return pytester.runpytest_inprocess("-p", "pillarbox.pytest_plugin", *args)


@pytest.fixture(autouse=True)
def registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the inner pytest take the plugin by name alone, installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_each_test_begins_with_an_empty_mailbox(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_one(mailbox):
        send(mailbox)
        assert mailbox.wait_for(to="ann@example.org").subject == "Hi"
        mailbox.fail(to="*")

    def test_two(mailbox):
        mailbox.assert_none()
        send(mailbox)
        assert len(mailbox) == 1
        """,
    )
    result.assert_outcomes(passed=2)


def test_a_failure_tells_what_mail_there_was(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_it(mailbox):
        send(mailbox, "bob@example.org")
        mailbox.wait_for(to="ann@example.org", timeout=0)
        """,
        "--mail-dir=kept",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*no message to ann@example.org*what came:*",
            "*- Mail -*",
            "<message 'Hi' from 'me@example.org' to bob@example.org>",
            "*kept*test_it.py-test_it*1.eml",
        ]
    )
    [kept] = pytester.path.glob("kept/*/1.eml")
    assert kept.read_bytes() == b"Subject: Hi\r\n\r\nHello\r\n"


def test_a_failure_without_mail_says_so(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_it(mailbox):
        assert False
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["No mail came."])


def test_without_the_fixture_nothing_is_said(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_it():
        assert False
        """,
    )
    result.stdout.no_fnmatch_line("*Mail*")


SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


@pytest.mark.parametrize(
    "settings",
    [
        "EMAIL_HOST='smtp.test', EMAIL_USE_TLS=True",
        f"MAILERS=dict(default=dict(BACKEND='{SMTP_BACKEND}', OPTIONS=dict(host='smtp.test')))",
    ],
    ids=["before Django 6.1", "Django 6.1"],
)
def test_django_sends_here_whatever_its_settings(pytester: pytest.Pytester, settings: str) -> None:
    result = run(
        pytester,
        f"""
    import warnings
    from django.conf import settings
    with warnings.catch_warnings(action="ignore"):
        settings.configure(DEFAULT_FROM_EMAIL="shop@example.org", {settings})

    def test_it(django_mailbox):
        from django.core.mail import send_mail
        send_mail("Welcome", "Hi", None, ["ann@example.org"])
        assert django_mailbox.wait_for(to="ann@example.org").subject == "Welcome"
        """,
        "-W",
        "error",
    )
    result.assert_outcomes(passed=1)


def test_django_sends_here(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    from django.conf import settings
    settings.configure(DEFAULT_FROM_EMAIL="shop@example.org")

    def test_it(django_mailbox):
        from django.core.mail import EmailMultiAlternatives
        message = EmailMultiAlternatives("Welcome", "Hi", to=["ann@example.org"])
        message.attach_alternative('<a href="https://shop.test/confirm">Confirm</a>', "text/html")
        message.send()
        assert django_mailbox.wait_for(subject="Welcome").link("Confirm") == "https://shop.test/confirm"
        """,
    )
    result.assert_outcomes(passed=1)
