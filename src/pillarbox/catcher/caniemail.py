"""What the mail programs of the world understand of HTML and CSS.

It is known from caniemail.com, of which caniemail.json has the newest results (its licence is in
it; tools/caniemail.py made it). What of it a mail uses is found by htmlcheck.py.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Feature", "Result", "features", "platforms"]

DATA = Path(__file__).with_name("caniemail.json")


@dataclass(frozen=True, slots=True)
class Result:
    """What one program does with a feature.

    Attributes:
        name: The program, its platform and its version.
        family: The program, in the letters of the data.
        platform: Where it runs.
        version: Which one was tested.
        support: `yes`, `partial` or `no`.
        note: The number of the note about it; empty without.
    """

    name: str
    family: str
    platform: str
    version: str
    support: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Something of HTML or CSS that not every program understands.

    Attributes:
        slug: Its name in the data.
        title: Its name for people.
        about: A sentence about it, if there is one.
        category: `html` or `css`.
        tags: What the data sort it under.
        keywords: What people look for it by.
        notes: What is to be said about single results, by number.
        results: What each program does.
    """

    slug: str
    title: str
    about: str
    category: str
    tags: tuple[str, ...]
    keywords: str
    notes: dict[str, str]
    results: tuple[Result, ...]

    @property
    def url(self) -> str:
        """Where more is said."""
        return f"https://www.caniemail.com/features/{self.slug}/"

    def percent(self, support: str) -> float:
        """Tell how many of the programs do so, in percent."""
        count = sum(result.support == support for result in self.results)
        return 100 * count / len(self.results) if self.results else 0.0


def platforms() -> dict[str, list[str]]:
    """Give the programs of each platform, by the names that people know."""
    data = _data()
    found: dict[str, list[str]] = {}
    for family, platform in data["programs"]:
        found.setdefault(platform, []).append(data["families"].get(family, family))
    return found


@functools.cache
def _data() -> Any:
    return json.loads(DATA.read_text(encoding="utf-8"))


@functools.cache
def features() -> dict[str, Feature]:
    """Give everything that was looked into, by its slug."""
    data = _data()
    return {row["slug"]: _feature(row, data) for row in data["features"]}


def _feature(row: dict[str, Any], data: Any) -> Feature:
    results = []
    for text in filter(None, row["results"].split(",")):
        number, version, support, *notes = text.split(" ")
        family, platform = data["programs"][int(number)]
        name = f"{data['families'].get(family, family)} {data['platforms'].get(platform, platform)}"
        word = {"y": "yes", "a": "partial", "n": "no"}[support]
        results.append(
            Result(f"{name} ({version})", family, platform, version, word, " ".join(notes[:1]))
        )
    return Feature(
        slug=row["slug"],
        title=row["title"],
        about=row["about"],
        category=row["category"],
        tags=tuple(row["tags"]),
        keywords=row["keywords"],
        notes=row["notes"],
        results=tuple(results),
    )
