"""Bitcoin-backed debt under prices: the ladder of triggers, what a sale would do, what a fall would do.

Pure. LTV = debt / (pledged bitcoin x price). A trigger price is where LTV reaches a level: debt / (level x pledged).
Terms that are only known as a range give a range of triggers; a term that is not known gives none.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from tieline.books.accounts import IMMATURE, is_held
from tieline.economics import ltv
from tieline.ledger import LotHeld
from tieline.records import Range

SAT, CENT = Decimal("0.00000001"), Decimal("0.01")
# A release frees coins whose sale frees more; each round repays, so it ends, and this many are more than any needs.
ROUNDS = 1_000


class AskedError(ValueError):
    """What is wrong with the question; the message says how to put it."""


@dataclass(frozen=True, slots=True)
class Secured:
    """One loan as it stands: its debt in `currency`, what is pledged for it, and its terms as far as they are known."""

    loan_id: str
    debt: Decimal
    pledged: Decimal
    currency: str = "USD"
    initial: Range | None = None
    call: Range | None = None
    release: Range | None = None
    liquidation: Range | None = None
    cure_hours: int | None = None
    may_rehypothecate: str = "unknown"

    def ltv(self, price: Decimal) -> Decimal | None:
        """None where nothing is pledged."""
        return ltv(self.debt, self.pledged, price)

    def trigger(self, level: Range | None) -> Range | None:
        """The price at which LTV reaches a level; None where the level is not known or nothing is owed or pledged."""
        if level is None or self.pledged <= 0 or self.debt <= 0 or level.low <= 0:
            return None
        low, high = (_cents(self.debt / (ratio * self.pledged)) for ratio in (level.high, level.low))
        return Range(low=low, high=high)

    def needed(self, level: Decimal, price: Decimal) -> Decimal:
        """Bitcoin that must stand for the debt so that LTV is `level` at `price`, rounded up to the satoshi."""
        return (self.debt / (level * price)).quantize(SAT, ROUND_CEILING)


@dataclass(frozen=True, slots=True)
class Rung:
    """One level of a loan: the price that reaches it, and the coins that then bring LTV back to the initial one."""

    loan_id: str
    level: str
    ltv: Range
    trigger: Range | None
    fall: Decimal | None  # from the price now, in percent, of the trigger's upper end
    coins: Decimal | None  # to pledge in addition at the trigger


@dataclass(frozen=True, slots=True)
class Holding:
    """What a treasury holds and owes at one moment. `held`: coins that wait for something pending; `immature`: rewards
    of blocks that cannot be spent yet."""

    free: Decimal
    loans: tuple[Secured, ...] = ()
    cash: Decimal = Decimal(0)
    lots: tuple[LotHeld, ...] = ()
    held: Decimal = Decimal(0)
    immature: Decimal = Decimal(0)

    @property
    def pledged(self) -> Decimal:
        return sum((loan.pledged for loan in self.loans), Decimal(0))

    @property
    def debt(self) -> Decimal:
        return sum((loan.debt for loan in self.loans), Decimal(0))

    @property
    def coins(self) -> Decimal:
        return self.free + self.pledged + self.held + self.immature


def ladder(holding: Holding, price: Decimal) -> list[Rung]:
    """Every known level of every loan."""
    rungs = []
    for loan in holding.loans:
        for name, level in (("initial", loan.initial), ("call", loan.call), ("liquidation", loan.liquidation)):
            if level is None:
                continue
            trigger = loan.trigger(level)
            fall = None if trigger is None else ((1 - trigger.high / price) * 100).quantize(CENT)
            coins = None
            if trigger is not None and name != "initial" and loan.initial is not None:
                coins = loan.needed(loan.initial.low, trigger.high) - loan.pledged
            rungs.append(Rung(loan.loan_id, name, level, trigger, fall, coins))
    return rungs


# --- what if --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sale:
    """A question: sell `btc` at `price` for `currency`, and repay with it where `repay`."""

    btc: Decimal
    price: Decimal
    currency: str = "USD"
    repay: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a sale: what was sold, what it brought, what was repaid, and what could then come back."""

    sold: Decimal
    proceeds: Decimal
    repaid: Decimal
    debt: Decimal
    releasable: Decimal


@dataclass(frozen=True, slots=True)
class SaleResult:
    """After a sale: `after` is what is held and owed then; `gains` by method, where lots and their costs are known."""

    sale: Sale
    proceeds: Decimal
    stages: tuple[Stage, ...]
    after: Holding
    gains: Mapping[str, Decimal]


_NUMBER = r"(\d[\d,_]*(?:\.\d+)?)"
_SALE = re.compile(
    rf"sell\s+{_NUMBER}\s*(?:btc)?\s+at\s+{_NUMBER}(?:\s*usd)?(?:\s+for\s+([a-z]{{3,5}}))?(\s*[,;]?\s*(?:and\s+)?repay)?",
    re.IGNORECASE,
)


def asked(text: str) -> Sale:
    """Reads `sell 4451 BTC at 68524 for USDT, repay`. Raises AskedError."""
    match = _SALE.fullmatch(text.strip())
    if match is None:
        raise AskedError(f'{text!r} is not understood; write it like "sell 4451 BTC at 68524 for USDT, repay"')
    btc, price = (Decimal(match[n].replace(",", "").replace("_", "")) for n in (1, 2))
    if btc <= 0 or price <= 0:
        raise AskedError("amount and price must be above 0")
    if btc != btc.quantize(SAT):
        raise AskedError(f"{btc} BTC has more than 8 decimals; round it")
    return Sale(btc, price, (match[3] or "USD").upper(), match[4] is not None)


def what_if(holding: Holding, sale: Sale) -> SaleResult:
    """Sell free coins first; with `repay`, what they bring repays the loans in their order, which lets pledged coins
    come back down to the release level (the initial one where none is agreed), and those are sold next.

    Raises AskedError where so many coins can be neither free nor freed.
    """
    left, now, stages = sale.btc, holding, []
    if sale.btc > holding.free + holding.pledged:
        raise AskedError(f"{sale.btc} BTC cannot be sold: {holding.free} are free and {holding.pledged} pledged")
    for _ in range(ROUNDS):
        sold = min(left, now.free)
        if sold <= 0:
            break
        left -= sold
        now, stage = _sold(now, sold, sale)
        stages.append(stage)
        if left <= 0:
            break
        now = _released(now, sale.price, left)
    if left > 0:
        why = (
            "their debt would not be repaid enough to release more"
            if sale.repay
            else 'add ", repay" to free pledged ones'
        )
        raise AskedError(f"only {sale.btc - left} of {sale.btc} BTC can be sold: {now.pledged} stay pledged; {why}")
    proceeds = sum((stage.proceeds for stage in stages), Decimal(0))
    lots = [lot for lot in holding.lots if lot.account != IMMATURE and not is_held(lot.account)]
    return SaleResult(sale, proceeds, tuple(stages), now, _gains(lots, sale))


def _sold(now: Holding, sold: Decimal, sale: Sale) -> tuple[Holding, Stage]:
    proceeds = _cents(sold * sale.price)
    cash, loans, repaid = now.cash + proceeds, [], Decimal(0)
    for loan in now.loans:
        pays = min(loan.debt, proceeds - repaid) if sale.repay else Decimal(0)
        repaid += pays
        loans.append(replace(loan, debt=loan.debt - pays))
    after = Holding(now.free - sold, tuple(loans), cash - repaid, now.lots, now.held, now.immature)
    stage = Stage(sold, proceeds, repaid, after.debt, sum((_spare(loan, sale.price) for loan in loans), Decimal(0)))
    return after, stage


def _spare(loan: Secured, price: Decimal) -> Decimal:
    """Pledged coins that may come back at this price, down to the satoshi."""
    if loan.debt <= 0:
        return loan.pledged
    level = loan.release or loan.initial
    if level is None:
        return Decimal(0)
    return max(Decimal(0), (loan.pledged - loan.debt / (level.low * price)).quantize(SAT, ROUND_FLOOR))


def _released(now: Holding, price: Decimal, wanted: Decimal) -> Holding:
    free, loans = now.free, []
    for loan in now.loans:
        back = loan.pledged if loan.debt <= 0 else min(_spare(loan, price), max(Decimal(0), wanted - free))
        free += back
        loans.append(replace(loan, pledged=loan.pledged - back))
    return replace(now, free=free, loans=tuple(loans))


def _gains(lots: Sequence[LotHeld], sale: Sale) -> dict[str, Decimal]:
    """Realised gain by method: proceeds less what the lots cost that would leave. Empty where the lots that are known
    do not cover the sale."""
    if sum((lot.number for lot in lots), Decimal(0)) < sale.btc or not lots:
        return {}
    proceeds = _cents(sale.btc * sale.price)
    by_age = sorted(lots, key=lambda lot: (lot.at, lot.lot))
    orders = {
        "fifo": by_age,
        "lifo": by_age[::-1],
        "hifo": sorted(lots, key=lambda lot: (-lot.cost / lot.number, lot.at, lot.lot)),
    }
    gains = {method: proceeds - _cost_of(order, sale.btc) for method, order in orders.items()}
    whole, cost = sum((lot.number for lot in lots), Decimal(0)), sum((lot.cost for lot in lots), Decimal(0))
    gains["average"] = proceeds - _cents(cost * sale.btc / whole)
    return gains


def _cost_of(order: Sequence[LotHeld], btc: Decimal) -> Decimal:
    cost = Decimal(0)
    for lot in order:
        part = min(lot.number, btc)
        cost += lot.cost if part == lot.number else _cents(lot.cost * part / lot.number)
        btc -= part
        if btc <= 0:
            break
    return cost


# --- stress ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shocked:
    """One loan after a given fall of the price. `cure_btc` and `cure_cash` each bring it back to its initial LTV."""

    loan_id: str
    shock: Decimal
    price: Decimal
    ltv: Decimal | None
    state: str  # kept | called | liquidated | not known
    cure_btc: Decimal | None
    cure_cash: Decimal | None


def shocks(holding: Holding, price: Decimal, falls: Sequence[Decimal]) -> list[Shocked]:
    """Every loan after each relative change of the price (-0.3 is a fall by 30 %)."""
    outcomes = []
    for fall in falls:
        then = price * (1 + fall)
        if then <= 0:
            raise AskedError(f"a shock of {fall:%} leaves no price; give one above -100 %")
        for loan in holding.loans:
            ratio = loan.ltv(then)
            cure_btc = cure_cash = None
            if loan.initial is not None and ratio is not None:
                cure_btc = max(Decimal(0), loan.needed(loan.initial.low, then) - loan.pledged)
                cure_cash = max(Decimal(0), _cents(loan.debt - loan.initial.low * loan.pledged * then))
            state = _state(loan, ratio)
            outcomes.append(Shocked(loan.loan_id, fall, _cents(then), ratio, state, cure_btc, cure_cash))
    return outcomes


def _state(loan: Secured, ratio: Decimal | None) -> str:
    if loan.debt <= 0:
        return "kept"
    if ratio is None or (loan.call is None and loan.liquidation is None):
        return "not known"
    if loan.liquidation is not None and ratio >= loan.liquidation.low:
        return "liquidated"
    return "called" if loan.call is not None and ratio >= loan.call.low else "kept"


@dataclass(frozen=True, slots=True)
class Stressed:
    """A loan begun at every hour of a history: how often a level was reached within `hours`, and how soon."""

    loan_id: str
    level: str
    starts: int
    reached: int
    soonest_h: int | None
    median_h: int | None


def play(holding: Holding, price: Decimal, history: Sequence[float], hours: int) -> list[Stressed]:
    """Play hourly prices from every hour on, scaled to the price now. Raises AskedError where they are too few."""
    if len(history) <= hours:
        raise AskedError(f"the history has {len(history)} hours; give more than the {hours} that are played")
    steps = []
    for loan in holding.loans:
        for name, level in (("call", loan.call), ("liquidation", loan.liquidation)):
            trigger = loan.trigger(level)
            if trigger is None:
                continue
            waits = _waits(history, float(trigger.high / price), hours)
            soonest, median = (min(waits), sorted(waits)[len(waits) // 2]) if waits else (None, None)
            steps.append(Stressed(loan.loan_id, name, len(history) - hours, len(waits), soonest, median))
    return steps


def _waits(history: Sequence[float], share: float, hours: int) -> list[int]:
    """For each start whose price falls to `share` of itself within `hours`: after how many. A start is scanned only
    where the least price of its window says that it happens."""
    least: deque[int] = deque()
    waits = []
    ahead = 0
    for start in range(len(history) - hours):
        while ahead <= start + hours:
            while least and history[least[-1]] >= history[ahead]:
                least.pop()
            least.append(ahead)
            ahead += 1
        while least[0] < start:
            least.popleft()
        bar = history[start] * share
        if history[least[0]] <= bar:
            waits.append(next(n for n in range(hours + 1) if history[start + n] <= bar))
    return waits


def _cents(value: Decimal) -> Decimal:
    return value.quantize(CENT)
