"""How much of a mail's HTML and CSS the mail programs of the world understand.

What they do is told in caniemail.py. Here is what of it a mail uses: found by the names of tags,
attributes and properties, and by what CSS looks like. No page is laid out, so a rule that nothing
uses counts as one that everything does.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pillarbox.catcher.caniemail import Feature, features
from pillarbox.catcher.html import MARKUP

__all__ = ["Finding", "Report", "check_html"]

# Gmail cuts a mail at 102 KB. What is beyond these is not looked at.
MAX_CHARACTERS = 500_000
MAX_DECLARATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """A feature that the mail uses, and how often."""

    feature: Feature
    found: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found.

    Attributes:
        nodes: How many elements the mail has.
        tests: How many features were looked for.
        warnings: Those that it uses and somebody does not understand, the worst first.
        partial: How much of the mail is understood in part, in percent.
        unsupported: How much is not.
    """

    nodes: int
    tests: int
    warnings: tuple[Finding, ...]
    partial: float
    unsupported: float

    @property
    def supported(self) -> float:
        """How much of the mail is understood, in percent."""
        return max(0.0, 100 - self.partial - self.unsupported)


def check_html(source: str) -> Report:
    """Look for everything in a mail's HTML that some program does not understand."""
    page = _Page(source[:MAX_CHARACTERS])
    known = features()
    found = [
        Finding(known[slug], count)
        for slug, find in _finders().items()
        if (count := find(page)) and known[slug].percent("yes") < 100
    ]
    nodes = max(1, page.nodes)

    def share(warning: Finding, support: str) -> float:
        return warning.feature.percent(support) * min(1.0, warning.found / nodes)

    def weight(warning: Finding) -> float:
        return share(warning, "no") + share(warning, "partial")

    unsupported = max((share(one, "no") for one in found), default=0.0)
    partial = max((share(one, "partial") for one in found), default=0.0)
    return Report(
        nodes=page.nodes,
        tests=len(_finders()),
        warnings=tuple(sorted(found, key=weight, reverse=True)),
        partial=min(partial, 100 - unsupported),
        unsupported=unsupported,
    )


# The mail, as far as it is looked at

_NAMED = re.compile(r"""([^\s=/>"']++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"']++)))?""")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_STYLE_END = re.compile(r"</style\s*>", re.IGNORECASE)
_DECLARATION = re.compile(r"(?<![a-z-])([a-z-]++)\s*+:([^:;{}]*+(?::[^;{}]*+)?)", re.IGNORECASE)
_BRACES = re.compile(r"([{};])")
_AT_RULE = re.compile(r"@[a-z-]++[^;{}]*+", re.IGNORECASE)


@dataclass(slots=True)
class _Page:
    """A mail's HTML in pieces.

    Attributes:
        tags: Each opening tag's name.
        attributes: Each attribute of each tag: the tag, its name, its value.
        css: The text of the style sheets, without comments.
        declarations: Each property and its value, from style sheets and attributes.
        selectors: The selectors of the style sheets.
        at_rules: Their `@` rules.
        comments: How many comments the style sheets have.
    """

    source: str
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    css: str = ""
    declarations: list[tuple[str, str]] = field(default_factory=list)
    selectors: list[str] = field(default_factory=list)
    at_rules: list[str] = field(default_factory=list)
    comments: int = 0

    def __post_init__(self) -> None:
        """Take it apart."""
        sheets: list[str] = []
        sheet_end = 0
        for tag in MARKUP.finditer(self.source):
            if not tag["name"] or tag["close"] or tag.start() < sheet_end:
                continue
            name = tag["name"].lower()
            self.tags[name] += 1
            for found in _NAMED.finditer(tag["attributes"] or ""):
                value = html.unescape(found[2] or found[3] or found[4] or "")
                self.attributes.append((name, found[1].lower(), value))
            if name == "style":
                end = _STYLE_END.search(self.source, tag.end())
                sheet_end = end.start() if end else len(self.source)
                sheets.append(self.source[tag.end() : sheet_end])
        sheet = "\n".join(sheets)
        self.comments = sheet.count("/*")
        self.css = _COMMENT.sub(" ", sheet)
        inline = [value for _, name, value in self.attributes if name == "style"]
        found_in = (found for text in (self.css, *inline) for found in _DECLARATION.finditer(text))
        self.declarations = [
            (found[1].lower(), found[2].strip().lower())
            for found in itertools.islice(found_in, MAX_DECLARATIONS)
        ]
        pieces = _BRACES.split(self.css)
        heads = [head.strip() for head, brace in itertools.pairwise(pieces) if brace == "{"]
        self.selectors = [
            head for head in heads[:MAX_DECLARATIONS] if head and not head.startswith("@")
        ]
        self.at_rules = [found[0].lower() for found in _AT_RULE.finditer(self.css)]

    @property
    def nodes(self) -> int:
        """How many elements there are, but for the frame of the document."""
        frame = ("html", "head", "body", "meta", "title", "style", "link")
        return self.tags.total() - sum(self.tags[name] for name in frame)


# What to look for

_Finder = Callable[[_Page], int]

_TAG_TITLE = re.compile(r"<([a-z]+)>(?: element)?")
_ATTRIBUTE_TITLE = re.compile(r"([a-z-]+) attribute")
_TYPED_TITLE = re.compile(r'<([a-z]+) type="([a-z]+)"> element')
_SEMANTIC = (
    *("article", "aside", "details", "figcaption", "figure", "footer", "header", "main", "mark"),
    *("nav", "section", "summary", "time"),
)


@functools.cache
def _finders() -> dict[str, _Finder]:
    """Give what finds each feature; those that nobody can find so are left out."""
    return dict(_each_finder())


def _each_finder() -> Iterator[tuple[str, _Finder]]:
    for slug, feature in features().items():
        if slug in _LEFT_OUT:
            continue
        finder = _SPECIAL.get(slug) or _by_title(slug, feature.title)
        if finder is not None:
            yield slug, finder


def _by_title(slug: str, title: str) -> _Finder | None:
    if slug.startswith("html-"):
        if found := _TYPED_TITLE.fullmatch(title):
            return _typed(found[1], found[2])
        if found := _TAG_TITLE.fullmatch(title):
            return _tags(found[1])
        found = _ATTRIBUTE_TITLE.fullmatch(title)
        return _attributes(found[1]) if found else None
    name = slug.removeprefix("css-")
    if name.startswith("pseudo-class-"):
        return _selector(rf"(?<!:):{name.removeprefix('pseudo-class-')}(?![a-z-])")
    if name.startswith("pseudo-element-"):
        return _selector(rf"::?{name.removeprefix('pseudo-element-')}(?![a-z-])")
    if name.startswith("unit-"):
        return _value(rf"(?<![a-z0-9.#-])[0-9.]++{name.removeprefix('unit-')}(?![a-z0-9%])")
    if found := re.fullmatch(r"([a-z-]+)\(\)", title):
        return _value(rf"(?<![a-z-]){found[1]}\(")
    return _properties(name)


def _tags(*names: str) -> _Finder:
    return lambda page: sum(page.tags[name] for name in names)


def _attributes(*names: str) -> _Finder:
    return lambda page: sum(name in names for _, name, _ in page.attributes)


def _typed(tag: str, kind: str) -> _Finder:
    return lambda page: page.attributes.count((tag, "type", kind))


def _attribute_value(tag: str, name: str, start: str) -> _Finder:
    return lambda page: sum(
        one == tag and key == name and value.strip().lower().startswith(start)
        for one, key, value in page.attributes
    )


def _properties(*names: str) -> _Finder:
    return lambda page: sum(name in names for name, _ in page.declarations)


def _property_prefix(prefix: str) -> _Finder:
    return lambda page: sum(name.startswith(prefix) for name, _ in page.declarations)


def _declared(name: str, pattern: str) -> _Finder:
    wanted = re.compile(pattern)
    return lambda page: sum(
        key == name and wanted.search(value) is not None for key, value in page.declarations
    )


def _value(pattern: str) -> _Finder:
    wanted = re.compile(pattern)
    return lambda page: sum(wanted.search(value) is not None for _, value in page.declarations)


def _selector(pattern: str) -> _Finder:
    wanted = re.compile(pattern, re.IGNORECASE)
    return lambda page: sum(wanted.search(one) is not None for one in page.selectors)


def _at_rule(name: str, *inside: str) -> _Finder:
    return lambda page: sum(
        rule.startswith(name) and (not inside or any(word in rule for word in inside))
        for rule in page.at_rules
    )


def _logical(name: str, ends: Sequence[str]) -> _Finder:
    return _properties(*(f"{name}-{axis}{end}" for axis in ("block", "inline") for end in ends))


_LEFT_OUT = frozenset(
    {
        "html-doctype",  # every program copes with its absence and presence alike
        "html-comments",
        "html-body",
    }
)
_SIDES = ("-start", "-end")
_SPECIAL: dict[str, _Finder] = {
    "html-address": _tags("address"),
    "html-anchor-links": _attribute_value("a", "href", "#"),
    "html-h1-h6": _tags("h1", "h2", "h3", "h4", "h5", "h6"),
    "html-image-maps": _tags("map"),
    "html-lists": _tags("ul", "ol", "dl"),
    "html-loading-attribute": _attributes("loading"),
    "html-mailto-links": _attribute_value("a", "href", "mailto:"),
    "html-meta-color-scheme": _attribute_value("meta", "name", "color-scheme"),
    "html-semantics": _tags(*_SEMANTIC),
    "html-srcset": _attributes("srcset", "sizes"),
    "html-svg": _tags("svg"),
    "css-at-font-face": _at_rule("@font-face"),
    "css-at-import": _at_rule("@import"),
    "css-at-keyframes": _at_rule("@keyframes"),
    "css-at-media": _at_rule("@media"),
    "css-at-media-device-pixel-ratio": _at_rule("@media", "device-pixel-ratio"),
    "css-at-media-hover": _at_rule("@media", "hover"),
    "css-at-media-orientation": _at_rule("@media", "orientation"),
    "css-at-media-prefers-color-scheme": _at_rule("@media", "prefers-color-scheme"),
    "css-at-media-prefers-reduced-motion": _at_rule("@media", "prefers-reduced-motion"),
    "css-at-supports": _at_rule("@supports"),
    "css-animation": _property_prefix("animation"),
    "css-block-inline-size": _properties("block-size", "inline-size"),
    "css-border-image": _property_prefix("border-image"),
    "css-border-inline-block": _properties("border-inline", "border-block"),
    "css-border-inline-block-individual": _properties(
        *(f"border-{axis}{end}" for axis in ("block", "inline") for end in _SIDES)
    ),
    "css-border-inline-block-longhand": _properties(
        *(
            f"border-{axis}-{what}"
            for axis in ("block", "inline")
            for what in ("color", "style", "width")
        )
    ),
    "css-border-radius-logical": _properties(
        *(f"border-{one}-{other}-radius" for one in ("start", "end") for other in ("start", "end"))
    ),
    "css-column-layout-properties": _properties(
        *("columns", "column-width", "column-rule", "column-span", "column-fill")
    ),
    "css-comments": lambda page: page.comments,
    "css-display-flex": _declared("display", r"\bflex\b"),
    "css-display-grid": _declared("display", r"\bgrid\b"),
    "css-display-none": _declared("display", r"\bnone\b"),
    "css-flex-direction": _declared("flex-direction", "column"),
    "css-flex-wrap": _declared("flex-wrap", "wrap"),
    "css-function-clamp": _value(r"(?<![a-z-])clamp\("),
    "css-gap": _properties("gap", "column-gap", "row-gap"),
    "css-grid-template": _property_prefix("grid-template"),
    "css-important": _value(r"!\s*important"),
    "css-intrinsic-size": _value(r"\b(?:fit|min|max)-content\b"),
    "css-left-right-top-bottom": _properties("left", "right", "top", "bottom"),
    "css-margin-block-start-end": _properties("margin-block-start", "margin-block-end"),
    "css-margin-inline-block": _properties("margin-inline", "margin-block"),
    "css-margin-inline-start-end": _properties("margin-inline-start", "margin-inline-end"),
    "css-modern-color": _value(r"(?<![a-z-])(?:ok)?l(?:ch|ab)\("),
    "css-nesting": lambda page: len(re.findall(r"\{[^{}]*&", page.css)),
    "css-padding-block-start-end": _properties("padding-block-start", "padding-block-end"),
    "css-padding-inline-block": _properties("padding-inline", "padding-block"),
    "css-padding-inline-start-end": _properties("padding-inline-start", "padding-inline-end"),
    "css-pseudo-class-has": _selector(r":has\("),
    "css-pseudo-class-lang": _selector(r":lang\("),
    "css-pseudo-class-not": _selector(r":not\("),
    "css-scroll-snap": _property_prefix("scroll-snap"),
    "css-selector-adjacent-sibling": _selector(r"\+"),
    "css-selector-attribute": _selector(r"\["),
    "css-selector-chaining": _selector(r"[a-z0-9_-][.#][a-z_-]"),
    "css-selector-child": _selector(r">"),
    "css-selector-class": _selector(r"\.[a-z_-]"),
    "css-selector-descendant": _selector(r"[a-z0-9_\])-] +[a-z.#*\[:]"),
    "css-selector-general-sibling": _selector(r"~(?!=)"),
    "css-selector-grouping": _selector(r","),
    "css-selector-id": _selector(r"#[a-z_-]"),
    "css-selector-type": _selector(r"(?:^|[\s,>+~])[a-z]"),
    "css-selector-universal": _selector(r"(?:^|[\s,>+~])\*"),
    "css-sytem-ui": _value(r"\b(?:system-ui|ui-serif|ui-sans-serif|ui-rounded|ui-monospace)\b"),
    "css-unit-calc": _value(r"(?<![a-z-])calc\("),
    "css-unit-initial": _value(r"\binitial\b"),
    "css-unit-percent": _value(r"[0-9]%"),
    "css-variables": _value(r"(?<![a-z-])var\("),
}
