"""What was observed of sites and their units, and what broke."""

from tieline.intake import (
    Celsius,
    Count,
    Factor,
    Hashrate,
    Id,
    IntervalSeconds,
    Label,
    Moment,
    Share,
    Text,
    Time,
    Watts,
    Word,
)
from tieline.records.base import OBSERVED, Record


class Sample(
    Record,
    frozen=True,
    kw_only=True,
    subject="{site_id}",
    key="{unit_id}|{at}|{length_s}|{source}",
    reach=OBSERVED,
):
    """One unit over one interval, folded at the site from its raw readings. `readings` 0: nothing was heard,
    and every figure is None."""

    site_id: Word
    unit_id: Id
    length_s: IntervalSeconds
    readings: Count
    power_w: Watts | None
    power_max_w: Watts | None = None
    hashrate_hs: Hashrate | None = None
    temp_c: Celsius | None = None
    devices: Count | None = None
    devices_heard: Count | None = None
    tokens: Count | None = None
    last_heard: Time | None = None


class MeterReading(
    Record,
    frozen=True,
    kw_only=True,
    subject="{site_id}",
    key="{site_id}|{at}|{length_s}|{source}",
    reach=OBSERVED,
):
    """A site's own meter at the interconnect over one interval: units, station load and losses together.
    `readings` 0: nothing was heard, and every figure is None."""

    site_id: Word
    length_s: IntervalSeconds
    readings: Count
    power_w: Watts | None
    power_max_w: Watts | None = None
    last_heard: Time | None = None


class Fault(Record, frozen=True, kw_only=True, subject="{site_id}", key="{site_id}|{what}|{at}|{known_at}"):
    """Something that broke, late work included: a lost link, stuck rigs, a dead part, a solve that ran late.

    In replay faults are injected, recorded events; live they are observed. `until` None: not over yet.
    """

    site_id: Label
    what: Label
    detail: Text = ""
    share: Share | None = None
    factor: Factor | None = None
    limit_w: Watts | None = None
    until: Moment | None = None


# Those that are stored and travel.
FleetRecord = Fault | Sample | MeterReading
