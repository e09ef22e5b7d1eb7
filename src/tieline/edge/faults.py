"""Faults that are open at a site: told when they begin, when what they say changes, and when they are over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from tieline.records import Fault

# A line that changes with every poll is not told with every poll.
SAY_AGAIN = timedelta(minutes=1)
# A line for people; what is longer names the first few and counts the rest.
MAX_DETAIL = 1000


@dataclass(slots=True)
class _Open:
    began: datetime
    told: datetime
    detail: str


@dataclass(slots=True)
class Faults:
    """The open faults of one site, one for each kind: a record of a fault is known by its site, kind and time."""

    site_id: str
    _open: dict[str, _Open] = field(default_factory=dict)

    def hold(
        self,
        now: datetime,
        what: str,
        detail: str | None,
        kind: Literal["measured", "simulated"] = "measured",
        once: bool = False,
    ) -> list[Fault]:
        """`detail` None: it does not, or no longer, hold. `once`: a line whose figures move is told the first time
        only. Returns what is new to tell."""
        held = self._open.get(what)
        if detail is None:
            if held is None:
                return []
            del self._open[what]
            return [self._fault(held.began, now, what, held.detail, kind, now)]
        detail = detail[:MAX_DETAIL]
        if held is None:
            self._open[what] = _Open(now, now, detail)
            return [self._fault(now, now, what, detail, kind, None)]
        if once or held.detail == detail or now - held.told < SAY_AGAIN:
            return []
        held.told, held.detail = now, detail
        return [self._fault(held.began, now, what, detail, kind, None)]

    def hold_all(
        self,
        now: datetime,
        kinds: Iterable[str],
        lines: Mapping[str, list[str]],
        kind: Literal["measured", "simulated"],
    ) -> list[Fault]:
        """The same for several kinds at once: `lines` by kind, a kind without lines does not hold."""
        changed = []
        for what in kinds:
            complaints = lines.get(what)
            changed += self.hold(now, what, "; ".join(complaints) if complaints else None, kind)
        return changed

    def open(self) -> dict[str, str]:
        """The line of each kind that holds now."""
        return {what: held.detail for what, held in self._open.items()}

    def _fault(
        self,
        began: datetime,
        now: datetime,
        what: str,
        detail: str,
        kind: Literal["measured", "simulated"],
        until: datetime | None,
    ) -> Fault:
        return Fault(
            at=began, known_at=now, source=f"site:{self.site_id}", kind=kind, site_id=self.site_id,
            what=what, detail=detail, until=until,
        )  # fmt: skip
