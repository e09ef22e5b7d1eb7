"""Pictures are bounded by their pixels; what is no picture is told so, with its place."""

from __future__ import annotations

import base64
import struct

import msgspec
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st

from tieline.gateway.errors import Refusal
from tieline.gateway.requests import body as bodies
from tieline.gateway.requests.body import Request
from tieline.gateway.requests.images import Image, bound, measure, size_of
from tieline.gateway.settings import ImageRule, Model, ModelOffer
from tieline.gateway.surfaces.responses import to_chat

QWEN = ImageRule(size=28, base=2, most=16_384)
PIXTRAL = ImageRule(size=16, row=1, most=4_160)
TILES = ImageRule(size=448, per=256, base=256, most=3_328)

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x02\0\0\0"
GIF = b"GIF89a" + struct.pack("<HH", 640, 480) + b"\0\0\0"
EXIF = b"\xff\xe1" + struct.pack(">H", 60_002) + b"\xff\xc0" * 30_000  # a thumbnail's markers inside are no markers
JPEG = b"\xff\xd8" + EXIF + b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, 480, 640, 3) + b"\0" * 9
VP8 = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0" + b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 640 | 0x4000, 480)
VP8L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (639 | 479 << 14).to_bytes(4, "little") + b"\0" * 8
VP8X = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0" + b"\0" * 4 + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")


def url(raw: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("raw", "kind"), [(PNG, "png"), (GIF, "gif"), (JPEG, "jpeg"), (VP8, "webp"), (VP8L, "webp"), (VP8X, "webp")]
)
def test_a_size_is_read_from_the_header(raw: bytes, kind: str) -> None:
    assert size_of(raw) == (640, 480)
    whole = url(raw + b"\0" * 10_000, kind)
    assert measure(whole, "x") == Image(640, 480, len(whole))


@cases(st.binary(max_size=200), st.sampled_from((b"", PNG[:12], GIF[:6], JPEG[:2], VP8[:16], VP8L[:16], VP8X[:16])))
def test_no_bytes_break_the_reader(rest: bytes, head: bytes) -> None:
    size = size_of(head + rest)
    assert size is None or len(size) == 2
    assert isinstance(measure(url(head + rest, "png"), "x"), Image | Refusal)


def test_rules() -> None:
    assert bound(Image(640, 480), QWEN, 0) == 2 + 23 * 18
    assert bound(Image(28, 28), QWEN, 0) == 3
    assert bound(Image(20_000, 20_000), QWEN, 0) == 16_384
    assert bound(Image(1024, 1024), PIXTRAL, 0) == 64 * 65 == 4_160
    assert bound(Image(900, 448), TILES, 0) == 256 + 3 * 256
    assert bound(Image(), QWEN, 99) == 16_384
    assert bound(Image(640, 480), None, 1_536) == 1_536
    with pytest.raises(ValueError, match="size and per"):
        ImageRule(size=0, most=1)


def chat(*urls: object) -> Request | Refusal:
    parts = [{"type": "text", "text": "what is this?"}, *({"type": "image_url", "image_url": one} for one in urls)]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}]}
    return bodies.read("chat", msgspec.json.encode(body))


def test_a_prompt_is_bounded_by_its_pictures_pixels_not_their_bytes() -> None:
    offer = ModelOffer.of(Model(name="m", template_tokens=0, image=QWEN))
    none, small = chat(), chat({"url": url(PNG + b"\0" * 300_000, "png")})
    assert isinstance(none, Request)
    assert isinstance(small, Request)
    extra = small.prompt_bound(offer) - none.prompt_bound(offer)
    assert 416 <= extra < 416 + 100  # and the words around it
    far = chat({"url": "https://pictures.example/a.png"}, {"url": url(b"\0" * 30, "avif")})
    assert isinstance(far, Request)
    assert far.prompt_bound(offer) > 2 * 16_384


@pytest.mark.parametrize(
    "given",
    [
        {"url": "data:image/png;base64,!!!!"},
        {"url": url(b"not a picture", "png")},
        {"url": url(PNG[:20], "png")},
        {"url": "data:image/png,abc"},
        {"url": url(PNG[:16] + b"\0" * 8, "png")},
        {"url": "file:///etc/passwd"},
        {"url": ""},
        {"url": 3},
    ],
)
def test_what_is_no_picture_is_named(given: object) -> None:
    refusal = chat({"url": url(PNG, "png")}, given)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "invalid_image")
    assert refusal.param == "messages[0].content[2].image_url.url"


def test_responses_name_theirs_by_a_string() -> None:
    def ask(address: str) -> Request | Refusal:
        part = {"type": "input_image", "image_url": address}
        chat = to_chat({"model": "m", "input": [{"role": "user", "content": [part]}]}, [])
        assert isinstance(chat, dict)
        return bodies.read("chat", msgspec.json.encode(chat))

    found = ask(url(PNG, "png"))
    assert isinstance(found, Request)
    assert len(found.images) == 1
    refusal = ask("nonsense")
    assert isinstance(refusal, Refusal)
    assert refusal.param == "messages[0].content[0].image_url.url"


def test_a_prompt_nested_without_end_is_refused() -> None:
    deep = b'{"model":"m","messages":[' + b"[" * 200 + b'{"type":"image_url"}' + b"]" * 200 + b"]}"
    refusal = bodies.read("chat", deep)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
