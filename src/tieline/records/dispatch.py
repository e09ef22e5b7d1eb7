"""What was asked, promised, decided and answered: orders, commitments, plans, overrides, outcomes."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tieline.intake import (
    Count,
    Factor,
    Id,
    IntervalSeconds,
    Label,
    Moment,
    Number,
    Rate,
    Seconds,
    Small,
    Text,
    Time,
    UsdPerMwh,
    Watts,
    Word,
)
from tieline.records.base import OBSERVED, REVISED, Cause, Mode, Record


class Instruction(Record, frozen=True, kw_only=True, subject="{site_id}", key="{instruction_id}|{known_at}"):
    """An order from the grid operator: draw at most `limit_w` at the site's interconnect in [at, until)."""

    instruction_id: Label
    site_id: Word
    limit_w: Watts
    until: Moment
    notice_s: Seconds = 0
    penalty_usd_per_mwh: UsdPerMwh = 0.0


class Commitment(Record, frozen=True, kw_only=True, subject="{site_id}", key="{commitment_id}|{known_at}"):
    """A promise to the grid: from `at` to `until` the site draws at least `power_w` and can shed it within
    `response_s` (a load reserve), or sheds it when called (demand response). One record per change of status.

    `takes`: the other way round. `power_w` of what the site can draw stays undrawn, and is drawn within `response_s`
    while it is called (regulation down).
    """

    commitment_id: Label
    site_id: Word
    product: Label
    until: Moment
    power_w: Watts
    response_s: Seconds
    capacity_usd_per_mw_h: UsdPerMwh
    status: Literal["offered", "accepted", "declined", "deployed", "released"]
    nonperformance_usd_per_mwh: UsdPerMwh = 0.0
    baseline: Label = "meter before/after"
    detail: Text = ""
    takes: bool = False


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a setpoint is what it is: the rule that bound, in words, with its numbers."""

    rule: Label  # strike | inference | interconnect | feeder | instruction | override | derate | fallback | ...
    text: Text
    bid_usd_per_mwh: Number | None = None
    price_usd_per_mwh: UsdPerMwh | None = None
    limit_w: Watts | None = None


class Setpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one unit (a rig group or a node group) for one interval, at the meter.

    `target_w` includes the unit's auxiliary load. `shares` splits a rig group over its modes (sums to 1);
    `replicas` is for node groups.
    """

    unit_id: Id
    target_w: Watts
    reason: Reason
    shares: dict[Label, Factor] = {}
    replicas: Small | None = None
    expected_usd_per_h: Number | None = None
    # Batch work a node group may add to interactive work, at most, and the streams that make so much; None: left to
    # the gateway.
    batch_tokens_per_s: Rate | None = None
    batch_lines: Small | None = None


class Plan(Record, frozen=True, kw_only=True, subject="{site_id}", key=REVISED):
    """What one site is asked to do in [at, at + length). Past `valid_until` the site takes its safe default.

    `mode` is the site's at the time: in `observe` nothing of it is sent. `decided_by` names the policy and,
    after a late or failed solve, says fallback. `fence`: the number of the core that led and decided it.
    """

    site_id: Word
    length_s: IntervalSeconds
    valid_until: Moment
    mode: Mode
    limit_w: Watts
    price_usd_per_mwh: UsdPerMwh | None
    hashprice_usd: Number | None
    setpoints: Annotated[tuple[Setpoint, ...], Meta(max_length=10_000)]
    decided_by: Label
    note: Text = ""
    fence: Count | None = None


class Override(Record, frozen=True, kw_only=True, subject="{site_id}", key="{override_id}|{known_at}"):
    """An operator's word against the plan, with an expiry: hold a unit at `target_w`, or a site at a mode."""

    override_id: Label
    site_id: Word
    unit_id: Id | None
    target_w: Watts | None
    until: Moment
    by: Label
    why: Text


# Whole hours of the day in UTC, from and to, as in a configuration; "": all day.
DayHours = Annotated[str, Meta(pattern=r"^(([01][0-9]|2[0-3])-([01][0-9]|2[0-4]))?$")]


class PartnerAsk(Record, frozen=True, kw_only=True, subject="{partner}", key="{partner}|{known_at}", reach=OBSERVED):
    """What a partner asks of dispatch at its own sites from then on, by one of its own people: the least that a
    megawatt-hour there has to earn, and the hours in which the platform may run them. In place of what stood before,
    the configuration's too. `floor_usd_per_mwh` None: none."""

    partner: Label
    floor_usd_per_mwh: UsdPerMwh | None
    hours: DayHours
    by: Label


class Action(Record, frozen=True, kw_only=True, subject="{by}", key="{by}|{what}|{target}|{known_at}", reach=OBSERVED):
    """The audit trail: who did what, when, to what."""

    by: Label
    what: Label
    target: Label
    detail: Text = ""


# What came of a target.
Obedience = Literal["applied", "refused", "unreachable", "observed_only", "awaiting_operator"]


class Outcome(
    Record, frozen=True, kw_only=True, subject="{site_id}", key="{unit_id}|{at}|{plan_known_at}", reach=OBSERVED
):
    """How one unit answered one plan: asked, observed, obeyed or not, and why it differs.

    `observed_w` None: unreachable, and the unit counts at `last_known_w` against every limit.
    """

    site_id: Word
    unit_id: Id
    plan_known_at: Time
    result: Obedience
    asked_w: Watts
    observed_w: Watts | None
    last_known_w: Watts | None = None
    cause: Cause = "economic"
    detail: Text = ""


# Those that are stored and travel.
DispatchRecord = Instruction | Commitment | Plan | Override | PartnerAsk | Action | Outcome
