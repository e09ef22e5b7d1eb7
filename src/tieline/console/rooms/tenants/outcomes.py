"""How a request ended, in words: of what its record says, its status and why the model stopped."""

from __future__ import annotations

from typing import Final

_REFUSED: Final = {
    400: "refused: the request is not one that this model takes",
    404: "refused: no engine offers what was asked",
    408: "refused: it did not arrive in time",
    413: "refused: longer than the model takes",
    422: "refused: the engine does not take its content",
    429: "refused: too many requests were waiting for this model",
    499: "your side closed the connection; what was sent until then is billed",
    500: "failed in the gateway; whoever runs it finds this request by its id",
    502: "failed: no engine could answer",
    503: "refused: no replica could take it then",
    504: "failed: it took longer than the gateway allows",
}
_ENDED: Final = {
    "": "answered",
    "stop": "answered",
    "eos": "answered",
    "length": "answered, cut at its limit of tokens",
    "tool_calls": "answered with calls of tools",
    "function_call": "answered with a call of a tool",
    "content_filter": "stopped by the model's filter",
}


def outcome(status: int, finish: str) -> str:
    """One line; a status that is not known here is told as a number."""
    if status < 400:
        return _ENDED.get(finish, f"answered ({finish})")
    return _REFUSED.get(status) or (f"refused ({status})" if status < 500 else f"failed ({status})")
