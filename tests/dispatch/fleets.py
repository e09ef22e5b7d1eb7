"""A small invented world to dispatch in."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tieline import records
from tieline.dispatch import Settings
from tieline.fleet import Contract, Feeder, Fleet, Interconnect, NodeGroup, RigGroup, Site
from tieline.records import Demand, NetworkTick, Plan, PriceTick, WeatherTick
from tieline.store import Store

T0 = datetime(2024, 8, 20, 12, 0, tzinfo=UTC)
FIVE = timedelta(minutes=5)


def site(
    name: str = "tx-1",
    *,
    limit_mw: float = 60.0,
    rigs: int = 10_000,
    old_rigs: int = 4_000,
    nodes: int = 40,
    contract: Contract | None = None,
    mode: str = "act",
    feeder_mw: float = 100.0,
    region: str = "north_america",
) -> Site:
    return Site(
        id=name,
        name=name,
        region=region,
        lat=31.0,
        lon=-100.0,
        interconnect=Interconnect(limit_w=limit_mw * 1e6),
        feeders=(
            Feeder(id=f"{name}.f-mine", load="mining", limit_w=feeder_mw * 1e6),
            Feeder(id=f"{name}.f-gpu", load="inference", limit_w=5e6),
        ),
        contract=contract or Contract(basis="spot", market="HUB"),
        rig_groups=tuple(
            g
            for g in (
                RigGroup(id=f"{name}.rigs-1", feeder=f"{name}.f-mine", model="Antminer S21", rigs=rigs),
                RigGroup(id=f"{name}.rigs-2", feeder=f"{name}.f-mine", model="Antminer S19j Pro", rigs=old_rigs),
            )
            if g.rigs
        ),
        node_groups=(NodeGroup(id=f"{name}.gpu", feeder=f"{name}.f-gpu", node="8xH100", nodes=nodes, model="m"),)
        if nodes
        else (),
        mode=mode,
        weather_station="W",
    )


def fleet(*sites: Site) -> Fleet:
    return Fleet(name="test", sites=sites or (site(),))


def store(*batch: records.Record) -> Store:
    made = Store(None, records.encode, records.decode)
    made.append(batch)
    return made


def price(usd: float, at: datetime = T0, market: str = "HUB", length_s: int = 3600, **more: object) -> PriceTick:
    known = {"known_at": at - timedelta(hours=12), "source": "test", "kind": "measured", **more}
    return PriceTick(at=at, market=market, price_usd_per_mwh=usd, length_s=length_s, **known)


def network(at: datetime = T0 - timedelta(hours=1), difficulty: float = 8.7e13, usd: str = "60000") -> NetworkTick:
    return NetworkTick(
        at=at,
        known_at=at,
        source="test",
        kind="measured",
        difficulty=difficulty,
        subsidy_btc=3.125,
        fee_share=0.03,
        btc_usd=Decimal(usd),
    )


def weather(temp_c: float | None, at: datetime = T0) -> WeatherTick:
    return WeatherTick(at=at, known_at=at, source="test", kind="measured", station="W", temp_c=temp_c)


def demand(tokens_per_s: float, at: datetime = T0, region: str = "north_america", model: str = "m") -> Demand:
    return Demand(
        at=at,
        known_at=at,
        source="test",
        kind="measured",
        model=model,
        region=region,
        output_tokens_per_s=tokens_per_s,
        length_s=3600,
    )


FREE = Settings(policy="strike", restore_share_per_5min=None)


def by_unit(plan: Plan) -> dict[str, records.Setpoint]:
    return {point.unit_id: point for point in plan.setpoints}


def one_site(contract: str, more: str = "") -> str:
    """The configuration of a fleet of one site that mines. `contract`: what stands between its braces."""
    return f"""
[fleet]
name = "one"
[[site]]
id = "a"
name = "A"
region = "r"
lat = 1.0
lon = 1.0
interconnect_mw = 10
rigs = [{{ model = "Antminer S21", count = 1000 }}]
contract = {{ {contract} }}
{more}
"""
