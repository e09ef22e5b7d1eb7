"""JSON as engines really write it: what is read for a bill must not decide whether an answer is delivered.

Reads what the strict reader refuses: `-Infinity` and `NaN`, halves of surrogate pairs, whole numbers of any length.
Writes only what every client can read.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from tieline.gateway.wire.decoding import read_json

# A log-probability of minus infinity, as vLLM writes it.
LEAST = -9999.0


def loads(data: bytes) -> Any:
    """Any JSON value. Raises msgspec.DecodeError and nothing else."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)[:200]) from error


def decode(data: bytes) -> Any:
    """The same, fast where nothing is odd."""
    try:
        return read_json(data)
    except msgspec.DecodeError:
        return loads(data)


def encode(value: Any) -> bytes:
    """What `decode` read, in JSON that every client can read."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, ValueError):
        return dumps(value)


def dumps(value: Any) -> bytes:
    """The value as plain ASCII; numbers that are none become the least, the greatest or null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return json.dumps(finite(value), allow_nan=False, separators=(",", ":")).encode()


def finite(value: Any) -> Any:
    """The same without infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(-LEAST, value)
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return value


def whole(value: Any) -> int | None:
    """A count; None of what is none: a fraction, a truth value, text, nothing."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def joined(texts: list[str]) -> str:
    """One text; a surrogate pair that came in halves is one character again."""
    whole_text = "".join(texts)
    try:
        whole_text.encode()
    except UnicodeEncodeError:
        return whole_text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole_text
