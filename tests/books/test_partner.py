"""A partner's statement is its records and nothing else, to the satoshi, the nano-dollar, the token and the Wh."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.folder import CONFIG, make
from tests.dispatch.fleets import fleet, site

from tieline import records
from tieline.books.reports.partner import PartnerStatement, SitesOfMonth
from tieline.books.reports.partner_page import StandingAsk, statement_page
from tieline.books.reports.sums import by_site, parted
from tieline.cli import main
from tieline.fleet import Fleet, Partner
from tieline.records import Hop, MeterReading, Payout, PowerBill, Record, Sample, Shortfall, Usage
from tieline.settlement import rolled
from tieline.settlement.month import update_of
from tieline.settlement.partners import LineOpened, opened, partner_statement, sites_of_month
from tieline.settlement.rolled import RollUp, SumsOfSpans
from tieline.store import Store
from tieline.store.rolled.kept import RolledStore

JULY, AUGUST, NOW = (datetime(2026, month, day, tzinfo=UTC) for month, day in ((7, 1), (8, 1), (9, 10)))
HOUR = timedelta(hours=1)
SITES = ("tx-1", "tx-2", "no-1")
PARTNER = Partner(
    id="acme", name="Acme", sites=("tx-1", "no-1"), mining_share=Decimal("0.7"), inference_share=Decimal("0.333")
)


ASKED = StandingAsk(PARTNER, [], 0, 5_000)


def told(at: datetime, kind: str = "measured") -> dict[str, Any]:
    return {"at": at, "known_at": at + HOUR, "source": "test", "kind": kind}


def of_a_month() -> list[Record]:
    """Odd in every last digit; the first payout's span began before the month, one request ran at two sites and one at
    none, and one bill is told anew."""
    made: list[Record] = []
    for n in range(31 * 24):
        at = AUGUST + n * HOUR
        for k, name in enumerate(SITES):
            more: dict[str, Any] = {"site_id": name, "length_s": 3600}
            rate = None if n % 17 == k else 1.23e15 * (k + 1) + n * 1e9 + 0.37
            made.append(
                Sample(unit_id=f"{name}.rigs-1", readings=60 if rate else 0, power_w=5e6 if rate else None,
                       hashrate_hs=rate, **more, **told(at))
            )  # fmt: skip
            if n % 6 == 0:
                made.append(
                    MeterReading(
                        readings=0 if n % 96 == 0 else 9, power_w=None if n % 96 == 0 else 5e6, **more, **told(at)
                    )
                )
                cost = Decimal("12.345678")
                made.append(
                    PowerBill(mining_wh=5e6 + n / 7, inference_wh=k / 3, aux_wh=0.1, cost_usd=cost, **more, **told(at))
                )
                short = {"fault": n % 5, "economic": 11}
                made.append(
                    Shortfall(full_wh=1_000 + n, drawn_wh=1_000 + n - 11 - n % 5, short_wh=short, **more, **told(at))
                )
    made += [
        Payout(payout_id=f"p-{day}", pool="p", sats=100_000_007 + day * 13, span_start=AUGUST + timedelta(days=day - 1),
               span_end=AUGUST + timedelta(days=day), **told(AUGUST + timedelta(days=day, hours=1)))
        for day in range(30)
    ]  # fmt: skip
    made += [
        Sample(unit_id="tx-1.rigs-1", site_id="tx-1", length_s=3600, readings=1, power_w=1.0, hashrate_hs=7e15,
               **told(AUGUST - 3 * HOUR)),
        Payout(payout_id="before", pool="p", sats=5, span_start=JULY, span_end=AUGUST, **told(AUGUST)),
        Payout(payout_id="unheard", pool="p", sats=99, span_start=JULY, span_end=JULY + HOUR, **told(AUGUST + HOUR)),
        Payout(payout_id="odd", pool="p", sats=1_234_567, span_start=AUGUST + 5 * HOUR + HOUR / 6,
               span_end=AUGUST + 61 * HOUR + HOUR / 4, **told(AUGUST + 62 * HOUR)),
    ]  # fmt: skip
    for n in range(200):
        hops = [Hop(replica_id="r", site_id=SITES[n % 3], output_tokens=n % 7, ended="stop", prompt_tokens=n)]
        hops += [Hop(replica_id="q", site_id=SITES[(n + 1) % 3], output_tokens=3, ended="stop")] if n % 4 == 0 else []
        made.append(
            Usage(request_id=f"r-{n}", tenant=f"t{n % 2}", project="default", key_id="secret-key", model="m",
                  endpoint="/v1/chat/completions", status=200, prompt_tokens=n,
                  output_tokens=sum(h.output_tokens for h in hops), cost_nano_usd=1_000_003 * n + 1,
                  hops=() if n == 5 else tuple(hops), **told(AUGUST + n * 3 * HOUR))
        )  # fmt: skip
    bill = next(one for one in made if isinstance(one, PowerBill))
    made.append(records.PowerBill(**{**{f: getattr(bill, f) for f in PowerBill.__struct_fields__},
                                     "mining_wh": 1.0, "known_at": bill.known_at + HOUR}))  # fmt: skip
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("partner") / "store.db", records.encode, records.decode)
    store.append(of_a_month())
    return store


def whole() -> Fleet:
    return msgspec.structs.replace(fleet(*(site(name) for name in SITES)), partners=(PARTNER,))


def statement(store: Store, partner: Partner = PARTNER) -> PartnerStatement:
    return partner_statement(store, whole(), partner, "2026-08", NOW)


def test_all_sites_together_have_every_satoshi_nano_dollar_and_token_of_the_records(store: Store) -> None:
    everybody = statement(store, Partner(id="all", name="All", sites=SITES))
    payouts = [p for p in store.between(Payout, AUGUST, datetime(2026, 9, 1, tzinfo=UTC)) if p.at > AUGUST]
    assert {p.payout_id for p in payouts} == {*(f"p-{n}" for n in range(30)), "unheard", "odd"}
    heard = [p for p in payouts if p.payout_id != "unheard"]
    assert everybody.total("mining") == sum(p.sats for p in heard) == everybody.part("mining")
    used = [u for u in store.each(Usage, AUGUST, NOW) if u.hops]
    assert everybody.total("inference") == sum(u.cost_nano_usd for u in used)
    assert everybody.tokens == sum(u.output_tokens for u in used)


def test_the_partner_s_lines_sum_to_its_total_and_each_opens_to_the_records_it_is_made_of(store: Store) -> None:
    made = statement(store)
    assert {line.site for line in made.lines} == set(PARTNER.sites)
    assert 0 < made.total("mining") < statement(store, Partner(id="a", name="A", sites=SITES)).total("mining")
    values = {"mining": "sats", "inference": "nano_usd", "hashes": "hashes", "heard": "seconds", "faults": "wh"}
    for line in made.lines:
        if line.what == "elapsed":
            continue
        rows = list(opened(store, LineOpened(line.what, line.site, line.day, line.payout), "2026-08"))
        assert len(rows) == line.records > 0
        if line.what == "energy":
            parts = [row[name] for row in rows for name in ("mining_wh", "inference_wh", "aux_wh")]
            assert sum((Decimal(repr(part)) for part in parts), Decimal(0)) == line.amount
        else:
            assert sum(row[values[line.what]] for row in rows) == line.amount
        if line.what == "inference":
            assert sum(row["tokens"] for row in rows) == line.tokens
            assert not {"tenant", "key_id", "secret-key"} & {*rows[0], *map(str, rows[0].values())}
    for what, share in (("mining", PARTNER.mining_share), ("inference", PARTNER.inference_share)):
        assert made.part(what) == sum(int(line.amount * share) for line in made.of(what))
        assert 0 <= made.total(what) * share - made.part(what) < len(made.of(what)), (
            "less than one a line is rounded down"
        )
    assert made.availability == Decimal("0.1559"), "116 hours heard of 744"
    assert sites_of_month(store, "2026-08", NOW).paid()["unheard"] == {}


def test_a_bill_that_is_told_anew_counts_once_and_in_its_newest_word(store: Store) -> None:
    line = next(line for line in statement(store).of("energy") if line.site == "tx-1")
    rows = list(opened(store, LineOpened("energy", "tx-1", line.day), "2026-08"))
    assert rows[0]["mining_wh"] == 1.0


@given(st.integers(0, 10**15), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**30), max_size=6))
def test_parts_are_whole_and_sum_to_the_whole(number: int, weights: dict[str, int]) -> None:
    parts = parted(number, weights)
    assert sum(parts.values()) == (number if any(weights.values()) else 0)
    assert all(part >= 0 for part in parts.values())


@given(
    st.integers(0, 10**12),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 99), st.integers(0, 99)), max_size=4),
)
def test_a_request_s_cost_is_all_of_it_wherever_it_ran(cost: int, hops: list[tuple[str, int, int]]) -> None:
    told_ = [
        Hop(replica_id="r", site_id=s, output_tokens=out, prompt_tokens=asked, ended="stop") for s, out, asked in hops
    ]
    usage = Usage(request_id="r", tenant="t", project="p", key_id="k", model="m", endpoint="e", status=200,
                  prompt_tokens=0, output_tokens=0, cost_nano_usd=cost, hops=tuple(told_), **told(AUGUST))  # fmt: skip
    found = by_site(usage)
    assert sum(nano for nano, _ in found.values()) == (cost if hops else 0)
    assert sum(tokens for _, tokens in found.values()) == sum(out for _, out, _ in hops)


def test_the_command_says_lines_totals_and_what_there_is_not(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", of_a_month(), NOW)
    config = folder / "fleet.toml"
    config.write_text(CONFIG + '[[partner]]\nid = "acme"\nname = "Acme"\nsites = ["tx-1"]\nmining_share = "0.5"\n')

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["books", "partner", "--data-dir", str(folder), *words])
        return done.exit_code, done.output

    code, text = run("acme", "2026-08", "--json")
    assert code == 0, text
    told_ = json.loads(text[text.index("{") :])
    assert (
        sum(int(line["part"]) for line in told_["lines"] if line["what"] == "mining")
        == told_["totals"]["mining_part_sats"]
    )
    code, text = run("acme", "2026-08")
    assert code == 0
    assert f"{told_['totals']['mining_part_sats']:,} sats" in text
    code, text = run("acme", "2026-08", "--open", "mining", "--site", "tx-1", "--payout", "p-3")
    assert code == 0
    assert json.loads(text.splitlines()[-1])["record"] == "p-3"
    for words, wanted, said in (
        (("nobody", "2026-08"), 3, "no partner 'nobody'; there are: acme"),
        (("acme", "2026-13"), 2, "2026-13"),
        (("acme", "2026-08", "--open", "mining", "--site", "tx-2"), 2, "give one of tx-1"),
        (("acme", "2026-08", "--open", "energy", "--site", "tx-1"), 2, "name the day"),
    ):
        code, text = run(*words)
        assert (code, said in text) == (wanted, True), text


def test_nothing_is_said_of_a_site_that_left_and_a_month_without_records_is_no_statement(store: Store) -> None:
    assert statement(store, Partner(id="a", name="A", sites=())).lines == ()
    with pytest.raises(ValueError, match="2026-06"):
        partner_statement(store, whole(), PARTNER, "2026-06", NOW)
    assert SitesOfMonth(UTC).paid() == {}


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("America/Chicago"), ZoneInfo("Asia/Kolkata")], ids=str)
def test_what_is_read_of_sums_is_what_is_read_of_records(store: Store, zone: tzinfo) -> None:
    """Days on whole hours of UTC and between them; payouts on days, hours and minutes."""
    kept = rolled_up(store)
    whole_store = SumsOfSpans(store, kept)
    for partner in (PARTNER, Partner(id="all", name="All", sites=SITES)):
        of = (store, whole(), partner, "2026-08", NOW, zone)
        assert partner_statement(*of, sums=whole_store) == partner_statement(*of)
    assert update_of(store, whole(), "2026-08", NOW, kept=kept) == update_of(store, whole(), "2026-08", NOW)
    for start, end in ((AUGUST + HOUR / 3, AUGUST + HOUR / 2), (AUGUST - HOUR / 2, AUGUST + 50.7 * HOUR)):
        assert whole_store.of_sites(start, end) == SumsOfSpans(store, None).of_sites(start, end)


def rolled_up(store: Store) -> RolledStore:
    roll = RollUp(RolledStore(None))
    while roll.step(store):
        pass
    return roll.kept


def test_of_a_summed_month_only_minutes_of_records_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sums, read = SumsOfSpans(store, rolled_up(store)), set[timedelta]()
    each = Store.each

    def noted(self: Store, type_: Any, start: datetime, end: datetime, **more: Any) -> Any:
        if type_ is not Payout:
            read.add(end - start)
        return each(self, type_, start, end, **more)

    monkeypatch.setattr(Store, "each", noted)
    partner_statement(store, whole(), PARTNER, "2026-08", NOW, sums=sums)
    assert read == {HOUR * 5 / 6, HOUR / 4}, "the two ends of the odd payout's span"


def test_sums_that_lack_much_are_not_read_and_those_that_lack_little_are_brought_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll = RollUp(RolledStore(None))
    monkeypatch.setattr(rolled, "NEAR", store.last_seq() - 1)
    assert roll.ready(store) is None
    assert roll.reached(store) == 0
    monkeypatch.setattr(rolled, "NEAR", store.last_seq())
    assert roll.ready(store) is roll.kept
    assert roll.reached(store) == store.last_seq()


def test_a_site_is_available_since_its_meter_first_told_and_not_known_before(tmp_path: Path) -> None:
    """A site whose meter came on the twentieth, one that has none, and the interval that runs."""
    kept = Store(tmp_path / "store.db", records.encode, records.decode)
    since = AUGUST + timedelta(days=19)
    more: dict[str, Any] = {"unit_id": "tx-1.rigs-1", "length_s": 300, "readings": 1, "power_w": 1.0}
    kept.append([Sample(site_id="tx-1", hashrate_hs=1e15, **more, **told(AUGUST))])

    def at(now: datetime) -> PartnerStatement:
        return partner_statement(kept, whole(), PARTNER, "2026-08", now)

    assert at(since).availability is None
    assert "not known yet" in statement_page(at(since), ["2026-08"], [], ASKED)
    kept.append([
        MeterReading(site_id="tx-1", length_s=300, readings=n % 4, power_w=1.0 if n % 4 else None,
                     **told(since + n * timedelta(minutes=5)))
        for n in range(1, 9)
    ])  # fmt: skip
    seen = at(since + timedelta(minutes=49))  # nobody can have told of 45 to 50 yet
    assert seen.availability == Decimal("0.7500")
    assert [(line.site, line.amount) for line in seen.of("elapsed")] == [("tx-1", 2_400)]
    assert "75.00 % of the time heard" in statement_page(seen, ["2026-08"], [], ASKED)
    kept.close()
