"""Whatever stands in a configuration, it is a fleet that records can hold or one line that says what to write."""

import math

import pytest

from tieline import config

FULL = """
[fleet]
name = "One site"
model = "m"

[pool]
name = "pool"
fee = 0.01

[treasury]
opening_usd = "0"
sell_share = "0.5"

[intake]
clock_ahead_s = 300

[dispatch]
interval_s = 300
valid_for_s = 900
warm_replicas = 1
outages_per_year = 1.0

[[model]]
name = "m"
label = "l"
engine = "llama.cpp"
path = "selftest"
usd_per_million_input = "0.2"
context_tokens = 2048
aliases = ["n"]

[[tenant]]
id = "t"
name = "T"
budget_usd_per_month = "100"
requests_per_minute = 60
max_usd_per_mtok = 1.0
weight = 1.0
regions = ["r"]

[[tenant.key]]
id = "k"
generate = true
project = "p"

[[rental]]
tenant = "t"
model = "m"
replicas = 1
since = 2026-01-01T00:00:00Z
until = 2027-01-01T00:00:00Z
region = "r"
usd_per_replica_hour = "2"

[[site]]
id = "a"
name = "A"
region = "r"
lat = 1.0
lon = 2.0
interconnect_mw = 10
mining_feeder_mw = 8
weather_station = "KMAF"
temp_offset_c = 1.0
rtt_penalty_ms = 20.0
contract = { basis = "fixed", fixed_usd_per_mwh = 46, adder_usd_per_mwh = 2 }
rigs = [{ model = "Antminer S21", mw = 7 }]
gpus = [{ count = 4, replicas_real = 1 }]
"""

EVIL = (
    "nan", "inf", "-1", "-1e300", "1e300", "0", "99999999999999999999", '"NaN"', '"1E+400"', '"1E-999999"', '"-1"',
    '"a|b"', '"a\\u0000b"', '"a\\nb"', '""', f'"{"x" * 30_000}"', '"../../etc"', "2026-01-01T00:00:00", "true",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "[" * 3_000 + "]" * 3_000, "[]", "{}",
)  # fmt: skip
LINES = [n for n, line in enumerate(FULL.splitlines()) if "=" in line]


def test_the_full_file_is_read() -> None:
    assert config.loads(FULL).tenants[0].id == "t"


@pytest.mark.parametrize("number", LINES)
def test_any_value_in_any_place_is_taken_or_refused_in_one_line(number: int) -> None:
    for evil in EVIL:
        lines = FULL.splitlines()
        key, _, _ = lines[number].partition("=")
        lines[number] = f"{key}= {evil}"
        found = taken("\n".join(lines))
        if isinstance(found, config.Config):
            assert fits(found)
        else:
            told = (found, *found.more)
            assert len(str(found).splitlines()) == len(told)
            assert all(one.fix for one in told)


def taken(text: str) -> config.Config | config.ConfigError:
    """Anything else that is raised fails the test."""
    try:
        return config.loads(text, "fleet.toml")
    except config.ConfigError as error:
        return error


def fits(loaded: config.Config) -> bool:
    """What records are made of holds what records hold."""
    limits = [site.interconnect.limit_w for site in loaded.fleet.sites]
    moments = [moment for rental in loaded.rentals for moment in (rental.since, rental.until)]
    budgets = [t.budget_usd_per_month for t in loaded.tenants if t.budget_usd_per_month is not None]
    return (
        all(math.isfinite(limit_w) and limit_w <= 1e11 for limit_w in limits)
        and all(moment.tzinfo is not None for moment in moments)
        and all(budget.is_finite() for budget in budgets)
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("since = 2026-01-01T00:00:00Z", "since = 2026-01-01T00:00:00", "rental[1].since: has no time zone; write it"),
        ("until = 2027-01-01T00:00:00Z", "until = 9999-12-31T23:59:59Z", "rental[1].until: 9999-12-31T23:59:59+00:00"),
        ('budget_usd_per_month = "100"', 'budget_usd_per_month = "NaN"', "tenant[1].budget_usd_per_month: NaN is not"),
        ('label = "l"', 'label = "a|b"', "model[1].label: 'a|b' is no name"),
        ("interconnect_mw = 10", "interconnect_mw = 1e9", "site 'a' interconnect_mw: out of all bounds; write at most"),
        ("clock_ahead_s = 300", "clock_ahead_s = 0", "intake.clock_ahead_s: out of all bounds; write at least 1"),
    ],
)
def test_the_line_names_the_field_and_the_remedy(old: str, new: str, said: str) -> None:
    assert FULL.count(old) == 1
    with pytest.raises(config.ConfigError) as caught:
        config.loads(FULL.replace(old, new), "fleet.toml")
    assert said in str(caught.value)
