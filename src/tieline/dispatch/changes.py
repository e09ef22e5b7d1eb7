"""The difference between what was asked and what is asked now, in the order to carry it out.

Pure. Power goes down before it comes up, so that no limit is crossed on the way; on the way down mining goes
before inference, on the way up inference before mining.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tieline.records import Setpoint


@dataclass(frozen=True, slots=True)
class Change:
    """One unit's move. `before_w` None: nothing was asked of it before."""

    setpoint: Setpoint
    before_w: float | None
    replicas_before: int | None = None

    @property
    def by_w(self) -> float:
        return self.setpoint.target_w - (self.before_w or 0.0)

    @property
    def drains(self) -> int:
        """Replicas that finish their streams before they stop."""
        return max(0, (self.replicas_before or 0) - (self.setpoint.replicas or 0))


def changes(before: Mapping[str, Setpoint], now: Iterable[Setpoint]) -> list[Change]:
    """Moves of at least one watt, one replica or one mode share, in the order to make them."""
    rows = []
    for point in now:
        old = before.get(point.unit_id)
        same = (
            old is not None
            and abs(old.target_w - point.target_w) < 1.0
            and old.replicas == point.replicas
            and old.shares == point.shares
        )
        if not same:
            rows.append(Change(point, None if old is None else old.target_w, None if old is None else old.replicas))
    return sorted(rows, key=_order)


def _order(change: Change) -> tuple[int, int, str]:
    serves = change.setpoint.replicas is not None
    if change.by_w <= 0:
        return (0, int(serves), change.setpoint.unit_id)
    return (1, int(not serves), change.setpoint.unit_id)
