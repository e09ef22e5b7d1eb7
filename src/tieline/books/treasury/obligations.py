"""What a treasury's records mean in money: moves of coins, pledges, loans, bills, payments, shares, invoices.

Pledged coins stay one's own, the same lots in another account, while the lender may not sell or pledge them again.
Where it may, they leave at fair value with their gain, and a receivable for bitcoin collateral comes in at that value
(ASC 860-10-40-5: control has passed). Where that is not known they stay, and the loan's statement says it is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from tieline.books.accounts import (
    CASH,
    COLLATERAL,
    ENTERED,
    GAIN,
    IMMATURE,
    IMMATURE_PLACE,
    PLEDGED,
    SPENT,
    TRADING_USD,
    above_zero,
    account_of,
    cash_held,
    coins_at,
    leaving,
    matured_id,
)
from tieline.books.treasury.interest import INTEREST, accrued_account, accrues
from tieline.ledger import (
    BTC,
    COMMODITIES,
    Amount,
    Book,
    Entry,
    EntryError,
    LotHeld,
    Posting,
    btc_of_sats,
    money,
    part_cost,
    usd,
)
from tieline.records import (
    Equity,
    Issued,
    IssuedLine,
    Journaled,
    JournalLine,
    Loan,
    LoanFlow,
    Payment,
    Pledge,
    Receipt,
    Record,
    Transfer,
    VendorBill,
)

Taken = tuple[LotHeld, Decimal, Decimal]


def obligations(record: Record, book: Book, loans: Mapping[str, Loan]) -> list[Entry]:
    """Entries of a record of this kind; none for any other. Raises EntryError, naming the field."""
    match record:
        case Transfer():
            return [_transfer(record, book)]
        case Receipt():
            return _receipt(record, book)
        case Pledge():
            return [_pledge(record, book, loans)]
        case LoanFlow():
            return _by_state(record, _flow(record, book, loans))
        case VendorBill():
            return [_bill(record)]
        case Payment():
            return _by_state(record, _payment(record))
        case Equity():
            return _equity(record)
        case Issued():
            return [_issued(record)]
        case Journaled():
            return [_journaled(record, book)]
        case _:
            return []


def _entry(record: Record, word: str, narration: str, postings: Iterable[Posting]) -> Entry:
    refs = (f"{type(record).__name__}|{record.key}",)
    return Entry(record.at, f"{word}|{record.key}", narration, tuple(postings), refs, record.kind == "simulated")


def _moved(taken: list[Taken], to: str) -> list[Posting]:
    """Lots out of where they lie and into `to`, each with its cost and date."""
    into = [
        Posting(to, Amount(part, held.commodity), held.lot, Amount(cost, held.cost_commodity), held.at)
        for held, part, cost in taken
    ]
    return [*leaving(taken), *into]


def _cost(taken: list[Taken]) -> Decimal:
    return sum((cost for _, _, cost in taken), Decimal(0))


def _transfer(move: Transfer, book: Book) -> Entry:
    """Lots keep their cost and date; the fee in kind is a disposal at its value."""
    what = f"transfer {move.transfer_id}"
    above_zero(what, "sats", move.sats)
    matures = move.from_place == IMMATURE_PLACE and move.transfer_id.startswith(matured_id(""))
    source, target = IMMATURE if matures else coins_at(move.from_place), coins_at(move.to_place)
    if source == target:
        raise EntryError(f"{what}: from_place and to_place are both {move.from_place!r}")
    coins = btc_of_sats(move.sats)
    taken = book.pick(source, btc_of_sats(move.sats + move.fee_sats), move.lots, move.at)
    moved, fee = _split(taken, coins.number)
    lines = _moved(moved, target)
    if fee:
        if move.btc_usd is None:
            raise EntryError(f"{what} has no price: btc_usd is missing; its fee of {move.fee_sats} sats is a disposal")
        above_zero(what, "btc_usd", move.btc_usd)
        paid = btc_of_sats(move.fee_sats)
        value, cost = usd(paid.number * move.btc_usd), usd(_cost(fee))
        lines += [
            *leaving(fee),
            Posting(SPENT, paid),
            Posting(TRADING_USD, -cost),
            Posting(GAIN, usd(cost.number - value.number)),
            Posting("Expenses:NetworkFees", value),
        ]
    return _entry(move, "transfer", f"{coins} from {move.from_place} to {move.to_place}", lines)


def _receipt(came: Receipt, book: Book) -> list[Entry]:
    """Coins that a pool owed are where they were sent; one without `from_place` is booked elsewhere already."""
    if not came.from_place:
        return []
    what = f"receipt {came.receipt_id}"
    above_zero(what, "sats", came.sats)
    source, target = coins_at(came.from_place), coins_at(came.place)
    if source == target:
        raise EntryError(f"{what}: from_place and place are both {came.place!r}")
    coins = btc_of_sats(came.sats)
    words = f"{coins} received of {came.pool or came.from_place} at {came.address}, block {came.block:,}"
    return [_entry(came, "receipt", words, _moved(book.pick(source, coins, (), came.at), target))]


def _split(taken: list[Taken], number: Decimal) -> tuple[list[Taken], list[Taken]]:
    """What covers the first `number` of what was taken, and the rest."""
    first: list[Taken] = []
    rest: list[Taken] = []
    for held, part, cost in taken:
        here = min(part, number)
        number -= here
        share = cost if here == part else (cost * here / part).quantize(Decimal("0.01"))
        if here:
            first.append((held, here, share))
        if part > here:
            rest.append((held, part - here, cost - share))
    return first, rest


def _pledge(pledge: Pledge, book: Book, loans: Mapping[str, Loan]) -> Entry:
    what = f"pledge {pledge.pledge_id}"
    loan = loans.get(pledge.loan_id)
    if loan is None:
        raise EntryError(f"{what}: no loan {pledge.loan_id!r} is known; `tieline books add loan` it first")
    if pledge.sats == 0:
        raise EntryError(f"{what}: sats is 0; give what is pledged, or negative what comes back")
    coins = btc_of_sats(abs(pledge.sats))
    free, held = coins_at(pledge.place), f"{PLEDGED}:{account_of(loan.loan_id)}"
    receivable = f"{COLLATERAL}:{account_of(loan.loan_id)}"
    if loan.may_rehypothecate != "yes":
        source, target = (free, held) if pledge.sats > 0 else (held, free)
        words = f"{coins} pledged for {loan.loan_id}" if pledge.sats > 0 else f"{coins} back from {loan.loan_id}"
        return _entry(pledge, "pledge", words, _moved(book.pick(source, coins, pledge.lots, pledge.at), target))
    if pledge.btc_usd is None:
        raise EntryError(f"{what} has no price: btc_usd is missing; coins that the lender may sell leave at fair value")
    above_zero(what, "btc_usd", pledge.btc_usd)
    source, target = (free, receivable) if pledge.sats > 0 else (receivable, free)
    taken = book.pick(source, coins, pledge.lots, pledge.at)
    value, cost = usd(coins.number * pledge.btc_usd), usd(_cost(taken))
    into = Posting(target, coins, f"{pledge.pledge_id}@{loan.loan_id}", value)
    lines = [
        *leaving(taken),
        into,
        Posting(TRADING_USD, usd(value.number - cost.number)),
        Posting(GAIN, usd(cost.number - value.number)),
    ]
    words = "leave for" if pledge.sats > 0 else "come back from"
    return _entry(
        pledge, "pledge", f"{coins} {words} {loan.lender}, who may sell them, at {pledge.btc_usd:,.2f}", lines
    )


def _flow(flow: LoanFlow, book: Book, loans: Mapping[str, Loan]) -> Entry:
    what = f"loan flow {flow.flow_id}"
    loan = loans.get(flow.loan_id)
    if loan is None:
        raise EntryError(f"{what}: no loan {flow.loan_id!r} is known; `tieline books add loan` it first")
    above_zero(what, "amount", flow.amount)
    amount, debt = money(flow.amount, loan.currency), f"Liabilities:Loans:{account_of(loan.loan_id)}"
    match flow.what:
        case "drawn":
            lines = [Posting(CASH, amount), Posting(debt, -amount)]
        case "opening":
            lines = [Posting("Equity:Opening", amount), Posting(debt, -amount)]
        case "repaid":
            lines = [Posting(debt, amount), Posting(CASH, -amount)]
        case "interest":
            # What was accrued is owed already, and what is accrued at the next close may be paid already: a lender asks
            # before a month is closed. Of a loan that accrues nothing, what is paid is an expense of that day.
            account = accrued_account(loan)
            owed_now = max(Decimal(0), -book.balance(account, loan.currency))
            accrued = amount.number if accrues(loan) else min(amount.number, owed_now)
            rest = money(amount.number - accrued, loan.currency)
            owed = [Posting(account, money(accrued, loan.currency))] if accrued else []
            lines = [*owed, *([Posting(INTEREST, rest)] if rest.number else []), Posting(CASH, -amount)]
        case "fee":
            lines = [Posting("Expenses:LoanFees", amount), Posting(CASH, -amount)]
    return _entry(flow, "loan", f"{loan.loan_id} of {loan.lender}: {flow.what} {amount}", lines)


def _by_state(record: LoanFlow | Payment, posted: Entry) -> list[Entry]:
    """The entry; of what is pending, the cash it will take, set apart; of what is pending and comes in, or was voided,
    nothing."""
    if record.state == "posted":
        return [posted]
    leaves = [p for p in posted.postings if p.account == CASH and p.amount.number < 0]
    if record.state == "voided" or not leaves:
        return []
    name = record.flow_id if isinstance(record, LoanFlow) else record.payment_id
    apart = [Posting(cash_held(name), -p.amount) for p in leaves]
    return [replace(posted, narration=f"pending: {posted.narration}", postings=(*leaves, *apart))]


def _bill(bill: VendorBill) -> Entry:
    above_zero(f"bill {bill.bill_id}", "amount_usd", bill.amount_usd)
    amount = usd(bill.amount_usd)
    owed = Posting(f"Liabilities:Payable:{account_of(bill.payee)}", -amount)
    site = f":{account_of(bill.site_id)}" if bill.site_id else ""
    lines = [Posting(f"Expenses:{account_of(bill.expense)}{site}", amount), owed]
    return _entry(bill, "bill", f"{bill.payee}: {bill.expense}", lines)


_SETTLED = {
    "power": "Liabilities:Power",
    "payable": "Liabilities:Payable",
    "invoice": "Assets:Receivable",
    "grid": "Assets:Receivable:Grid",
}


def _payment(paid: Payment) -> Entry:
    if paid.amount_usd == 0:
        raise EntryError(f"payment {paid.payment_id}: amount_usd is 0")
    amount = usd(paid.amount_usd)
    settled = f"{_SETTLED[paid.settles]}:{account_of(paid.party)}"
    words = f"paid to {paid.party}" if paid.amount_usd > 0 else f"received from {paid.party}"
    return _entry(paid, "payment", words, [Posting(settled, amount), Posting(CASH, -amount)])


def _equity(issue: Equity) -> list[Entry]:
    above_zero(f"equity {issue.issue_id}", "amount_usd", issue.amount_usd)
    if issue.status != "closed":
        return []
    amount = usd(issue.amount_usd)
    words = f"shares issued{f' to {issue.investor}' if issue.investor else ''}"
    return [_entry(issue, "equity", words, [Posting(CASH, amount), Posting("Equity:Shares", -amount)])]


def _issued(invoice: Issued) -> Entry:
    """What a tenant owes from the day of its invoice; taxes on it are owed on."""
    lines = [Posting(f"Assets:Receivable:{account_of(invoice.tenant)}", _sum(invoice.lines))]
    other = [line for line in invoice.lines if line.kind in ("credit", "tax")]
    rented = [line for line in invoice.lines if line.replica_s]
    used = [line for line in invoice.lines if not line.replica_s and line.kind == "usage"]
    for account, some in (("Income:Inference", used), ("Income:ReservedCapacity", rented)):
        if _sum(some).number or (account == "Income:Inference" and not other and not rented):
            lines.append(Posting(account, -_sum(some)))
    for line in other:
        name = account_of(line.text.split(" on ")[0])
        lines.append(
            Posting("Income:Credits" if line.kind == "credit" else f"Liabilities:Tax:{name}", usd(-line.amount_usd))
        )
    return _entry(invoice, "invoice", f"invoice {invoice.number} of {invoice.month} to {invoice.tenant}", lines)


def _sum(lines: Iterable[IssuedLine]) -> Amount:
    return usd(sum((line.amount_usd for line in lines), Decimal(0)))


def _told_line(line: JournalLine, book: Book, at: datetime) -> Sequence[Posting]:
    """One line of another ledger; what leaves a lot without saying at what cost takes its share."""
    amount = Amount(line.amount, line.commodity)
    owned = line.account.startswith("Assets:") and COMMODITIES[line.commodity].lots
    if owned and not line.lot and line.amount < 0:
        return leaving(book.pick(line.account, -amount, at=at))
    cost = None if line.cost_usd is None else usd(line.cost_usd if line.amount > 0 else -abs(line.cost_usd))
    if line.lot and line.amount < 0 and cost is None:
        held = book.lot(line.account, line.lot)
        cost = None if held is None or held.number < -line.amount else usd(-part_cost(held, -line.amount))
    return (Posting(line.account, amount, line.lot or None, cost, line.acquired),)


def _journaled(record: Journaled, book: Book) -> Entry:
    """An entry of another ledger. Where its coins balance by cost, as other ledgers have it, trading accounts carry
    what changed commodity; coins that leave without a lot leave by the books' method."""
    postings = [posting for line in record.lines for posting in _told_line(line, book, record.at)]
    for commodity in sorted({p.amount.commodity for p in postings if p.lot is not None}):
        moved = sum((p.amount.number for p in postings if p.amount.commodity == commodity), Decimal(0))
        cost_of = sum((p.cost.number for p in postings if p.lot is not None and p.cost is not None), Decimal(0))
        if moved:
            postings += [Posting(ENTERED, Amount(-moved, commodity)), Posting(TRADING_USD, usd(cost_of))]
    return _entry(record, "entry", record.narration, postings)


def debts(book: Book, loan: Loan) -> Decimal:
    """What is owed on a loan, in its currency."""
    return -book.balance(f"Liabilities:Loans:{account_of(loan.loan_id)}", loan.currency)


def pledged_btc(book: Book, loan: Loan) -> Decimal:
    """Coins that stand for a loan, whether they are still one's own or a receivable."""
    name = account_of(loan.loan_id)
    return book.balance(f"{PLEDGED}:{name}", BTC) + book.balance(f"{COLLATERAL}:{name}", BTC)
