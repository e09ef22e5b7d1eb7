"""What each plan earns and costs on a block of paths: monthly cash by where it comes from.

A site's rigs do what its surface says at the path's hashprice, in the room that computers leave. Own GPUs earn their
price times utilisation, contracts and leases their terms. Every formula is in docs/study.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tieline.study.drivers import Drivers
from tieline.study.file import Alternative, CapitalPlan, Study, StudySite
from tieline.study.interpolate import ALL, Coupling, NodesReading, SurfaceReading
from tieline.study.surface import MONTH_H, StudySurfaces

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Where cash comes from and goes to. All of them add up to a plan's cash.
CATEGORIES: Final = (
    "mining", "own GPUs", "contracts", "leases", "prepayments", "power", "peaks and wear", "operation", "fixed",
    "rigs bought", "nodes and shells", "sales and residuals", "tax", "loans",
)  # fmt: skip
# Of these, what a loan's covenant calls operating cash.
OPERATING: Final = ("mining", "own GPUs", "contracts", "leases", "power", "operation", "fixed", "tax")
# What sites do that is no money.
PHYSICAL: Final = ("mwh", "btc", "tokens")
# An idle node draws this share of its rated power; MLPerf power submissions show 20 to 40 %.
IDLE: Final = 0.3
NEVER: Final = 100_000


@dataclass(frozen=True)
class Cash:
    """(paths, months) by category, in the study's currency, and what the sites physically did: (months,) means.
    `value`: what secured alternatives stand for with a lender, USD."""

    by: dict[str, Floats]
    mwh: Floats
    btc: Floats
    tokens: Floats
    value: dict[str, Floats]

    @cached_property
    def total(self) -> Floats:
        total: Floats = np.sum([self.by[name] for name in CATEGORIES], axis=0)
        return total


class Block:
    """One block of paths; what sites do alone is reckoned once for all plans."""

    def __init__(self, study: Study, surfaces: StudySurfaces, drivers: Drivers, coupling: Coupling = ALL) -> None:
        self.study, self.surfaces, self.drivers, self.coupling = study, surfaces, drivers, coupling
        self.paths, self.months = drivers.btc_usd.shape
        self.hashprice = drivers.hashprice
        self.opened = {code: study.assume.fx[code].start for code in study.currencies}
        self.secured = {name for loan in study.loan for name in loan.secured_by}
        first = int(study.start[5:]) - 1
        self.month_of_year = (first + np.arange(self.months)) % 12
        self.number = {one.name: n for n, one in enumerate(study.alternative)}
        self._known: dict[tuple[str, ...], SiteFlows] = {}

    def index(self, code: str) -> Floats | float:
        """(paths, months) what an amount written in USD at the start's rate has become in USD."""
        return 1.0 if code == "USD" else self.rate(code) / self.opened[code]

    def rate(self, code: str) -> Floats | float:
        """(paths, months) USD for one."""
        return 1.0 if code == "USD" else self.drivers.fx[:, :, self.study.currencies.index(code)]

    def reported(self, usd: Floats) -> Floats:
        """In the study's currency."""
        return np.asarray(usd / self.rate(self.study.money.currency))

    def cash(self, plan: CapitalPlan) -> Cash:
        """All sites under one plan, before loans; tax is the last."""
        zero = np.zeros((self.paths, self.months))
        by = {name: zero.copy() for name in (*CATEGORIES, *PHYSICAL)}
        value: dict[str, Floats] = {}
        does = [one for name in plan.does for one in self.study.alternative if one.name == name]
        for site in self.study.site:
            here = self._site(site, [one for one in does if one.site == site.id])
            value |= here.value
            for name, values in here.by.items():
                by[name] += values
        mwh, btc, tokens = (by.pop(name).mean(axis=0) for name in PHYSICAL)
        by["fixed"] -= self.study.money.fixed_usd_per_month
        if self.study.money.tax:
            by["tax"] = -self.study.money.tax * np.maximum(0.0, np.sum([by[name] for name in OPERATING], axis=0))
        if self.study.money.currency != "USD":
            by = {name: self.reported(values) for name, values in by.items()}
        return Cash(by, mwh, btc, tokens, value)

    def added(self, plan: CapitalPlan, first: CapitalPlan) -> Floats:
        """(paths, months) what a plan adds to another, before loans. Without tax only the sites that either of them
        touches have to be looked at."""
        if self.study.money.tax:
            return np.asarray(self.cash(plan).total - self.cash(first).total)
        total = np.zeros((self.paths, self.months))
        by_name = {one.name: one for one in self.study.alternative}
        for site in self.study.site:
            does = [[by_name[name] for name in one.does if by_name[name].site == site.id] for one in (plan, first)]
            if does[0] != does[1]:
                for sign, here in zip((1.0, -1.0), does, strict=True):
                    added = self._site(site, here).by
                    total += sign * np.sum([added[name] for name in CATEGORIES if name in added], axis=0)
        return self.reported(total)

    def _site(self, site: StudySite, does: list[Alternative]) -> SiteFlows:
        """One site's cash; several plans do the same there."""
        key = (site.id, *(one.name for one in does))
        if key not in self._known:
            here = SiteCash(self, site, does)
            self._known[key] = SiteFlows(here.found, here.value)
        return self._known[key]

    def start(self, one: Alternative) -> Ints:
        """(paths,) the month in which it is begun: its date, or the first after it at which its rule holds."""
        begin = 0 if one.start is None else self.study.month(one.start)
        if one.wait is None:
            return np.full(self.paths, begin)
        if one.wait.until is not None:
            begin = max(begin, self.study.month(one.wait.until))
        if not one.wait.is_rule:
            return np.full(self.paths, begin)
        window = one.wait.mean_months
        sums = np.cumsum(self._watched(one), axis=1)
        mean = sums.copy()
        mean[:, window:] = sums[:, window:] - sums[:, :-window]
        mean /= np.minimum(np.arange(self.months) + 1, window)
        lower, upper = one.wait.lower, one.wait.above
        holds = mean < lower if lower is not None else mean > (upper or 0.0)
        holds[:, : max(begin, window - 1)] = False
        return np.where(holds.any(axis=1), np.argmax(holds, axis=1), NEVER)

    def _watched(self, one: Alternative) -> Floats:
        """(paths, months) of what a rule waits for."""
        assert one.wait is not None
        if one.wait.of == "hashprice":
            return self.hashprice
        if one.wait.of == "power":
            market = self.surfaces.by_site[one.site].market
            return np.ones_like(self.hashprice) if market is None else self.drivers.power[:, :, market]
        driver: Floats = getattr(self.drivers, one.wait.of)
        return driver


@dataclass(frozen=True)
class SiteFlows:
    """(paths, months) of one site with what is done there, USD: `by` category (and MWh and bitcoin), and the `value` of
    alternatives that secure a loan."""

    by: dict[str, Floats]
    value: dict[str, Floats]


class SiteCash:
    """One site with what is done there."""

    def __init__(self, block: Block, site: StudySite, does: list[Alternative]) -> None:
        self.block, self.site = block, site
        self.surface = block.surfaces.by_site[site.id]
        self.scale = site.mw / self.surface.limit_mw
        shape = (block.paths, block.months)
        self.found: dict[str, Floats] = {}
        self.value: dict[str, Floats] = {}
        self.months = np.arange(block.months)[None, :]
        self.open = np.ones(shape)
        self.efficiency = np.full(shape, site.j_per_th or self.surface.j_per_th)
        self.taken = np.zeros(shape)  # MW that rigs may not draw
        self.tokens: list[tuple[Alternative, Floats]] = []  # (paths, months) share of the site that serves them
        self.index = block.index(site.currency)
        # A fixed contract keeps its price in its own currency, whatever its market does.
        market = 1.0 if self.surface.market is None else block.drivers.power[:, :, self.surface.market]
        self.factor = np.broadcast_to(market * self.index, shape)
        for one in does:
            _DONE[one.kind](self, one)
        self._mine()
        self.add("fixed", -site.fixed_usd_per_month * self.open, site.currency)

    def add(self, name: str, values: Floats, currency: str = "USD") -> None:
        """Amounts in USD at the start's rate, owed in a currency."""
        if currency != "USD":
            values = values * self.block.index(currency)
        self.found[name] = values if name not in self.found else self.found[name] + values

    # --- mining ---------------------------------------------------------------------

    def _mine(self) -> None:
        better = self.surface.j_per_th / self.efficiency
        hashprice, factor = self.block.hashprice, self.factor
        # Where power costs k times as much and rigs hash b times as much per watt, dispatch stands where it stood at
        # hashprice x b / k.
        level = hashprice * better / factor
        more = self._serve(level)
        room = np.clip(1.0 - self.taken / self.site.mw, 0.0, 1.0) * self.open
        read = SurfaceReading(self.surface, self.block.month_of_year, level, room, self.block.coupling)
        if more is not None:
            read.values += more
        ph_days = read("ph_days") * self.scale * better
        self.add("mining", ph_days * hashprice * (1.0 - self.block.study.assume.pool_fee))
        self.add("btc", ph_days * hashprice / self.block.drivers.btc_usd)
        self.add("power", -(read("power_usd") * self.scale * factor))
        self.add("peaks and wear", -((read("peaks_usd") * self.index + read("wear_usd")) * self.scale))
        self.add("mwh", read("mwh") * self.scale)

    def _serve(self, level: Floats) -> Floats | None:
        """What nodes that sell tokens earn and leave to the rigs. Returns (paths, months, columns) what comes to the
        rigs' own for it; None where no nodes stand, or where a coupling is left out: then they draw as others do."""
        share = np.asarray(sum((share for _, share in self.tokens), np.zeros_like(level))) * self.open
        if not share.any():
            return None
        nodes = NodesReading.of(self.surface, self.block.month_of_year, level, share)
        price = self.block.drivers.gpu_usd_per_hour / self.block.study.assume.gpu_usd_per_hour.start
        for one, own in self.tokens:
            part = np.divide(own, share, out=np.zeros_like(share), where=share > 0)
            served = part * nodes.own["tokens"] * self.scale
            self.add("own GPUs", served / 1e6 * (one.usd_per_million_tokens or 0.0) * price, one.currency)
            self.add("tokens", served)
        draw_mw = nodes.own["gpu_mwh"] * self.scale / MONTH_H
        self.taken += draw_mw if self.block.coupling.shares else share * self.site.mw / self._busy()
        if self.block.coupling == ALL:
            return nodes.more
        self._power(draw_mw)
        self.add("mwh", draw_mw * MONTH_H)
        return None

    def _busy(self) -> Floats:
        """Of what nodes could serve, what is asked for, over what the surface's nodes are asked for."""
        return np.asarray(self.block.drivers.utilisation / self.surface.load)

    def _power(self, draw_mw: Floats) -> None:
        """What draws all the time pays the month's mean price, and its part of the peaks."""
        always, month = self.surface.always, self.block.month_of_year
        price = (always["power_usd"][:, -1] / np.maximum(always["mwh"][:, -1], 1e-9))[month]
        peaks = (always["peaks_usd"][:, -1] / self.surface.limit_mw)[month]
        self.add("power", -(draw_mw * MONTH_H * price * self.factor))
        self.add("peaks and wear", -(draw_mw * peaks * self.index))

    # --- what can be done -------------------------------------------------------------

    def keep(self, one: Alternative) -> None:
        """Nothing changes."""

    def renew(self, one: Alternative) -> None:
        """Rigs of another efficiency on the same watts, from their delivery on."""
        start = self.block.start(one)[:, None]
        here = self.months >= start + one.delivery_months
        rated_th = self.surface.rated_ph * 1e3 * self.scale * self.surface.j_per_th
        old = rated_th / (self.site.j_per_th or self.surface.j_per_th)
        new = rated_th / one.new_j_per_th
        paid = (self.months == start) * new * (one.usd_per_th or 0.0)
        sold = (self.months == start + one.delivery_months) * old * one.old_usd_per_th
        self.add("rigs bought", -paid, one.currency)
        self.add("sales and residuals", sold, one.currency)
        self.efficiency = np.where(here, one.new_j_per_th, self.efficiency)
        if one.name in self.block.secured:
            age = self.months - start - one.delivery_months
            left = np.cumsum(paid, axis=1) * np.clip(1.0 - age / one.life_months, 0.0, 1.0)
            self.value[one.name] = np.asarray(left * self.block.index(one.currency))

    def sell(self, one: Alternative) -> None:
        """The site goes, and all that it did."""
        start = self.block.start(one)[:, None]
        self.open = np.where(self.months >= start, 0.0, self.open)
        self.add("sales and residuals", (self.months == start) * (one.sale_usd or 0.0), one.currency)

    def compute(self, one: Alternative) -> None:
        """Own GPUs, a contract for them, or a lease of the shell."""
        built = Building(self, one)
        self.taken += built.reserved_mw()
        if one.sells_tokens:
            # Nodes that nobody asks for sleep: those that are asked for less are fewer nodes.
            self.tokens.append((one, built.running * built.mw * one.pue / self.site.mw * self._busy()))
        if not one.customer_pays_capex:
            self.add("nodes and shells", -built.capex, one.currency)
            self.add("sales and residuals", built.residual(), one.currency)
            if one.name in self.block.secured:
                self.value[one.name] = np.asarray(built.value() * self.block.index(one.currency))
        self.add("operation", -(built.running * (one.mw or 0.0) * one.opex_usd_per_mw_month), one.currency)
        if one.sells_tokens:
            return  # what they serve, draw and leave is read from the surface
        if not one.customer_pays_power:
            self._power(built.draw_mw())
        self.add("mwh", built.draw_mw() * MONTH_H)
        revenue = built.revenue()
        if one.kind == "gpu":
            self.add("own GPUs", revenue, one.currency)
        else:
            name = "contracts" if one.kind == "contract" else "leases"
            self.add(name, revenue * (1.0 - one.prepaid), one.currency)
            self.add("prepayments", built.prepayments(revenue), one.currency)


_DONE: Final = {
    "keep": SiteCash.keep, "renew": SiteCash.renew, "sell": SiteCash.sell,
    "gpu": SiteCash.compute, "contract": SiteCash.compute, "lease": SiteCash.compute,
}  # fmt: skip


class Building:
    """One block of computers or shell: (paths, months) of what stands, runs and is paid."""

    def __init__(self, at: SiteCash, one: Alternative) -> None:
        self.at, self.one, self.block = at, one, at.block
        self.mw = one.mw or 0.0
        number = self.block.number[one.name]
        self.begin = self.block.start(one)[:, None]
        self.opens = self.begin + one.months_to_build + self.block.drivers.delay[:, number][:, None]
        self.age = at.months - self.opens
        self.ramp = _steps(one)
        term = NEVER if one.term_months is None else one.term_months
        running = np.zeros(self.age.shape)
        for month, share in self.ramp:
            running += share * ((self.age >= month) & (self.age < month + term))
        hazard = 1.0 - (1.0 - min(one.ends_early_per_year, 0.999_999)) ** (1.0 / 12.0)
        ended = (self.block.drivers.ends[:, number, :] < hazard) & (running > 0)
        self.ends = ended & (np.cumsum(ended, axis=1) == 1)
        self.running = running * (np.cumsum(ended, axis=1) == 0)

    @property
    def nodes(self) -> int:
        return int(self.mw * 1e3 / self.one.node_kw + 1e-9)

    def draw_mw(self) -> Floats:
        """At the meter: own nodes idle when nobody asks, what is let runs."""
        busy: Floats | float = 1.0
        if self.one.kind == "gpu":
            busy = IDLE + (1.0 - IDLE) * self.block.drivers.utilisation
        return np.asarray(self.running * self.mw * self.one.pue * busy)

    def reserved_mw(self) -> Floats:
        """What rigs may not draw: what is drawn, or, where nothing is shared, what could be; and room lost to the site
        work."""
        full = self.running * self.mw * self.one.pue
        shares = self.block.coupling.shares
        drawn = np.zeros_like(full) if self.one.sells_tokens else self.draw_mw() if shares else full
        work = (self.at.months >= self.begin) & (self.age < 0)
        lost = work * self.mw * self.one.pue * self.one.mining_lost
        return np.asarray(drawn + lost)

    @cached_property
    def capex(self) -> Floats:
        return np.asarray(self.shell + sum(self.nodes_paid()))

    @cached_property
    def shell(self) -> Floats:
        """In equal parts while it is built, at once where nothing is built."""
        months = max(1, self.one.months_to_build)
        since = self.at.months - self.begin
        return np.asarray(((since >= 0) & (since < months)) * self.mw * (self.one.shell_usd_per_mw or 0.0) / months)

    def nodes_paid(self) -> list[Floats]:
        """Nodes are paid as they open, by phase; the customer of a lease brings his own."""
        nodes = 0.0 if self.one.kind == "lease" else self.nodes * (self.one.usd_per_node or 0.0)
        return [np.asarray((self.age == month) * share * nodes) for month, share in self.ramp]

    def value(self) -> Floats:
        """What was paid so far, each part written down evenly from its opening over its life to its residual."""

        def left(age: Ints, life: int) -> Floats:
            share: Floats = 1.0 - (1.0 - self.one.residual) * np.clip(age / life, 0.0, 1.0)
            return share

        value = np.cumsum(self.shell, axis=1) * left(self.age, self.one.shell_life_months)
        for (month, _), paid in zip(self.ramp, self.nodes_paid(), strict=True):
            value += np.cumsum(paid, axis=1) * left(self.age - month, self.one.life_months)
        return np.asarray(value)

    def residual(self) -> Floats:
        """A share of what was paid, when the last of it stops running or at the end of the study."""
        total = self.capex.sum(axis=1, keepdims=True) * self.one.residual
        months = self.at.months
        last = np.where(self.running > 0, months, -1).max(axis=1, keepdims=True)
        last = np.where(last < 0, months[0, -1], last)
        return np.asarray((months == last) * total)

    def revenue(self) -> Floats:
        one = self.one
        years = np.maximum(0, self.age) // 12
        grown = (1.0 + one.escalator) ** years
        if one.mw_year_usd is not None:
            full = self.mw * one.mw_year_usd / 12.0 * grown
        else:
            gpu_hours = self.nodes * one.gpus_per_node * MONTH_H
            if one.kind == "gpu":
                full = gpu_hours * self.block.drivers.gpu_usd_per_hour * self.block.drivers.utilisation
            else:
                full = gpu_hours * (one.usd_per_gpu_hour or 0.0) * grown
        missed = max(0.0, one.availability_floor - one.availability)
        earned = self.running * full * max(0.0, 1.0 - missed * one.credit_share)
        fee = self.ends * full * one.termination_months
        return np.asarray(earned + fee)

    def prepayments(self, revenue: Floats) -> Floats:
        """A share of the contract when it is signed: a debt that each month's revenue pays off. What is left when it
        ends early goes back."""
        if self.one.prepaid == 0:
            return np.zeros_like(revenue)
        owed = self.one.prepaid * contract_usd(self.one)
        earned = np.cumsum(revenue, axis=1) * self.one.prepaid
        signed = (self.at.months == self.begin) * owed
        return np.asarray(signed - self.ends * np.maximum(0.0, owed - earned))


def contract_usd(one: Alternative) -> float:
    """What a contract or lease comes to over its term by its own words, with nothing late, missed or ended early."""
    term = one.term_months or 0
    if one.mw_year_usd is not None:
        full = (one.mw or 0.0) * one.mw_year_usd / 12.0
    else:
        full = (
            int((one.mw or 0.0) * 1e3 / one.node_kw + 1e-9)
            * one.gpus_per_node
            * MONTH_H
            * (one.usd_per_gpu_hour or 0.0)
        )
    return sum(
        share * full * (1.0 + one.escalator) ** (age // 12)
        for month, share in _steps(one)
        for age in range(month, month + term)
    )


def _steps(one: Alternative) -> list[tuple[int, float]]:
    """(month after opening, share that opens then); the rest opens after the ramp's last month."""
    steps, before = [], 0.0
    for month, share in enumerate((*one.ramp, 1.0)):
        if share > before:
            steps.append((month, share - before))
            before = share
    return steps
