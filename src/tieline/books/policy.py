"""The accounting policy: what a company chose where the standards let it choose, in TOML, printed with every report.

company = "Example Mining Corp"
framework = "US-GAAP"              # or "IFRS"
measurement = "fair-value"         # US-GAAP; IFRS: "cost" or "revaluation" (IAS 38.72)
income = "inception"               # pool income at the fair value when the contract begins, or "credited"
time_zone = "America/New_York"     # days and months of the books
lots = "fifo"

[[lot_rule]]                       # the last that covers a case holds
method = "hifo"
account = "Assets:Bitcoin:Trading"
year = 2026

[[limit]]                          # an entry that would break one is refused
account = "Assets:Cash"
commodity = "USD"
least = 0

[[pool]]                           # what a pool agreed to pay, and how
name = "Example Pool"
method = "fpps"                    # or "pps+", "pplns"; "solo": blocks of one's own
fee = 0.02                         # and fee_on_fees, where it is another

[[commodity]]                      # money that is not known here yet, and its decimals
name = "CHF"
places = 2

[[entity]]                         # legal entities; what none names is the company's
name = "Example Texas LLC"
places = ["Texas"]
sites = ["na-tx-01"]
invoices = "TX-"                   # what its invoice numbers begin with
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, tzinfo
from decimal import Decimal
from itertools import chain
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from tieline.books.invoicing.terms import AgreedCredit, InvoicedCustomer, InvoiceTerms, SlaTerm, TaxRule
from tieline.ledger import COMMODITIES, Commodity, LotPolicy, LotRule, Method, declare

Framework = Literal["US-GAAP", "IFRS"]
Measurement = Literal["fair-value", "cost", "revaluation"]
MEASURED: dict[Framework, tuple[Measurement, ...]] = {"US-GAAP": ("fair-value",), "IFRS": ("cost", "revaluation")}


GOALS = ("share_of_mined", "months_of_cash", "ltv_ceiling", "older_than_days")


class PolicyError(ValueError):
    """What is wrong with a policy: its field, and what would mend it."""


class LegalEntity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A company of the group, by the places its coins lie at and the sites it runs."""

    name: str
    places: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    invoices: str = ""
    address: tuple[str, ...] = ()
    tax_id: str = ""


class LotRuleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    method: Method
    commodity: str | None = None
    account: str | None = None
    year: int | None = None

    def __str__(self) -> str:
        year = "" if self.year is None else f" in {self.year}"
        return f"{self.method} for {self.commodity or 'all'} in {self.account or 'every account'}{year}"


class BalanceLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an account, with all under it, may hold at least and at most."""

    account: str
    commodity: str
    least: Decimal | None = None
    most: Decimal | None = None


class CommodityTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is counted, and in how many decimals; no peg is assumed."""

    name: str
    places: int


class PoolTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool pays by: shares of the subsidy less `fee`, of transaction fees less `fee_on_fees` (None: the
    same)."""

    name: str
    method: Literal["fpps", "pps+", "pplns", "solo"] = "fpps"
    fee: Decimal = Decimal(0)
    fee_on_fees: Decimal | None = None

    @property
    def on_fees(self) -> Decimal:
        return self.fee if self.fee_on_fees is None else self.fee_on_fees

    def __str__(self) -> str:
        return f"{_POOLS[self.method]}; fee {self.fee}, on transaction fees {self.on_fees}"


class SaleRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; exactly one of its four goals is given."""

    name: str
    place: str = "Treasury"
    share_of_mined: Decimal | None = None
    months_of_cash: Decimal | None = None
    ltv_ceiling: Decimal | None = None
    older_than_days: int | None = None
    most_btc: Decimal | None = None
    least_btc: Decimal = Decimal("0.001")


class AccountingPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the file's head. Without one, books are kept as US GAAP has it, in UTC, first in first out."""

    company: str = ""
    framework: Framework = "US-GAAP"
    measurement: Measurement | None = None
    income: Literal["inception", "credited"] = "inception"
    time_zone: str = "UTC"
    lots: Method = "fifo"
    lot_rule: tuple[LotRuleTable, ...] = ()
    limit: tuple[BalanceLimit, ...] = ()
    commodity: tuple[CommodityTable, ...] = ()
    entity: tuple[LegalEntity, ...] = ()
    pool: tuple[PoolTerms, ...] = ()
    sale: tuple[SaleRule, ...] = ()
    two_people: tuple[Literal["sale", "invoice"], ...] = ()
    payment_days: int = 30
    customer: tuple[InvoicedCustomer, ...] = ()
    sla: tuple[SlaTerm, ...] = ()
    credit: tuple[AgreedCredit, ...] = ()
    tax: tuple[TaxRule, ...] = ()

    @property
    def measured(self) -> Measurement:
        return self.measurement or MEASURED[self.framework][0]

    @property
    def zone(self) -> tzinfo:
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)

    @property
    def lot_policy(self) -> LotPolicy:
        rules = tuple(LotRule(one.method, one.commodity, one.account, one.year) for one in self.lot_rule)
        return LotPolicy(self.lots, rules, self.zone)

    def entity_of_place(self, place: str) -> str:
        """The legal entity whose coins lie at a place."""
        return next((one.name for one in self.entity if place in one.places), self.company)

    def entity_of_tenant(self, tenant: str) -> LegalEntity:
        """Who invoices a tenant."""
        return next((one for one in self.entity if tenant in one.tenants), LegalEntity(name=self.company))

    @property
    def terms(self) -> InvoiceTerms:
        return InvoiceTerms(customer=self.customer, sla=self.sla, credit=self.credit, tax=self.tax)

    def entity_of_site(self, site: str) -> str:
        return next((one.name for one in self.entity if site in one.sites), self.company)

    def lines(self) -> Iterator[str]:
        """The choices as a report prints them, each with its paragraph."""
        who = f"{self.company}: " if self.company else ""
        yield f"{who}{self.framework}, US dollars; months and years end in {self.time_zone}"
        yield _CARRIED[self.measured]
        yield _INCOME[self.framework, self.income]
        yield f"lots: {self.lots}{''.join(f'; {one}' for one in self.lot_rule)}"
        yield from (f"pool {one.name}: {one}" for one in self.pool)
        yield from self._bounds()
        if self.two_people:
            yield f"two people decide on each {' and '.join(self.two_people)}"
        for one in self.entity:
            held = ", ".join((*one.places, *one.sites)) or "nothing yet"
            yield f"legal entity {one.name}: {held}"

    def _bounds(self) -> Iterator[str]:
        """Limits, and what is agreed for sales, invoices and taxes."""
        yield from (f"counted too: {one.name}, in {one.places} decimals" for one in self.commodity)
        for bound in self.limit:
            least = "" if bound.least is None else f" at least {bound.least:,}"
            most = "" if bound.most is None else f" at most {bound.most:,}"
            yield f"limit: {bound.account}{least}{most} {bound.commodity}"
        for sale in self.sale:
            goal = next(name for name in GOALS if getattr(sale, name) is not None)
            yield f"sale {sale.name}: {goal.replace('_', ' ')} {getattr(sale, goal)}, from {sale.place}"
        yield from (f"SLA {one.name}: {one.share} of requests, else {one.credit} of use" for one in self.sla)
        yield from (f"tax {one.name}: {one.rate}" for one in self.tax)


_CARRIED: dict[Measurement, str] = {
    "fair-value": "bitcoin at fair value through income at each close (ASC 350-60-35-1)",
    "cost": "bitcoin at cost less impairment; a later rise is taken back up to cost (IAS 38.74, IAS 36.114)",
    "revaluation": "bitcoin at revalued amounts at each close: above cost in other comprehensive income, below it in "
    "profit or loss (IAS 38.75, 85, 86); what was surplus of coins sold goes to retained earnings (IAS 38.87)",
}
_POOLS: dict[str, str] = {
    "fpps": "FPPS, each share's expected value with fees, owed whether a block is found or not",
    "pps+": "PPS+, each share's expected subsidy; transaction fees are variable and are income when a block is found "
    "(ASC 606-10-32-11, IFRS 15.56)",
    "pplns": "PPLNS, a share of what the pool finds: variable, and income when it finds a block (ASC 606-10-32-11, "
    "IFRS 15.56)",
    "solo": "blocks of one's own, income at fair value when a block is found; spendable after 100 more",
}
_INCOME: dict[tuple[Framework, str], str] = {
    ("US-GAAP", "inception"): "pool income at fair value when each day's contract begins, net of the pool's fee "
    "(ASC 606-10-32-21)",
    ("US-GAAP", "credited"): "pool income at fair value when it is credited, a choice other than contract inception "
    "(ASC 606-10-32-21)",
    ("IFRS", "inception"): "pool income at fair value when each day's contract begins, net of the pool's fee "
    "(IFRS 15.66)",
    ("IFRS", "credited"): "pool income at fair value when it is credited, net of the pool's fee (IFRS 15.66)",
}


def policy_of(text: str) -> AccountingPolicy:
    """A policy out of TOML; commodities that it names are known from then on. Raises PolicyError, naming the field."""
    try:
        return _checked(text)
    except ArithmeticError as error:
        raise PolicyError("an amount, share or rate is no number") from error


def _checked(text: str) -> AccountingPolicy:
    try:
        policy = msgspec.convert(tomllib.loads(text), AccountingPolicy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PolicyError(str(error)) from error
    allowed = MEASURED[policy.framework]
    if policy.measured not in allowed:
        raise PolicyError(f"measurement: {policy.measurement!r} is none of {policy.framework}'s: {', '.join(allowed)}")
    try:
        ZoneInfo(policy.time_zone)
    except (ValueError, OSError, KeyError) as error:  # a zone that is not there is a KeyError
        where = f"time_zone: {policy.time_zone!r}"
        raise PolicyError(f"{where} is no zone of the tz database; write it like America/New_York") from error
    for table in policy.commodity:
        try:
            declare(Commodity(table.name, table.places))
        except ValueError as error:
            raise PolicyError(f"commodity: {error}") from error
    wrong = next(chain(_wrong_tables(policy), _wrong_entities(policy)), None) or policy.terms.problem()
    if wrong is not None:
        raise PolicyError(wrong)
    return policy


def _wrong_tables(policy: AccountingPolicy) -> Iterator[str]:
    """What is wrong with rules of lots, limits, pools and sales."""
    for field, commodity in (
        *(("lot_rule", one.commodity) for one in policy.lot_rule),
        *(("limit", one.commodity) for one in policy.limit),
    ):
        if commodity is not None and commodity not in COMMODITIES:
            yield f"{field}.commodity: {commodity!r} is not known; known: {', '.join(COMMODITIES)}"
    for pool in policy.pool:
        if not 0 <= pool.fee < 1 or not 0 <= pool.on_fees < 1:
            yield f"pool {pool.name!r}: a fee is a share from 0 to below 1, like 0.02"
    for sale in policy.sale:
        given = [goal for goal in GOALS if getattr(sale, goal) is not None]
        if len(given) != 1 or not getattr(sale, given[0]) > 0:
            yield f"sale {sale.name!r}: give one of {', '.join(GOALS)}, above 0; it has {given or 'none'}"


def _wrong_entities(policy: AccountingPolicy) -> Iterator[str]:
    """A place, site or tenant that two legal entities have."""
    for field in ("places", "sites", "tenants"):
        counted = Counter(name for one in policy.entity for name in getattr(one, field))
        yield from (
            f"entity.{field}: {name!r} stands twice; it is one entity's" for name, count in counted.items() if count > 1
        )
