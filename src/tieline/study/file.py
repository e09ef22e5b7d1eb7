"""A study as one TOML file, read strictly: each mistake is one line that names file, line, field and what to write.

Money is USD, power MW, months are "2026-01", shares and rates are fractions (8 % is 0.08). What is owed in another
currency is written in USD at the start's rate, and moves with that currency's path. What a path is assumed to be stands
beside its source.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tieline.config import MAX_FILE_BYTES, ConfigError
from tieline.config.lines import MistakeError, dotted, line_of, problem_of
from tieline.intake import Printed, Share, Usd

KeyPath = tuple[str | int, ...]
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
    `fleet`: a configuration, or "demo". Levels are USD per PH/s and day; room is the share of a site's limit that GPUs
    leave."""

    days: str = "example"
    fleet: str = "demo"
    levels: tuple[Positive, ...] = (20.0, 30.0, 40.0, 50.0, 65.0, 85.0, 110.0, 150.0, 220.0)
    rooms: tuple[Annotated[float, Meta(gt=0, le=1)], ...] = (0.5, 1.0)
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
    """Begin when the mean hashprice of the last `mean_months` falls below, not before the alternative's own start."""

    hashprice_below: Positive
    mean_months: Annotated[int, Meta(ge=1, le=36)] = 3


class Alternative(_Strict, frozen=True, kw_only=True):
    """What one site's megawatts could do from a month on."""

    name: Printed
    site: Printed
    kind: Literal["keep", "renew", "gpu", "contract", "lease", "sell"]
    mw: Mw | None = None
    start: Month | None = None
    wait: Wait | None = None
    # renew
    j_per_th: Annotated[float, Meta(ge=1, le=200)] | None = None
    usd_per_th: Capex | None = None
    old_usd_per_th: Capex = 0.0
    delivery_months: Months = 0
    # gpu and contract: nodes are bought, a shell is built
    usd_per_node: Capex | None = None
    gpus_per_node: Annotated[int, Meta(ge=1, le=1024)] = 8
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
    usd_per_mw_year: Positive | None = None
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
    for them, written down evenly over their lives to their residual, and coins at the month's price."""

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


def example_text() -> str:
    """A study that runs from a fresh install, on invented days and an invented fleet."""
    return (resources.files("tieline.study") / "example.toml").read_text(encoding="utf-8")


def load(path: Path) -> Study:
    """Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), None, "file", error.strerror or str(error), "give a file you can read") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(str(path), None, "file", f"{len(data):,} bytes", f"a study is under {MAX_FILE_BYTES:,} bytes")
    return loads(data.decode("utf-8", "replace"), str(path))


def loads(text: str, file: str = "<text>") -> Study:
    """Read and check. Raises ConfigError."""
    try:
        study = msgspec.convert(tomllib.loads(text), type=Study)
        _check(study)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        raise ConfigError(file, line, "TOML", str(error).split(" (at")[0], "correct the syntax of this line") from error
    except msgspec.ValidationError as error:
        where, field, problem, fix = problem_of(str(error), Study, {})
        problem, fix = _plainer(field.rsplit(".", 1)[-1], problem, fix)
        raise ConfigError(file, line_of(text, where), field, problem, fix) from error
    except MistakeError as mistake:
        field = dotted(mistake.path)
        raise ConfigError(file, line_of(text, mistake.path), field, mistake.problem, mistake.fix) from mistake
    return study


def _plainer(name: str, problem: str, fix: str) -> tuple[str, str]:
    """A complaint about a type as a planner would put it."""
    if "(0[1-9]|1[0-2])" in problem:
        return "this is no month", 'write it as "2026-01"'
    if "[A-Z]{3}" in problem:
        return "this is no currency", 'write its three capitals, "EUR"'
    if fix == "write at most 1":
        return problem, f"{fix}, as a fraction: 8 % is 0.08"
    if name == "mw" and fix.startswith("write at most"):
        return problem, f"write MW, not kW: {fix.removeprefix('write ')}"
    return problem, fix


# --- what belongs together ----------------------------------------------------------------


def _check(study: Study) -> None:
    """Raises MistakeError."""
    _check_names(study)
    _check_assumed(study)
    for n, one in enumerate(study.alternative):
        _check_needs(study, one, ("alternative", n))
        _check_dates(study, one, ("alternative", n))
    _check_plans(study)
    _check_currencies(study)
    for n, loan in enumerate(study.loan):
        _check_loan(study, loan, ("loan", n))


def _check_loan(study: Study, loan: StudyLoan, at: KeyPath) -> None:
    if loan.opening == (loan.month is not None):
        problem = "an opening loan is owed from the start" if loan.opening else "missing"
        fix = "leave month out" if loan.opening else "write the month of its first draw, or opening = true"
        raise MistakeError((*at, "month"), problem, fix)
    if loan.month is not None and not 0 <= study.month(loan.month) < study.months:
        raise MistakeError((*at, "month"), f"{loan.month} is outside the study", "name one of its months")
    if loan.plan and loan.plan not in {plan.name for plan in study.plan}:
        raise MistakeError((*at, "plan"), f"there is no plan {loan.plan!r}", "name one, or leave it out: all")
    if max(loan.draw_months - 1, loan.interest_only_months) >= loan.term_months:
        raise MistakeError(
            (*at, "term_months"), "no month is left to repay in", "lengthen it, or shorten what comes before"
        )
    _check_security(study, loan, at)


def _check_security(study: Study, loan: StudyLoan, at: KeyPath) -> None:
    for name in loan.secured_by:
        if name not in {one.name for one in study.alternative}:
            raise MistakeError((*at, "secured_by"), f"there is no alternative {name!r}", "name an [[alternative]]")
    if loan.value_at_most is not None and not loan.secured_by and not loan.collateral_btc:
        raise MistakeError(
            (*at, "value_at_most"), "nothing secures this loan", "write secured_by = [...] or collateral_btc"
        )


def _check_currencies(study: Study) -> None:
    places: list[tuple[KeyPath, str]] = [(("money", "currency"), study.money.currency)]
    places += [(("site", n, "currency"), one.currency) for n, one in enumerate(study.site)]
    places += [(("alternative", n, "currency"), one.currency) for n, one in enumerate(study.alternative)]
    places += [(("loan", n, "currency"), one.currency) for n, one in enumerate(study.loan)]
    for at, code in places:
        if code != "USD" and code not in study.assume.fx:
            raise MistakeError(
                at, f"no exchange rate of {code} is assumed", f"add [assume.fx.{code}], USD for one {code}"
            )
    if "USD" in study.assume.fx:
        raise MistakeError(("assume", "fx", "USD"), "a dollar is a dollar", "leave it out")


def _check_names(study: Study) -> None:
    for what, items in (("site", study.site), ("alternative", study.alternative), ("plan", study.plan)):
        names = [item.id if isinstance(item, StudySite) else item.name for item in items]
        for n, name in enumerate(names):
            if name in names[:n]:
                raise MistakeError((what, n), f"{name!r} is there twice", "give each a name of its own")
    for what, items in (("site", study.site), ("plan", study.plan)):
        if not items:
            raise MistakeError((what,), "there is none", f"add a [[{what}]]")


def _check_assumed(study: Study) -> None:
    paths: list[tuple[KeyPath, Assumption]] = [
        (("assume", name), getattr(study.assume, name)) for name in ("btc_usd", "fee_share", "utilisation", "power")
    ]
    for at, one in [*paths, *((("assume", "fx", code), rate) for code, rate in study.assume.fx.items())]:
        if one.model in ("history", "table") and len(one.values) < (13 if one.model == "history" else 1):
            raise MistakeError((*at, "values"), f"a {one.model} needs more values", "write them, one a month")
        if at[-1] == "utilisation" and max(one.start, *one.values, 0.0) > 1.0:
            raise MistakeError((*at, "start"), f"{one.start:g} is no share", "write 95 % as 0.95")
    _check_correlations(study)
    for name in ("levels", "rooms"):
        grid = getattr(study.operation, name)
        if not grid or list(grid) != sorted(set(grid)):
            raise MistakeError(("operation", name), "does not rise", "write each value once, the smallest first")


def _check_correlations(study: Study) -> None:
    for n, (a, b, _) in enumerate(study.assume.correlations):
        for name in (a, b):
            if name not in study.drivers:
                words = ", ".join(study.drivers)
                raise MistakeError(
                    ("assume", "correlations", n), f"there is no driver {name!r}", f"write one of {words}"
                )
        if a == b:
            raise MistakeError(("assume", "correlations", n), f"{a} with itself is 1", "name two drivers")


_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "keep": (),
    "renew": ("j_per_th", "usd_per_th", "start"),
    "gpu": ("mw", "start", "usd_per_node", "shell_usd_per_mw"),
    "contract": ("mw", "start", "term_months"),
    "lease": ("mw", "start", "term_months", "usd_per_mw_year"),
    "sell": ("start", "sale_usd"),
}


def _check_needs(study: Study, one: Alternative, at: KeyPath) -> None:
    site = next((site for site in study.site if site.id == one.site), None)
    if site is None:
        raise MistakeError((*at, "site"), f"there is no site {one.site!r}", "name one of the [[site]]s")
    for name in _NEEDS[one.kind]:
        if getattr(one, name) is None:
            raise MistakeError((*at, name), "missing", f"a {one.kind} needs it: add {name} = ...")
    _check_price(one, at)
    if one.mw is not None and one.mw * (one.pue if one.is_compute else 1.0) > site.mw * 1.000001:
        drawn = one.mw * (one.pue if one.is_compute else 1.0)
        raise MistakeError(
            (*at, "mw"), f"draws {drawn:g} MW, the site has {site.mw:g}", "write MW, not kW, within the site"
        )


def _check_price(one: Alternative, at: KeyPath) -> None:
    if one.kind == "contract" and (one.usd_per_gpu_hour is None) == (one.usd_per_mw_year is None):
        raise MistakeError(
            (*at, "usd_per_gpu_hour"), "a contract has one price", "write usd_per_gpu_hour or usd_per_mw_year"
        )
    if one.kind in ("contract", "lease") and not one.customer_pays_capex:
        for name in ("shell_usd_per_mw", *(("usd_per_node",) if one.kind == "contract" else ())):
            if getattr(one, name) is None:
                raise MistakeError((*at, name), "missing", "write what it costs, or customer_pays_capex = true")


def _check_dates(study: Study, one: Alternative, at: KeyPath) -> None:
    if one.start is None:
        return
    start = study.month(one.start)
    if start < 0:
        raise MistakeError(
            (*at, "start"), f"{one.start} is before the study's {study.start}", "write a month of the study"
        )
    opens = start + one.months_to_build
    if one.delivers is not None and study.month(one.delivers) < opens:
        raise MistakeError(
            (*at, "delivers"),
            f"{one.delivers} is before its building stands, {study.label(opens)}",
            "promise it later, begin earlier, or shorten months_to_build",
        )
    site = next(site for site in study.site if site.id == one.site)
    if site.available_until is not None and one.term_months is not None:
        end = start + one.months_to_build + one.term_months
        if end > study.month(site.available_until) + 1:
            raise MistakeError(
                (*at, "term_months"),
                f"runs to {study.label(end - 1)}, the site only to {site.available_until}",
                "shorten the term, or renew the site",
            )


def _check_plans(study: Study) -> None:
    known = {one.name: one for one in study.alternative}
    for n, plan in enumerate(study.plan):
        at: KeyPath = ("plan", n, "does")
        used: list[Alternative] = []
        for name in plan.does:
            if name not in known:
                raise MistakeError(at, f"there is no alternative {name!r}", "name one of the [[alternative]]s")
            used.append(known[name])
        for site in study.site:
            _check_site(study, site, [one for one in used if one.site == site.id], at)


def _check_site(study: Study, site: StudySite, here: list[Alternative], at: KeyPath) -> None:
    taken, month = _most_mw(study, [one for one in here if one.is_compute])
    if taken > site.mw * 1.000001:
        raise MistakeError(
            at,
            f"{site.id}: {taken:g} MW are asked of {site.mw:g} in {study.label(month)}",
            "take alternatives that fit, or one after the other",
        )
    for kind in ("keep", "renew", "sell"):
        if sum(one.kind == kind for one in here) > 1:
            raise MistakeError(at, f"{site.id} is to {kind} twice", "keep one of them")
    if any(one.kind == "sell" for one in here) and len(here) > 1:
        raise MistakeError(at, f"{site.id} is sold and used", "a site that is sold does nothing else")


def _most_mw(study: Study, here: list[Alternative]) -> tuple[float, int]:
    """The most that these draw together, and the first month in which they do. What waits for a rule may begin in any
    month from its own start on."""
    spans = []
    for one in here:
        begin = 0 if one.start is None else study.month(one.start)
        ends = one.wait is None and one.term_months is not None
        end = begin + one.months_to_build + len(one.ramp) + (one.term_months or 0) if ends else study.months
        spans.append((begin, max(begin + 1, end), (one.mw or 0.0) * one.pue))
    sums = [(sum(mw for begin, end, mw in spans if begin <= at < end), at) for at, _, _ in spans]
    return max(sums, key=lambda one: (one[0], -one[1]), default=(0.0, 0))
