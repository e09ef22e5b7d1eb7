"""Sound, text and pictures that came back: are they what was asked for, and how much of it? Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tieline.gateway.requests.media.asked import MediaRequest
from tieline.gateway.wire import loose

_KIND: Final = re.compile(rb"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}(?: *; *[a-z]+=[\w.+-]{1,60}){0,3}", re.I | re.A)
_ANY: Final = b"application/octet-stream"
_JSON: Final = (b'"json"', b'"verbose_json"')


class WrongAnswerError(ValueError):
    """The engine's fault; says what was wrong."""


def content_type(given: bytes | None) -> bytes:
    """As an engine calls what it made, where that is a name of a kind."""
    return given if given is not None and _KIND.fullmatch(given) else _ANY


def units(request: MediaRequest, kind: bytes, body: bytes) -> int:
    """How much of what was agreed is here. Raises WrongAnswerError."""
    form = kind.partition(b";")[0].strip().lower()
    if not body:
        raise WrongAnswerError("the engine's answer is empty")
    if request.kind == "speech":
        if form == b"application/json" or form.startswith(b"text/"):
            raise WrongAnswerError(f"the engine answered {form.decode()} where sound was asked for")
        return request.units
    if request.unit == "second":
        if bytes(request.fields.get("response_format", b'"json"')) in _JSON:
            _plain(body)
        return request.units
    found = _plain(body).get("data")
    pictures = (
        sum(isinstance(one, dict) and bool(one.get("b64_json")) for one in found) if isinstance(found, list) else 0
    )
    if not pictures:
        raise WrongAnswerError("the engine's answer holds no picture")
    return min(pictures, request.units)


def _plain(body: bytes) -> dict[str, object]:
    try:
        plain = loose.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WrongAnswerError("the engine's answer is not JSON") from error
    if not isinstance(plain, dict):
        raise WrongAnswerError("the engine's answer is no JSON object")
    return plain
