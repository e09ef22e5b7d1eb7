"""Studies on hand-made ground: a surface whose arithmetic can be done on paper."""

from __future__ import annotations

import numpy as np

from tieline.study.drivers import Drivers
from tieline.study.file import Study
from tieline.study.meter import KEPT
from tieline.study.reading import loads
from tieline.study.surface import MONTH_H, SiteSurface, StudySurfaces

HEAD = """
name = "on paper"
start = "2026-01"
months = {months}
paths = {paths}
seed = 3
[assume]
[assume.btc_usd]
start = 100000.0
volatility = {volatility}
[assume.difficulty]
start = 1.5e14
answer = 0.0
[assume.gpu_usd_per_hour]
start = 2.5
[assume.fee_share]
start = 0.01
[assume.power]
start = 1.0
model = "revert"
volatility = {volatility}
[assume.utilisation]
start = 0.6
[operation]
levels = [20.0, 40.0, 80.0]
gpu_shares = [0.5]
rooms = [0.5, 1.0]
[money]
opening_cash_usd = 1e6
discount = 0.10
[[site]]
id = "a"
mw = 100.0
{rest}
[[plan]]
name = "keep"
"""


def text(rest: str = "", months: int = 120, paths: int = 20, volatility: float = 0.0) -> str:
    return HEAD.format(rest=rest, months=months, paths=paths, volatility=volatility)


def study(rest: str = "", months: int = 120, paths: int = 20, volatility: float = 0.0) -> Study:
    return loads(text(rest, months, paths, volatility))


def alternative(body: str, name: str = "it") -> str:
    """An alternative at site a, and a plan that does it."""
    return f'[[alternative]]\nname = "{name}"\nsite = "a"\n{body}\n'


def doing(body: str, months: int = 120, paths: int = 20, volatility: float = 0.0, more: str = "") -> Study:
    plan = '\n[[plan]]\nname = "do"\ndoes = ["it"]\n'
    return loads(text(alternative(body), months, paths, volatility) + plan + more)


def surfaces(j_per_th: float = 20.0, usd_per_mwh: float = 50.0, mw: float = 100.0) -> StudySurfaces:
    """Power at one price; rigs fill the room wherever they earn more than it costs, as a strike would have it."""
    strike = 0.024 * j_per_th * usd_per_mwh
    levels, rooms = np.array([strike / 2, strike, strike * 1.001, strike * 4]), np.array([0.5, 1.0])
    on = levels > strike
    ph = mw * 1e6 / j_per_th / 1e3  # TH/s over a thousand
    full = {name: np.zeros((12, 2, 4)) for name in KEPT}
    full["ph_days"] = np.ones((12, 1, 1)) * rooms[None, :, None] * on[None, None, :] * ph * MONTH_H / 24.0
    full["mwh"] = np.ones((12, 1, 1)) * rooms[None, :, None] * on[None, None, :] * mw * MONTH_H
    full["power_usd"] = full["mwh"] * usd_per_mwh
    always = {name: np.zeros((12, 2)) for name in KEPT}
    always["ph_days"] = np.ones((12, 1)) * rooms[None, :] * ph * MONTH_H / 24.0
    always["mwh"] = np.ones((12, 1)) * rooms[None, :] * mw * MONTH_H
    always["power_usd"] = always["mwh"] * usd_per_mwh
    one = SiteSurface("a", mw, j_per_th, ph, 0, levels, rooms, full, always)
    return StudySurfaces({"a": one}, ("M",), ("2025-01",), True, "paper")


def flat(one: Study, hashprice: float, **given: float) -> Drivers:
    """Every month alike: a hashprice, and what is given of the rest."""
    shape = (one.paths, one.months)
    bare = Drivers(
        btc_usd=np.full(shape, 100_000.0),
        difficulty=np.full(shape, 1.5e14),
        fee_share=np.zeros(shape),
        power=np.full((*shape, 1), given.get("power", 1.0)),
        gpu_usd_per_hour=np.full(shape, given.get("gpu", 2.5)),
        utilisation=np.full(shape, given.get("utilisation", 0.6)),
        subsidy=np.full(one.months, 3.125),
        delay=np.full((one.paths, max(1, len(one.alternative))), int(given.get("delay", 0))),
        ends=np.ones((one.paths, max(1, len(one.alternative)), one.months)),
        fx=np.ones((*shape, len(one.currencies))) * [one.assume.fx[code].start for code in one.currencies],
    )
    return bare.scaled("btc_usd", hashprice / float(bare.hashprice[0, 0]))
