"""A partner's month: what its sites drew, made, served and brought, line by line, each line a sum of records.

    energy        Wh of its sites' power bills, by day and site
    hashes        hashes that its machines' samples say, by day and site
    mining        satoshi of each payout, shared among all sites by the hashes their machines made in the payout's span
    inference     nano-dollars of each request, shared among the sites that served it by the output tokens of each (by
                  prompt tokens where it made none), summed by day and site
    availability  seconds in which its sites' meters were heard, of those since they first told anything, and what of
                  full mining faults took

All sums are exact: satoshi, nano-dollars and tokens are whole numbers, watt-hours the decimals that records hold. What
rounding leaves of a payout or a request goes to the largest part, so that all sites together have all of it. The
partner's part of a line is its share of that line rounded down to a whole satoshi or nano-dollar, and the statement's
total is the sum of its lines. A payout in whose span no machine was heard is shared by nobody. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal

from tieline.books.reports.sums import RolledSums, parted
from tieline.clock import FIVE_MINUTES
from tieline.fleet import Partner
from tieline.records import Payout

Place = tuple[date, str]  # a day and a site
MIDNIGHT = datetime(1970, 1, 1, tzinfo=UTC)


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
        """Share of the time that the sites have had meters in which these were heard; None: none has told yet."""
        asked = int(self.total("elapsed"))
        return None if asked == 0 else (Decimal(self.heard_s) / asked).quantize(Decimal("0.0001"))


@dataclass(frozen=True, slots=True)
class PayoutHashes:
    """A payout with the hashes that each site's machines made in its span."""

    payout: Payout
    hashes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SitesOfMonth:
    """What a month's records say of sites, each counted where and on the day on which it was: behind every partner's
    statement. `paid_for` has the hashes of all sites, `days` of those that are asked for. `metered_from`: since when a
    site has a meter that tells, of those that have one."""

    zone: tzinfo
    days: Mapping[Place, RolledSums] = field(default_factory=dict)
    paid_for: Sequence[PayoutHashes] = ()
    metered_from: Mapping[str, datetime] = field(default_factory=dict)
    simulated: bool = False

    def paid(self) -> dict[str, dict[str, int]]:
        """By payout, satoshi by site; all of it, or nothing where no machine was heard."""
        return {one.payout.payout_id: parted(one.payout.sats, one.hashes) for one in self.paid_for}

    def statement(
        self, partner: Partner, month: str, start: datetime, end: datetime, now: datetime
    ) -> PartnerStatement:
        """Of one partner, whose sites are those that it has now."""
        own, lines = set(partner.sites), list[PartnerLine]()
        told = min(end, now - (now - MIDNIGHT) % FIVE_MINUTES)  # of the interval that runs nobody can have heard yet
        days = [(day, site, sums) for (day, site), sums in sorted(self.days.items()) if site in own]
        lines += [
            PartnerLine("energy", day, site, one.billed_wh, "Wh", records=one.bills)
            for day, site, one in days
            if one.bills
        ]
        lines += [
            PartnerLine("hashes", day, site, one.hashes, "hashes", records=one.hash_samples)
            for day, site, one in days
            if one.hash_samples
        ]
        lines += self._mining(partner)
        for day, site, one in days:
            if one.requests:
                part = int(one.nano_usd * partner.inference_share)
                tokens, count = one.served_tokens, one.requests
                lines.append(PartnerLine("inference", day, site, one.nano_usd, "nano-USD", part, tokens, records=count))
        lines += [
            PartnerLine("heard", day, site, one.heard_s, "s", records=one.meters)
            for day, site, one in days
            if one.meters
        ]
        for site in sorted(own & self.metered_from.keys()):
            elapsed_s = int((told - max(start, self.metered_from[site])).total_seconds())
            lines += [PartnerLine("elapsed", None, site, elapsed_s, "s")] if elapsed_s > 0 else []
        lines += [
            PartnerLine("faults", day, site, one.short_wh_fault, "Wh", records=one.shortfalls)
            for day, site, one in days
            if one.shortfalls
        ]
        return PartnerStatement(
            partner.id, partner.name, month, start, end, partner.sites,
            partner.mining_share, partner.inference_share, tuple(lines), self.simulated,
        )  # fmt: skip

    def _mining(self, partner: Partner) -> Iterator[PartnerLine]:
        for one in sorted(self.paid_for, key=lambda one: (one.payout.at, one.payout.payout_id)):
            day = one.payout.at.astimezone(self.zone).date()
            sats = parted(one.payout.sats, one.hashes)
            for site in sorted(set(partner.sites) & sats.keys()):
                part = int(sats[site] * partner.mining_share)
                name = one.payout.payout_id
                yield PartnerLine("mining", day, site, sats[site], "sats", part, payout=name, records=1)
