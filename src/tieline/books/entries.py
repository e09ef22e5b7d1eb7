"""What a record means in money.

Mined bitcoin is income at its fair value when the pool credits it, and that value is the lot's cost
(ASC 606 for the revenue; ASU 2023-08 keeps the lots for the gain on disposal). `Trading:` accounts carry what
changed commodity, so each entry sums to zero in bitcoin and in dollars; `Trading:USD` is the cost of the
bitcoin still held.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType

from tieline.books.accounts import (
    BOUGHT,
    CASH,
    CURRENCIES,
    GAIN,
    IMMATURE,
    MINED,
    OPENED,
    SOLD,
    TRADING_USD,
    TREASURY,
    above_zero,
    coins_at,
    leaving,
)
from tieline.books.treasury.obligations import obligations
from tieline.ledger import USD, Amount, Book, Entry, EntryError, Posting, btc_of_sats, usd
from tieline.records import Loan, Opening, Payout, Performance, PowerBill, Record, Trade

NO_LOANS: Mapping[str, Loan] = MappingProxyType({})


def entries_for(record: Record, book: Book, loans: Mapping[str, Loan] = NO_LOANS) -> list[Entry]:
    """The entries a record makes, against the book as it stands (a sale needs its lots). Records that mean
    nothing in money give none. Raises EntryError, naming the field, for one that cannot be booked."""
    if isinstance(record, Payout):
        return _payout(record)
    if isinstance(record, PowerBill):
        return [_power(record)]
    if isinstance(record, Performance):
        return _performance(record)
    if isinstance(record, Opening):
        return [_opening(record)]
    if isinstance(record, Trade):
        return [_sale(record, book) if record.sats > 0 else _purchase(record)]
    return obligations(record, book, loans)


def _opening(opening: Opening) -> Entry:
    """Cash and bitcoin against equity; the bitcoin is the oldest lot."""
    if opening.sats < 0:
        raise EntryError(f"opening {opening.opening_id}: sats is {opening.sats}; it must not be negative")
    if opening.cost_usd < 0:
        raise EntryError(f"opening {opening.opening_id}: cost_usd is {opening.cost_usd}; it must not be negative")
    coins, cost, cash = btc_of_sats(opening.sats), usd(opening.cost_usd), usd(opening.cash_usd)
    bitcoin = (
        Posting(coins_at(opening.place), coins, lot=opening.opening_id, cost=cost, acquired=opening.acquired),
        Posting(OPENED, -coins),
        Posting(TRADING_USD, cost),
        Posting("Equity:Opening", -cost),
    )
    return Entry(
        opening.at,
        f"opening|{opening.key}",
        "opening balances",
        (Posting(CASH, cash), Posting("Equity:Opening", -cash), *(bitcoin if opening.sats else ())),
        refs=(f"Opening|{opening.key}",),
        simulated=opening.kind == "simulated",
    )


def _payout(payout: Payout) -> list[Entry]:
    """Coins of a block of one's own lie apart until they can be spent; one that did not stay in the chain brings
    none."""
    own = payout.block is not None
    if own and payout.sats == 0:
        return []
    if payout.btc_usd is None:
        raise EntryError(f"payout {payout.payout_id} has no price: btc_usd is missing; it is booked at its fair value")
    above_zero(f"payout {payout.payout_id}", "sats", payout.sats)
    above_zero(f"payout {payout.payout_id}", "btc_usd", payout.btc_usd)
    coins = btc_of_sats(payout.sats)
    value = usd(coins.number * payout.btc_usd)
    place = IMMATURE if own else coins_at(payout.place)
    words = f"{payout.pool}: {coins} at {payout.btc_usd:,.2f} USD/BTC" + (f", block {payout.block:,}" if own else "")
    entry = Entry(
        # A payout is credited at the end of the span it pays for, and belongs to that span: to its last instant.
        payout.at - timedelta(microseconds=1),
        f"payout|{payout.key}",
        words,
        (
            Posting(place, coins, lot=payout.payout_id, cost=value),
            Posting(MINED, -coins),
            Posting(TRADING_USD, value),
            Posting("Income:Mining", -value),
        ),
        refs=(f"Payout|{payout.key}",),
        simulated=payout.kind == "simulated",
    )
    return [entry]


def _power(bill: PowerBill) -> Entry:
    """Cost by use, in proportion to energy; auxiliary load follows the load it cools."""
    total = usd(bill.cost_usd)
    load_wh = bill.mining_wh + bill.inference_wh
    share = Decimal(repr(bill.inference_wh)) / Decimal(repr(load_wh)) if load_wh > 0 else Decimal(0)
    inference = usd(total.number * share)
    mining = usd(total.number - inference.number)
    return Entry(
        bill.at,
        f"power|{bill.key}",
        f"{bill.site_id}: {(load_wh + bill.aux_wh) / 1e6:,.3f} MWh" if load_wh else f"{bill.site_id}: demand charge",
        (
            Posting("Expenses:Power:Mining", mining),
            Posting("Expenses:Power:Inference", inference),
            # Nobody pays the bill of an invented fleet later: it is paid as it falls due.
            Posting(CASH if bill.kind == "simulated" else f"Liabilities:Power:{bill.site_id}", -total),
        ),
        refs=(f"PowerBill|{bill.key}",),
        simulated=bill.kind == "simulated",
    )


def _performance(performance: Performance) -> list[Entry]:
    """What a promise is paid, and what it or an order is fined, against what the grid owes. A peak window moves no
    money: next year's charge does."""
    paid, fine = usd(performance.paid_usd), usd(performance.penalty_usd)
    if not paid.number and not fine.number:
        return []
    owed = usd(paid.number - fine.number)
    return [
        Entry(
            performance.at,
            f"performance|{performance.key}",
            performance.line,
            (
                Posting(f"Assets:Receivable:Grid:{performance.site_id}", owed),
                Posting("Income:Grid:Reserves", -paid),
                Posting("Expenses:Grid:Penalties", fine),
            ),
            refs=(f"Performance|{performance.key}",),
            simulated=performance.kind == "simulated",
        )
    ]


def _sale(trade: Trade, book: Book) -> Entry:
    """By the book's method, or the lots that are named; the gain is proceeds less what those lots cost."""
    above_zero(f"trade {trade.trade_id}", "price_usd", trade.price_usd)
    coins = btc_of_sats(trade.sats)
    proceeds, fee = usd(coins.number * trade.price_usd), usd(trade.fee_usd)
    taken = book.pick(coins_at(trade.place), coins, trade.lots, trade.at)
    cost = sum((part_cost for _, _, part_cost in taken), Decimal(0))
    return Entry(
        trade.at,
        f"trade|{trade.key}",
        f"sold {coins} at {trade.price_usd:,.2f} USD/BTC on {trade.venue}",
        (
            *leaving(taken),
            Posting(SOLD, coins),
            Posting(TRADING_USD, usd(-cost)),
            Posting(GAIN, usd(cost - proceeds.number)),
            *_brought(trade, usd(proceeds.number - fee.number)),
            Posting("Expenses:TradingFees", fee),
        ),
        refs=(f"Trade|{trade.key}",),
        simulated=trade.kind == "simulated",
    )


def _brought(trade: Trade, worth: Amount) -> tuple[Posting, ...]:
    """What came in for the coins: dollars, or another currency at what it was worth in dollars then."""
    if trade.currency == USD:
        return (Posting(CASH, worth),)
    if trade.received is None:
        raise EntryError(f"trade {trade.trade_id}: received is missing; say how much {trade.currency} it brought")
    above_zero(f"trade {trade.trade_id}", "received", trade.received)
    money_in = Amount(trade.received, trade.currency)
    return Posting(CASH, money_in), Posting(CURRENCIES, -money_in), Posting(CURRENCIES, worth)


def _purchase(trade: Trade) -> Entry:
    above_zero(f"trade {trade.trade_id}", "-sats", -trade.sats)
    above_zero(f"trade {trade.trade_id}", "price_usd", trade.price_usd)
    coins = btc_of_sats(-trade.sats)
    value, fee = usd(coins.number * trade.price_usd), usd(trade.fee_usd)
    return Entry(
        trade.at,
        f"trade|{trade.key}",
        f"bought {coins} at {trade.price_usd:,.2f} USD/BTC on {trade.venue}",
        (
            Posting(TREASURY, coins, lot=trade.trade_id, cost=value),
            Posting(BOUGHT, -coins),
            Posting(TRADING_USD, value),
            Posting("Expenses:TradingFees", fee),
            Posting(CASH, usd(-(value.number + fee.number))),
        ),
        refs=(f"Trade|{trade.key}",),
        simulated=trade.kind == "simulated",
    )
