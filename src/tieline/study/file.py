"""What a study's TOML file may say; `reading` reads it strictly, `checks` holds what belongs together.

Money is USD, power MW, months are "2026-01", shares and rates are fractions (8 % is 0.08). What is owed in another
currency is written in USD at the start's rate, and moves with that currency's path. What a path is assumed to be stands
beside its source.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tieline.fleet import RIG_MODELS
from tieline.intake import Printed, Share, Usd

Month = Annotated[str, Meta(pattern=r"^(19|20|21)\d\d-(0[1-9]|1[0-2])$")]
Months = Annotated[int, Meta(ge=0, le=1_200)]
Mw = Annotated[float, Meta(gt=0, le=10_000)]
Capex = Annotated[float, Meta(ge=0, le=1e12)]
Positive = Annotated[float, Meta(gt=0, le=1e15)]
# Per year. What is over 1 was meant as a percentage.
Rate = Annotated[float, Meta(ge=-0.99, le=1)]
Spread = Annotated[float, Meta(ge=0, le=5)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]

DRIVERS: Final = ("btc_usd", "difficulty", "fee_share", "power", "gpu_usd_per_hour", "utilisation")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are refused: a misspelt price must not become no price."""


class Assumption(_Strict, frozen=True, kw_only=True):
    """One driver over the months. `walk`: its logarithm drifts and spreads without return. `revert`: it returns to its
    level within about `revert_months`. `history`: monthly changes of `values` drawn again, in blocks. `table`: `values`
    as they stand, the last one held."""

    start: Positive
    model: Literal["walk", "revert", "history", "table"] = "walk"
    drift: Rate = 0.0
    volatility: Spread = 0.0
    revert_months: Annotated[float, Meta(ge=1, le=240)] = 12.0
    values: tuple[Positive, ...] = ()
    source: Printed = ""


class Difficulty(_Strict, frozen=True, kw_only=True):
    """Hashrate follows what mining pays: ln D = ln D0 + `growth` x years + `answer` x (ln revenue, smoothed over
    `lag_months`, less its start) + noise. Revenue is price x subsidy: a halving pulls as a fall of the price does."""

    start: Positive
    growth: Rate = 0.0
    answer: Annotated[float, Meta(ge=0, le=1)] = 0.6
    lag_months: Annotated[float, Meta(ge=1, le=60)] = 6.0
    volatility: Spread = 0.0
    source: Printed = ""


class GpuPrice(_Strict, frozen=True, kw_only=True):
    """USD per GPU-hour of what is bought at the start: it falls by `decline` a year, and by `generation_drop` at once
    every `generation_months`, when the next hardware is sold."""

    start: Positive
    decline: Share = 0.0
    generation_months: Annotated[int, Meta(ge=1, le=240)] = 24
    generation_drop: Share = 0.0
    volatility: Spread = 0.0
    source: Printed = ""


class Assume(_Strict, frozen=True, kw_only=True):
    btc_usd: Assumption
    difficulty: Difficulty
    gpu_usd_per_hour: GpuPrice
    fee_share: Assumption
    utilisation: Assumption
    # Times what was recorded, one factor for each market.
    power: Assumption
    # USD for one of each other currency.
    fx: dict[Currency, Assumption] = {}
    # Months that a building comes late, on the mean; drawn from an exponential and rounded.
    delay_months: Annotated[float, Meta(ge=0, le=60)] = 0.0
    # [driver, driver, correlation of their monthly shocks]
    correlations: tuple[tuple[str, str, Annotated[float, Meta(ge=-1, le=1)]], ...] = ()
    pool_fee: Share = 0.015


class Operation(_Strict, frozen=True, kw_only=True):
    """What dispatch does on recorded days. `days`: a folder of them, or "example", the package's invented ones.
    `fleet`: a configuration, or "demo". Levels are USD per PH/s and day; room is the share of a site's limit that
    something else leaves all the time. `gpu_shares`: of the limit that GPU nodes may draw beside the rigs, serving the
    days' demand at a mean `gpu_load` of what they could; they are run where tokens are sold."""

    days: str = "example"
    fleet: str = "demo"
    levels: tuple[Positive, ...] = (20.0, 30.0, 40.0, 50.0, 65.0, 85.0, 110.0, 150.0, 220.0)
    rooms: tuple[Annotated[float, Meta(gt=0, le=1)], ...] = (0.5, 1.0)
    gpu_shares: tuple[Annotated[float, Meta(gt=0, le=0.9)], ...] = ()
    gpu_load: Annotated[float, Meta(gt=0, le=1)] = 0.6
    first: Month | None = None
    last: Month | None = None
    # Days of each recorded month, from its first; 31: all of it.
    days_of_month: Annotated[int, Meta(ge=1, le=31)] = 31


class StudySite(_Strict, frozen=True, kw_only=True):
    """One powered site; `like` names the fleet's site whose dispatch and contract it has."""

    id: Printed
    like: Printed = ""
    mw: Mw
    # Efficiency of the rigs that stand there; None: that of the fleet's site.
    j_per_th: Annotated[float, Meta(ge=1, le=200)] | None = None
    fixed_usd_per_month: Usd = 0.0
    available_until: Month | None = None
    # In which its power, its peaks and what is fixed are paid.
    currency: Currency = "USD"


class Wait(_Strict, frozen=True, kw_only=True):
    """Begin in `until`, or in the first month from then on in which the mean of the last `mean_months` of a path lies
    `below` or `above`; never before the alternative's own start. Power is that of the site's market, times what was
    recorded. `hashprice_below` says both what and how much."""

    until: Month | None = None
    of: Literal["hashprice", "btc_usd", "difficulty", "fee_share", "power", "gpu_usd_per_hour", "utilisation"] = (
        "hashprice"
    )
    below: Positive | None = None
    above: Positive | None = None
    hashprice_below: Positive | None = None
    mean_months: Annotated[int, Meta(ge=1, le=36)] = 3

    @property
    def lower(self) -> float | None:
        """Below which the mean has to lie."""
        return self.below if self.hashprice_below is None else self.hashprice_below

    @property
    def is_rule(self) -> bool:
        return self.lower is not None or self.above is not None


class Alternative(_Strict, frozen=True, kw_only=True):
    """What one site's megawatts could do from a month on."""

    name: Printed
    site: Printed
    kind: Literal["keep", "renew", "gpu", "contract", "lease", "sell"]
    mw: Mw | None = None
    start: Month | None = None
    wait: Wait | None = None
    # renew; `rig` names a model of the package's list, whose rating gives its J/TH
    rig: Printed = ""
    j_per_th: Annotated[float, Meta(ge=1, le=200)] | None = None
    usd_per_th: Capex | None = None
    old_usd_per_th: Capex = 0.0
    delivery_months: Months = 0
    # gpu and contract: nodes are bought, a shell is built
    usd_per_node: Capex | None = None
    gpus_per_node: Annotated[int, Meta(ge=1, le=1024)] = 8
    # Of a gpu: tokens that the nodes of the surface serve, at this price, which moves with the price of a GPU-hour;
    # without it the hours are sold.
    usd_per_million_tokens: Positive | None = None
    node_kw: Annotated[float, Meta(gt=0, le=10_000)] = 12.0
    shell_usd_per_mw: Capex | None = None
    months_to_build: Months = 0
    mining_lost: Share = 0.0
    # Over which a lender writes rigs and nodes, and the shell, down to their residual.
    life_months: Annotated[int, Meta(ge=1, le=1_200)] = 60
    shell_life_months: Annotated[int, Meta(ge=1, le=1_200)] = 300
    # contract and lease
    # The month in which the customer was promised the first of it.
    delivers: Month | None = None
    term_months: Months | None = None
    usd_per_gpu_hour: Positive | None = None
    # Of critical IT, by the year or by the month.
    usd_per_mw_year: Positive | None = None
    usd_per_mw_month: Positive | None = None
    prepaid: Share = 0.0
    ramp: tuple[Share, ...] = ()
    availability: Share = 1.0
    availability_floor: Share = 0.0
    credit_share: Annotated[float, Meta(ge=0, le=10)] = 0.0
    escalator: Rate = 0.0
    ends_early_per_year: Share = 0.0
    termination_months: Months = 0
    customer_pays_power: bool = False
    customer_pays_capex: bool = False
    # all
    # In which everything of it but power is paid.
    currency: Currency = "USD"
    pue: Annotated[float, Meta(ge=1, le=3)] = 1.2
    opex_usd_per_mw_month: Usd = 0.0
    residual: Share = 0.0
    sale_usd: Capex | None = None

    @property
    def is_compute(self) -> bool:
        """It takes room that rigs had."""
        return self.kind in ("gpu", "contract", "lease")

    @property
    def sells_tokens(self) -> bool:
        return self.kind == "gpu" and self.usd_per_million_tokens is not None

    @property
    def mw_year_usd(self) -> float | None:
        """What a MW of critical IT is let for in a year, however it was written; None: not by the MW."""
        return self.usd_per_mw_year if self.usd_per_mw_month is None else self.usd_per_mw_month * 12.0

    @property
    def new_j_per_th(self) -> float:
        """Of the rigs that renew: as written, or as the named model is rated."""
        return RIG_MODELS[self.rig].efficiency_j_th if self.rig else self.j_per_th or 0.0


class CapitalPlan(_Strict, frozen=True, kw_only=True):
    """Alternatives together; a site that none of them names keeps mining."""

    name: Printed
    does: tuple[Printed, ...] = ()


class StudyLoan(_Strict, frozen=True, kw_only=True):
    """Drawn in equal parts over `draw_months` from `month`; interest alone is paid for the first
    `interest_only_months`; repaid by the end of the term. `opening`: owed already when the study starts (`usd` is what
    is left).

    Two covenants. `cover_at_least`: operating cash of the last twelve months over what all loans took in them.
    `value_at_most`: what is owed on this loan over what secures it: the alternatives of `secured_by` at what was paid
    for them, written down evenly over their lives to their residual, and coins at the month's price.

    `on_breach`: "infeasible", a path that breaks one is one that the plan does not survive; "called", what is owed
    falls due in that month; "trapped", what a month leaves after debt service is the lender's to hold until the
    covenants hold again; "reported", a waiver is agreed, and it is only said."""

    name: Printed
    plan: Printed = ""
    usd: Positive
    month: Month | None = None
    rate: Share
    term_months: Annotated[int, Meta(ge=1, le=600)]
    draw_months: Annotated[int, Meta(ge=1, le=120)] = 1
    interest_only_months: Months = 0
    repaid: Literal["level", "straight", "at the end"] = "level"
    opening: bool = False
    currency: Currency = "USD"
    cover_at_least: Annotated[float, Meta(ge=0, le=20)] | None = None
    value_at_most: Annotated[float, Meta(gt=0, le=5)] | None = None
    on_breach: Literal["infeasible", "called", "trapped", "reported"] = "infeasible"
    secured_by: tuple[Printed, ...] = ()
    collateral_btc: Annotated[float, Meta(ge=0, le=21e6)] = 0.0


class StudyMoney(_Strict, frozen=True, kw_only=True):
    """`opening_btc`: coins that may be sold; they are, in equal parts over the first `coins_sold_months`, at each
    month's price. The opening position is every plan's: it counts for cash and covenants, not for what a plan is
    worth."""

    # Of what is reported; all of it is converted by its path.
    currency: Currency = "USD"
    opening_cash_usd: Usd = 0.0
    opening_btc: Annotated[float, Meta(ge=0, le=21e6)] = 0.0
    coins_sold_months: Annotated[int, Meta(ge=1, le=600)] = 12
    # Where the opening position is from, in words.
    opening_source: Printed = ""
    fixed_usd_per_month: Usd = 0.0
    discount: Rate = 0.12
    tax: Share = 0.0
    # A plan of which more than this share of paths runs out of cash is called infeasible.
    may_run_out: Share = 0.1


class Study(_Strict, frozen=True, kw_only=True):
    name: Printed
    start: Month
    months: Annotated[int, Meta(ge=12, le=600)] = 120
    paths: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 1
    invented: bool = False
    assume: Assume
    operation: Operation = Operation()
    money: StudyMoney = StudyMoney()
    site: tuple[StudySite, ...]
    alternative: tuple[Alternative, ...] = ()
    plan: tuple[CapitalPlan, ...]
    loan: tuple[StudyLoan, ...] = ()

    @property
    def currencies(self) -> tuple[str, ...]:
        """Those that have a path, in the order of their columns."""
        return tuple(sorted(self.assume.fx))

    @property
    def drivers(self) -> tuple[str, ...]:
        """Everything that has shocks, in the order of their columns."""
        return (*DRIVERS, *(f"fx.{code}" for code in self.currencies))

    def loans_of(self, plan: CapitalPlan) -> tuple[StudyLoan, ...]:
        """The loans that a plan has."""
        return tuple(loan for loan in self.loan if loan.plan in ("", plan.name))

    def month(self, text: str) -> int:
        """Months from the start; negative before it."""
        return _count(text) - _count(self.start)

    def label(self, month: int) -> str:
        """The calendar month of an index."""
        year, rest = divmod(_count(self.start) + month, 12)
        return f"{year:04}-{rest + 1:02}"


def _count(text: str) -> int:
    year, month = text.split("-")
    return int(year) * 12 + int(month) - 1
