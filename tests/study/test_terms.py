"""Published contracts and closed forms: from the terms alone, the published figures."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.study.ground import HEAD, alternative, doing, flat, study, surfaces

from tieline.study.alternatives import Block, contract_usd
from tieline.study.drivers import Drivers
from tieline.study.file import Study
from tieline.study.interpolate import Coupling
from tieline.study.money import npv
from tieline.study.reading import loads
from tieline.study.surface import StudySurfaces


def cash(one: Study, drivers: Drivers, plan: int = 1):  # type: ignore[no-untyped-def]
    return Block(one, surfaces(), drivers).cash(one.plan[plan])


# Announced 2025-11-03: about 9.7 bn USD over five years, 20 % prepaid, 200 MW of critical IT in four phases through
# 2026, equipment for about 5.8 bn.
IREN = """
kind = "contract"
start = "2025-11"
mw = 200.0
usd_per_mw_year = 9.7e6
term_months = 60
prepaid = 0.2
ramp = [0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75]
months_to_build = 4
node_kw = 14.0
usd_per_node = 406000.0
shell_usd_per_mw = 0.0
pue = 1.0
"""


LEASED = """
kind = "lease"
start = "2025-11"
mw = 200.0
usd_per_mw_year = 1.85e6
term_months = 120
shell_usd_per_mw = 9e6
months_to_build = 10
customer_pays_power = true
"""


def within(start: str, body: str, mw: float, months: int = 240, more: str = "") -> Study:
    head = HEAD.replace('start = "2026-01"', f'start = "{start}"').replace("mw = 100.0", f"mw = {mw}")
    plan = '\n[[plan]]\nname = "do"\ndoes = ["it"]\n'
    return loads(head.format(rest=alternative(body) + more, months=months, paths=2, volatility=0.0) + plan)


def test_iren_and_microsoft() -> None:
    one = within("2025-11", IREN, 200.0)
    it = one.alternative[0]
    assert round(contract_usd(it) / 1e9, 1) == 9.7
    found = cash(one, flat(one, 50.0))
    paid = found.by["contracts"] + found.by["prepayments"]
    assert paid.sum(axis=1)[0] == pytest.approx(contract_usd(it), rel=1e-12)
    assert round(found.by["prepayments"][0, 0] / 1e9, 2) == 1.94
    assert round(-found.by["nodes and shells"][0].sum() / 1e9, 1) == 5.8
    # A whole year of all phases is 1.94 bn, of which a fifth was paid before.
    year = found.by["contracts"][0, 24:36].sum()
    assert round(year / 0.8 / 1e9, 2) == 1.94
    # The lowest point: the prepayment carries the first phases, the later ones have to be found.
    total = np.cumsum((paid + found.by["nodes and shells"])[0])
    assert one.label(int(np.argmin(total))) == "2026-12"
    assert total.min() / 1e9 == pytest.approx(
        1.94 - 5.8 + 22 * 0.25 * 0.8 * 9.7 / 60, abs=0.005
    )  # 10 + 7 + 4 + 1 months of a quarter


def test_terawulf_and_fluidstack() -> None:
    """2025-08-14: over 200 MW, ten years, 3.7 bn contracted, 8 to 10 M USD per MW, about 315 M net operating income a
    year (85 %)."""
    one = within("2025-08", """
kind = "lease"
start = "2025-08"
mw = 200.0
usd_per_mw_year = 1.85e6
term_months = 120
months_to_build = 10
shell_usd_per_mw = 9e6
opex_usd_per_mw_month = 23125.0
customer_pays_power = true
pue = 1.0
""", 250.0)  # fmt: skip
    assert round(contract_usd(one.alternative[0]) / 1e9, 1) == 3.7
    found = cash(one, flat(one, 50.0))
    year = slice(24, 36)
    revenue, costs = found.by["leases"][0, year].sum(), -found.by["operation"][0, year].sum()
    assert round((revenue - costs) / 1e6) in range(310, 320)
    assert round(1.0 - costs / revenue, 2) == 0.85
    assert -found.by["nodes and shells"][0].sum() / 1e9 == pytest.approx(1.8)
    low = np.cumsum((found.by["leases"] + found.by["operation"] + found.by["nodes and shells"])[0]).min()
    assert low / 1e9 == pytest.approx(-1.8, abs=0.01)  # nothing comes in before it is built


# Each as published: MW of critical IT, USD per MW and year, months, total; who, when, and the page that says so.
DEALS = [
    # Core Scientific and CoreWeave, 2024-10-22: sec.gov 0001628280-24-043341, corescientifichpcoption3re.htm
    (500.0, 1.45e6, 144, 8.7e9),
    (120.0, 1.389e6, 144, 2.0e9),  # the last option in it
    (200.0, 1.458e6, 144, 3.5e9),  # the first contract, 2024-06-03: stocktitan.net, core-scientific-announces-may-2024
    # TeraWulf and Fluidstack, Google behind it, 2025-08-14: blockspace.media and copies of the release
    (200.0, 1.85e6, 120, 3.7e9),
    (360.0, 1.861e6, 120, 6.7e9),  # with CB-5, August 2025: reportify.ai 1154898903741763584
    (250.0, 1.867e6, 180, 7.0e9),  # Applied Digital and CoreWeave, 2025-06-02: theregister.com 2025/06/02
    (400.0, 1.833e6, 180, 11.0e9),  # the same, cumulative, 2025-08-29: finanznachrichten.de, GlobeNewswire's copy
    (526.0, 1.901e6, 180, 15.0e9),  # Galaxy and CoreWeave, 2025-08-15: stocktitan.net GLXY
    (168.0, 1.786e6, 120, 3.0e9),  # Cipher and Fluidstack, 2025-09-25: stocktitan.net CIFR 168-mw
    (168.0, 2.262e6, 300, 9.5e9),  # TeraWulf's joint venture, 2025-10-28: investors.terawulf.com, release 121
]


@pytest.mark.parametrize(("mw", "per_mw", "term", "total"), DEALS)
def test_contract_totals_to_their_published_rounding(mw: float, per_mw: float, term: int, total: float) -> None:
    one = within("2026-01", f"""
kind = "lease"
start = "2026-01"
mw = {mw}
usd_per_mw_year = {per_mw}
term_months = {term}
customer_pays_capex = true
customer_pays_power = true
pue = 1.0
""", 1000.0, months=360)  # fmt: skip
    assert contract_usd(one.alternative[0]) == pytest.approx(total, rel=2e-3)
    assert cash(one, flat(one, 50.0)).by["leases"][0].sum() == pytest.approx(total, rel=2e-3)
    monthly = msgspec.structs.replace(one.alternative[0], usd_per_mw_year=None, usd_per_mw_month=per_mw / 12)
    assert contract_usd(monthly) == pytest.approx(contract_usd(one.alternative[0]))


def test_terawulf_and_core42() -> None:
    """2024-12-23: 60 MW of critical IT, ten years, 1.5 M USD per MW and year with 3 % a year more, twelve months ahead,
    6 to 8 M USD of building per MW, about 1.05 M a year left of each MW (70 %)."""
    rent = 60 * 1.5e6
    ahead = 1.0 / sum(1.03**year for year in range(10))  # of the whole: the first year's rent
    one = within("2024-12", f"""
kind = "lease"
start = "2024-12"
mw = 60.0
usd_per_mw_year = 1.5e6
escalator = 0.03
term_months = 120
months_to_build = 12
shell_usd_per_mw = 7e6
opex_usd_per_mw_month = {0.45e6 / 12}
prepaid = {ahead}
customer_pays_power = true
pue = 1.25
""", 80.0)  # fmt: skip
    assert contract_usd(one.alternative[0]) == pytest.approx(rent / ahead)
    found = cash(one, flat(one, 50.0))
    assert found.by["prepayments"][0, 0] == pytest.approx(rent)
    paid = (found.by["leases"] + found.by["prepayments"])[0]
    assert paid.sum() == pytest.approx(rent / ahead)
    left = 1.0 + found.by["operation"][0, 12:24].sum() / rent
    assert (round(left, 2), round(left * 1.5, 2)) == (0.70, 1.05)
    # Twelve months of rent carry the first of the building; the rest, 330 M, has to be found before it opens.
    low = np.cumsum(paid + found.by["nodes and shells"][0] + found.by["operation"][0])
    assert low.min() / 1e6 == pytest.approx(-(60 * 7 - 90), rel=1e-6)
    assert one.label(int(np.argmin(low))) == "2025-11"


@pytest.mark.parametrize(
    ("mw", "phases", "lowest", "when"),
    [
        # 40 MW in the first half of 2026, the rest half a year later: 200 MW at 9 M of shell, before any rent.
        (200.0, [0.2] * 6, -1.8e9, "2025-12"),
        (168.0, [], -168.0 * 10e6, "2025-12"),  # at 9 to 11 M per MW, all of it at once
    ],
)
def test_the_lowest_cash_of_a_phasing_is_the_shell_before_its_rent(
    mw: float, phases: list[float], lowest: float, when: str
) -> None:
    one = within("2025-01", f"""
kind = "lease"
start = "2025-01"
mw = {mw}
ramp = {phases}
usd_per_mw_year = 1.8e6
term_months = 120
months_to_build = 12
shell_usd_per_mw = {-lowest / mw}
customer_pays_power = true
pue = 1.0
""", 250.0)  # fmt: skip
    found = cash(one, flat(one, 50.0))
    total = np.cumsum((found.by["leases"] + found.by["nodes and shells"])[0])
    assert total.min() == pytest.approx(lowest)
    assert one.label(int(np.argmin(total))) == when
    # Until the last phase opens a fifth pays.
    assert found.by["leases"][0, 12] == pytest.approx(mw * 1.8e6 / 12 * (0.2 if phases else 1.0))
    assert found.by["leases"][0, 18] == pytest.approx(mw * 1.8e6 / 12)


def test_a_customer_who_pays_for_the_building_leaves_no_low_point() -> None:
    """Core Scientific and CoreWeave, 2024-10-22: the customer funds the modification."""
    one = within("2024-10", """
kind = "lease"
start = "2024-10"
mw = 500.0
usd_per_mw_year = 1.45e6
term_months = 144
months_to_build = 12
customer_pays_capex = true
customer_pays_power = true
pue = 1.0
""", 600.0)  # fmt: skip
    found = cash(one, flat(one, 50.0))
    assert np.cumsum((found.by["leases"] + found.by["nodes and shells"] + found.by["operation"])[0]).min() == 0.0
    assert found.by["leases"][0, 24:36].sum() == pytest.approx(725e6)


def test_a_contract_and_a_lease_are_told_apart() -> None:
    """9.7 M USD per MW and year on 29 M of computers that are worn in five years, 1.85 M on a shell of 9 M."""
    from tieline.study.report import businesses

    lease = alternative(LEASED, "shell")
    one = within("2025-11", IREN, 600.0, more=lease)
    assert businesses(one) == [
        "it earns 9.7 M USD per MW and year for 5 years on 29.0 M per MW of its own, nodes and all, which are worn "
        "when it ends: its capital is back after 3.0 years of revenue.",
        "shell earns 1.9 M USD per MW and year for 10 years on 9.0 M per MW of its own, a shell with the customer's "
        "computers in it: its capital is back after 4.9 years of revenue.",
    ]


# --- closed forms ----------------------------------------------------------------------------


@pytest.mark.parametrize(("j_per_th", "usd_per_mwh"), [(20.0, 50.0), (30.0, 40.0), (15.0, 80.0)])
def test_breakeven_hashprice_is_hashcost(j_per_th: float, usd_per_mwh: float) -> None:
    """0.024 x J/TH x power price; rigs that never rest earn nothing there, and by as much more or less around it."""
    one = study(paths=2)
    one = msgspec.structs.replace(one, assume=msgspec.structs.replace(one.assume, pool_fee=0.0))
    cost = 0.024 * j_per_th * usd_per_mwh
    for factor in (0.5, 1.0, 2.0):
        block = Block(one, surfaces(j_per_th, usd_per_mwh), flat(one, cost * factor), Coupling(curtails=False))
        month = block.cash(one.plan[0]).total[0, 0]
        assert month == pytest.approx((factor - 1.0) * 100.0 * 730.5 * usd_per_mwh, rel=1e-9, abs=1e-3)


def test_a_rig_pays_back_after_its_price_over_its_days_margin() -> None:
    """At constant hashprice and difficulty: USD per TH over (hashprice - hashcost) per TH and day."""
    one = doing('kind = "renew"\nstart = "2026-01"\nj_per_th = 15.0\nusd_per_th = 15.0\n', paths=2)
    one = msgspec.structs.replace(one, assume=msgspec.structs.replace(one.assume, pool_fee=0.0))
    # The old rigs earn nothing at all: their strike is above what power costs.
    ground = surfaces(j_per_th=20.0, usd_per_mwh=50.0)
    drivers = flat(one, 24.0)  # hashcost of 20 J/TH: worth nothing
    block = Block(one, ground, drivers)
    added = np.cumsum((block.cash(one.plan[1]).total - block.cash(one.plan[0]).total)[0])
    days = 15.0 / ((24.0 - 0.024 * 15.0 * 50.0) / 1e3)
    assert np.flatnonzero(added >= 0)[0] == pytest.approx(days * 24 / 730.5, abs=6.0)


def test_own_gpus_earn_their_hours() -> None:
    one = doing("""
kind = "gpu"
start = "2026-01"
mw = 1.1
node_kw = 11.0
gpus_per_node = 8
usd_per_node = 250000.0
shell_usd_per_mw = 1e6
pue = 1.3
""", paths=2)  # fmt: skip
    found = cash(one, flat(one, 60.0, gpu=2.0, utilisation=0.5))
    assert found.by["own GPUs"][0, 5] == pytest.approx(100 * 8 * 730.5 * 2.0 * 0.5)
    assert found.by["nodes and shells"][0].sum() == pytest.approx(-(100 * 250_000 + 1.1e6))
    # Power: what idles and what works, at the meter, and the room that rigs lose.
    draw = 1.1 * 1.3 * (0.3 + 0.7 * 0.5)
    keep = cash(one, flat(one, 60.0, gpu=2.0, utilisation=0.5), 0)
    assert found.by["power"][0, 5] == pytest.approx(keep.by["power"][0, 5] * (1 - draw / 100) - draw * 730.5 * 50.0)
    assert found.by["mining"][0, 5] == pytest.approx(keep.by["mining"][0, 5] * (1 - draw / 100))


TOKENS = """
kind = "gpu"
start = "2026-01"
mw = 20.0
node_kw = 10.0
usd_per_node = 250000.0
shell_usd_per_mw = 0.0
pue = 1.25
usd_per_million_tokens = 0.8
"""


@pytest.mark.parametrize(("asked", "part"), [(0.6, 0.5), (0.3, 0.25), (0.9, 0.75)])
@pytest.mark.parametrize("hashprice", [60.0, 20.0])
def test_tokens_earn_their_price_and_take_their_power_from_the_rigs(
    asked: float, part: float, hashprice: float
) -> None:
    """25 of 100 MW are half of the surface's share, where nodes of 50 MW draw 40, serve 1e12 tokens and leave 60."""
    one = doing(TOKENS, paths=2)
    found, keep = (
        Block(one, noded(), flat(one, hashprice, gpu=2.5, utilisation=asked)).cash(one.plan[n]) for n in (1, 0)
    )
    assert found.by["own GPUs"][0, 5] == pytest.approx(part * 1e12 / 1e6 * 0.8)
    assert found.tokens == pytest.approx(np.full(120, part * 1e12))
    assert found.by["mining"][0, 5] == pytest.approx(keep.by["mining"][0, 5] * (1 - 0.4 * part), abs=1e-6)
    rigs = 100.0 if hashprice > 24 else 0.0
    draw = rigs * (1 - 0.4 * part) + 40.0 * part
    assert found.by["power"][0, 5] == pytest.approx(-draw * 730.5 * 50.0)
    assert found.mwh[5] == pytest.approx(draw * 730.5)
    # Without the room that is shared, rigs lose what the nodes could draw.
    apart = Block(one, noded(), flat(one, hashprice, utilisation=asked), Coupling(shares=False)).cash(one.plan[1])
    assert apart.by["mining"][0, 5] == pytest.approx(keep.by["mining"][0, 5] * 0.75, abs=1e-6)
    assert apart.by["own GPUs"] == pytest.approx(found.by["own GPUs"])


def noded() -> StudySurfaces:
    """Nodes of half the limit, asked for 0.6 of what they can serve, draw 40 MW all the time."""
    ground = surfaces()
    site = ground.by_site["a"]
    both = {name: values[:, -1:, :] * 0.6 for name, values in site.at.items()}
    both["tokens"], both["gpu_mwh"] = np.full((12, 1, 4), 1e12), np.full((12, 1, 4), 40.0 * 730.5)
    both["gpu_usd"] = both["gpu_mwh"] * 50.0
    both["mwh"], both["power_usd"] = both["mwh"] + both["gpu_mwh"], both["power_usd"] + both["gpu_usd"]
    more = replace(site, shares=np.array([0.5]), beside=both, load=0.6)
    return replace(ground, by_site={"a": more})


def test_power_at_twice_its_price_is_hashes_at_half() -> None:
    one = study(paths=2)
    ground = surfaces()
    dear = Block(one, ground, flat(one, 60.0, power=2.0)).cash(one.plan[0])
    cheap = Block(one, ground, flat(one, 30.0)).cash(one.plan[0])
    assert dear.by["mining"] + dear.by["power"] == pytest.approx(2.0 * (cheap.by["mining"] + cheap.by["power"]))


def test_a_contract_that_ends_early_gives_back_what_was_prepaid_and_not_earned() -> None:
    one = doing("""
kind = "contract"
start = "2026-01"
mw = 50.0
usd_per_mw_year = 9e6
term_months = 60
prepaid = 0.2
usd_per_node = 300000.0
shell_usd_per_mw = 0.0
ends_early_per_year = 0.5
termination_months = 3
""", paths=1)  # fmt: skip
    ends = np.ones((1, 1, one.months))
    ends[0, 0, 24] = 0.0
    found = cash(one, replace(flat(one, 60.0), ends=ends))
    monthly = 50.0 * 9e6 / 12
    got = (found.by["contracts"] + found.by["prepayments"])[0]
    assert got[:25].sum() == pytest.approx(24 * monthly + 3 * monthly)
    assert got[25:].sum() == 0


def test_a_rule_waits_path_by_path() -> None:
    one = doing(
        'kind = "sell"\nstart = "2026-06"\nsale_usd = 1e6\n[alternative.wait]\nhashprice_below = 40.0\n', paths=2
    )
    drivers = flat(one, 60.0)
    drivers.btc_usd[0, 30:] *= 0.5
    starts = Block(one, surfaces(), drivers).start(one.alternative[0])
    assert starts.tolist() == [32, 100_000]
    found = cash(one, drivers)
    assert found.by["mining"][0, 33:].sum() == 0
    assert found.by["sales and residuals"].sum(axis=1).tolist() == [1e6, 0.0]


@pytest.mark.parametrize(
    ("rule", "starts"),
    [
        ('until = "2028-03"', [26, 26]),
        ('of = "btc_usd"\nbelow = 60000.0\nmean_months = 1', [30, 100_000]),
        ('of = "power"\nabove = 1.4\nmean_months = 2', [100_000, 41]),
        ('of = "power"\nabove = 1.4\nmean_months = 2\nuntil = "2029-12"', [100_000, 47]),
        ('of = "gpu_usd_per_hour"\nabove = 2.0', [5, 5]),
    ],
)
def test_an_alternative_waits_for_a_date_or_for_any_path(rule: str, starts: list[int]) -> None:
    body = f'kind = "sell"\nstart = "2026-06"\nsale_usd = 1e6\n[alternative.wait]\n{rule}\n'
    one = doing(body, paths=2)
    drivers = flat(one, 60.0)
    drivers.btc_usd[:] = 100_000.0
    drivers.btc_usd[0, 30:] = 50_000.0
    drivers.power[1, 40:] = 1.5
    assert Block(one, surfaces(), drivers).start(one.alternative[0]).tolist() == starts


def test_worth_is_discounted_by_the_month() -> None:
    assert npv(np.array([[0.0] * 12 + [110.0]]), 0.10)[0] == pytest.approx(100.0)
