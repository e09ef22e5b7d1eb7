"""What of each budget is spent, and on which day half, four fifths, 95 % and all of it were passed.

Spend is this month's sums; a budget of the day is held against today's. A budget for all time (`total`) has no sums
here: what is left of it, the gateway says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from tieline.books.invoicing.fold import NANO
from tieline.console.attention import BUDGET_STEPS
from tieline.console.rooms.tenants.spend import SpendFold, usd

Json = dict[str, Any]
STEPS: Final = tuple(sorted(Decimal(str(share)) for share, _ in BUDGET_STEPS))


def budgets_of(tenant: Mapping[str, Any], keys: Sequence[Json], fold: SpendFold, now: datetime) -> list[Json]:
    """The tenant's own, its projects' and its keys', each that is set: scope, budget, what is spent, and its steps."""
    id_ = tenant["id"]
    rows = [
        _row("all keys together", "", tenant["limits"], fold.days(id_), now),
        *(
            _row("project", one["id"], one["limits"], fold.days(id_, project=one["id"]), now)
            for one in tenant["projects"]
        ),
        *(_row("key", one["id"], one["limits"], fold.days(id_, key=one["id"]), now) for one in keys),
    ]
    return [row for row in rows if row is not None]


def steps_of(budget: Decimal, days: Sequence[tuple[str, int]]) -> list[Json]:
    """Each share with the day on which the sum of `days` (day, nano-dollars; oldest first) came to it, None: not
    yet."""
    passed: dict[Decimal, str] = {}
    spent = 0
    for day, nano in days:
        spent += nano
        for share in STEPS:
            if share not in passed and spent >= share * budget * NANO:
                passed[share] = day
    return [{"share": float(share), "day": passed.get(share)} for share in STEPS]


def _row(scope: str, name: str, limits: Json, days: list[tuple[str, int]], now: datetime) -> Json | None:
    given, period = limits.get("budget_usd"), limits.get("budget_period", "month")
    if given is None or period == "total":
        return None
    budget = Decimal(given)
    counted = days if period == "month" else [one for one in days if one[0] == f"{now:%Y-%m-%d}"]
    steps = steps_of(budget, counted) if budget > 0 else []
    return {
        "scope": scope,
        "name": name,
        "period": period,
        "budget_usd": str(budget),
        "spent_usd": usd(sum(nano for _, nano in counted)),
        "steps": steps,
    }
