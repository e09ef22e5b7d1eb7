"""A stream that cannot be gone on from, made anew: what its client has is left out, and must come again. Pure.

Reasoning, tool calls and structured output have no place in a prompt from which another replica would go on. Greedy
or seeded, the same request brings the same answer: its beginning is compared with what was delivered and left out,
and the stream goes on where it was cut. Where the new run says something else, the stream ends in an honest error:
nothing that was sent can be taken back.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tieline.gateway.wire import loose

# Choice, and where in it a text stands: a field of its delta, or a tool's number and "name" or "arguments".
Key = tuple[int, str]
_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")


class DivergedError(Exception):
    """The new run says something else than what was delivered."""


class Replay:
    """What is still to come again before there is anything new."""

    def __init__(self, delivered: dict[Key, str]) -> None:
        self._left = {key: text for key, text in delivered.items() if text}
        self._calls = {(at, where.partition(".")[0]) for at, where in delivered if where.startswith("tool")}

    @property
    def over(self) -> bool:
        return not self._left

    def rest(self, data: bytes) -> bytes | None:
        """What of a chunk is new to the client; None: nothing is. Raises DivergedError, msgspec.DecodeError."""
        plain = loose.decode(data)
        if not isinstance(plain, dict):
            raise msgspec.DecodeError("a frame is no JSON object")
        choices = [one for one in plain.get("choices") or () if isinstance(one, dict)]
        fresh = [one for one in choices if self._new(one)]
        if choices and not fresh:
            return None
        plain["choices"] = fresh
        return loose.encode(plain)

    def _new(self, choice: dict[str, Any]) -> bool:
        """Take out of a choice what is known; is anything left of it?"""
        at = loose.whole(choice.get("index")) or 0
        delta = choice.get("delta")
        said = False
        if isinstance(delta, dict):
            delta.pop("role", None)
            for name in _TEXTS:
                said |= self._cut(delta, name, (at, name))
            calls = delta.get("tool_calls")
            if isinstance(calls, list):
                delta["tool_calls"] = [one for one in calls if isinstance(one, dict) and self._call(at, one)]
                said |= bool(delta["tool_calls"])
                if not delta["tool_calls"]:
                    del delta["tool_calls"]
        else:
            said = self._cut(choice, "text", (at, "content"))
        choice.pop("logprobs", None)
        ends = bool(choice.get("finish_reason"))
        if (said or ends) and any(where[0] == at for where in self._left):
            raise DivergedError("the new run of this answer differs from what was delivered")
        return said or ends

    def _call(self, at: int, call: dict[str, Any]) -> bool:
        number = f"tool{loose.whole(call.get('index')) or 0}"
        if (at, number) in self._calls:  # the client knows it by the first run's id
            call.pop("id", None)
            call.pop("type", None)
        function = call.get("function")
        if not isinstance(function, dict):
            return "id" in call
        said = [self._cut(function, name, (at, f"{number}.{name}")) for name in ("name", "arguments")]
        return any(said) or "id" in call

    def _cut(self, holder: dict[str, Any], name: str, key: Key) -> bool:
        """Take what was delivered out of one text; is any of it new?"""
        value = holder.get(name)
        if not isinstance(value, str) or not value:
            holder.pop(name, None)
            return False
        left = self._left.get(key)
        if left is None:
            return True
        if left.startswith(value):
            holder.pop(name)
            self._left[key] = left[len(value) :]
            if not self._left[key]:
                del self._left[key]
            return False
        if not value.startswith(left):
            raise DivergedError("the new run of this answer differs from what was delivered")
        del self._left[key]
        holder[name] = value[len(left) :]
        return True
