"""Images in a prompt: how large they are, and the most tokens a model makes of them. Pure.

The size is read from the header of an inline `data:` URL (PNG, JPEG, WebP, GIF); nothing is decoded. An image given
by address, or of another format, counts as the model's most. Two families of rules cover most models:

    patch   one token per square of `size` pixels, and `row` more at each row's end: ceil(h/size) * (ceil(w/size) + row)
            Qwen2-VL and Qwen2.5-VL: size 28, base 2, most 16384 (arXiv 2409.12191: 14-pixel patches, 2 x 2 merged,
            two marks around). Pixtral: size 16, row 1, most 4160 (arXiv 2410.07073: at most 1024 x 1024, a break
            token at each row's end)
    tile    `per` tokens for each square of `size` pixels, `base` once:  base + per * ceil(w/size) * ceil(h/size)
            InternVL2: size 448, per 256, base 256 for the thumbnail, most 3328 (arXiv 2404.16821: 12 tiles)

Engines scale a large image down, so `most` bounds it; a small one may be scaled up, so `least` does.
"""

from __future__ import annotations

import binascii
import re
import struct
from dataclasses import dataclass
from typing import Final

from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.settings import ImageRule

# A JPEG's frame header comes after its metadata: a colour profile and EXIF with a thumbnail are well below this.
MAX_HEADER: Final = 1_048_576
SHORT_HEADER: Final = 4_096
_DATA: Final = re.compile(r"data:([a-zA-Z0-9.+-]+/[a-zA-Z0-9.+-]+)?(;[^,]{0,200})?,", re.ASCII)
_KNOWN: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"})
# Messages, content, parts: a prompt nests six deep.
MAX_DEPTH: Final = 32
# No image is larger than this on a side; what says so is no image.
MAX_SIDE: Final = 65_535


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a prompt. `width` 0: its size is not known here. `inline`: the length of its data: URL."""

    width: int = 0
    height: int = 0
    inline: int = 0


def bound(image: Image, rule: ImageRule | None, most: int) -> int:
    """The most tokens it may be."""
    if rule is None:
        return most
    if not image.width:
        return rule.most
    columns, rows = -(-image.width // rule.size), -(-image.height // rule.size)
    cells = rows * (columns + rule.row)
    return min(rule.most, max(rule.least, rule.base + rule.per * cells))


def images_in(value: object, where: str, depth: int = 0) -> list[Image] | Refusal:
    """All images anywhere in a prompt, or what is wrong with one and where it stands."""
    images: list[Image] = []
    if depth > MAX_DEPTH:
        return bad_request(f"{where} is nested too deeply", "invalid_value", where)
    if isinstance(value, dict):
        if value.get("type") in ("image_url", "input_image"):
            at = f"{where}.image_url"
            given = value.get("image_url")
            if isinstance(given, dict):
                given, at = given.get("url"), f"{at}.url"
            if given is None and isinstance(value.get("file_id"), str):
                return [Image()]
            if not isinstance(given, str) or not given:
                return bad_request(f"{at} must be an address or a data: URL", "invalid_image", at)
            one = measure(given, at)
            return one if isinstance(one, Refusal) else [one]
        items = [(f"{where}.{key}", one) for key, one in value.items()]
    elif isinstance(value, list):
        items = [(f"{where}[{index}]", one) for index, one in enumerate(value)]
    else:
        return images
    for at, item in items:
        more = images_in(item, at, depth + 1)
        if isinstance(more, Refusal):
            return more
        images += more
    return images


def measure(url: str, where: str) -> Image | Refusal:
    """An image's size from its address."""
    if url[:5].lower() != "data:":
        if url[:7].lower() == "http://" or url[:8].lower() == "https://":
            return Image()
        return bad_request(f"{where} must begin with https:, http: or data:", "invalid_image", where)
    head = _DATA.match(url)
    if head is None or not (head[2] or "").lower().endswith(";base64"):
        return bad_request(f"{where} must be data:<type>;base64,<data>", "invalid_image", where)
    kind = (head[1] or "").lower()
    try:
        size = _inline_size(url, head.end())
    except (binascii.Error, ValueError):
        return bad_request(f"{where} is not base64", "invalid_image", where)
    if size is not None and 0 < size[0] <= MAX_SIDE and 0 < size[1] <= MAX_SIDE:
        return Image(*size, len(url))
    if kind in _KNOWN or not kind.startswith("image/"):
        return bad_request(f"{where} does not hold a readable {kind or 'picture'}", "invalid_image", where)
    return Image(inline=len(url))


def _inline_size(url: str, at: int) -> tuple[int, int] | None:
    """(width, height) from the base64 that begins at `at`; no more of it is read than that takes. Raises ValueError."""
    for length in (SHORT_HEADER, MAX_HEADER):
        text = url[at : at + length // 3 * 4]
        size = size_of(binascii.a2b_base64(text[: len(text) // 4 * 4]))
        if size is not None or len(text) < length // 3 * 4:
            return size
    return None


def size_of(raw: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels from a file's first bytes; None: not one of the four formats, or cut short."""
    if raw[:8] == b"\x89PNG\r\n\x1a\n" and raw[12:16] == b"IHDR" and len(raw) >= 24:
        width, height = struct.unpack(">II", raw[16:24])
        return width, height
    if raw[:6] in (b"GIF87a", b"GIF89a") and len(raw) >= 10:
        width, height = struct.unpack("<HH", raw[6:10])
        return width, height
    if raw[:2] == b"\xff\xd8":
        return _jpeg(raw)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" and len(raw) >= 30:
        return _webp(raw)
    return None


def _webp(raw: bytes) -> tuple[int, int] | None:
    kind = raw[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if kind == b"VP8L" and raw[20] == 0x2F:
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and raw[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", raw[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header (SOF0 to SOF15 without DHT, JPG and DAC)."""
    at = 2
    while at + 9 <= len(raw):
        if raw[at] != 0xFF:
            return None
        marker = raw[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            return None
        length = int.from_bytes(raw[at + 2 : at + 4], "big")
        if length < 2:
            return None
        at += 2 + length
    return None
