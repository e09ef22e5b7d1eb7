"""Shortcuts in reading a body find what the long way finds."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tieline.gateway.requests.body import names_pictures

PIECES = st.sampled_from(
    ["_", "image", "image_url", 'image_url"', "input_image", '"input_image"', "max_tokens", "text", '"', "e_", "url"]
)


@example("_" * 40 + 'image_url"', " " * 600)
@example('image_url"', "")
@example("text" * 200 + "_" * 40 + 'image_url"', "")
@example('"input_image"', " " * 600)
@example("_image_" * 20 + '"input_image"', " " * 600)
@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(["", " " * 600]))
def test_a_picture_s_name_is_found_wherever_it_stands(text: str, before: str) -> None:
    body = (before + text).encode()
    assert names_pictures(body) is (b'image_url"' in body or b'"input_image"' in body)
