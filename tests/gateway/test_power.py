"""What power says reaches routing: prices, orders, plans, within what a tenant allows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, settings, start

from tieline import records
from tieline.gateway.routing import power
from tieline.gateway.routing.power import HORIZON_S, NOTICE_MAX_S, NOTICE_MIN_S, UNKNOWN, SitePowers
from tieline.gateway.routing.route import Replica, Want, choose
from tieline.gateway.settings import Key, Tenant, hash_key
from tieline.link import LocalLink
from tieline.records import Instruction, Plan, Reason, ReplicaState, Setpoint

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def plan(
    site: str,
    price: float | None,
    *,
    at: datetime = NOON,
    replicas: int = 2,
    held: float | None = None,
    mode: str = "act",
) -> Plan:
    serve = Setpoint(
        unit_id=f"{site}-gpu", target_w=10e3, reason=Reason(rule="inference", text="wanted"), replicas=replicas
    )
    mine = Setpoint(
        unit_id=f"{site}-rigs",
        target_w=1e6,
        reason=Reason(rule="interconnect" if held else "strike", text="", bid_usd_per_mwh=held or 70.0),
    )
    return Plan(
        at=at, known_at=at, source="dispatch", kind="estimated", site_id=site, length_s=300,
        valid_until=at + timedelta(minutes=15), mode=mode, limit_w=5e6, price_usd_per_mwh=price, hashprice_usd=40.0,  # type: ignore[arg-type]
        setpoints=(serve, mine), decided_by="strike",
    )  # fmt: skip


def order(site: str, limit_w: float, *, at: datetime, known_at: datetime = NOON, id_: str = "o1") -> Instruction:
    return Instruction(
        at=at, known_at=known_at, source="grid", kind="measured", instruction_id=id_, site_id=site,
        limit_w=limit_w, until=at + timedelta(hours=1),
    )  # fmt: skip


def replica(site: str) -> Replica:
    return Replica(site, site, "r", frozenset({"m"}), "vllm", 4)


@cases(st.lists(st.floats(-500, 5_000), min_size=2, max_size=2))
def test_dear_grows_with_what_a_mwh_is_worth_and_stays_within_bounds(worths: list[float]) -> None:
    low, high = sorted(worths)
    assert 0.0 <= power.dear(low) <= power.dear(high) < 1.0


def test_a_mwh_is_worth_its_price_or_the_mining_that_waits_for_it() -> None:
    assert power.worth_of(plan("a", 30.0)) == 30.0
    assert power.worth_of(plan("a", 30.0, held=85.0)) == 85.0
    assert power.worth_of(plan("a", 130.0, held=85.0)) == 130.0
    assert power.worth_of(plan("a", None, held=85.0)) is None


def test_an_order_below_what_the_replicas_draw_sends_requests_away_before_it_begins() -> None:
    """12:00  order known for 12:20: at most 5 kW; the replicas draw 10 kW."""
    known = SitePowers()
    known.heard(plan("a", 30.0))
    known.heard(plan("b", 30.0))
    known.heard(order("a", 5e3, at=NOON + timedelta(minutes=20)))
    terms = [known.term("a", NOON + timedelta(minutes=m)) for m in (0, 9, 10, 15, 20)]
    assert [one.away_s for one in terms] == [0.0, 0.0, NOTICE_MIN_S, (NOTICE_MIN_S + NOTICE_MAX_S) / 2, NOTICE_MAX_S]
    assert "o1" in terms[-1].why
    assert known.term("b", NOON + timedelta(minutes=20)).away_s == 0.0
    # The order is over, or lifted by a later word under the same id, or leaves room for the replicas.
    assert known.term("a", NOON + timedelta(minutes=81)).away_s == 0.0
    known.heard(order("a", 5e6, at=NOON + timedelta(minutes=20), known_at=NOON + timedelta(minutes=5)))
    known.heard(order("a", 5e3, at=NOON + timedelta(minutes=20)))  # an earlier word that comes late
    assert known.term("a", NOON + timedelta(minutes=20)).away_s == 0.0
    assert HORIZON_S == 600.0


def test_a_plan_that_keeps_no_replica_sends_requests_away_where_it_is_carried_out() -> None:
    known = SitePowers()
    known.heard(plan("a", 30.0, replicas=0))
    known.heard(plan("b", 30.0, replicas=0, mode="observe"))
    assert known.term("a", NOON).away_s == NOTICE_MAX_S
    assert known.term("b", NOON).away_s == 0.0


def test_what_is_not_known_is_neither_cheap_nor_dear() -> None:
    known = SitePowers()
    assert known.term("a", NOON).dear == 0.0  # nobody says anything: no difference between sites
    known.heard(plan("a", 30.0))
    assert known.term("other", NOON).dear == UNKNOWN
    assert known.term("a", NOON + timedelta(hours=1)).dear == UNKNOWN  # the plan is no longer valid
    assert known.term("a", NOON).usd_per_mwh == 30.0


@pytest.mark.parametrize(("patience_s", "goes_to"), [(-0.18, "near"), (0.0, "near"), (4.8, "cheap")])
def test_how_far_a_request_goes_for_cheap_power_is_its_tenants_patience(patience_s: float, goes_to: str) -> None:
    known = SitePowers()
    near, cheap = replica("near"), replica("cheap")
    cheap.rtt_s = 0.120
    known.heard(plan("near", 60.0))
    known.heard(plan("cheap", 10.0))
    power.apply(known, (near, cheap), 1.0, NOON)
    found = choose((near, cheap), Want("m", patience_s=patience_s), 0.0)
    assert found is not None
    assert found.id == goes_to
    assert near.price_usd_per_mtok == pytest.approx(0.06)


def test_a_replica_above_the_ceiling_is_not_taken_even_if_it_is_the_only_one() -> None:
    one = replica("a")
    assert choose((one,), Want("m", barred=frozenset({"a"})), 0.0) is None
    assert choose((one,), Want("m", barred=frozenset({"b"})), 0.0, {"c"}) is one


async def _who(gateway: Gateway, key: str) -> str:
    status, _, body = await gateway.post(
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2},
        f"authorization: Bearer {key}\r\n",
    )
    if status != 200:
        return str(msgspec.json.decode(body)["error"]["code"])
    await gateway.quiet()
    usage = gateway.usage()[-1]
    return usage.hops[-1].site_id


def test_a_record_over_the_link_moves_new_requests(tmp_path: Path) -> None:
    """Two sites serve; a price spike comes to one, then an order to the other."""

    async def body() -> None:
        link = LocalLink()
        now = datetime.now(UTC)
        tenants = (
            Tenant(id="std"),
            Tenant(id="frugal", max_usd_per_mtok=0.05),
            Tenant(id="eu-only", regions=("eu",)),
        )
        keys = tuple(Key(id=t.id, sha256=hash_key(t.id), tenant=t.id) for t in tenants)
        given = settings(tenants=tenants, keys=keys, round_trips_ms={"us": 30.0})

        async def standing(subject: str, _: bytes) -> bytes:
            if subject == "plan.get.north":
                return records.encode(plan("north", 20.0, at=now))
            return records.encode_batch([]) if subject.startswith("orders") else b""

        await link.serve("plan.get.*", standing)
        await link.serve("orders.get.*", standing)

        async with Scripted() as north, Scripted() as south, start(given, tmp_path, link=link) as gateway:

            async def beat() -> None:
                while True:
                    for site, region, engine in (("north", "eu", north), ("south", "us", south)):
                        state = ReplicaState(
                            at=now, known_at=now, source=f"site:{site}", kind="measured", replica_id=f"{site}-1",
                            site_id=site, region=region, model="m", base_url=engine.url, state="ready", slots=8,
                            engine="other",
                        )  # fmt: skip
                        await link.publish(f"replica.{site}.{site}-1", records.encode(state))
                    await asyncio.sleep(0.2)

            beating = asyncio.create_task(beat())
            try:
                await gateway.ready(2)
                async with asyncio.timeout(5):  # the plan that was sent before we listened is asked for
                    while not gateway.svc.table.power.knows("north"):
                        await asyncio.sleep(0.05)
                await link.publish("plan.south", records.encode(plan("south", 20.0, at=now)))
                await asyncio.sleep(0.1)
                assert {await _who(gateway, "std") for _ in range(3)} == {"north"}  # 30 ms nearer
                assert {await _who(gateway, "eu-only") for _ in range(2)} == {"north"}

                later = now + timedelta(seconds=1)
                await link.publish("plan.north", records.encode(plan("north", 900.0, at=later)))
                await asyncio.sleep(0.1)
                assert {await _who(gateway, "std") for _ in range(3)} == {"south"}
                assert await _who(gateway, "frugal") == "south"
                assert {await _who(gateway, "eu-only") for _ in range(2)} == {"north"}  # residency before price

                soon = order("south", 0.0, at=now + timedelta(minutes=5), known_at=now)
                await link.publish("command.south", records.encode(soon))
                await asyncio.sleep(0.1)
                assert {await _who(gateway, "std") for _ in range(3)} == {"north"}
                assert gateway.svc.backends["south-1"].state.value == "ready"  # it has not drained yet
                assert await _who(gateway, "frugal") == "south"  # its ceiling bars the other
                await link.publish("plan.south", records.encode(plan("south", 70.0, at=later)))
                await asyncio.sleep(0.1)
                assert await _who(gateway, "frugal") == "no_capacity"
            finally:
                beating.cancel()

    asyncio.run(body())


def test_settings_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="max_usd_per_mtok"):
        Tenant(id="t", max_usd_per_mtok=0.0)
    with pytest.raises(ValueError, match="no region that tenant"):
        settings(
            tenants=(Tenant(id="t", regions=("eu",)),),
            keys=(Key(id="k", sha256=hash_key("k"), tenant="t", regions=("us",)),),
        )
    with pytest.raises(ValueError, match="round_trips_ms"):
        settings(round_trips_ms={"eu": -1.0})
    assert Tenant(id="t", max_usd_per_mtok=Decimal("0.05")).max_usd_per_mtok  # type: ignore[arg-type]
