"""Mailpit's clients at work on our API, as they come from PyPI and npm: `make mailpit-clients`."""
