"""Which replicas are worth their power: an inference bid against the price, as a rig group's is.

Pure. A replica at its interactive load earns its tokens at the tariff; where a MWh costs more than that, what it is not
under contract to keep stops, and its demand goes where power is cheaper or is not carried. Real processes and reserved
capacity stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tieline.dispatch.inference.gpu import GpuTable
from tieline.dispatch.inference.serving import Place, Room
from tieline.dispatch.settings import Settings
from tieline.fleet.physics import GPU_AUX


def replica_bid_usd_per_mwh(table: GpuTable, settings: Settings, inputs_per_output: float = 0.0) -> float:
    """What a MWh earns in a replica at its interactive load, and saves in credits for a service level kept."""
    tokens_per_s = table.tokens_per_s(settings.interactive_batch)
    usd_per_mtok = settings.output_usd_per_mtok + settings.input_usd_per_mtok * inputs_per_output
    usd_per_h = tokens_per_s * 3600.0 / 1e6 * usd_per_mtok * (1.0 + settings.sla_credit_share)
    return usd_per_h / (table.power_w(tokens_per_s) * (1.0 + GPU_AUX) / 1e6)


def affordable(
    rooms: Iterable[Room],
    cost_usd_per_mwh: Mapping[str, float],
    bid_usd_per_mwh: Mapping[Place, float],
    reserved: Mapping[Place, int],
) -> list[Room]:
    """The same rooms with as many replicas as are worth their power, `cost` by unit and `bid` by place. A place whose
    worth or a unit whose cost is not known keeps all of its replicas."""
    cut = list(rooms)
    dear = {
        room.unit_id
        for room in cut
        if cost_usd_per_mwh.get(room.unit_id, 0.0) > bid_usd_per_mwh.get((room.model, room.region), float("inf"))
    }
    if not dear:
        return cut
    left = dict(reserved)
    for room in cut:
        if room.unit_id not in dear:
            place = (room.model, room.region)
            left[place] = left.get(place, 0) - room.replicas
    replicas: dict[str, int] = {}
    for room in sorted(cut, key=lambda r: (cost_usd_per_mwh.get(r.unit_id, 0.0), r.unit_id)):
        if room.unit_id in dear:
            place = (room.model, room.region)
            replicas[room.unit_id] = min(room.replicas, max(room.keep, left.get(place, 0)))
            left[place] = left.get(place, 0) - replicas[room.unit_id]
    return [replace(room, replicas=replicas[room.unit_id]) if room.unit_id in dear else room for room in cut]


def why_stopped(before: Room, after: Room, cost: float, bid: float) -> str:
    """In words, for the plan; empty where nothing stopped."""
    if after.replicas >= before.replicas:
        return ""
    return (
        f"; power at {cost:,.0f} USD/MWh costs more than the {bid:,.0f} that a replica earns: "
        f"{before.replicas - after.replicas} of {before.replicas} may not run"
    )
