"""A configuration file either becomes a fleet or one error that says where and what to write."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tieline import config
from tieline import config as configuration
from tieline.cli.config import config as command
from tieline.dispatch.inference.gpu import load_table
from tieline.dispatch.inputs.taking import drawable_w
from tieline.dispatch.settings import settings_of
from tieline.fleet import Fleet
from tieline.fleet.physics import aux_share, derate
from tieline.sim.world import World

SMALL = """
[fleet]
name = "One site"
model = "m"

[[model]]
name = "m"
engine = "llama.cpp"
path = "selftest"

[[site]]
id = "a"
name = "A"
region = "r"
lat = 1.0
lon = 2.0
interconnect_mw = 10
contract = { basis = "spot", market = "PJM_DOM_RT" }
rigs = [
  { model = "Antminer S21", mw = 7 },
  { model = "Antminer S21", hardware = "fake", addresses = ["127.0.71.1-3"] },
]
gpus = [{ count = 4, replicas_real = 1 }]
"""


def mistake(text: str) -> config.ConfigError:
    with pytest.raises(config.ConfigError) as caught:
        config.loads(text, "fleet.toml")
    return caught.value


def test_the_demo_is_forty_invented_sites_of_about_fifty_exahash() -> None:
    fleet = config.demo().fleet
    assert len(fleet.sites) == 40
    assert all(site.invented for site in fleet.sites)
    assert len({site.region for site in fleet.sites}) == 4
    assert 49e18 < fleet.deployed_hs < 51e18
    gpu_w = sum(g.rated_w * 1.25 for s in fleet.sites for g in s.node_groups)
    assert 20e6 < gpu_w < 40e6
    real = [s for s in fleet.sites if any(g.replicas_real for g in s.node_groups)]
    assert len({s.region for s in real}) == 2
    assert all(s.may_act for s in real)
    fakes = [g for s in fleet.sites for g in s.rig_groups if g.hardware == "fake"]
    assert {g.firmware for g in fakes} == {"luxos", "vnish", "braiins", "antminer", "whatsminer-v2", "whatsminer-v3"}
    assert sum(g.rigs for g in fakes) == len({a for g in fakes for a in g.addresses}) == 60


def test_the_demo_shows_every_kind_of_ownership_and_mode() -> None:
    sites = config.demo().fleet.sites
    assert {s.ownership for s in sites} == {"owned", "leased", "hosted"}
    assert {s.mode for s in sites} == {"observe", "advise", "act"}


def test_a_small_file_becomes_watts_and_counts() -> None:
    loaded = config.loads(SMALL)
    (site,) = loaded.fleet.sites
    assert site.interconnect.limit_w == 10e6
    assert site.rig_groups[0].rigs == 2000
    assert site.rig_groups[1].addresses == ("127.0.71.1", "127.0.71.2", "127.0.71.3")
    assert site.mode == "observe"
    assert site.node_groups[0].model == "m"
    assert {f.id for f in site.feeders} == {"a.f-gpu", "a.f-mine"}
    assert loaded.engine_model is not None
    assert loaded.engine_model.usd_per_million_output == Decimal("0.60")


@pytest.mark.parametrize(
    ("wrong", "right", "line", "field", "fix"),
    [
        ('modle = "m"', 'model = "m"', 4, "fleet.modle", "mean model?"),
        ("lat = 91", "lat = 1.0", 15, "site 'a' lat", "-90 to 90"),
        ('lat = "1"', "lat = 1.0", 15, "site 'a' lat", "a number"),
        ("interconnect_mw = -1", "interconnect_mw = 10", 17, "site 'a' interconnect_mw", "above 0"),
        ('basis = "spott"', 'basis = "spot"', 18, "site 'a' contract.basis", "spot or tou or fixed"),
        ('"Antminer S22"', '"Antminer S21", mw', 20, "site 'a' model", "did you mean Antminer S21"),
        ("mw = 7, count = 3", "mw = 7", 20, "site 'a'", "give one of them"),
        ("127.0.71.9-3", "127.0.71.1-3", 21, "site 'a' addresses", "between 9 and 254"),
        ("10.0.71.1-3", "127.0.71.1-3", 21, "site 'a' addresses", "127.x.y.z"),
        ("replicas_real = 99", "replicas_real = 1", 23, "site 'a' replicas_real", "process"),
        ('id = "A b"', 'id = "a"', 12, "site 'A b' id", "lower-case"),
    ],
)
def test_a_mistake_names_line_field_and_fix(wrong: str, right: str, line: int, field: str, fix: str) -> None:
    if right.endswith(", mw"):
        wrong += ", mw"
    assert right in SMALL
    error = mistake(SMALL.replace(right, wrong, 1))
    assert error.line == line
    assert field in error.field
    assert fix in error.fix
    assert str(error).startswith(f"fleet.toml:{line}: ")


@pytest.mark.parametrize("section", ["console", "gateway"])
def test_a_door_to_the_outside_asks_who_you_are(section: str) -> None:
    error = mistake(SMALL + f'\n[{section}]\nhost = "0.0.0.0"\nauth = "none"\n')
    assert error.field == f"{section}.host"
    assert "auth" in error.fix


def test_a_key_is_a_hash_and_never_the_key_itself() -> None:
    tenant = '\n[[tenant]]\nid = "t"\nname = "T"\n[[tenant.key]]\nid = "k"\n'
    assert "64 hex" in mistake(SMALL + tenant + 'sha256 = "sk-secret"\n').problem
    assert "exactly one way" in mistake(SMALL + tenant).problem
    assert config.loads(SMALL + tenant + "generate = true\n").tenants[0].keys[0].generate


def test_broken_syntax_is_one_line() -> None:
    assert mistake(SMALL + "\nx = = 3\n").line == len(SMALL.splitlines()) + 2


def test_a_missing_file_and_binary_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "bin.toml").write_bytes(b"a\nb\xff\xfe")
    with pytest.raises(config.ConfigError, match=r"bin.toml:2: .*UTF-8"):
        config.load(tmp_path / "bin.toml")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damaged_file_gives_a_fleet_or_a_config_error(data: st.DataObject) -> None:
    lines = SMALL.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(
        st.sampled_from(["", lines[at] * 2, "x = 1", "[site]", lines[at][:-1], "lat = nan", "rigs = [{mw = inf}]"])
    )
    try:
        config.loads("\n".join(lines))
    except config.ConfigError as error:
        found = error
        event("refused")
    else:
        found = None
        event("read")
    assert found is None or (found.field and found.fix)


def test_fake_rigs_can_be_moved_so_that_two_platforms_fit_one_machine() -> None:
    moved = config.with_rig_block(config.loads(SMALL), "127.0.90")
    assert moved.fleet.sites[0].rig_groups[1].addresses == ("127.0.90.1", "127.0.90.2", "127.0.90.3")


def test_the_command_prints_an_example_that_checks(tmp_path: Path) -> None:
    runner = CliRunner()
    text = runner.invoke(command, ["example"]).output
    (tmp_path / "f.toml").write_text(text, encoding="utf-8")
    good = runner.invoke(command, ["check", str(tmp_path / "f.toml")])
    assert good.exit_code == 0
    assert "50.0" in good.output
    (tmp_path / "f.toml").write_text(text.replace("lat =", "latt =", 1), encoding="utf-8")
    bad = runner.invoke(command, ["check", str(tmp_path / "f.toml"), "--json"])
    assert bad.exit_code == 1
    assert '"fix": "did you mean lat' in bad.output


WORDS = """
[dispatch]
outages_per_year = 3.0
reach = { r = ["r"] }
residency = { r = 0.4 }
reserved = [{ model = "m", region = "r", replicas = 2, since = 2026-01-01T00:00:00Z, until = 2027-01-01T00:00:00Z }]
"""


def test_what_dispatch_is_told_about_regions_reaches_it() -> None:
    told = settings_of(config.loads(SMALL + WORDS, "fleet.toml"))
    assert told.reach == {"r": ("r",)}
    assert told.residency == {"r": 0.4}
    assert told.outages_per_year == 3.0
    assert told.reserved[0].replicas == 2


def test_wet_pads_are_a_share_of_the_way_to_wet_bulb() -> None:
    assert config.loads(SMALL.replace("lon = 2.0", "lon = 2.0\nevaporative = 0.8")).fleet.sites[0].evaporative == 0.8
    assert "evaporative" in str(mistake(SMALL.replace("lon = 2.0", "lon = 2.0\nevaporative = 1.8")))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('reach = { r = ["r"] }', 'reach = { r = ["elsewhere"] }', "elsewhere"),
        ("residency = { r = 0.4 }", "residency = { r = 1.4 }", "residency"),
        ("outages_per_year = 3.0", "outages_per_year = -1.0", "outages_per_year"),
        ("until = 2027-01-01T00:00:00Z", "until = 2025-01-01T00:00:00Z", "until"),
        ("since = 2026-01-01T00:00:00Z", "since = 2026-01-01T00:00:00", "time zone"),
        ('model = "m", region = "r", replicas', 'model = "m", region = "q", replicas', "region"),
    ],
)
def test_a_mistake_about_regions_is_named(before: str, after: str, says: str) -> None:
    assert before in WORDS
    assert says in str(mistake(SMALL + WORDS.replace(before, after)))


RENTED = """
[[tenant]]
id = "acme"
name = "Acme"
latency_class = "batch"
[[tenant.key]]
id = "k"
generate = true

[[rental]]
tenant = "acme"
model = "m"
replicas = 2
region = "r"
since = 2026-12-01T00:00:00Z
until = 2027-01-01T00:00:00Z
usd_per_replica_hour = "2.50"
"""


def test_what_is_rented_reaches_the_door_and_binds_dispatch() -> None:
    found = config.loads(SMALL + RENTED, "fleet.toml")
    (rental,) = found.rentals
    assert (rental.usd_per_replica_hour, rental.region) == (Decimal("2.50"), "r")
    (bound,) = settings_of(found).reserved
    assert (bound.model, bound.region, bound.replicas) == ("m", "r", 2)


PARTNERS = """
[[partner]]
id = "acme-power"
name = "Acme Power"
sites = ["a"]
mining_share = "0.7"
floor_usd_per_mwh = 60
hours = "22-06"
"""


def test_a_partner_has_sites_a_floor_and_hours_of_its_own() -> None:
    (partner,) = config.loads(SMALL + PARTNERS, "fleet.toml").fleet.partners
    assert (partner.mining_share, partner.inference_share) == (Decimal("0.7"), Decimal(1))
    day = datetime(2026, 1, 1, tzinfo=UTC)
    assert [partner.open_at(day + timedelta(hours=hour)) for hour in (5, 6, 21, 22)] == [True, False, False, True]
    assert not partner.shut(day + timedelta(hours=5), day + timedelta(hours=6)), "up to the hour it shuts at"
    assert partner.shut(day + timedelta(hours=5, minutes=55), day + timedelta(hours=6, minutes=1))


@pytest.mark.parametrize(
    ("right", "wrong", "field"),
    [
        ('id = "acme-power"', 'id = "Acme"', "partner[1].id"),
        ('sites = ["a"]', 'sites = ["t"]', "partner[1].sites"),
        ('sites = ["a"]', 'sites = ["a", "a"]', "partner[1].sites"),
        ('"0.7"', '"1.2"', "partner[1].mining_share"),
        ('"22-06"', '"22-22"', "partner[1].hours"),
        ('"22-06"', '"25-06"', "partner[1].hours"),
        ("floor_usd_per_mwh = 60", "floor_usd_per_mwh = -60", "partner[1].floor_usd_per_mwh"),
    ],
)
def test_a_partner_that_cannot_be_is_named(right: str, wrong: str, field: str) -> None:
    assert field in mistake(SMALL + PARTNERS.replace(right, wrong)).field


@pytest.mark.parametrize(
    ("wrong", "right", "field"),
    [
        ('tenant = "nobody"', 'tenant = "acme"', "rental[1].tenant"),
        ('model = "n"\nreplicas', 'model = "m"\nreplicas', "rental[1].model"),
        ("until = 2026-11-01T00:00:00Z", "until = 2027-01-01T00:00:00Z", "rental[1].until"),
        ('usd_per_replica_hour = "-1"', 'usd_per_replica_hour = "2.50"', "rental[1].usd_per_replica_hour"),
    ],
)
def test_a_rental_that_cannot_be_is_named(wrong: str, right: str, field: str) -> None:
    assert right in RENTED
    assert field in mistake(SMALL + RENTED.replace(right, wrong, 1)).field


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('opening_btc = "2"', "opening_btc_cost_usd: missing for 2 BTC"),
        ('opening_btc = "0.123456789"\nopening_btc_cost_usd = "1"', "more than 8 decimals"),
        ('opening_btc = "-1"\nopening_btc_cost_usd = "1"', "-1 is negative"),
        ('opening_usd = "NaN"', "NaN is not a number"),
        ('opening_usd = "1.001"', "more than 2 decimals"),
    ],
)
def test_the_books_open_with_what_can_be_booked(line: str, says: str) -> None:
    assert says in str(mistake(SMALL + f"\n[treasury]\n{line}\n"))


TENANTS = """
[[tenant]]
id = "acme"
name = "Acme"
[[tenant.key]]
id = "k"
generate = true
[[tenant.key]]
id = "boss"
role = "admin"
generate = true
"""


@pytest.mark.parametrize(
    ("before", "after", "field", "says"),
    [
        ('id = "acme"', 'id = "a/x"', "].id", "no id"),
        ('id = "boss"', 'id = "k"', "id", "taken"),
        ('id = "boss"', 'id = "a b"', "id", "no id"),
        ('id = "boss"', 'id = "boss"\nproject = "x/y"', "project", "no id"),
        ("generate = true", f'sha256 = "{"a" * 64}"', "sha256", "again"),
        ("generate = true", 'env = "SECRET"', "env", "again"),
    ],
)
def test_tenants_and_keys_have_names_and_secrets_of_their_own(before: str, after: str, field: str, says: str) -> None:
    config.loads(SMALL + TENANTS)
    error = mistake(SMALL + TENANTS.replace(before, after))
    assert error.field.endswith(field)
    assert says in error.problem


ONE_SITE = """
[fleet]
name = "one"

[[site]]
id = "a"
name = "A"
region = "r"
lat = 31.0
lon = -102.0
interconnect_mw = 10
contract = { basis = "fixed", fixed_usd_per_mwh = 40.0 }
"""
OWN_MODEL = """
[[rig_model]]
name = "Prototype X"
hashrate_ths = 400
power_w = 5000
source = "maker's sheet"
"""


def test_a_file_declares_a_rig_that_the_package_does_not_know() -> None:
    text = ONE_SITE + 'rigs = [{ model = "Prototype X", count = 100 }]\n' + OWN_MODEL
    (group,) = configuration.loads(text).fleet.sites[0].rig_groups
    assert (group.rated_w, group.rated_hs) == (500_000.0, 4e16)
    assert group.rig.efficiency_j_th == 12.5


def test_a_rig_s_name_is_declared_once() -> None:
    own = OWN_MODEL.replace("Prototype X", "Antminer S21")
    with pytest.raises(configuration.ConfigError, match="'Antminer S21' is rated already"):
        configuration.loads(ONE_SITE + own)


def test_kilowatts_are_no_watts() -> None:
    with pytest.raises(configuration.ConfigError, match="power_w"):
        configuration.loads(ONE_SITE + OWN_MODEL.replace("5000", "5"))


def test_a_firmware_that_nobody_speaks_is_named_with_what_was_meant() -> None:
    text = ONE_SITE + 'rigs = [{ model = "Antminer S21", count = 1, firmware = "luxxos" }]\n'
    with pytest.raises(configuration.ConfigError, match="no firmware 'luxxos'.*did you mean luxos"):
        configuration.loads(text)


def test_one_address_stands_in_one_group() -> None:
    groups = (
        '{ model = "Antminer S21", addresses = ["10.0.7.1-3"] }, { model = "Antminer S19", addresses = ["10.0.7.3"] }'
    )
    with pytest.raises(configuration.ConfigError, match=r"10\.0\.7\.3 stands in a\.rigs-1 already"):
        configuration.loads(ONE_SITE + f"rigs = [{groups}]\n")


def test_a_site_without_a_station_has_the_weather_of_its_place() -> None:
    assert configuration.loads(ONE_SITE).fleet.stations == ("a",)
    nowhere = ONE_SITE.replace("lat = 31.0", "lat = 0").replace("lon = -102.0", "lon = 0")
    assert configuration.loads(nowhere).fleet.stations == ()


OWN_NODE = """
[[gpu_model]]
name = "72xGB200"
gpus = 72
rated_w = 132000
idle_w = 30000
source = "maker's sheet"

[[model]]
name = "m"
engine = "llama.cpp"
path = "selftest"
"""


def test_a_file_declares_a_gpu_node_that_the_package_does_not_know() -> None:
    text = ONE_SITE + 'gpus = [{ node = "72xGB200", count = 2, model = "m" }]\n' + OWN_NODE
    (group,) = configuration.loads(text).fleet.sites[0].node_groups
    assert (group.rated_w, group.gpu.gpus, group.gpu.idle_w) == (264_000.0, 72, 30_000.0)
    for wrong, right, says in (
        ('"72xGB200"', '"8xH100"', "'8xH100' is rated already"),
        ("idle_w = 30000", "idle_w = 132000", "is not below what it draws at most"),
        ("rated_w = 132000", "rated_w = 10", "out of all bounds"),
    ):
        with pytest.raises(configuration.ConfigError, match=says):
            configuration.loads(text.replace(wrong, right))
    with pytest.raises(configuration.ConfigError, match=r"no GPU node '8xH200'.* 8xH100.*\[\[gpu_model\]\]"):
        configuration.loads(text.replace('node = "72xGB200"', 'node = "8xH200"'))


def test_one_site_mixes_air_and_hydro_and_each_group_has_its_own_heat() -> None:
    """At 42 C (the derating of air begins at 35 C) what is cooled by water gives all, and its pumps draw less."""
    rigs = '{ model = "Antminer S21", count = 100 }, { model = "Antminer S21 Hyd", count = 100 }'
    site = configuration.loads(ONE_SITE + f"rigs = [{rigs}]\n").fleet.sites[0]
    air, hydro = site.rig_groups
    assert (site.cooling_of(air), site.cooling_of(hydro)) == ("air", "hydro")
    assert derate(site.cooling_of(air), 42.0) < derate(site.cooling_of(hydro), 42.0) == 1.0
    cooled = {group.id: (1 + aux_share(site.cooling_of(group), 42.0)) for group in site.rig_groups}
    wanted = air.rated_w * derate("air", 42.0) * cooled[air.id] + hydro.rated_w * cooled[hydro.id]
    assert drawable_w(site, 42.0) == pytest.approx(wanted)
    world = World(Fleet(name="f", sites=(site,)), load_table("llama-3.1-70b_4xh100"), 128)
    world.set_weather({site.id: 42.0})
    assert list(world.derate) == [pytest.approx(derate("air", 42.0)), 1.0]
    assert list(world.aux) == [pytest.approx(cooled[air.id] - 1), pytest.approx(cooled[hydro.id] - 1)]


@pytest.mark.parametrize(
    ("market", "says"),
    [("ERCOT_HB_WSET", "ERCOT_HB_WSET.*did you mean ERCOT_HB_WEST"), ("HOUSTON", "HOUSTON")],
)
def test_a_market_that_there_is_not_is_named_with_what_was_meant(market: str, says: str) -> None:
    spot = ONE_SITE.replace('basis = "fixed", fixed_usd_per_mwh = 40.0', f'basis = "spot", market = "{market}"')
    with pytest.raises(configuration.ConfigError, match=says):
        configuration.loads(spot)
