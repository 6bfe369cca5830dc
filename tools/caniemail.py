#!/usr/bin/env python3
"""Make src/pillarbox/catcher/caniemail.json: what mail programs understand of HTML and CSS.

    tools/caniemail.py FILE

FILE is the data of caniemail.com as that site gives it (its `api/data.json`, which the npm package
`caniemail` has as `data/caniemail.json`). Of each program the newest version that was tested is
kept, without what is unknown. The data are Rémi Parmentier's and others', under the MIT licence,
which stays with them in the file.
"""

# ruff: noqa: T201

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src/pillarbox/catcher/caniemail.json"
CATEGORIES = ("html", "css")
KNOWN = ("y", "a", "n")
LICENCE = """\
MIT License

Copyright (c) 2019 HTeuMeuLeu

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and \
associated documentation files (the "Software"), to deal in the Software without restriction, \
including without limitation the rights to use, copy, modify, merge, publish, distribute, \
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is \
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or \
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT \
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND \
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, \
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT \
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def main() -> int:
    """Read the data, write ours."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    names = data["nicenames"]
    wanted = [found for found in data["data"] if found["category"] in CATEGORIES]
    programs = sorted(
        {
            (family, platform)
            for found in wanted
            for family, platforms in found["stats"].items()
            for platform in platforms
        }
    )
    kept = {
        "source": "https://www.caniemail.com",
        "updated": data["last_update_date"][:10],
        "licence": LICENCE,
        "families": names["family"],
        "platforms": names["platform"],
        "programs": programs,
        "features": [feature(found, programs) for found in wanted],
    }
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    TARGET.write_text(text.replace('{"slug"', '\n{"slug"') + "\n", encoding="utf-8")
    print(f"{len(kept['features'])} features, {TARGET.stat().st_size} octets")
    return 0


def feature(found: dict[str, Any], programs: list[tuple[str, str]]) -> dict[str, Any]:
    """Keep what is needed of a feature; results as `number version support note`."""
    results = []
    for family, platforms in found["stats"].items():
        for platform, versions in platforms.items():
            version = max(versions, key=version_key)
            support, *notes = versions[version].split()
            if support in KNOWN:
                number = programs.index((family, platform))
                results.append(" ".join([str(number), version, support, *(n[1:] for n in notes)]))
    return {
        "slug": found["slug"],
        "title": found["title"].strip(),
        "about": found["description"] or "",
        "category": found["category"],
        "tags": found["tags"] or [],
        "keywords": found["keywords"] or "",
        "notes": found["notes_by_num"] or {},
        "results": ",".join(results),
    }


def version_key(version: str) -> list[int]:
    """Sort 2021-10 before 2023-2, and 16.9 before 16.80."""
    return [int(number) for number in re.findall(r"[0-9]+", version)]


if __name__ == "__main__":
    sys.exit(main())
