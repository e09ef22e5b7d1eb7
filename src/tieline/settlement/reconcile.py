"""Pools against the chain, day by day: what the measured hashes were expected to earn, what pools stated, and what
arrived at watched addresses.

Rejects and luck lie between expected and stated, and a pool pays some days after it stated, so no two are ever equal. A
day that was heard and not paid, paid and not heard, or far from what is due is named; so are coins that were stated and
did not come, and coins that came and nobody stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from tieline.books.keeper import newest_of
from tieline.books.policy import PoolTerms
from tieline.economics import LEAST, Epoch, Luck, expected_btc, luck
from tieline.records import NetworkTick, Payout, Receipt
from tieline.settlement.month import BEGINNING, hashes_of, network_of, span_of
from tieline.store import Store
from tieline.units import Hashrate

DAY = timedelta(days=1)
# Luck of an FPPS pool is none, and fees have been up to a fifth of the subsidy; beyond this somebody should look.
NEAR = (0.9, 1.25)
# With the pool's terms known: of what is due. Rejects and the pool's own average of fees are within them; PPS+ has the
# fees as they come. Of what comes with blocks a day says nothing: the month's luck does.
NEAR_DUE: dict[str, tuple[float, float]] = {"fpps": (0.95, 1.05), "pps+": (0.9, 1.15)}
# Pools pay daily or at a threshold; a week without payment is worth a question.
OWED_FOR = timedelta(days=7)
MEASUREMENT = "measurement: counted by the pool otherwise than by the machines"
REJECTS = "rejects: stale and invalid work that the pool did not pay"
# A month of one's own blocks less likely than this is named.
UNLIKELY = 0.001


@dataclass(frozen=True, slots=True)
class PoolDay:
    """One UTC day. `expected`: subsidy the measured hashes earn on average, BTC; `due`: that with fees and the pool's
    fee, where its terms are known; None where nothing was heard or the network is not known. `owed`: all that was
    stated by the day's end less all that was received; None where no address is watched. `remark` is empty where they
    agree."""

    day: datetime
    hashrate_hs: float | None
    expected: float | None
    stated: Decimal
    payouts: int
    running: bool = False  # the day has not ended: what is missing may still come
    due: float | None = None
    near: tuple[float, float] | None = NEAR
    received: Decimal = Decimal(0)
    receipts: int = 0
    owed: Decimal | None = None
    owed_since: datetime | None = None
    blocks: int = 0
    blocks_expected: float | None = None
    tx_fees: float | None = None  # that the hashes earn on average, before the pool's fee
    # Of the hashes that were measured, the share that the pool counted, and of those the share that it did not pay;
    # None where it does not say.
    counted: float | None = None
    rejected: float | None = None
    # By difficulty: the subsidy they earn on average, of `expected`.
    by_difficulty: tuple[tuple[float, float], ...] = ()

    @property
    def basis(self) -> float:
        """What the day's hashes earn on average, as far as the pool's terms are known."""
        return self.due if self.due is not None else (self.expected or 0.0) + (self.tx_fees or 0.0)

    @property
    def misread(self) -> float:
        """What of that the pool counted more of than the machines said; negative: less."""
        return self.basis * ((self.counted or 0.0) - 1)

    @property
    def lost(self) -> float:
        """What of that went with rejected work."""
        return self.basis * (self.counted or 0.0) * (self.rejected or 0.0)

    @property
    def ratio(self) -> float | None:
        """Stated over what is due, where that is known, else over what was expected."""
        base = self.due if self.due is not None else self.expected
        return float(self.stated) / base if base else None

    @property
    def remark(self) -> str:
        return "" if self.running else "; ".join(self._remarks())

    def _remarks(self) -> Iterable[str]:
        ratio = self.ratio
        if self.payouts and self.expected is None:
            yield "stated, and nothing was heard"
        elif not self.payouts and self.expected and self.near is not None:
            yield "heard, and nothing was stated"
        elif ratio is not None and self.near is not None and not self.near[0] <= ratio <= self.near[1]:
            yield f"stated is {ratio:.2f} of {'expected' if self.due is None else 'what is due'}"
        if self.owed is not None and self.owed < 0:
            yield f"{-self.owed:,.8f} BTC came that nobody stated"
        elif self.owed_since is not None and self.day + DAY - self.owed_since > OWED_FOR:
            yield f"{self.owed:,.8f} BTC stated since {self.owed_since:%Y-%m-%d} have not come"


@dataclass(frozen=True, slots=True)
class PoolMonth:
    """A month's days. `luck`: of blocks of one's own, where there is a pool of one's own or one was found."""

    month: str
    days: tuple[PoolDay, ...]
    terms: tuple[PoolTerms, ...]
    luck: Luck | None

    @property
    def steps(self) -> list[tuple[str, float]]:
        """From what the hashes earn on average to what was stated, BTC: the first and the last are the two, those
        between sum to their difference. Without the pool's terms its fee is in the last step, and rejects and what the
        pool counted otherwise than the machines are where it does not say them of each day."""
        expecting = [one for one in self.days if one.expected is not None]
        steps, rest = self._to_due(expecting)
        apart = _saying(expecting)
        if apart:
            steps.append((MEASUREMENT, sum(one.misread for one in apart)))
            steps.append((REJECTS, -sum(one.lost for one in apart)))
            rest = [name for name in rest if name not in ("rejects", "measurement")]
        last = rest[0] if len(rest) == 1 else f"{', '.join(rest[:-1])} and {rest[-1]}"
        of_heard = sum((one.stated for one in expecting), Decimal(0))
        unheard = sum((one.stated for one in self.days), Decimal(0)) - of_heard
        steps.append((last, float(of_heard) - sum(btc for _, btc in steps)))
        if unheard:
            steps.append(("stated of days of which nothing was heard", float(unheard)))
        return [*steps, ("stated", float(of_heard + unheard))]

    def _to_due(self, days: Sequence[PoolDay]) -> tuple[list[tuple[str, float]], list[str]]:
        """(the steps to what is due, what lies between that and what was stated)."""
        expected = sum(one.expected or 0.0 for one in days)
        fees = sum(one.tx_fees or 0.0 for one in days)
        steps, rest = (
            [("expected of the subsidy", expected), ("transaction fees", fees)],
            ["rejects", "measurement", "luck"],
        )
        if not days or any(one.due is None for one in days):
            return steps, ["pool's fee", *rest]
        steps.append(("pool's fee", sum(one.due or 0.0 for one in days) - expected - fees))
        return steps, rest

    @property
    def epochs(self) -> list[tuple[float, float]]:
        """(difficulty, expected of the subsidy in it), in the order in which they came."""
        epochs: dict[float, float] = {}
        for difficulty, btc in (part for one in self.days for part in one.by_difficulty):
            epochs[difficulty] = epochs.get(difficulty, 0.0) + btc
        return list(epochs.items())

    @property
    def remarks(self) -> list[str]:
        remarks = [f"{one.day:%Y-%m-%d}: {one.remark}" for one in self.days if one.remark]
        if self.luck is not None and self.luck.chance < UNLIKELY:
            remarks.append(
                f"{self.luck.found} blocks of one's own where {self.luck.expected:.2f} were expected: by chance so in "
                f"{self.luck.chance:.2g} of months"
            )
        return remarks


Hashed = Callable[[datetime, datetime], tuple[float, int]]


def pool_month(
    store: Store, month: str, now: datetime, terms: Sequence[PoolTerms] = (), hashed: Hashed | None = None
) -> PoolMonth:
    """`terms`: of the pools, as the policy has them; `hashed`: (hashes, samples) of a span, where it is known already.
    Raises ValueError for a month of which nothing is known."""
    days = pool_days(store, month, now, terms, hashed)
    own = any(one.method == "solo" for one in terms) or any(one.blocks for one in days)
    expected = sum(one.blocks_expected or 0.0 for one in days)
    fortune = luck(sum(one.blocks for one in days), expected) if own else None
    return PoolMonth(month, tuple(days), tuple(terms), fortune)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a month's days are made of: the network as it was told, payouts and receipts since ever, oldest first."""

    ticks: list[NetworkTick]
    paid: list[Payout]
    receipts: list[Receipt]
    pool: PoolTerms | None

    def day(self, day: datetime, until: datetime, mean: float | None) -> PoolDay:
        """`mean`: hashrate until then; None where nothing was heard."""
        mine = [one for one in self.paid if day < one.at <= day + DAY]
        came = [one.sats for one in self.receipts if day <= one.at < day + DAY]
        own = [one.sats for one in mine if one.block is not None]
        owed, since = _owed(self.paid, self.receipts, day + DAY) if self.receipts else (None, None)
        return PoolDay(
            day=day,
            hashrate_hs=mean,
            expected=_expected(mean, self.ticks, day, until, lambda tick: tick.subsidy_btc),
            stated=_btc(one.sats for one in mine),
            payouts=len(mine),
            running=until < day + DAY,
            due=None if self.pool is None else _due(mean, self.ticks, day, until, self.pool),
            near=NEAR if self.pool is None else NEAR_DUE.get(self.pool.method),
            received=_btc([*came, *own]),
            receipts=len(came) + len(own),
            owed=owed,
            owed_since=since,
            blocks=len(own),
            blocks_expected=_expected(mean, self.ticks, day, until, lambda _: 1.0),
            tx_fees=_expected(mean, self.ticks, day, until, lambda tick: tick.subsidy_btc * tick.fee_share),
            by_difficulty=self._by_difficulty(day, until, mean),
            **_said(mine, None if mean is None else mean * (until - day).total_seconds()),
        )

    def _by_difficulty(self, day: datetime, until: datetime, mean: float | None) -> tuple[tuple[float, float], ...]:
        spans = []
        for difficulty in dict.fromkeys(tick.difficulty for tick in self.ticks if tick.at < until):
            btc = _expected(mean, self.ticks, day, until, partial(_subsidy_at, difficulty))
            if btc:
                spans.append((difficulty, btc))
        return tuple(spans)


def pool_days(
    store: Store, month: str, now: datetime, terms: Sequence[PoolTerms] = (), hashed: Hashed | None = None
) -> list[PoolDay]:
    """Every day of the month that has begun. Raises ValueError for a month of which nothing is known."""
    start, end = span_of(store, month, now)
    ticks = [t for t in network_of(store, start, end) if t.kind != "forecast" and t.difficulty > LEAST]
    paid = newest_of(store.between(Payout, BEGINNING, end + timedelta(microseconds=1)))
    received = _Heard(
        sorted(ticks, key=lambda t: (t.at, t.known_at)),
        [one for one in paid if one.sats > 0],
        newest_of(store.between(Receipt, BEGINNING, end)),
        # With several pools it is not measured which hashes went to which.
        terms[0] if len(terms) == 1 else None,
    )
    days = []
    day = start
    while day < min(end, now):
        until = min(day + DAY, now)
        hashes, samples = hashes_of(store, day, until) if hashed is None else hashed(day, until)
        days.append(received.day(day, until, hashes / (until - day).total_seconds() if samples else None))
        day += DAY
    return days


def _said(payouts: Sequence[Payout], measured: float | None) -> dict[str, float]:
    """What the pool said of a day's hashes, beside those that were measured; nothing where it does not of each
    payout."""
    stated = [
        (one.hashrate_hs * (one.span_end - one.span_start).total_seconds(), one.rejected)
        for one in payouts
        if one.hashrate_hs is not None
    ]
    counted = sum(hashes for hashes, _ in stated)
    if not measured or not counted or len(stated) < len(payouts):
        return {}
    lost = [hashes * rejected for hashes, rejected in stated if rejected is not None]
    share = {"rejected": sum(lost) / counted} if len(lost) == len(stated) else {}
    return {"counted": counted / measured, **share}


def _saying(days: Sequence[PoolDay]) -> list[PoolDay]:
    """Days with payouts, where the pool says of each what it counted and what it did not pay; else none."""
    paid = [one for one in days if one.payouts]
    return paid if all(one.counted is not None and one.rejected is not None for one in paid) else []


def _subsidy_at(difficulty: float, tick: NetworkTick) -> float:
    return tick.subsidy_btc if tick.difficulty == difficulty else 0.0


def _btc(sats: Iterable[int]) -> Decimal:
    return Decimal(sum(sats)).scaleb(-8)


def _owed(paid: Sequence[Payout], receipts: Sequence[Receipt], until: datetime) -> tuple[Decimal, datetime | None]:
    """What was stated by `until` and has not come, and since when the oldest of it was stated: what comes settles the
    oldest first. Blocks of one's own are nobody's to send."""
    came = sum(one.sats for one in receipts if one.at < until)
    stated, since = 0, None
    for one in paid:
        if one.at <= until and one.block is None:
            stated += one.sats
            if since is None and stated > came:
                since = one.at
    return _btc([stated - came]), since


def _due(mean: float | None, ticks: list[NetworkTick], start: datetime, end: datetime, pool: PoolTerms) -> float | None:
    """Subsidy and fees that the hashes earn on average, each less the pool's fee on it."""
    fee, on_fees = 1 - float(pool.fee), 1 - float(pool.on_fees)
    return _expected(mean, ticks, start, end, lambda tick: tick.subsidy_btc * (fee + on_fees * tick.fee_share))


def _expected(
    mean: float | None,
    ticks: list[NetworkTick],
    start: datetime,
    end: datetime,
    reward: Callable[[NetworkTick], float],
) -> float | None:
    """What the hashes earn on average where a block is worth `reward`."""
    if mean is None or not ticks:
        return None
    epochs = [Epoch(max(start, t.at) if n else start, t.difficulty, reward(t)) for n, t in enumerate(ticks)]
    return expected_btc(Hashrate(mean), epochs, start, end)
