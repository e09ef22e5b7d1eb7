"""The study's cash-flow model in plain pandas: one long table of path x month, a column for each step.

Written from docs/study.md, for what the example has: mining with renewed rigs, own GPUs that may wait for a rule, a
contract with phases and a prepayment, a lease, and loans by the textbook. To be compared with, in figures and in time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tieline.study.drivers import Drivers
from tieline.study.file import Alternative, CapitalPlan, Study, StudyLoan, StudySite
from tieline.study.surface import MONTH_H, SiteSurface, StudySurfaces

IDLE = 0.3


def worths(study: Study, surfaces: StudySurfaces, drivers: Drivers) -> dict[str, pd.Series]:
    """Net present value by path, of each plan."""
    paths, months = drivers.btc_usd.shape
    table = pd.DataFrame(
        {
            "path": np.repeat(np.arange(paths), months),
            "month": np.tile(np.arange(months), paths),
            "hashprice": drivers.hashprice.ravel(),
            "gpu": drivers.gpu_usd_per_hour.ravel(),
            "used": drivers.utilisation.ravel(),
        }
    )
    table["moy"] = (int(study.start[5:]) - 1 + table["month"]) % 12
    table["discount"] = (1.0 + study.money.discount) ** (-table["month"] / 12.0)
    by_name = {one.name: (n, one) for n, one in enumerate(study.alternative)}
    found = {}
    for plan in study.plan:
        cash = pd.Series(-study.money.fixed_usd_per_month, index=table.index)
        for site in study.site:
            does = [by_name[name] for name in plan.does if by_name[name][1].site == site.id]
            cash = cash + site_cash(study, table, site, surfaces.by_site[site.id], drivers, does)
        cash = cash + loans(study, plan, months)[table["month"]].to_numpy()
        found[plan.name] = (cash * table["discount"]).groupby(table["path"]).sum()
    return found


def site_cash(
    study: Study,
    table: pd.DataFrame,
    site: StudySite,
    surface: SiteSurface,
    drivers: Drivers,
    does: list[tuple[int, Alternative]],
) -> pd.Series:
    scale = site.mw / surface.limit_mw
    market = 1.0 if surface.market is None else drivers.power[:, :, surface.market].ravel()
    factor = pd.Series(market, index=table.index)
    efficiency = pd.Series(site.j_per_th or surface.j_per_th, index=table.index)
    cash, taken = pd.Series(-site.fixed_usd_per_month, index=table.index), pd.Series(0.0, index=table.index)
    for n, one in does:
        begin = begins(study, table, one)
        if one.kind == "renew":
            cash = cash + renewed(table, site, surface, scale, one, begin)
            here = table["month"] >= begin + one.delivery_months
            efficiency = efficiency.where(~here, one.new_j_per_th)
        else:
            late = pd.Series(drivers.delay[:, n]).reindex(table["path"]).to_numpy()
            own, drawn, lost = computers(table, one, begin, late)
            cash, taken = cash + own, taken + drawn + lost
            if not one.customer_pays_power:
                cash = cash - bought(table, surface, drawn, factor)
    # Room beyond what all rigs draw changes nothing; the rest follows the site's order of merit.
    fill = (surface.always["mwh"][:, -1] / (surface.limit_mw * MONTH_H)).clip(1e-6, 1.0)[table["moy"]]
    room = np.minimum((1.0 - taken / site.mw).clip(0.0, 1.0), fill) / fill
    merit = np.interp(room, surface.merit[0], surface.merit[1])
    better = surface.j_per_th / efficiency
    read = reading(table, surface, table["hashprice"] * better / factor)
    mining = read["ph_days"] * better * table["hashprice"] * (1.0 - study.assume.pool_fee)
    costs = read["power_usd"] * factor + read["peaks_usd"] + read["wear_usd"]
    return cash + (mining * merit - costs * room) * scale


def reading(table: pd.DataFrame, surface: SiteSurface, level: pd.Series) -> pd.DataFrame:
    """The surface at a hashprice, month by month of the year; for surfaces of the whole room."""
    assert list(surface.rooms) == [1.0]
    grid = np.concatenate([[0.0], surface.levels])
    out = pd.DataFrame(0.0, index=table.index, columns=["ph_days", "power_usd", "peaks_usd", "wear_usd"])
    for moy, rows in table.groupby("moy").groups.items():
        at = level.loc[rows].to_numpy()
        known = {name: np.concatenate([[0.0], surface.at[name][moy, 0]]) for name in out.columns}
        for name, values in known.items():
            out.loc[rows, name] = np.interp(at, grid, values)
        low = np.clip(np.searchsorted(grid, at, side="right") - 1, 0, len(grid) - 2)
        way = np.clip((at - grid[low]) / np.diff(grid)[low], 0.0, 1.0)
        step = np.diff(known["ph_days"])[low] * np.diff(grid)[low]
        out.loc[rows, "power_usd"] -= step * way * (1.0 - way) / 2.0
    return out


def begins(study: Study, table: pd.DataFrame, one: Alternative) -> pd.Series:
    begin = 0 if one.start is None else study.month(one.start)
    if one.wait is None:
        return pd.Series(begin, index=table.index)
    window = one.wait.mean_months
    mean = table.groupby("path")["hashprice"].rolling(window).mean().droplevel(0)
    holds = (mean < one.wait.hashprice_below) & (table["month"] >= begin)
    first = table["month"].where(holds).groupby(table["path"]).min().fillna(100_000)
    return first.reindex(table["path"]).set_axis(table.index)


def renewed(
    table: pd.DataFrame, site: StudySite, surface: SiteSurface, scale: float, one: Alternative, begin: pd.Series
) -> pd.Series:
    rated_th = surface.rated_ph * 1e3 * scale * surface.j_per_th
    paid = (table["month"] == begin) * rated_th / one.new_j_per_th * (one.usd_per_th or 0.0)
    old = rated_th / (site.j_per_th or surface.j_per_th) * one.old_usd_per_th
    return (table["month"] == begin + one.delivery_months) * old - paid


def computers(
    table: pd.DataFrame, one: Alternative, begin: pd.Series, late: np.ndarray
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Cash, MW drawn and MW lost to the site work."""
    mw, nodes = one.mw or 0.0, int((one.mw or 0.0) * 1e3 / one.node_kw + 1e-9)
    age = table["month"] - begin - one.months_to_build - late
    term = one.term_months or 100_000
    running, paid = pd.Series(0.0, index=table.index), pd.Series(0.0, index=table.index)
    phases, before = [], 0.0
    for month, share in enumerate((*one.ramp, 1.0)):
        if share > before:
            phases.append((month, share - before))
            before = share
    for month, share in phases:
        running += share * ((age >= month) & (age < month + term))
        if one.kind != "lease":
            paid += (age == month) * share * nodes * (one.usd_per_node or 0.0)
    since, build = table["month"] - begin, max(1, one.months_to_build)
    paid += ((since >= 0) & (since < build)) * mw * (one.shell_usd_per_mw or 0.0) / build
    runs = table["month"].where(running > 0).groupby(table["path"]).max().fillna(table["month"].max())
    last = table["month"] == runs.reindex(table["path"]).to_numpy()
    residual = last * paid.groupby(table["path"]).transform("sum") * one.residual
    grown = (1.0 + one.escalator) ** (age.clip(lower=0) // 12)
    if one.usd_per_mw_year is not None:
        full = mw * one.usd_per_mw_year / 12.0 * grown
    elif one.kind == "gpu":
        full = nodes * one.gpus_per_node * MONTH_H * table["gpu"] * table["used"]
    else:
        full = nodes * one.gpus_per_node * MONTH_H * (one.usd_per_gpu_hour or 0.0) * grown
    missed = max(0.0, one.availability_floor - one.availability)
    revenue = running * full * max(0.0, 1.0 - missed * one.credit_share)
    ahead = 0.0
    if one.prepaid:
        terms = sum(
            share * mw * (one.usd_per_mw_year or 0.0) / 12.0 * (1.0 + one.escalator) ** (a // 12)
            for month, share in phases
            for a in range(month, month + term)
        )
        ahead = (table["month"] == begin) * one.prepaid * terms
    busy = IDLE + (1.0 - IDLE) * table["used"] if one.kind == "gpu" else 1.0
    drawn = running * mw * one.pue * busy
    lost = ((since >= 0) & (age < 0)) * mw * one.pue * one.mining_lost
    costs = paid + running * mw * one.opex_usd_per_mw_month
    return revenue * (1.0 - one.prepaid) + ahead + residual - costs, drawn, lost


def bought(table: pd.DataFrame, surface: SiteSurface, drawn: pd.Series, factor: pd.Series) -> pd.Series:
    always = surface.always
    price = pd.Series(always["power_usd"][:, -1] / np.maximum(always["mwh"][:, -1], 1e-9))
    peaks = pd.Series(always["peaks_usd"][:, -1] / surface.limit_mw)
    at = table["moy"]
    return drawn * MONTH_H * price[at].to_numpy() * factor + drawn * peaks[at].to_numpy()


def loans(study: Study, plan: CapitalPlan, months: int) -> pd.Series:
    found = pd.Series(0.0, index=range(months))
    for loan in study.loan:
        if loan.plan in ("", plan.name) and loan.repaid == "level":
            found = found.add(level_loan(study, loan, months), fill_value=0.0)
    return found


def level_loan(study: Study, loan: StudyLoan, months: int) -> pd.Series:
    begin, monthly, owed = study.month(loan.month or study.start), loan.rate / 12.0, 0.0
    alone = max(loan.draw_months - 1, loan.interest_only_months)
    left = loan.term_months - alone
    level = loan.usd * monthly / (1.0 - (1.0 + monthly) ** -left)
    cash = {}
    for n in range(min(loan.term_months + 1, months - begin)):
        interest, drawn = owed * monthly, loan.usd / loan.draw_months if n < loan.draw_months else 0.0
        repaid = level - interest if n > alone else 0.0
        owed += drawn - repaid
        cash[begin + n] = drawn - interest - repaid
    if begin + loan.term_months >= months:
        cash[months - 1] -= owed
    return pd.Series(cash)
