"""Text that a terminal only shows: whatever could drive it is made visible.

Mail comes from anybody. Control characters move the cursor, set the title or answer in the user's
name; bidirectional controls show a text as another one (Unicode Technical Report 36).
"""

from __future__ import annotations

import re

__all__ = ["visible", "visible_line"]

# C0 but for tab and newline, C1; what has Unicode's property Bidi_Control, and the separators of
# lines and paragraphs; annotations; lone surrogates, which cannot be written; and tags, a whole
# alphabet that cannot be seen.
_RANGES = (
    (0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x061C, 0x061C), (0x200E, 0x200F),
    (0x2028, 0x202E), (0x2066, 0x2069), (0xFFF9, 0xFFFB), (0xD800, 0xDFFF), (0xE0000, 0xE007F),
)  # fmt: skip
_UNSAFE = re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in _RANGES)}]")


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


_PICTURES = {code: _picture(code) for first, last in _RANGES for code in range(first, last + 1)}
_ON_ONE_LINE = _PICTURES | {ord("\n"): _picture(ord("\n")), ord("\t"): " "}


def visible(text: str) -> str:
    r"""Make every control character but `\n` visible; tabs become blanks."""
    return (text.translate(_PICTURES) if _UNSAFE.search(text) else text).expandtabs()


def visible_line(text: str) -> str:
    """Do the same for what is to stay on one line."""
    return text if text.isprintable() else text.translate(_ON_ONE_LINE)
