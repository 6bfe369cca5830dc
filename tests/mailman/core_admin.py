"""Makes the domain and the lists, by mailmanclient: `core_admin.py URL setup DOMAIN`.

Run by Mailman's own Python, not by that of the tests.
"""

from __future__ import annotations

import sys

from mailmanclient import Client  # type: ignore[import-not-found]  # of another environment

LISTS = ("dev", "dev-team", "news", "trap-owner")


def setup(client: Client, domain: str) -> None:
    """Make lists, each with a member, and an owner."""
    made = client.create_domain(domain)
    for name in LISTS:
        one = made.create_list(name)
        one.settings.update({"archive_policy": "never", "send_welcome_message": False})
        one.settings.save()
        for member in ("ann@example.org", "ben@example.com"):
            one.subscribe(member, pre_verified=True, pre_confirmed=True, pre_approved=True)
        one.add_owner("owner@example.net")


if __name__ == "__main__":
    url, action, domain = sys.argv[1:]
    assert action == "setup"
    setup(Client(url, "restadmin", "tests"), domain)
    sys.stdout.write("{}")
