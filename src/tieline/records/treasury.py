"""What a treasury does: moves coins, pledges them, borrows, owes, pays, raises money; and what is closed and issued.

All have one key per `known_at`: one told anew is a correction. Terms that a contract redacts are ranges, and what is
not known at all is None; neither is a guess.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from tieline.intake import Count, Hashrate, IntervalSeconds, Label, Moment, Money, NanoUsd, Sats, Seconds, Small, Text
from tieline.records.base import REVISED, Record, RecordPart


class Range(RecordPart, frozen=True, kw_only=True):
    """A term as far as it is known: between `low` and `high`, equal where it is exact."""

    low: Money
    high: Money

    @property
    def exact(self) -> Decimal | None:
        return self.low if self.low == self.high else None


class Transfer(Record, frozen=True, kw_only=True, key="{transfer_id}|{known_at}"):
    """Bitcoin moved between two places of one's own. `fee_sats` leave on top of `sats`, and are sold to the network at
    `btc_usd`. `lots` names those that move, in their order; empty: by the books' method."""

    transfer_id: Label
    sats: Sats
    from_place: Label
    to_place: Label
    fee_sats: Sats = 0
    btc_usd: Money | None = None
    lots: tuple[Label, ...] = ()


# Whether the lender may lend the collateral on.
Rehypothecation = Literal["yes", "no", "unknown"]


class Loan(Record, frozen=True, kw_only=True, subject="{lender}", key="{loan_id}|{known_at}"):
    """The terms of a loan against bitcoin. Ratios are debt over the value of what is pledged: at `initial_ltv` it was
    given, above `call_ltv` more must be pledged within `cure_hours`, below `release_ltv` coins come back, above
    `liquidation_ltv` they are sold. `may_rehypothecate`: whether the lender may sell or pledge them again. Interest a
    year is `rate`, or it floats: what was fixed last of `reference`, and `margin` on top."""

    loan_id: Label
    lender: Label
    currency: Label = "USD"
    rate: Range | None = None
    initial_ltv: Range | None = None
    call_ltv: Range | None = None
    release_ltv: Range | None = None
    liquidation_ltv: Range | None = None
    cure_hours: Small | None = None
    matures: Moment | None = None
    may_rehypothecate: Rehypothecation = "unknown"
    reference: Label = ""
    margin: Range | None = None


class RateFixing(Record, frozen=True, kw_only=True, subject="{reference}", key="{reference}|{at}|{known_at}"):
    """What a reference rate (SOFR, EURIBOR 3M ...) is a year from `at` on, as a share: 0.0431 is 4.31 %."""

    reference: Label
    rate: Money


# Of money that moves: it has, it is ordered and the cash is set apart for it, or it did not after all.
MoneyState = Literal["posted", "pending", "voided"]


class LoanFlow(Record, frozen=True, kw_only=True, subject="{loan_id}", key="{flow_id}|{known_at}"):
    """Money of a loan: drawn, repaid, paid for it as interest or a fee, or owed when the books began (`opening`)."""

    flow_id: Label
    loan_id: Label
    what: Literal["drawn", "repaid", "interest", "fee", "opening"]
    amount: Money
    state: MoneyState = "posted"


class Pledge(Record, frozen=True, kw_only=True, subject="{loan_id}", key="{pledge_id}|{known_at}"):
    """Bitcoin pledged for a loan (positive sats) or given back (negative). `btc_usd` values coins that the lender may
    sell: those leave the books at fair value."""

    pledge_id: Label
    loan_id: Label
    sats: Sats
    btc_usd: Money | None = None
    place: Label = "Treasury"
    lots: tuple[Label, ...] = ()


class VendorBill(Record, frozen=True, kw_only=True, subject="{payee}", key="{bill_id}|{known_at}"):
    """What is owed to somebody for something: hosting, salaries, repairs; of one site where it is known."""

    bill_id: Label
    payee: Label
    amount_usd: Money
    expense: Label
    due: Moment | None = None
    site_id: Label = ""


class Payment(Record, frozen=True, kw_only=True, subject="{party}", key="{payment_id}|{known_at}"):
    """Money paid (positive) for what is owed to `party`, or received (negative) for what it owes. `settles` says of
    which kind: power of a site, a payable, a tenant's or the grid's receivable."""

    payment_id: Label
    party: Label
    amount_usd: Money
    settles: Literal["power", "payable", "invoice", "grid"] = "payable"
    state: MoneyState = "posted"


class Equity(Record, frozen=True, kw_only=True, key="{issue_id}|{known_at}"):
    """Shares sold: signed is a promise and moves nothing, closed brings the money."""

    issue_id: Label
    amount_usd: Money
    status: Literal["signed", "closed"]
    shares: Count | None = None
    investor: Label = ""


class InvoiceParty(RecordPart, frozen=True, kw_only=True):
    """Who sells or buys, as it stands on the invoice."""

    name: Label = ""
    address: tuple[Label, ...] = ()
    tax_id: Label = ""


InvoiceLineKind = Literal["usage", "reserved", "credit", "tax"]


class IssuedLine(RecordPart, frozen=True, kw_only=True):
    """One line of an invoice, rounded once. `text` says what a credit or a tax is for. `units`: of what is metered in
    another `unit` than tokens."""

    project: Label
    model: Label
    requests: Count
    prompt_tokens: Count
    output_tokens: Count
    replica_s: Seconds = 0
    nano_usd: NanoUsd = 0
    amount_usd: Money = Decimal(0)
    kind: InvoiceLineKind = "usage"
    text: Label = ""
    unit: Label = ""
    units: Count = 0


class Issued(Record, frozen=True, kw_only=True, subject="{tenant}", key="{number}|{known_at}"):
    """An invoice as it was sent: its number is the next of its year, its lines never change."""

    number: Label
    tenant: Label
    month: Label
    lines: tuple[IssuedLine, ...]
    text: Text = ""
    seller: InvoiceParty = InvoiceParty()
    buyer: InvoiceParty = InvoiceParty()
    due: Moment | None = None


class Closing(Record, frozen=True, kw_only=True, key="{month}|{known_at}"):
    """A month whose books are closed: what is learned of it later is booked in the first open one, with a reference.
    `entries` were in the book then, and `digest` is that of the last of them, each being over the one before. With
    `btc_usd`, bitcoin is taken to that fair value in the month's last instant."""

    month: Label
    by: Label
    entries: Count
    digest: Label
    btc_usd: Money | None = None


class PolicyChosen(Record, frozen=True, kw_only=True, key="{known_at}"):
    """The accounting policy from now on, as TOML: what was booked before stays as it was booked."""

    by: Label
    text: Text


class Seal(Record, frozen=True, kw_only=True, key="{first}|{known_at}"):
    """Digests of entries from number `first` on, the first 12 hex digits each: what was booked cannot change unseen."""

    first: Count
    digests: tuple[Label, ...] = msgspec.field(default=())


class Deployed(Record, frozen=True, kw_only=True, key=REVISED):
    """What stood on the racks of all sites from `at` on, rated."""

    hashrate_hs: Hashrate
    sites: Small


class Operated(Record, frozen=True, kw_only=True, key=REVISED):
    """Mean hashrate over [at, at + length) as somebody states it, where no samples of machines are kept."""

    hashrate_hs: Hashrate
    length_s: IntervalSeconds


# The steps of an update, in their order.
ReleaseState = Literal["checked", "approved", "published"]


class ReleaseStep(Record, frozen=True, kw_only=True, subject="{month}", key="{month}|{state}|{known_at}"):
    """A step of a monthly update's life. `digest` is of its text, so that what is approved is what was checked; once
    published its forms are kept as they were, byte for byte."""

    month: Label
    state: ReleaseState
    by: Label
    digest: Label
    text: Text = ""
    html: Text = ""
    csv: Text = ""
    json: Text = ""


class JournalLine(RecordPart, frozen=True, kw_only=True):
    """One line of an entry made elsewhere. With `lot`: the lot it opens (at `cost_usd`, acquired then) or leaves."""

    account: Label
    amount: Money
    commodity: Label
    lot: Label = ""
    cost_usd: Money | None = None
    acquired: Moment | None = None


class Journaled(Record, frozen=True, kw_only=True, key="{entry_id}|{known_at}"):
    """An entry of another ledger, line by line."""

    entry_id: Label
    narration: Text
    lines: tuple[JournalLine, ...]


# Those that are stored and travel.
TreasuryRecord = (
    Transfer
    | Loan
    | LoanFlow
    | RateFixing
    | Pledge
    | VendorBill
    | Payment
    | Equity
    | Issued
    | Closing
    | Seal
    | PolicyChosen
    | Journaled
    | Operated
    | ReleaseStep
    | Deployed
)
