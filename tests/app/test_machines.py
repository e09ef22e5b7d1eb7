"""One platform over several machines: each has its parts' keys alone, one leads, and older leaders are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.dispatch.fleets import FREE, T0, demand, fleet, network, price, site, weather
from tests.store.server import Server, running

from tieline import records
from tieline.app.joins import JoinBook, JoinError
from tieline.app.machines import leading
from tieline.app.machines.book import SharedBook, change_joins, joins_of
from tieline.app.machines.keys import KEYS_FILE, read_keys
from tieline.app.machines.run import RunOptions, prepare_part
from tieline.app.up import UpError
from tieline.cli import main
from tieline.clock import Interval, micros, wall_now
from tieline.dispatch import Controller
from tieline.link import CheckedLink, LastNumbers, LocalLink, SigningLink
from tieline.link.signing import CommandKey, fence_of, public_key, split_seal
from tieline.records import Fault, Instruction, Plan
from tieline.store import Store
from tieline.store.lead.fence import FencedError
from tieline.store.lead.lease import open_leases
from tieline.store.place import StorePlace

FIVE = timedelta(minutes=5)
FILE = """
[fleet]
name = "Two machines"
invented = true

[store]
url = "URL"

[link]
servers = ["127.0.0.1:14222", "127.0.0.1:14223"]

[[tenant]]
id = "demo"
name = "Demo"

[[tenant.key]]
id = "demo-key"
generate = true

[[site]]
id = "one"
name = "One"
region = "home"
lat = 31.0
lon = -100.0
interconnect_mw = 10
contract = { basis = "fixed", fixed_usd_per_mwh = 50 }
rigs = [{ model = "Antminer S21", mw = 5 }]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as one:
        yield one


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(FILE.replace("URL", "postgresql://tieline@127.0.0.1:1/none"))
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.output


def test_a_machine_is_given_the_keys_of_its_parts_and_no_others(tmp_path: Path, fleet_file: Path) -> None:
    first, out = tmp_path / "a", tmp_path / "b.keys"
    assert "Made" in run("machine", "make", "--config", fleet_file, "--data-dir", first)
    assert "is there already" in run("machine", "make", "--config", fleet_file, "--data-dir", first)
    everything = read_keys(first / KEYS_FILE)
    for parts, users, has in (
        (("gateway",), {"gateway", "budgets"}, (False, False, False)),
        (("core",), {"core"}, (False, True, False)),
        (("link",), set(), (True, False, True)),
        (("console", "gateway"), {"console", "alerts", "operator", "gateway", "budgets"}, (False, False, False)),
    ):
        assert "Wrote" in run("machine", "keys", *parts, "--out", out, "--data-dir", first)
        assert out.stat().st_mode & 0o777 == 0o600
        keys = read_keys(out)
        assert set(keys.passwords) == users
        assert (keys.secret is not None, keys.command_key is not None, keys.authority_key is not None) == has
        assert bool(keys.files) == bool({"gateway", "console"} & set(parts))
        for user in users:
            assert keys.password(user) == everything.password(user)
        place = tmp_path / "-".join(parts)
        assert "can run" in run("machine", "enter", out, "--data-dir", place)
        assert public_key(place / "link") == public_key(first / "link")
        assert (place / "link" / "command.key").exists() == has[1]
    assert "the keys of gateway, console alone" in run(
        "machine", "keys", "core", "--out", out, "--data-dir", place
    ).replace("console, gateway", "gateway, console")
    assert "no part cores" in run("machine", "keys", "cores", "--out", out, "--data-dir", first)
    other = tmp_path / "other"
    run("machine", "make", "--config", fleet_file, "--data-dir", other)
    assert "another platform" in run("machine", "enter", out, "--data-dir", other)
    out.write_text("{")
    assert "enter this machine's keys again" in run("machine", "enter", out, "--data-dir", other)


@pytest.mark.parametrize(
    ("change", "part", "server", "says"),
    [
        (('url = "postgresql://tieline@127.0.0.1:1/none"', ""), "core", None, "store.url is missing"),
        (("", ""), "core", None, "127.0.0.1:1"),
        (('servers = ["127.0.0.1:14222", "127.0.0.1:14223"]', ""), "gateway", None, "link.servers is missing"),
        (("127.0.0.1:14223", "127.0.0.1"), "gateway", None, "is no address of a server"),
        (("127.0.0.1:14223", "127.0.0.1:14222"), "gateway", None, "is there twice"),
        (("interconnect_mw", "interconect_mw"), "gateway", None, "interconect_mw"),
    ],
)
def test_what_keeps_a_part_from_starting_is_one_line(
    tmp_path: Path, fleet_file: Path, change: tuple[str, str], part: str, server: str | None, says: str
) -> None:
    run("machine", "make", "--config", fleet_file, "--data-dir", tmp_path / "a")
    fleet_file.write_text(fleet_file.read_text().replace(*change) if change[0] else fleet_file.read_text())
    with pytest.raises(UpError, match=says) as told:
        prepare_part(RunOptions(part=part, config=fleet_file, data_dir=tmp_path / "a", server=server))
    assert "\n" not in str(told.value)


def test_a_part_without_keys_or_a_file_is_one_line(tmp_path: Path, fleet_file: Path) -> None:
    assert "this machine has no keys" in run("run", "core", "--config", fleet_file, "--data-dir", tmp_path / "x")
    assert "needs --config FILE" in run("run", "core", "--data-dir", tmp_path / "x")
    assert "leave --config out" in run("run", "site", "--config", fleet_file, "--data-dir", tmp_path / "x")
    assert "joined nothing" in run("run", "site", "--data-dir", tmp_path / "x") or "tieline join" in run(
        "run", "site", "--data-dir", tmp_path / "x"
    )


def test_every_server_of_the_link_knows_the_same_book(server: Server, tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    url = server.url()
    for folder in (one, two):
        folder.mkdir()
        (folder / KEYS_FILE).write_text("{}")
        (folder / "store.json").write_text(json.dumps({"url": url}))
    Store(StorePlace(one, url), records.encode, records.decode).close()
    name = change_joins(one, lambda book: book.offer("one", wall_now()))
    assert list(joins_of(two).tokens) == [name]
    shared = SharedBook(two)
    assert shared.change(lambda book: book.spend(name, wall_now()))[0] == "one"
    assert list(joins_of(one).sites) == ["one"]
    looked = list[int]()

    def offer_beside_another(book: JoinBook) -> str:
        looked.append(len(book.tokens))
        if len(looked) == 1:
            change_joins(one, lambda other: other.offer("one", wall_now()))
        return book.offer("one", wall_now())

    mine = shared.change(offer_beside_another)
    assert looked == [0, 1], "made again, of the book as the other left it"
    assert len(joins_of(one).tokens) == 2
    assert mine in joins_of(two).tokens
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda n: change_joins(one, lambda book: book.offer("one", wall_now())), range(12)))
    assert set(names) <= joins_of(two).tokens.keys()
    with pytest.raises(JoinError, match="spent or too old"):
        shared.change(lambda book: book.spend(name, wall_now()))
    change_joins(one, lambda book: book.revoke("one", wall_now()))
    assert joins_of(one).sites["one"].password is None
    shared.close()


class Standing:
    """Who leads, without a thread: what a signing core sees of it."""

    def __init__(self, number: int, mark: int = 0) -> None:
        self.number, self.mark, self.leads = number, mark, True

    def check(self) -> None:
        if not self.leads:
            raise FencedError("another leads")

    def reserve(self, mark: int) -> None:
        self.check()
        self.mark = mark


def test_a_site_takes_nothing_of_an_older_leader_also_after_a_restart(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    key = CommandKey(a)  # a version that had one core
    before = split_seal(key.seal("plan.one", b"")).number
    (b).mkdir()
    (b / "command.key").write_text((a / "command.key").read_text())
    old = Standing(1)
    first = CommandKey(a, old)
    heard = tmp_path / "heard.json"
    numbers = LastNumbers(heard)
    assert numbers.newer("plan.one", before)
    said = split_seal(first.seal("plan.one", b"")).number
    assert said > before
    assert fence_of(said) == 1
    assert numbers.newer("plan.one", said)
    kept_back = split_seal(first.seal("command.one", b"")).number
    # Another leads, by a clock that is an hour behind: it begins above whatever the first may have used.
    second = CommandKey(b, Standing(2, old.mark))
    new = split_seal(second.seal("plan.one", b"")).number
    assert new > kept_back
    assert numbers.newer("plan.one", new)
    assert not numbers.newer("command.one", kept_back), "on a subject where the newer leader said nothing yet"
    assert not LastNumbers(heard).newer("command.one", kept_back), "after a restart of the site"
    late = split_seal(first.seal("command.one", b"")).number
    assert not LastNumbers(heard).newer("command.one", late), "said after the newer leader's first word"
    assert numbers.newer("command.one", split_seal(second.seal("command.one", b"")).number)
    old.leads = False
    with pytest.raises(FencedError):
        first.seal("plan.one", b"")


def test_who_leads_no_more_answers_nothing_and_a_site_says_why_it_refuses(tmp_path: Path) -> None:
    async def story() -> None:
        wire = LocalLink()
        refused: list[str] = []
        public = public_key(tmp_path)
        site_link = CheckedLink(wire, public, LastNumbers(), lambda _, why: refused.append(why))
        old, new = Standing(1), Standing(2, 2 * 10**12)
        first, second = SigningLink(wire, CommandKey(tmp_path, old)), SigningLink(wire, CommandKey(tmp_path, new))
        got: list[bytes] = []

        async def listen() -> None:
            async for _, body in site_link.follow("plan.one"):
                got.append(body)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await second.publish("plan.one", b"new")
        await first.publish("plan.one", b"old")
        await asyncio.sleep(0.01)
        assert got == [b"new"]
        assert "an older leader said it, and a newer one was heard" in refused[0]
        listening.cancel()

        async def handler(subject: str, data: bytes) -> bytes:
            old.check()
            return b"x"

        old.leads = False
        await first.serve("orders.get.*", handler)
        with pytest.raises(ConnectionError):
            await site_link.request("orders.get.one", b"")

    asyncio.run(story())


@pytest.fixture
def led(tmp_path: Path) -> Iterator[list[Store]]:
    """Two cores' stores on one file, the second leads after the first."""
    place = StorePlace(tmp_path)
    stores = [Store(place, records.encode, records.decode) for _ in range(2)]
    leases = open_leases(place)
    for number, one in enumerate(stores):
        one.fence = leases.take("core", f"core-{number}", "", leases.look("core"))
    yield stores
    for one in stores:
        one.close()
    leases.close()


def test_an_interval_is_decided_once_whoever_leads_and_again_only_for_an_order(
    led: list[Store], tmp_path: Path
) -> None:
    new = led[1]
    plain = Store(StorePlace(tmp_path), records.encode, records.decode)
    plain.append([price(20), network(), weather(15), demand(50_000)])
    said: list[Plan] = []

    async def publish(plan: Plan) -> None:
        said.append(plan)

    controller = Controller(new, fleet(site()), FREE, publish)
    (plan,) = asyncio.run(controller.step(T0))
    assert plan.fence == 2
    # A third core takes over within the interval: it says the same plan again and decides nothing.
    leases = open_leases(StorePlace(tmp_path))
    third = Store(StorePlace(tmp_path), records.encode, records.decode)
    third.fence = leases.take("core", "core-3", "", leases.look("core"))
    after = Controller(third, fleet(site()), FREE, publish)
    assert asyncio.run(after.step(T0 + timedelta(minutes=2))) == [plan]
    assert said == [plan, plan]
    with pytest.raises(FencedError):
        asyncio.run(controller.step(T0 + FIVE))
    (again,) = asyncio.run(after.step(T0 + timedelta(minutes=3), anew=True))
    assert again.fence == 3
    (following,) = asyncio.run(after.step(T0 + FIVE))
    plans = third.between(Plan, T0 - FIVE, T0 + 2 * FIVE)
    assert plans == [plan, again, following]
    assert third.turns(Interval.holding(T0).start) == {plan.site_id: 2}
    assert leading.orders_after_plans(third, T0 + FIVE, T0 + timedelta(days=1)) is False
    for one in (third, plain):
        one.close()
    leases.close()


def test_intervals_that_nobody_decided_and_orders_that_came_meanwhile_are_seen(led: list[Store]) -> None:
    new = led[1]
    start = T0 + 4 * FIVE
    leading.tell_gap(new, start, Interval.holding(start))
    assert new.between(Fault, T0 - FIVE, start) == [], "nothing was ever decided"
    new.append([price(20), network(), weather(15), demand(50_000)])
    asyncio.run(Controller(new, fleet(site()), FREE).step(T0))
    leading.tell_gap(new, T0 + FIVE, Interval.holding(T0 + FIVE))
    leading.tell_gap(new, start, Interval.holding(start))
    (gap,) = new.between(Fault, T0 - FIVE, start)
    assert (gap.at, gap.what) == (T0 + FIVE, "intervals not decided")
    assert gap.detail.startswith("3 from 2024-08-20T")
    order = Instruction(
        at=T0 + FIVE, known_at=T0 + FIVE, source="grid", kind="measured", instruction_id="o", site_id="tx-1",
        limit_w=1e6, until=start,
    )  # fmt: skip
    new.append([order])
    assert leading.orders_after_plans(new, start, start + timedelta(days=1))
    assert micros(gap.known_at) == micros(start)
