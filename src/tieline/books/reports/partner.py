"""A partner's month: what its sites drew, made, served and brought, line by line, each line a sum of records.

    energy        Wh of its sites' power bills, by day and site
    hashes        hashes that its machines' samples say, by day and site
    mining        satoshi of each payout, shared among all sites by the hashes their machines made in the payout's span
    inference     nano-dollars of each request, shared among the sites that served it by the output tokens of each (by
                  prompt tokens where it made none), summed by day and site
    availability  seconds in which its sites' meters were heard, and what of full mining faults took

All sums are exact: satoshi, nano-dollars and tokens are whole numbers, watt-hours the decimals that records hold. What
rounding leaves of a payout or a request goes to the largest part, so that all sites together have all of it. The
partner's part of a line is its share of that line rounded down to a whole satoshi or nano-dollar, and the statement's
total is the sum of its lines. A payout in whose span no machine was heard is shared by nobody. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from decimal import Decimal

from tieline.fleet import Partner
from tieline.records import MeterReading, Payout, PowerBill, Sample, Shortfall, Usage

Place = tuple[date, str]  # a day and a site


@dataclass(frozen=True, slots=True)
class PartnerLine:
    """One line. `part`: the partner's of `amount`, None where nothing is shared. `opens`: the records behind it."""

    what: str
    day: date | None
    site: str
    amount: int | Decimal
    unit: str
    part: int | None = None
    tokens: int | None = None
    payout: str = ""
    records: int = 0


@dataclass(frozen=True, slots=True)
class PartnerStatement:
    """A month's. Every total is the sum of lines."""

    partner: str
    name: str
    month: str
    start: datetime
    end: datetime
    sites: tuple[str, ...]
    mining_share: Decimal
    inference_share: Decimal
    lines: tuple[PartnerLine, ...]
    simulated: bool

    def of(self, what: str) -> list[PartnerLine]:
        return [line for line in self.lines if line.what == what]

    def total(self, what: str) -> int | Decimal:
        return sum((line.amount for line in self.of(what)), 0)

    def part(self, what: str) -> int:
        """What of it is the partner's."""
        return sum(line.part or 0 for line in self.of(what))

    @property
    def tokens(self) -> int:
        return sum(line.tokens or 0 for line in self.lines)

    @property
    def heard_s(self) -> int:
        return int(self.total("heard"))

    @property
    def availability(self) -> Decimal | None:
        """Share of the seconds asked for in which the sites' meters were heard; None: none was asked for."""
        asked = int(self.total("elapsed"))
        return None if asked == 0 else (Decimal(self.heard_s) / asked).quantize(Decimal("0.0001"))


def parted(whole: int, weights: Mapping[str, int]) -> dict[str, int]:
    """A whole number by weights, exact: what rounding leaves goes to the largest. Nobody's without weights."""
    total = sum(weight for weight in weights.values() if weight > 0)
    if not total:
        return {}
    parts = {name: whole * weight // total for name, weight in sorted(weights.items()) if weight > 0}
    parts[max(parts, key=lambda name: (weights[name], name))] += whole - sum(parts.values())
    return parts


def by_site(usage: Usage) -> dict[str, tuple[int, int]]:
    """Of one request by the sites that served it: (nano-dollars, output tokens). The nano-dollars sum to its cost."""
    tokens: dict[str, int] = defaultdict(int)
    prompts: dict[str, int] = defaultdict(int)
    for hop in usage.hops:
        tokens[hop.site_id] += hop.output_tokens
        prompts[hop.site_id] += hop.prompt_tokens
    weights: Mapping[str, int] = tokens if any(tokens.values()) else prompts
    if not any(weights.values()) and usage.hops:
        weights = {usage.hops[-1].site_id: 1}
    money = parted(usage.cost_nano_usd, weights)
    return {site: (money.get(site, 0), tokens[site]) for site in {*money, *tokens}}


@dataclass
class SitesOfMonth:
    """What a month's records say of all sites, each counted where it was: the fold behind every partner's statement.
    `take` samples before the payouts that pay for them are asked after."""

    zone: tzinfo
    energy: dict[Place, tuple[Decimal, int]] = field(default_factory=dict)
    hashes: dict[Place, tuple[int, int]] = field(default_factory=dict)
    money: dict[Place, tuple[int, int, int]] = field(default_factory=dict)  # nano-dollars, tokens, requests
    heard: dict[Place, tuple[int, int]] = field(default_factory=dict)
    faults: dict[Place, tuple[int, int, int]] = field(default_factory=dict)  # Wh short by faults, full Wh, records
    spans: dict[str, tuple[Payout, dict[str, int]]] = field(default_factory=dict)
    simulated: bool = False

    def expects(self, payouts: Iterable[Payout]) -> None:
        """The month's payouts, whose spans machines' hashes are counted in."""
        for payout in payouts:
            self.spans[payout.payout_id] = (payout, {})
            self.simulated |= payout.kind == "simulated"

    def take(self, record: PowerBill | Sample | Usage | MeterReading | Shortfall, *, within: bool = True) -> None:
        """`within`: it is of the month itself; else it only counts for a payout whose span began before."""
        if isinstance(record, Sample):
            self._sample(record, within=within)
        elif not within:
            return
        elif isinstance(record, Usage):
            day = self._day(record.at)
            for site, (nano, tokens) in by_site(record).items():
                before = self.money.get((day, site), (0, 0, 0))
                self.money[day, site] = (before[0] + nano, before[1] + tokens, before[2] + 1)
        else:
            self._of_site(record, (self._day(record.at), record.site_id))

    def _of_site(self, record: PowerBill | MeterReading | Shortfall, place: Place) -> None:
        if isinstance(record, PowerBill):
            wh = sum((Decimal(repr(one)) for one in (record.mining_wh, record.inference_wh, record.aux_wh)), Decimal(0))
            sum_wh, count = self.energy.get(place, (Decimal(0), 0))
            self.energy[place] = (sum_wh + wh, count + 1)
            self.simulated |= record.kind == "simulated"
        elif isinstance(record, MeterReading):
            seconds, count = self.heard.get(place, (0, 0))
            self.heard[place] = (seconds + (record.length_s if record.readings else 0), count + 1)
        else:
            lost, full, count = self.faults.get(place, (0, 0, 0))
            self.faults[place] = (lost + record.short_wh.get("fault", 0), full + record.full_wh, count + 1)

    def _sample(self, sample: Sample, *, within: bool) -> None:
        if sample.hashrate_hs is None or sample.hashrate_hs < 0:
            return
        made = round(sample.hashrate_hs * sample.length_s)
        if within:
            place = (self._day(sample.at), sample.site_id)
            hashes, count = self.hashes.get(place, (0, 0))
            self.hashes[place] = (hashes + made, count + 1)
        for payout, sites in self.spans.values():
            if payout.span_start <= sample.at < payout.span_end:
                sites[sample.site_id] = sites.get(sample.site_id, 0) + made

    def _day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def paid(self) -> dict[str, dict[str, int]]:
        """By payout, satoshi by site; all of it, or nothing where no machine was heard."""
        return {name: parted(payout.sats, hashes) for name, (payout, hashes) in self.spans.items()}

    def statement(
        self, partner: Partner, month: str, start: datetime, end: datetime, now: datetime
    ) -> PartnerStatement:
        """Of one partner, whose sites are those that it has now."""
        own, lines = set(partner.sites), list[PartnerLine]()
        elapsed = int((min(end, now) - start).total_seconds())
        for (day, site), (wh, count) in sorted(self.energy.items()):
            lines += [PartnerLine("energy", day, site, wh, "Wh", records=count)] if site in own else []
        for (day, site), (made, count) in sorted(self.hashes.items()):
            lines += [PartnerLine("hashes", day, site, made, "hashes", records=count)] if site in own else []
        for name, sites in sorted(self.paid().items(), key=lambda one: (self.spans[one[0]][0].at, one[0])):
            day = self._day(self.spans[name][0].at)
            for site in sorted(own & sites.keys()):
                part = int(sites[site] * partner.mining_share)
                lines.append(PartnerLine("mining", day, site, sites[site], "sats", part, payout=name, records=1))
        for (day, site), (nano, tokens, count) in sorted(self.money.items()):
            if site in own:
                part = int(nano * partner.inference_share)
                lines.append(PartnerLine("inference", day, site, nano, "nano-USD", part, tokens, records=count))
        for (day, site), (seconds, count) in sorted(self.heard.items()):
            lines += [PartnerLine("heard", day, site, seconds, "s", records=count)] if site in own else []
        lines += [PartnerLine("elapsed", None, site, elapsed, "s") for site in sorted(own)]
        for (day, site), (lost, _, count) in sorted(self.faults.items()):
            lines += [PartnerLine("faults", day, site, lost, "Wh", records=count)] if site in own else []
        return PartnerStatement(
            partner.id, partner.name, month, start, end, partner.sites,
            partner.mining_share, partner.inference_share, tuple(lines), self.simulated,
        )  # fmt: skip
