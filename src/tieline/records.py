"""What happened, and what was expected, as frozen structs.

Every record says when it holds (`at`), when we learned it (`known_at`), where it came from (`source`), what
kind of knowledge it is (`kind`) and has a key that makes appending it twice the same as once. A correction
is a new record with a later `known_at`. None means "not known", never zero.

`source` names the origin in words a person can follow: "synthetic", "recorded", "mempool.space",
"site:na-tx-01", "gateway". Anything simulated or estimated says so there or in `kind`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

import msgspec

Kind = Literal["measured", "forecast", "estimated", "simulated"]
Mode = Literal["observe", "advise", "act"]
Cause = Literal["economic", "commitment", "fault", "weather", "order", "override", "none"]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What all records share. `at` and `known_at` are aware UTC datetimes."""

    at: datetime
    known_at: datetime
    source: str
    kind: Kind

    @property
    def subject(self) -> str:
        """What it is about (a market, a site, a tenant): the second index of the store."""
        return ""

    @property
    def key(self) -> str:
        """Idempotent: the same happening gives the same key, whoever tells it, however often."""
        return f"{self.subject}|{self.at.isoformat()}|{self.source}|{self.kind}"

    @property
    def revised_key(self) -> str:
        """Key of a record that may be told anew (a forecast, a revised price): one per `known_at`."""
        return f"{Record.key.fget(self)}|{self.known_at.isoformat()}"  # type: ignore[attr-defined]


# --- the outside world -----------------------------------------------------


class PriceTick(Record, frozen=True, kw_only=True):
    """Power price of one market over [at, at + length)."""

    market: str
    price_usd_per_mwh: float
    length_s: int = 3600

    @property
    def subject(self) -> str:
        return self.market

    @property
    def key(self) -> str:
        return self.revised_key


class NetworkTick(Record, frozen=True, kw_only=True):
    """The bitcoin network and its price from `at` on. `fee_share` is fees over subsidy."""

    difficulty: float
    subsidy_btc: float
    fee_share: float
    btc_usd: Decimal
    height: int | None = None

    @property
    def key(self) -> str:
        return self.revised_key


class WeatherTick(Record, frozen=True, kw_only=True):
    """Weather at one station over the hour from `at`."""

    station: str
    temp_c: float | None
    wet_bulb_c: float | None = None

    @property
    def subject(self) -> str:
        return self.station

    @property
    def key(self) -> str:
        return self.revised_key


class Demand(Record, frozen=True, kw_only=True):
    """Output tokens per second asked of one model by users of one region over [at, at + length)."""

    model: str
    region: str
    output_tokens_per_s: float
    input_tokens_per_s: float = 0.0
    length_s: int = 300

    @property
    def subject(self) -> str:
        return f"{self.model}@{self.region}"

    @property
    def key(self) -> str:
        return self.revised_key


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """Output tokens that must be made by `due`."""

    due: datetime
    output_tokens: float


class Backlog(Record, frozen=True, kw_only=True):
    """Batch work of one model that a gateway has taken on and not carried out yet, by deadline. Each record
    replaces the one before; with no lots nothing is owed any more. It may run in any region. `day_tokens`: taken
    on within the last day, which is what the next one may bring."""

    gateway: str
    model: str
    lots: tuple[Owed, ...] = ()
    day_tokens: float = 0.0

    @property
    def subject(self) -> str:
        return f"{self.gateway}|{self.model}"

    @property
    def key(self) -> str:
        return self.revised_key


class Instruction(Record, frozen=True, kw_only=True):
    """An order from the grid operator: draw at most `limit_w` at the site's interconnect in [at, until)."""

    instruction_id: str
    site_id: str
    limit_w: float
    until: datetime
    notice_s: int = 0
    penalty_usd_per_mwh: float = 0.0

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.instruction_id}|{self.known_at.isoformat()}"


class Fault(Record, frozen=True, kw_only=True):
    """Something that broke, late work included: a lost link, stuck rigs, a dead part, a solve that ran late.

    In replay faults are injected, recorded events; live they are observed. `until` None: not over yet.
    """

    site_id: str
    what: str
    detail: str = ""
    share: float | None = None
    factor: float | None = None
    limit_w: float | None = None
    until: datetime | None = None

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.site_id}|{self.what}|{self.at.isoformat()}|{self.known_at.isoformat()}"


class Commitment(Record, frozen=True, kw_only=True):
    """A promise to the grid: from `at` to `until` the site draws at least `power_w` and can shed it within
    `response_s` (a load reserve), or sheds it when called (demand response). One record per change of status.
    """

    commitment_id: str
    site_id: str
    product: str
    until: datetime
    power_w: float
    response_s: int
    capacity_usd_per_mw_h: float
    status: Literal["offered", "accepted", "declined", "deployed", "released"]
    nonperformance_usd_per_mwh: float = 0.0
    baseline: str = "meter before/after"
    detail: str = ""

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.commitment_id}|{self.known_at.isoformat()}"


class PeakOdds(Record, frozen=True, kw_only=True):
    """How likely [at, at + length) is one of the coincident peaks that a transmission charge counts."""

    rule: str
    probability: float
    length_s: int = 900

    @property
    def subject(self) -> str:
        return self.rule

    @property
    def key(self) -> str:
        return self.revised_key


class Forecast(Record, frozen=True, kw_only=True):
    """What was expected of one series from `at` on, a value a step, and the band that nine paths in ten stay in.

    USD/MWh, degrees Celsius or output tokens per second. `source` names the method; `kind` is always "forecast".
    """

    what: Literal["price", "temperature", "demand"]
    series: str
    step_s: int
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def subject(self) -> str:
        return self.series

    @property
    def key(self) -> str:
        return f"{self.what}|{self.revised_key}"


# --- what was decided ------------------------------------------------------


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a setpoint is what it is: the rule that bound, in words, with its numbers."""

    rule: str  # strike | inference | interconnect | feeder | instruction | override | derate | fallback | ...
    text: str
    bid_usd_per_mwh: float | None = None
    price_usd_per_mwh: float | None = None
    limit_w: float | None = None


class Setpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one unit (a rig group or a node group) for one interval, at the meter.

    `target_w` includes the unit's auxiliary load. `shares` splits a rig group over its modes (sums to 1);
    `replicas` is for node groups.
    """

    unit_id: str
    target_w: float
    reason: Reason
    shares: dict[str, float] = {}
    replicas: int | None = None
    expected_usd_per_h: float | None = None
    # Batch work a node group may add to interactive work, at most, and the streams that make so much; None: left to
    # the gateway.
    batch_tokens_per_s: float | None = None
    batch_lines: int | None = None


class Plan(Record, frozen=True, kw_only=True):
    """What one site is asked to do in [at, at + length). Past `valid_until` the site takes its safe default.

    `mode` is the site's at the time: in `observe` nothing of it is sent. `decided_by` names the policy and,
    after a late or failed solve, says fallback.
    """

    site_id: str
    length_s: int
    valid_until: datetime
    mode: Mode
    limit_w: float
    price_usd_per_mwh: float | None
    hashprice_usd: float | None
    setpoints: tuple[Setpoint, ...]
    decided_by: str
    note: str = ""

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return self.revised_key


class Override(Record, frozen=True, kw_only=True):
    """An operator's word against the plan, with an expiry: hold a unit at `target_w`, or a site at a mode."""

    override_id: str
    site_id: str
    unit_id: str | None
    target_w: float | None
    until: datetime
    by: str
    why: str

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.override_id}|{self.known_at.isoformat()}"


class Action(Record, frozen=True, kw_only=True):
    """The audit trail: who did what, when, to what."""

    by: str
    what: str
    target: str
    detail: str = ""

    @property
    def subject(self) -> str:
        return self.by

    @property
    def key(self) -> str:
        return f"{self.by}|{self.what}|{self.target}|{self.known_at.isoformat()}"


# --- what was observed -----------------------------------------------------


class Sample(Record, frozen=True, kw_only=True):
    """One unit over one interval, folded at the site from its raw readings. `readings` 0: nothing was heard,
    and every figure is None."""

    site_id: str
    unit_id: str
    length_s: int
    readings: int
    power_w: float | None
    power_max_w: float | None = None
    hashrate_hs: float | None = None
    temp_c: float | None = None
    devices: int | None = None
    devices_heard: int | None = None
    tokens: int | None = None
    last_heard: datetime | None = None

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.unit_id}|{self.at.isoformat()}|{self.length_s}|{self.source}"


class MeterReading(Record, frozen=True, kw_only=True):
    """A site's own meter at the interconnect over one interval: units, station load and losses together.
    `readings` 0: nothing was heard, and every figure is None."""

    site_id: str
    length_s: int
    readings: int
    power_w: float | None
    power_max_w: float | None = None
    last_heard: datetime | None = None

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.site_id}|{self.at.isoformat()}|{self.length_s}|{self.source}"


class Outcome(Record, frozen=True, kw_only=True):
    """How one unit answered one plan: asked, observed, obeyed or not, and why it differs.

    `observed_w` None: unreachable, and the unit counts at `last_known_w` against every limit.
    """

    site_id: str
    unit_id: str
    plan_known_at: datetime
    result: Literal["applied", "refused", "unreachable", "observed_only", "awaiting_operator"]
    asked_w: float
    observed_w: float | None
    last_known_w: float | None = None
    cause: Cause = "economic"
    detail: str = ""

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.unit_id}|{self.at.isoformat()}|{self.plan_known_at.isoformat()}"


class ReplicaState(Record, frozen=True, kw_only=True):
    """A running model server, as its site's agent sees it."""

    replica_id: str
    site_id: str
    region: str
    model: str
    base_url: str
    state: Literal["starting", "ready", "draining", "down"]
    slots: int = 1
    engine: str = "llama.cpp"
    label: str = ""
    detail: str = ""
    context_tokens: int | None = None

    @property
    def subject(self) -> str:
        return self.replica_id

    @property
    def key(self) -> str:
        return f"{self.replica_id}|{self.known_at.isoformat()}|{self.state}"


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One replica's part of a request."""

    replica_id: str
    site_id: str
    output_tokens: int
    ended: str  # stop | length | died | stalled | moved | cancelled | error
    prompt_tokens: int = 0
    first_token_ms: float | None = None
    total_ms: float | None = None


class Usage(Record, frozen=True, kw_only=True):
    """What one request consumed: the prompt once, each delivered token once, however many hops it took.

    Costs are integer nano-dollars (1e-9 USD); rounding happens once per invoice line. `estimated` says that
    the engine reported no usage and the tokens were counted here.
    """

    request_id: str
    tenant: str
    project: str
    key_id: str
    model: str
    endpoint: str
    status: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cost_nano_usd: int = 0
    estimated: bool = False
    streamed: bool = False
    finish: str = ""
    hops: tuple[Hop, ...] = ()
    first_token_ms: float | None = None
    total_ms: float | None = None

    @property
    def subject(self) -> str:
        return self.tenant

    @property
    def key(self) -> str:
        return self.request_id


class Reserved(Record, frozen=True, kw_only=True):
    """Replicas that a tenant rented over [at, at + length) and what it owes for those it had.

    `provided_s` is replica-seconds measured at the gateway: a replica that went dark and was not replaced is not
    charged. One record per rental and hour, whoever tells it.
    """

    tenant: str
    model: str
    region: str
    rented_since: datetime
    replicas: int
    provided_s: int
    usd_per_replica_hour: Decimal
    cost_nano_usd: int
    length_s: int = 3600

    @property
    def subject(self) -> str:
        return self.tenant

    @property
    def key(self) -> str:
        return f"{self.tenant}|{self.model}|{self.region}|{self.rented_since.isoformat()}|{self.at.isoformat()}"


class Payout(Record, frozen=True, kw_only=True):
    """Bitcoin credited by a pool; `at` is the end of the span it pays for. Amounts in satoshi, exact."""

    payout_id: str  # txid:vout, or the pool's own id for a simulated pool
    pool: str
    sats: int
    span_start: datetime
    span_end: datetime
    hashrate_hs: float | None = None
    difficulty: float | None = None
    fee_sats: int = 0
    btc_usd: Decimal | None = None

    @property
    def subject(self) -> str:
        return self.pool

    @property
    def key(self) -> str:
        return self.payout_id


class Trade(Record, frozen=True, kw_only=True):
    """Bitcoin sold (positive sats) or bought (negative) for USD by the treasury."""

    trade_id: str
    sats: int
    price_usd: Decimal
    fee_usd: Decimal
    venue: str

    @property
    def subject(self) -> str:
        return self.venue

    @property
    def key(self) -> str:
        return self.trade_id


class Opening(Record, frozen=True, kw_only=True):
    """What the books begin with: cash, and bitcoin as one lot with its cost."""

    opening_id: str
    cash_usd: Decimal
    sats: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def subject(self) -> str:
        return self.opening_id

    @property
    def key(self) -> str:
        return self.opening_id


class PowerBill(Record, frozen=True, kw_only=True):
    """Energy drawn by one site over [at, at + length) and its cost: metered or modelled, as `kind` says."""

    site_id: str
    length_s: int
    mining_wh: float
    inference_wh: float
    aux_wh: float
    cost_usd: Decimal

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.site_id}|{self.at.isoformat()}|{self.length_s}"


class Shortfall(Record, frozen=True, kw_only=True):
    """How far one site's mining was below full operation over [at, at + length), by cause.

    Exact: `short_wh` sums to `full_wh` - `drawn_wh`, `lost_sats` to `full_sats` - `made_sats`. Full is every rig in its
    normal mode at its rating, as far as the interconnect carries that; satoshi are what a pool would have paid for the
    hashes. Cause "none": within what makers' ratings vary by, or decided by a host. Time of units that were not heard
    is in no figure but `unheard_s`.
    """

    site_id: str
    length_s: int
    full_wh: int
    drawn_wh: int
    short_wh: dict[str, int]
    full_sats: int | None = None  # None: the network was not known
    made_sats: int | None = None
    lost_sats: dict[str, int] = {}
    unheard_s: int = 0

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.site_id}|{self.at.isoformat()}|{self.length_s}"


class Performance(Record, frozen=True, kw_only=True):
    """How a promise or an order was kept over [at, until), and what is paid for it. `line` says it in one sentence.

    `delivered_w` None: too little was heard to say; nothing is then fined here. Money is what the contract says, before
    the grid operator's own statement.
    """

    what: Literal["reserve", "deployment", "order", "peak"]
    event_id: str
    site_id: str
    until: datetime
    rule: str
    promised_w: float
    baseline_w: float | None
    mean_w: float | None
    delivered_w: float | None
    missed_wh: int
    paid_usd: Decimal
    penalty_usd: Decimal
    line: str
    unheard_s: int = 0

    @property
    def subject(self) -> str:
        return self.site_id

    @property
    def key(self) -> str:
        return f"{self.what}|{self.event_id}|{self.at.isoformat()}"


AnyRecord = (
    PriceTick
    | NetworkTick
    | WeatherTick
    | Demand
    | Instruction
    | Fault
    | Commitment
    | PeakOdds
    | Forecast
    | Backlog
    | Plan
    | Override
    | Action
    | Sample
    | MeterReading
    | Outcome
    | ReplicaState
    | Usage
    | Reserved
    | Payout
    | Trade
    | Opening
    | PowerBill
    | Shortfall
    | Performance
)

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
_batch_decoder: msgspec.json.Decoder[list[AnyRecord]] = msgspec.json.Decoder(list[AnyRecord])


def encode(record: Record) -> bytes:
    """One line of JSON, tagged with its type; the form that is stored and that travels.

    Raises ValueError for a number that is none (NaN, infinity): JSON writes it as null, and a line with a null
    where a number belongs could never be read back.
    """
    line = _encoder.encode(record)
    if b"null" in line:
        try:
            _decoder.decode(line)
        except msgspec.ValidationError as error:
            raise ValueError(f"{type(record).__name__} of {record.subject or record.source}: {error}") from error
    return line


def decode(line: bytes | str) -> AnyRecord:
    """Raises msgspec.ValidationError, which names the field, for anything that is no record."""
    return _decoder.decode(line)


def encode_batch(batch: list[AnyRecord]) -> bytes:
    return _encoder.encode(batch)


def decode_batch(data: bytes) -> list[AnyRecord]:
    return _batch_decoder.decode(data)


def age(record: Record, now: datetime) -> timedelta:
    """How old a reading is; a page shows it beside the number."""
    return now - record.at
