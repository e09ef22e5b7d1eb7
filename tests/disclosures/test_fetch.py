"""Fetching from a server that behaves as SEC's and a wire's do."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tieline.cli.sector import fetch as fetching
from tieline.disclosures.facts.desk import CandidateFile
from tieline.disclosures.facts.keep import FileKeeper
from tieline.feeds.cached import CachedFetcher, FetchedPage, FetchError
from tieline.feeds.edgar import Edgar, check_user_agent
from tieline.feeds.wires import dropped, parse

from .edgar_server import CIK, RELEASE, World, cango, serving

AGENT = "Jane Doe jane@doe.test"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def world() -> Iterator[World]:
    with serving() as made:
        yield made


class Slept:
    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def fetcher(world: World, cache: Path, **kwargs: Any) -> CachedFetcher:
    host = world.base.removeprefix("http://")
    given: dict[str, Any] = {"per_second": 1000.0, "sleep": Slept(), **kwargs}
    return CachedFetcher(cache, frozenset({host, *given.pop("hosts", ())}), given.pop("agent", AGENT), **given)


def get(world: World, cache: Path, path: str, **kwargs: Any) -> FetchedPage:
    immutable = kwargs.pop("immutable", False)

    async def run() -> FetchedPage:
        async with fetcher(world, cache, **kwargs) as web:
            return await web.get(world.base + path, immutable=immutable)

    return asyncio.run(run())


def job(world: World, cache: Path, **kwargs: Any) -> fetching.EdgarJob:
    given: dict[str, Any] = {"ticker": "CANG", "cik": None, "since": date(2025, 1, 1), "user_agent": AGENT, **kwargs}
    return fetching.EdgarJob(**given, bitcoin_units=(), cache=cache, data_url=world.base, www_url=world.base)


def test_a_filer_from_the_list_to_kept_facts(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PER_SECOND", 1000.0)
    cango(world)
    keeper = FileKeeper(tmp_path / "facts.jsonl")
    done = fetching.run_edgar(job(world, tmp_path), keeper, NOW)
    assert done.stopped is None
    kept = {(claim.fact.period, claim.fact.field, claim.fact.scope): claim for claim in keeper.claims()}
    produced = kept["2026-01", "btc_produced", None]
    assert str(produced.value) == "496.35"
    assert produced.source_kind == "sec_exhibit"
    assert produced.published == "2026-02-03"
    assert produced.known_at == NOW
    assert produced.source.endswith("tm26d1_ex99-1.htm")
    assert str(kept["2025-12-31", "btc_on_balance", None].value) == "7528.3"
    assert kept["2025-12-31", "btc_on_balance", "AssetPledgedAsCollateral"].value == 7000
    covers = [one for one in done.documents if one.source.endswith("form6k.htm")]
    assert len(covers) == 1
    assert covers[0].problem is not None
    assert world.count(f"/Archives/edgar/data/{CIK}/000172512326000002/logo.jpg") == 0
    assert all("@" in headers["user-agent"] for _, headers, _ in world.seen)


def test_the_second_run_costs_next_to_nothing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PER_SECOND", 1000.0)
    cango(world)
    keeper = FileKeeper(tmp_path / "facts.jsonl")
    first = fetching.run_edgar(job(world, tmp_path), keeper, NOW)
    asked = len(world.seen)
    again = fetching.run_edgar(job(world, tmp_path), keeper, NOW + timedelta(days=1))
    assert again.kept.new == 0
    assert again.kept.already == first.kept.new > 0
    later = world.seen[asked:]
    assert {code for _, _, code in later} == {304}
    assert not [path for path, _, _ in later if path.startswith("/Archives")]


def test_a_run_cut_short_goes_on_where_it_was(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PER_SECOND", 1000.0)
    cango(world)
    facts = f"/api/xbrl/companyfacts/CIK{CIK:010d}.json"
    page = world.pages.pop(facts)
    keeper = FileKeeper(tmp_path / "facts.jsonl")
    first = fetching.run_edgar(job(world, tmp_path), keeper, NOW)
    assert first.kept.new > 0
    assert any("404" in (one.problem or "") for one in first.documents)
    world.pages[facts] = page
    asked = len(world.seen)
    again = fetching.run_edgar(job(world, tmp_path), keeper, NOW)
    assert again.kept.new == 1
    assert [path for path, _, code in world.seen[asked:] if code == 200] == [facts]


def test_sec_wants_a_name(world: World, tmp_path: Path) -> None:
    cango(world)
    for agent in (
        "",
        "python-httpx/0.28",
        "jane@doe.test",
        "Jane Doe",
        "J D j@example.com",
        "Jane\r\nX: y a@b.c",
    ):
        with pytest.raises(ValueError, match="TIELINE_SEC_USER_AGENT"):
            check_user_agent(agent)
    assert check_user_agent(f" {AGENT} ") == AGENT
    with pytest.raises(FetchError, match="User-Agent"):
        get(world, tmp_path, "/files/company_tickers.json", agent="nobody")


def test_an_unknown_ticker(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PER_SECOND", 1000.0)
    cango(world)
    done = fetching.run_edgar(job(world, tmp_path, ticker="NOPE"), FileKeeper(tmp_path / "facts.jsonl"), NOW)
    assert "--cik" in (done.stopped or "")


def test_older_pages_are_read_only_where_needed(world: World, tmp_path: Path) -> None:
    cango(world)

    async def run(since: date) -> list[str]:
        async with fetcher(world, tmp_path) as web:
            found = await Edgar(web, world.base, world.base).filings(CIK, since, ("6-K",))
            return [one.accession for one in found]

    older = f"/submissions/CIK{CIK:010d}-submissions-001.json"
    assert asyncio.run(run(date(2025, 9, 1))) == ["0001725123-26-000002"]
    assert world.count(older) == 0
    assert asyncio.run(run(date(2025, 6, 1))) == ["0001725123-26-000002", "0001725123-25-000001"]
    assert world.count(older) == 1


@pytest.mark.parametrize(
    "broken",
    [{}, {"filings": {}}, {"filings": {"recent": {"form": ["6-K"]}}}, {"filings": {"recent": 3}}],
)
def test_a_list_of_another_shape(world: World, tmp_path: Path, broken: dict[str, Any]) -> None:
    world.put(f"/submissions/CIK{CIK:010d}.json", broken)

    async def run() -> None:
        async with fetcher(world, tmp_path) as web:
            await Edgar(web, world.base, world.base).filings(CIK, date(2025, 1, 1), ("6-K",))

    with pytest.raises(FetchError, match="shape"):
        asyncio.run(run())


def test_requests_are_spaced(world: World, tmp_path: Path) -> None:
    slept = Slept()

    async def run() -> None:
        async with fetcher(world, tmp_path, per_second=0.1, sleep=slept) as web:
            for number in range(4):
                world.put(f"/{number}", "x")
                await web.get(f"{world.base}/{number}")

    asyncio.run(run())
    assert len(slept.waits) == 3
    assert all(5 < wait <= 10 for wait in slept.waits)  # a busy machine answers within five seconds


def test_unchanged_changed_and_cached(world: World, tmp_path: Path) -> None:
    world.put("/a", "one")
    assert get(world, tmp_path, "/a").status == "new"
    assert get(world, tmp_path, "/a").status == "unchanged"
    assert world.count("/a", 304) == 1
    assert get(world, tmp_path, "/a", immutable=True).status == "cached"
    world.put("/a", "two")
    assert get(world, tmp_path, "/a") == FetchedPage(f"{world.base}/a", b"two", "text/html", "changed")


def test_a_broken_download_goes_on_by_range(world: World, tmp_path: Path) -> None:
    body = os.urandom(200_000)
    world.put("/big.pdf", body, "application/pdf")
    world.break_at["/big.pdf"] = 120_000
    assert get(world, tmp_path, "/big.pdf").body == body
    assert [code for path, _, code in world.seen if path == "/big.pdf"] == [200, 206]
    assert "range" in world.seen[-1][1]
    assert not list(tmp_path.rglob("*.part*"))


def test_a_page_that_changed_meanwhile_starts_anew(world: World, tmp_path: Path) -> None:
    world.put("/big.pdf", b"a" * 200_000, "application/pdf")
    world.break_at["/big.pdf"] = 120_000
    world.troubles["/big.pdf"] = []

    async def run() -> bytes:
        async def change(_: float) -> None:
            world.put("/big.pdf", b"b" * 200_000, "application/pdf")

        async with fetcher(world, tmp_path, sleep=change) as web:
            return (await web.get(f"{world.base}/big.pdf")).body

    assert asyncio.run(run()) == b"b" * 200_000


def test_busy_servers_are_waited_for_within_bounds(world: World, tmp_path: Path) -> None:
    world.put("/a", "x")
    slept = Slept()
    world.troubles["/a"] = [(503, {}), (429, {"Retry-After": "7"})]
    assert get(world, tmp_path, "/a", sleep=slept).body == b"x"
    assert [wait for wait in slept.waits if wait >= 1] == [1.0, 7.0]
    world.put("/b", "x")
    world.troubles["/b"] = [(429, {"Retry-After": "600"})]
    with pytest.raises(FetchError, match="600 s"):
        get(world, tmp_path, "/b")
    world.troubles["/b"] = [(500, {})] * 9
    with pytest.raises(FetchError, match="tried 4 times"):
        get(world, tmp_path, "/b")
    assert world.count("/b") == 5


def test_redirects_stay_on_the_host(world: World, tmp_path: Path) -> None:
    world.put("/new", "x")
    world.redirects = {
        "/old": "/new",
        "/away": "http://169.254.169.254/latest",
        "/loop": "/loop",
        "/file": "file:///etc",
    }
    assert get(world, tmp_path, "/old").body == b"x"
    for path, why in (("/away", "not among the hosts"), ("/loop", "redirects"), ("/file", "not among")):
        with pytest.raises(FetchError, match=why):
            get(world, tmp_path, path)


def test_what_is_too_large_is_not_taken(world: World, tmp_path: Path) -> None:
    world.put("/big", b"x" * 5_000)
    with pytest.raises(FetchError, match="1,000 bytes"):
        get(world, tmp_path, "/big", max_bytes=1_000)
    world.put("/bomb", b"0" * 2_000_000, "application/json")
    with pytest.raises(FetchError, match="unpacks to more"):
        get(world, tmp_path, "/bomb", max_bytes=100_000)


def test_a_torn_cache_is_asked_for_again(world: World, tmp_path: Path) -> None:
    world.put("/a", "x")
    get(world, tmp_path, "/a")
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    assert get(world, tmp_path, "/a", immutable=True).status == "new"


RSS = """<?xml version="1.0"?><rss version="2.0"><channel>
<item><title>Cango Inc. Announces January 2026 Bitcoin Production</title><link>{base}/release/1</link>
<pubDate>Tue, 03 Feb 2026 12:00:00 GMT</pubDate></item>
<item><title>A bakery opens</title><link>{base}/release/2</link></item>
<item><title>Bitcoin production elsewhere</title><link>http://169.254.169.254/x</link></item>
<item><title>Bitcoin production gone</title><link>/release/404</link></item>
</channel></rss>"""


def test_a_wire_is_followed_on_its_own_host(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WIRE_PER_SECOND", 1000.0)
    world.put("/feed", RSS.format(base=world.base), "application/rss+xml")
    world.put("/release/1", RELEASE)
    keeper = FileKeeper(tmp_path / "facts.jsonl")
    wire = fetching.WireJob(f"{world.base}/feed", None, "bitcoin|production", "issuer", tmp_path)
    done = fetching.run_wire(wire, keeper, NOW)
    assert done.stopped is None
    assert [bool(one.problem) for one in done.documents] == [False, True, True]
    assert "not followed" in (done.documents[1].problem or "")
    assert world.count("/release/2") == 0
    found = {(claim.fact.period, claim.fact.field): claim for claim in keeper.claims()}
    assert str(found["2026-01", "btc_held_end"].value) == "7474.6"
    assert found["2026-01", "btc_held_end"].published == "2026-02-03"


def test_feeds_of_both_kinds_and_of_none() -> None:
    atom = b"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><title> A
      title</title><link rel="self" href="/x"/><link href="/y"/>
      <updated>2026-02-03T10:00:00Z</updated></entry></feed>"""
    (item,) = parse(atom, "https://wire.test/feed")
    assert (item.title, item.link, item.published) == ("A title", "https://wire.test/y", "2026-02-03")
    for body in (b"", b"<html/>", b"<rss", b"<!DOCTYPE r [<!ENTITY a 'b'>]><rss/>", b"{}"):
        with pytest.raises(FetchError):
            list(parse(body, "https://wire.test/feed"))
    assert list(parse(b"<rss><channel/></rss>", "https://wire.test/feed")) == []


@pytest.mark.parametrize("day", ["Thu, 01 Jan 1970 00:00:00 GMT", "0001-01-01T00:00:00Z", "yesterday", ""])
def test_a_clock_that_was_never_set_is_no_day(day: str) -> None:
    feed = f"<rss><channel><item><title>A</title><link>/a</link><pubDate>{day}</pubDate></item></channel></rss>"
    (item,) = parse(feed.encode(), "https://wire.test/feed")
    assert item.published is None


def test_an_item_without_an_address_costs_itself() -> None:
    feed = "<rss><item><title>A</title><link>http://[</link></item><item><title>B</title><link>/b</link></item></rss>"
    assert [item.link for item in parse(feed.encode(), "https://wire.test/feed")] == ["https://wire.test/b"]


def test_a_folder_to_drop_files_into(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "january.html").write_text(RELEASE)
    (folder / "note.docx").write_text("x")
    (folder / "growing.txt").write_text("bitcoin")
    (folder / ".hidden.txt").write_text("x")
    (folder / "link.txt").symlink_to("/etc/passwd")
    old = (NOW - timedelta(hours=1)).timestamp()
    for name in ("january.html", "note.docx"):
        os.utime(folder / name, (old, old))
    os.utime(folder / "growing.txt", (NOW.timestamp(), NOW.timestamp()))
    found = {one.path.name: one for one in dropped(folder, NOW)}
    assert set(found) == {"january.html", "note.docx", "growing.txt"}
    assert found["january.html"].left is None
    assert "ending" in (found["note.docx"].left or "")
    assert "being written" in (found["growing.txt"].left or "")
    keeper = FileKeeper(tmp_path / "facts.jsonl")
    done = fetching.run_folder(fetching.FolderJob(folder, None, "2026-02-03", "issuer"), keeper, NOW)
    assert done.kept.new > 5
    again = fetching.run_folder(fetching.FolderJob(folder, None, "2026-02-03", "issuer"), keeper, NOW)
    assert again.kept.new == 0
    with pytest.raises(FetchError, match="a folder that exists"):
        list(dropped(tmp_path / "none", NOW))


def test_a_refresh_asks_every_miner_and_goes_on_past_one_that_fails(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PER_SECOND", 1000.0)
    cango(world)
    keeper, desk = FileKeeper(tmp_path / "facts.jsonl"), CandidateFile(tmp_path / "facts.desk.jsonl")
    told: list[fetching.Refreshed] = []
    sources = fetching.Sources(job(world, tmp_path, ticker=None), {})
    done = fetching.refresh(["ZZZZ", "CANG"], sources, keeper, NOW, desk, told.append)
    assert [one.issuer for one in done] == [one.issuer for one in told] == ["ZZZZ", "CANG"]
    assert done[0].failed
    assert done[1].new >= 8
    again = fetching.refresh(["CANG"], sources, keeper, NOW, desk, told.append)
    assert (again[0].new, again[0].failed) == (0, False)
    assert world.count(f"/Archives/edgar/data/{CIK}/000172512326000002/tm26d1_ex99-1.htm") == 1


def test_a_refresh_asks_the_wires_of_each_miner_and_a_feed_that_fails_leaves_the_others(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WIRE_PER_SECOND", 1000.0)
    world.put("/feed", RSS.format(base=world.base), "application/rss+xml")
    world.put(
        "/january", "<h1>Heron Mining January 2026 Update</h1><p>Heron mined 41 BTC in January 2026.</p>", "text/html"
    )
    wires = tmp_path / "wires.csv"
    wires.write_text(f"# feeds\nHRN,{world.base}/feed\nHRN,{world.base}/gone\n")
    sources = fetching.Sources(None, fetching.feeds_of(wires, tmp_path))
    told: list[fetching.Refreshed] = []
    (one,) = fetching.refresh(["CANG", "HRN"], sources, FileKeeper(tmp_path / "facts.jsonl"), NOW, None, told.append)
    assert told == [one]
    assert one.issuer == "HRN"
    assert one.failed
    assert "documents read" in one.says
    assert "not asked" in one.says or "stopped" in one.says
    wires.write_text("HRN;https://feed.test")
    with pytest.raises(ValueError, match=r"wires.csv:1: .* write TICKER,https"):
        fetching.feeds_of(wires, tmp_path)


def test_news_in_a_folder_is_not_the_issuers_own_word(tmp_path: Path) -> None:
    folder = tmp_path / "dropped"
    folder.mkdir()
    text = (
        "Cango mined 650.5 BTC in July 2025, the company said in a statement. Cango held 4,529.7 BTC at July 31, 2025."
    )
    (folder / "article.txt").write_text(text)
    os.utime(folder / "article.txt", (0, 0))
    keeper, desk = FileKeeper(tmp_path / "facts.jsonl"), CandidateFile(tmp_path / "facts.desk.jsonl")
    done = fetching.run_folder(fetching.FolderJob(folder, "CANG", "2025-08-06", None), keeper, NOW, desk)
    assert not keeper.claims()
    assert done.documents[0].candidates == len(desk.waiting()) >= 2
    assert all(w.source_kind == "news_of_release" for w in desk.waiting())
