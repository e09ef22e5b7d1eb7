"""What CO2 a month's energy meant: by where it was drawn, and by what was bought.

Two figures, as the GHG Protocol's Scope 2 Guidance has them. Location-based: energy x the grid's average where the site
is. Market-based: energy under a contract at its factor; then energy that certificates cover, each of its watt-hours
once, in order of months and of sites' names; the rest at the residual mix. Where no factor is known the energy is
unknown, and its share is said beside the figure: it is in no average. Evidence holds for months that it overlaps.
Auxiliary load follows the load it cools. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal

from tieline.books.keeper import newest_of
from tieline.books.span import month_of, month_span
from tieline.records import EnergyEvidence, PowerBill

ZERO = Decimal(0)
MonthSpan = tuple[datetime, datetime]


@dataclass(slots=True)
class Emitted:
    """Energy with a factor and its CO2, and energy without one."""

    kwh: Decimal = ZERO
    gco2: Decimal = ZERO
    unknown_kwh: Decimal = ZERO

    def add(self, kwh: Decimal, factor: Decimal | None) -> None:
        if factor is None:
            self.unknown_kwh += kwh
        else:
            self.kwh += kwh
            self.gco2 += kwh * factor

    @property
    def gco2_per_kwh(self) -> Decimal | None:
        return (self.gco2 / self.kwh).quantize(Decimal("0.1")) if self.kwh else None

    @property
    def unknown_share(self) -> Decimal | None:
        whole = self.kwh + self.unknown_kwh
        return (self.unknown_kwh / whole).quantize(Decimal("0.0001")) if whole else None


@dataclass(frozen=True, slots=True)
class EmissionsOfMonth:
    """By method and use (mining, inference). Per bitcoin and per million output tokens in grams, of the energy that is
    known; None where none is, or none was made. `faults`: evidence that is not counted, and why."""

    month: str
    location: dict[str, Emitted]
    market: dict[str, Emitted]
    per_btc: dict[str, Decimal | None]
    per_million_tokens: dict[str, Decimal | None]
    certified_kwh: Decimal
    faults: tuple[str, ...]


@dataclass(slots=True)
class _Certificates:
    """What is left of each, over time."""

    left: dict[str, Decimal] = field(default_factory=dict)

    def cover(self, kwh: Decimal, fitting: Iterable[EnergyEvidence]) -> Iterator[tuple[Decimal, Decimal]]:
        """(kWh covered, its factor), until `kwh` or the certificates are used up."""
        for one in fitting:
            left = self.left.setdefault(one.evidence_id, Decimal(one.wh or 0) / 1000)
            taken = min(left, kwh)
            if taken:
                self.left[one.evidence_id] -= taken
                kwh -= taken
                yield taken, one.gco2_per_kwh


def emissions_of(
    bills: Iterable[PowerBill],
    evidence: Iterable[EnergyEvidence],
    month: str,
    made: tuple[Decimal, int],
    zone: tzinfo,
) -> EmissionsOfMonth:
    """`bills`: from the first certificate's beginning to the month's end; `made`: bitcoin, and output tokens, of the
    month. Raises ValueError for a month that is not YYYY-MM."""
    span = month_span(month, zone)
    counted, faults = _counted(newest_of(evidence))
    certificates = _Certificates()
    location: dict[str, Emitted] = defaultdict(Emitted)
    market: dict[str, Emitted] = defaultdict(Emitted)
    certified = ZERO
    for at, site, uses in _energy(newest_of(bills), span[1], zone):
        whole = sum(uses.values(), ZERO)
        grid = _factor(counted, "grid-average", site, at)
        here = [(whole, _factor(counted, "contract", site, at))]
        if here[0][1] is None:
            fitting = [one for one in counted if one.what == "certificate" and _fits(one, site, at)]
            covered = list(certificates.cover(whole, fitting))
            sum_ = sum((kwh for kwh, _ in covered), ZERO)
            here = [*covered, (whole - sum_, _factor(counted, "residual-mix", site, at))]
            certified += sum_ if at == span else ZERO
        if at != span or not whole:
            continue
        for use, kwh in uses.items():
            location[use].add(kwh, grid)
            for part, factor in here:
                market[use].add(part * kwh / whole, factor)
    both = {"location": location, "market": market}
    btc, tokens = made
    return EmissionsOfMonth(
        month=month,
        location=dict(location),
        market=dict(market),
        per_btc={name: _per(emitted, "mining", btc) for name, emitted in both.items()},
        per_million_tokens={
            name: _per(emitted, "inference", Decimal(tokens) / 10**6) for name, emitted in both.items()
        },
        certified_kwh=certified,
        faults=tuple(faults),
    )


def _counted(evidence: Sequence[EnergyEvidence]) -> tuple[list[EnergyEvidence], list[str]]:
    """What counts, in order of time, and what does not: a certificate that stands twice, or for nothing."""
    seen: dict[tuple[str, str], str] = {}
    counted, faults = [], []
    for one in evidence:
        if one.what == "certificate":
            first = seen.setdefault((one.registry, one.serial), one.evidence_id)
            if first != one.evidence_id:
                faults.append(f"{one.evidence_id}: {one.registry} {one.serial} is {first} already; it counts once")
                continue
            if not one.wh or one.wh < 0:
                faults.append(f"{one.evidence_id}: wh is {one.wh}; say for how much energy the certificate stands")
                continue
        if one.gco2_per_kwh < 0:
            faults.append(f"{one.evidence_id}: gco2_per_kwh is {one.gco2_per_kwh}; it is 0 or more")
            continue
        counted.append(one)
    return counted, faults


def _energy(
    bills: Iterable[PowerBill], end: datetime, zone: tzinfo
) -> Iterator[tuple[MonthSpan, str, dict[str, Decimal]]]:
    """(a month, site, kWh by use), in order of months and sites."""
    energy: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: {"mining": ZERO, "inference": ZERO})
    for bill in bills:
        if bill.at >= end:
            continue
        mining, inference, aux = (Decimal(repr(wh)) / 1000 for wh in (bill.mining_wh, bill.inference_wh, bill.aux_wh))
        load = mining + inference
        uses = energy[month_of(bill.at, zone), bill.site_id]
        uses["mining"] += mining + (aux * mining / load if load else aux)
        uses["inference"] += inference + (aux * inference / load if load else ZERO)
    for (month, site), uses in sorted(energy.items()):
        yield month_span(month, zone), site, uses


def _fits(one: EnergyEvidence, site: str, span: MonthSpan) -> bool:
    return one.site_id in ("", site) and one.at < span[1] and span[0] < one.until


def _factor(evidence: Sequence[EnergyEvidence], what: str, site: str, span: MonthSpan) -> Decimal | None:
    """The newest that fits, one that names the site before one that does not."""
    fitting = [one for one in evidence if one.what == what and _fits(one, site, span)]
    return max(fitting, key=lambda one: (one.site_id == site, one.at)).gco2_per_kwh if fitting else None


def _per(emitted: dict[str, Emitted], use: str, made: Decimal) -> Decimal | None:
    one = emitted.get(use)
    if one is None or one.gco2_per_kwh is None or made <= 0:
        return None
    return (one.gco2 / made).quantize(Decimal("0.1"))
