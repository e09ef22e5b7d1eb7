"""What is owed and paid: payouts, trades, power bills, and what short mining and kept promises amount to.

Payouts, trades, openings and bills have one key per `known_at`: one told anew is a correction, not a duplicate.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from tieline.intake import (
    Count,
    Difficulty,
    Hashrate,
    IntervalSeconds,
    Label,
    Moment,
    Money,
    Sats,
    Seconds,
    Share,
    Small,
    Text,
    WattHours,
    Watts,
    WholeWattHours,
    Word,
)
from tieline.records.base import Record

# How a pool pays: each share's expected value with fees (FPPS) or without them and fees as they come (PPS+), a share of
# what it finds (PPLNS), or all of what one finds oneself.
PoolMethod = Literal["", "fpps", "pps+", "pplns", "solo"]


class Payout(Record, frozen=True, kw_only=True, subject="{pool}", key="{payout_id}|{known_at}"):
    """Bitcoin credited by a pool; `at` is the end of the span it pays for. Amounts in satoshi, exact. Where the pool
    says so: `tx_fees_sats`, how much of it is transaction fees; `hashrate_hs`, what it counted on average over the
    span, and `rejected`, what share of that it did not pay (stale and invalid work). `block`: the height of the block
    of one's own that it is the reward of, which cannot be spent for 100 blocks; told anew with 0 sats where that block
    did not stay in the chain."""

    payout_id: Label  # txid:vout, or the pool's own id for a simulated pool
    pool: Label
    sats: Sats
    span_start: Moment
    span_end: Moment
    hashrate_hs: Hashrate | None = None
    rejected: Share | None = None
    difficulty: Difficulty | None = None
    fee_sats: Sats = 0
    btc_usd: Money | None = None
    place: Label = "Treasury"
    method: PoolMethod = ""
    tx_fees_sats: Sats | None = None
    block: Count | None = None


class Receipt(Record, frozen=True, kw_only=True, subject="{address}", key="{receipt_id}|{known_at}"):
    """Bitcoin that arrived at a watched address, in the block at height `block`, whose time `at` is. `pool`: who pays
    to that address. With `from_place`, the coins move from there (with a pool) to `place`; without, it is only compared
    with what was stated."""

    receipt_id: Label  # txid:vout
    address: Label
    sats: Sats
    block: Count
    pool: Label = ""
    place: Label = "Treasury"
    from_place: Label = ""


class Trade(Record, frozen=True, kw_only=True, subject="{venue}", key="{trade_id}|{known_at}"):
    """Bitcoin sold (positive sats) or bought (negative) by the treasury. `price_usd` and `fee_usd` are worth in USD.
    `received`: where a sale brought another `currency`, how much of it, less the fee; no peg is assumed. `place`: where
    the coins lay; `lots` names those that leave, in their order; empty: by the books' method."""

    trade_id: Label
    sats: Sats
    price_usd: Money
    fee_usd: Money
    venue: Label
    currency: Label = "USD"
    received: Money | None = None
    place: Label = "Treasury"
    lots: tuple[Label, ...] = ()
    proposal_id: Label = ""


class Opening(Record, frozen=True, kw_only=True, subject="{opening_id}", key="{opening_id}|{known_at}"):
    """What the books begin with: cash, and bitcoin as one lot with its cost, which lies at `place`. `acquired`: when it
    was; None: with the opening."""

    opening_id: Label
    cash_usd: Money
    sats: Sats = 0
    cost_usd: Money = Decimal(0)
    place: Label = "Treasury"
    acquired: Moment | None = None


class PowerBill(Record, frozen=True, kw_only=True, subject="{site_id}", key="{site_id}|{at}|{length_s}|{known_at}"):
    """Energy drawn by one site over [at, at + length) and its cost: metered or modelled, as `kind` says. `fence`:
    the number of the core that led and settled it."""

    site_id: Word
    length_s: IntervalSeconds
    mining_wh: WattHours
    inference_wh: WattHours
    aux_wh: WattHours
    cost_usd: Money
    fence: Count | None = None


class Shortfall(Record, frozen=True, kw_only=True, subject="{site_id}", key="{site_id}|{at}|{length_s}"):
    """How far one site's mining was below full operation over [at, at + length), by cause.

    Exact: `short_wh` sums to `full_wh` - `drawn_wh`, `lost_sats` to `full_sats` - `made_sats`. Full is every rig in its
    normal mode at its rating, as far as the interconnect carries that; satoshi are what a pool would have paid for the
    hashes. Cause "none": within what makers' ratings vary by, or decided by a host. Time of units that were not heard
    is in no figure but `unheard_s`.
    """

    site_id: Word
    length_s: IntervalSeconds
    full_wh: WholeWattHours
    drawn_wh: WholeWattHours
    short_wh: dict[Label, WholeWattHours]
    full_sats: Sats | None = None  # None: the network was not known
    made_sats: Sats | None = None
    lost_sats: dict[Label, Sats] = msgspec.field(default_factory=dict)
    unheard_s: Seconds = 0


class Performance(Record, frozen=True, kw_only=True, subject="{site_id}", key="{what}|{event_id}|{at}"):
    """How a promise or an order was kept over [at, until), and what is paid for it. `line` says it in one sentence.

    `delivered_w` None: too little was heard to say; nothing is then fined here. Money is what the contract says, before
    the grid operator's own statement.
    """

    what: Literal["reserve", "deployment", "order", "peak"]
    event_id: Label
    site_id: Word
    until: Moment
    rule: Label
    promised_w: Watts
    baseline_w: Watts | None
    mean_w: Watts | None
    delivered_w: Watts | None
    missed_wh: WholeWattHours
    paid_usd: Money
    penalty_usd: Money
    line: Text
    unheard_s: Seconds = 0


EvidenceKind = Literal["grid-average", "residual-mix", "contract", "certificate"]


class EnergyEvidence(Record, frozen=True, kw_only=True, subject="{site_id}", key="{evidence_id}|{known_at}"):
    """What says how much CO2 a kilowatt-hour meant, for energy drawn over [at, until) at a site (empty: at any).

    A grid average has the year it was published for; a certificate its registry and serial, and the energy it stands
    for, which it covers once."""

    evidence_id: Label
    what: EvidenceKind
    site_id: Label = ""
    until: Moment
    gco2_per_kwh: Money
    wh: WholeWattHours | None = None
    registry: Label = ""
    serial: Label = ""
    year: Small | None = None
    origin: Text = ""


# Those that are stored and travel.
MoneyRecord = Payout | Receipt | Trade | Opening | PowerBill | Shortfall | Performance | EnergyEvidence
