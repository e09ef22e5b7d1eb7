"""What a run of a fleet has seen, as Jepsen writes it down: who began what when, and how it ended.

Kept in memory for the checker (`fleet_judge`) and line by line in a file for whoever wants to know. Times are seconds
since the history began, by a clock that is only this process's.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass
class Operation:
    """`ended` None: it still runs, or ran when the history was over. `result`: ok, refused, cut (of a stream that had
    begun), unanswered, or a word of the operation's own."""

    who: str
    what: str
    began: float
    about: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None
    result: str = ""

    @property
    def took_s(self) -> float:
        return (self.began if self.ended is None else self.ended) - self.began


class History:
    """Written by one event loop."""

    def __init__(self, path: Path | None = None) -> None:
        self.operations: list[Operation] = []
        self.wall = datetime.now(UTC)  # of its second 0
        self._zero = time.monotonic()
        self._file = None if path is None else path.open("w", buffering=1)

    def now(self) -> float:
        return time.monotonic() - self._zero

    def begin(self, who: str, what: str, **about: Any) -> Operation:
        one = Operation(who, what, self.now(), about)
        self.operations.append(one)
        self._write("invoke", one)
        return one

    def end(self, one: Operation, result: str, **about: Any) -> None:
        one.ended, one.result = self.now(), result
        one.about.update(about)
        self._write(result, one)

    def note(self, who: str, what: str, result: str, **about: Any) -> None:
        """Something that takes no time."""
        self.end(self.begin(who, what), result, **about)

    def of(self, *what: str) -> list[Operation]:
        return [one for one in self.operations if one.what in what]

    def _write(self, kind: str, one: Operation) -> None:
        if self._file is not None:
            at = one.began if one.ended is None else one.ended
            self._file.write(
                json.dumps({"t": round(at, 3), "who": one.who, "what": one.what, "type": kind, **one.about})
            )
            self._file.write("\n")
