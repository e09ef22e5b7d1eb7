"""Which model runs where is what the plans said, with the plan that first said so and why it still holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tieline import config
from tieline.console.fold import Fold
from tieline.console.placed import placed_view
from tieline.records import Plan, Reason, ReplicaState, Setpoint

T0 = datetime(2026, 11, 1, tzinfo=UTC)
FLEET = config.demo().fleet
SITE, GROUP = next((site, group) for site in FLEET.sites for group in site.node_groups if group.replicas_real)
OTHER, MODELLED = next((s, g) for s in FLEET.sites for g in s.node_groups if not g.replicas_real)


def plan(n: int, replicas: int | None, site_id: str = SITE.id, unit: str = GROUP.id) -> Plan:
    at = T0 + n * timedelta(minutes=5)
    setpoint = Setpoint(
        unit_id=unit, target_w=1e5, reason=Reason(rule="inference", text=f"because of {n}"), replicas=replicas
    )
    return Plan(
        at=at, known_at=at, source="core", kind="estimated", site_id=site_id, length_s=300,
        valid_until=at + timedelta(hours=1), mode="act", limit_w=1e6, price_usd_per_mwh=20.0, hashprice_usd=0.05,
        setpoints=(setpoint,), decided_by="test",
    )  # fmt: skip


@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_since_is_the_first_plan_with_the_number_that_stands(counts: list[int]) -> None:
    fold = Fold(FLEET)
    for n, count in enumerate(counts):
        fold.apply(n + 1, plan(n, count))
    (row,) = placed_view(fold.placed, FLEET, [])
    first = len(counts)
    while first and counts[first - 1] == counts[-1]:
        first -= 1
    assert (row["replicas"], row["since_seq"], row["plan_seq"]) == (counts[-1], first + 1, len(counts))
    assert row["since"] == (T0 + first * timedelta(minutes=5)).timestamp()
    assert row["before"] == (counts[first - 1] if first else None)
    assert row["at_least"] is (first == 0)
    assert row["why"] == f"because of {len(counts) - 1}"


def test_an_older_plan_that_comes_late_changes_nothing_and_real_replicas_stand_beside() -> None:
    fold = Fold(FLEET)
    fold.apply(1, plan(3, 2))
    fold.apply(2, plan(1, 1))
    fold.apply(3, plan(2, 0, OTHER.id, MODELLED.id))
    fold.apply(4, plan(4, None))
    up = [
        ReplicaState(at=T0, known_at=T0, source="s", kind="measured", replica_id=f"r{n}", site_id=SITE.id, region="x",
                     model="m", base_url="http://127.0.0.1:1", state="ready" if n else "starting")
        for n in range(3)
    ]  # fmt: skip
    first, second = placed_view(fold.placed, FLEET, up)
    assert (first["unit"], first["replicas"], first["ready"], first["since_seq"]) == (GROUP.id, 2, 2, 1)
    assert (second["unit"], second["replicas"], second["ready"]) == (MODELLED.id, 0, None)
