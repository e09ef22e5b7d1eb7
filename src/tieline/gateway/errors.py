"""Every error a client may see, in OpenAI's shape, with the headers its retry logic reads.

Knows nothing of how a request failed. `x-should-retry` and `retry-after` are what the official clients obey;
they refuse to wait longer than two minutes, so nothing here ever says more than 120 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import msgspec

MAX_RETRY_AFTER_S: Final = 120

_encode = msgspec.json.Encoder().encode

_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 409: "conflict_error", 411: "invalid_request_error",
    413: "invalid_request_error", 414: "invalid_request_error", 415: "invalid_request_error",
    417: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error",
    431: "invalid_request_error", 500: "server_error", 501: "server_error", 502: "server_error",
    503: "server_error", 504: "server_error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error answer. `retry_after_s` None: no header. `should_retry` None: the client decides."""

    status: int
    message: str
    code: str
    type: str = ""
    param: str | None = None
    retry_after_s: float | None = None
    should_retry: bool | None = None

    def body(self) -> bytes:
        kind = self.type or _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return _encode({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})

    def headers(self) -> bytes:
        lines = b"content-type: application/json\r\n"
        if self.retry_after_s is not None:
            lines += b"retry-after: %d\r\n" % max(1, min(MAX_RETRY_AFTER_S, math.ceil(self.retry_after_s)))
        if self.should_retry is not None:
            lines += b"x-should-retry: true\r\n" if self.should_retry else b"x-should-retry: false\r\n"
        return lines

    def frame(self) -> bytes:
        """The same error as the last event of a stream that has already begun."""
        return b"data: " + self.body() + b"\n\n"


def too_many(scope: str, limit: int) -> Refusal:
    return Refusal(429, f"{scope} has {limit} requests running, its limit", "concurrency_limit", retry_after_s=1)


def too_fast(scope: str, what: str, wait_s: float) -> Refusal:
    """`what`: requests or tokens."""
    code = "rate_limit" if what == "requests" else "token_limit"
    return Refusal(429, f"{scope} is at its {what} per minute", code, retry_after_s=wait_s)


def bad_request(message: str, code: str = "invalid_request", param: str | None = None, status: int = 400) -> Refusal:
    return Refusal(status, message, code, param=param)


def not_found(path: str) -> Refusal:
    return Refusal(404, f"no such path: {path}", "unknown_url")


def unknown_model(model: str) -> Refusal:
    return Refusal(
        404, f"the model {model!r} does not exist or this key may not use it", "model_not_found", param="model"
    )


# Where a model is asked for that is metered in something else than tokens.
_ASKED_AT: Final = {
    "": "chats, completions or embeddings",
    "character": "/v1/audio/speech",
    "second": "/v1/audio/transcriptions or /v1/audio/translations",
    "image": "/v1/images/generations, /v1/images/edits or /v1/images/variations",
}


def other_unit(model: str, unit: str) -> Refusal:
    """A model that is metered in another unit than what was asked of it is."""
    words = f"the model {model!r} is not offered here; it is for {_ASKED_AT[unit]}"
    return Refusal(400, words, "model_not_offered_here", param="model")


def no_capacity(model: str) -> Refusal:
    return Refusal(503, f"no replica of {model!r} can take this request now", "no_capacity", retry_after_s=2)


def overloaded(wait_s: float) -> Refusal:
    return Refusal(429, "too many requests are waiting for this model; try again", "overloaded", retry_after_s=wait_s)


def spent(scope: str) -> Refusal:
    return Refusal(
        429,
        f"the budget of {scope} does not cover this request's maximum",
        "insufficient_quota",
        type="insufficient_quota",
        should_retry=False,
    )


def engine_error(status: int, message: str, code: str = "engine_error") -> Refusal:
    return Refusal(status, message, code)


def internal(request_id: str) -> Refusal:
    """A fault of ours; the log has its cause under this id."""
    return Refusal(500, f"this gateway failed on request {request_id}; its log says why", "internal_error")
