"""Small pictures of large ones. Needs `pillarbox[thumbnails]`: Pillow.

A picture of a few kilobytes can unfold to gigabytes. So the size that it claims is looked at before
anything is decoded, only kinds that are known as pictures are opened, and one at a time.
"""

from __future__ import annotations

import io
import threading
import warnings

__all__ = ["MISSING", "NoPicture", "thumbnail"]

MISSING = 'thumbnails need Pillow; pip install "pillarbox[thumbnails]"'
WIDTH, HEIGHT = 180, 120
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
# 24 megapixels are 72 MB for a moment. JPEG is decoded at an eighth of the size, if need be.
MAX_PIXELS = 24_000_000
MAX_JPEG_PIXELS = 120_000_000
MAX_OCTETS = 50_000_000

_one_at_a_time = threading.Lock()


class NoPicture(Exception):
    """Nothing can be shown; the text says why."""


def thumbnail(octets: bytes) -> bytes:
    """Make a JPEG of 180 by 120.

    Raises:
        ImportError: Pillow is not installed; the text names the remedy.
        NoPicture: It is no picture that can be shown.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError(MISSING) from None
    if len(octets) > MAX_OCTETS:
        raise NoPicture("the picture is too large")
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(octets), formats=FORMATS) as picture:
                _check_size(picture.size, is_jpeg=picture.format == "JPEG")
                picture.draft("RGB", (2 * WIDTH, 2 * HEIGHT))
                _check_size(picture.size, is_jpeg=False)
                small = ImageOps.contain(
                    ImageOps.exif_transpose(picture).convert("RGBA"), (WIDTH, HEIGHT)
                )
        except NoPicture:
            raise
        except Exception:  # broken pictures fail in many ways
            raise NoPicture("that is no picture, or a broken one") from None
        card = Image.new("RGB", (WIDTH, HEIGHT), "white")
        at = ((WIDTH - small.width) // 2, (HEIGHT - small.height) // 2)
        card.paste(small, at, mask=small)
        out = io.BytesIO()
        card.save(out, "JPEG", quality=80)
        return out.getvalue()


def _check_size(size: tuple[int, int], *, is_jpeg: bool) -> None:
    width, height = size
    if width * height > (MAX_JPEG_PIXELS if is_jpeg else MAX_PIXELS):
        raise NoPicture(f"the picture is too large: {width} by {height}")
