"""Tokens of a backtest: interactive work by its hours, batch work by its deadlines, and what they earn.

A share of what is offered may wait up to a day at its lower tariff; the plant keeps it as a backlog, the most
urgent first. The tariff counts answers at the length they have where their users are, wherever they were served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tieline.backtest.data import ScenarioWorld
from tieline.dispatch.inputs.backlog import Lot
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY
from tieline.dispatch.settings import Settings

BATCH_SHARE = 0.2  # of the offered tokens
BATCH_SLOTS = SLOTS_PER_DAY  # and it may wait this long
SERVED = 0.995  # interactive service level; below it a share of the hour's bill is credited


@dataclass
class BatchByDeadline:
    """Batch work by the slot it is due at: [tokens, what they will earn]. A span ends with nothing owed."""

    end: int
    _due: dict[int, list[float]] = field(default_factory=dict)
    tokens: float = 0.0

    def add(self, slot: int, tokens: float, usd: float) -> None:
        one = self._due.setdefault(min(slot + BATCH_SLOTS, self.end), [0.0, 0.0])
        one[0] += tokens
        one[1] += usd
        self.tokens += tokens

    def serve(self, tokens: float) -> float:
        """Take this much off, most urgent first; returns what it earns."""
        earned, left = 0.0, tokens
        for due in sorted(self._due):
            one = self._due[due]
            if left <= 0:
                break
            part = 1.0 if left >= one[0] else left / one[0]
            earned += one[1] * part
            left -= one[0] * part
            self.tokens -= one[0] * part
            if part >= 1.0:
                del self._due[due]
            else:
                one[0] *= 1.0 - part
                one[1] *= 1.0 - part
        self.tokens = max(0.0, self.tokens)
        return earned

    def expire(self, slot: int) -> float:
        """Tokens that were due by the beginning of this slot and did not run."""
        late = [due for due in self._due if due <= slot]
        lost = sum(self._due.pop(due)[0] for due in late)
        self.tokens = max(0.0, self.tokens - lost)
        return lost

    def lots(self, slot: int) -> list[Lot]:
        return [Lot((due - slot) * float(SLOT_S), one[0]) for due, one in sorted(self._due.items())]


@dataclass
class Hour:
    """One region's interactive tokens in the running hour."""

    wanted: float = 0.0
    missing: float = 0.0
    usd: float = 0.0


@dataclass
class ServedTokens:
    """What one step came to."""

    tokens: float = 0.0
    lost: float = 0.0
    usd: float = 0.0


class Tokens:
    """The books of inference."""

    def __init__(self, world: ScenarioWorld, settings: Settings, model: str, end: int) -> None:
        self.world, self.settings, self.model = world, settings, model
        self.backlog = BatchByDeadline(end)
        self.hours = {region: Hour() for region in world.demand}

    def asked(self, first: int, seconds: int) -> dict[tuple[str, str], float]:
        """Interactive tokens/s of a step; its batch work joins the backlog."""
        span = slice(first, first + max(1, seconds // SLOT_S))
        asked = {}
        for region, series in self.world.demand.items():
            offered = float(series[span].mean())
            asked[(self.model, region)] = offered * (1.0 - BATCH_SHARE)
            batch = offered * BATCH_SHARE * seconds
            if batch > 0:
                self.backlog.add(first, batch, self._usd(batch, region, first) * self.settings.batch_tariff_share)
        return asked

    def book(
        self,
        slot: int,
        seconds: int,
        asked: Mapping[tuple[str, str], float],
        unserved: Mapping[tuple[str, str], float],
        batch_tokens: float,
    ) -> ServedTokens:
        out = ServedTokens()
        for region, hour in self.hours.items():
            missing = unserved.get((self.model, region), 0.0) * seconds
            wanted = asked[(self.model, region)] * seconds
            usd = self._usd(wanted - missing, region, slot)
            hour.wanted += wanted
            hour.missing += missing
            hour.usd += usd
            out.tokens, out.lost, out.usd = out.tokens + wanted - missing, out.lost + missing, out.usd + usd
        done = min(batch_tokens, self.backlog.tokens)
        out.usd += self.backlog.serve(done)
        out.tokens += done
        return out

    def close_hour(self, next_slot: int) -> tuple[int, int, float, float]:
        """(hours with demand, of them below the service level, USD credited, batch tokens that ran out)."""
        count = missed = 0
        credit = 0.0
        for hour in self.hours.values():
            if hour.wanted > 0:
                count += 1
                if 1.0 - hour.missing / hour.wanted < SERVED:
                    missed += 1
                    credit += self.settings.sla_credit_share * hour.usd
            hour.wanted = hour.missing = hour.usd = 0.0
        return count, missed, credit, self.backlog.expire(next_slot)

    def _usd(self, tokens: float, region: str, slot: int) -> float:
        inputs = float(self.world.inputs[region][slot])
        return tokens / 1e6 * (self.settings.output_usd_per_mtok + self.settings.input_usd_per_mtok * inputs)
