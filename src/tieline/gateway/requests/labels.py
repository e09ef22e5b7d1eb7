"""What a request says of itself: whom it is for, and its tags. Pure.

They are a client's own words and end in records, so they are bounded: OpenAI's bounds on `metadata`, and a user's name
that is long or does not print is known by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tieline.gateway.wire.decoding import read_json

USERS: Final = ("user", "safety_identifier")
TAGS: Final = "metadata"
MAX_USER: Final = 128
MAX_TAGS: Final = 16
MAX_NAME: Final = 64
MAX_VALUE: Final = 512


def user_of(fields: Mapping[str, msgspec.Raw]) -> str:
    """Empty where it says nothing."""
    for name in USERS:
        said = _plain(fields, name)
        if isinstance(said, str) and said:
            if len(said) <= MAX_USER and said.isprintable():
                return said
            return f"sha256:{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()}"
    return ""


def tags_of(fields: Mapping[str, msgspec.Raw]) -> dict[str, str] | None:
    """The pairs of `metadata` that are short and print, 16 at most."""
    said = _plain(fields, TAGS)
    if not isinstance(said, dict):
        return None
    fit = {name: value for name, value in said.items() if _fits(name, MAX_NAME) and _fits(value, MAX_VALUE)}
    return dict(list(fit.items())[:MAX_TAGS]) or None


def _plain(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = fields.get(name)
    try:
        return None if raw is None else read_json(raw)
    except msgspec.DecodeError:
        return None


def _fits(said: object, most: int) -> bool:
    return isinstance(said, str) and len(said) <= most and said.isprintable()
