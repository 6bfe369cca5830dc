"""Durations as options take them: `90s`, `5m`, `4h`, `5d`."""

from __future__ import annotations

import re
from typing import Any

import click

__all__ = ["Duration"]


class Duration(click.FloatRange):
    """A time that passes: `90`, `90s`, `5m`, `4h`, `5d`."""

    name = "duration"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it, as seconds."""
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", str(value), re.ASCII)
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no time; write one such as 90s, 5m, 4h or 5d", param, ctx)
        return seconds


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
