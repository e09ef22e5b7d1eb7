"""What has been delivered of each choice of a stream (`n` > 1). Pure."""

from __future__ import annotations


class Choices:
    """The choices of one stream."""

    __slots__ = ("_last", "finished", "opened", "texts", "tokens")

    def __init__(self) -> None:
        self.opened: set[int] = set()
        self.texts: dict[int, list[str]] = {}
        self.finished: dict[int, str] = {}
        self.tokens: dict[int, int] = {}  # as the engine reported them for a finished choice
        self._last = -1

    def finish(self, index: int, reason: str) -> None:
        self.finished[index] = reason
        self._last = index

    def report(self, tokens: int | None) -> None:
        """llama.cpp reports each choice by itself, right after its end."""
        if tokens is not None and self._last >= 0:
            self.tokens[self._last] = tokens
