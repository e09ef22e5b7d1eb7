"""`tieline commit check`: offers as a desk gets them, with the answer that it must give."""

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.folder import CONFIG, T0, known, make

from tieline import config as configuration
from tieline import records
from tieline.cli import main
from tieline.dispatch import Outlook
from tieline.dispatch.appraise import Broken, Deliverable, Offer, appraise
from tieline.dispatch.settings import settings_of
from tieline.records import Commitment, Fault, Instruction, Outcome, Override, Record
from tieline.store import Store

HOUR = timedelta(hours=1)
# tx-1: 47 MW of rigs at the wall, 4 % auxiliary load at 15 C; asleep they draw about 0.4 MW.
AT = "2026-08-20T18:00"


def told(at=T0, **more) -> dict[str, object]:
    return {"at": at, "known_at": at, "source": "test", "kind": "measured", **more}


def promise(mw: float, begin: float, hours: float, name: str = "c-1", status: str = "accepted") -> Commitment:
    at = T0 + begin * HOUR
    return Commitment(
        at=at, known_at=T0, source="test", kind="measured", commitment_id=name, site_id="tx-1", product="reserve",
        until=at + hours * HOUR, power_w=mw * 1e6, response_s=600, capacity_usd_per_mw_h=5.0, status=status,
    )  # fmt: skip


def ask(folder: Path, *words: str) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["commit", "check", "--data-dir", str(folder), *words])
    return found.exit_code, found.output


def one(folder: Path, mw: float, *words: str, hours: float = 4, site: str = "tx-1", at: str = AT) -> tuple[int, str]:
    return ask(folder, "--site", site, "--mw", str(mw), "--from", at, "--hours", str(hours), *words)


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path, known())


def test_what_can_be_shed_in_time_can_be_sold(folder):
    code, out = one(folder, 30.0, "--usd-per-mw-h", "8")
    assert code == 0
    assert "CAN BE KEPT" in out
    assert "never above 60.0 MW" in out
    assert "at 12.0 MW per 5 min" in out
    assert "pays 960 USD" in out
    assert "worth it" in out


def test_more_than_the_rigs_draw_is_refused_with_megawatts(folder):
    code, out = one(folder, 60.0)
    assert code == 1
    assert "CANNOT BE KEPT: offer-1 breaks by 11." in out
    assert "can be shed within 600 s" in out


def test_nothing_is_shed_faster_than_rigs_stop(folder):
    code, out = one(folder, 1.0, "--response", "10")
    assert code == 1
    assert "rigs take 30 s to stop" in out


def test_no_megawatt_is_sold_twice(tmp_path):
    folder = make(tmp_path, [*known(), promise(30, 6, 4)])
    code, out = one(folder, 25.0)
    assert code == 1
    assert "30.0 MW of it is sold, 25.0 MW is asked (c-1)" in out
    assert one(folder, 18.0)[0] == 0
    declined = make(tmp_path / "two", [*known(), promise(30, 6, 4, status="declined")])
    assert one(declined, 25.0)[0] == 0


def test_a_released_promise_binds_no_more(tmp_path):
    sold = promise(30, 6, 4)
    later = msgspec.structs.replace(sold, known_at=T0 + timedelta(minutes=1), status="released")
    folder = make(tmp_path, [*known(), sold, later], now=T0 + timedelta(minutes=2))
    assert one(folder, 40.0)[0] == 0
    assert one(make(tmp_path / "two", [*known(), sold, later]), 40.0)[0] == 1  # not yet told


def test_load_that_is_not_back_yet_cannot_be_sold_again(tmp_path):
    folder = make(tmp_path, [*known(), promise(40, 4, 2)])  # 16:00 to 18:00
    code, out = one(folder, 40.0, at="2026-08-20T18:05")
    assert code == 1
    assert "c-1 may be called to its end at 18:00" in out
    assert "offer-1 breaks by" in out
    assert one(folder, 40.0, at="2026-08-20T18:30")[0] == 0


def test_the_promise_that_an_offer_would_break_is_the_one_named(tmp_path):
    folder = make(tmp_path, [*known(), promise(40, 6, 2)])
    code, out = one(folder, 40.0, at="2026-08-20T15:57", hours=2)
    assert code == 1
    assert "c-1 breaks by" in out
    assert "offer-1 may be called to its end at 17:57" in out


def test_heat_in_the_worst_hour_counts(tmp_path):
    folder = make(tmp_path, known(temp_c=46.0))
    code, out = one(folder, 42.0)
    assert code == 1, out
    assert one(folder, 35.0)[0] == 0


def test_an_order_within_the_offer_takes_what_can_be_drawn(tmp_path):
    order = Instruction(
        **{**told(T0 + 7 * HOUR), "known_at": T0},
        instruction_id="o",
        site_id="tx-1",
        limit_w=10e6,
        until=T0 + 8 * HOUR,
    )
    folder = make(tmp_path, [*known(), order])
    code, out = one(folder, 30.0)
    assert code == 1
    assert "at 2026-08-20 19:00 UTC" in out


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (
            Outcome(**told(), site_id="tx-1", unit_id="tx-1.rigs-1", plan_known_at=T0, result="unreachable",
                    asked_w=0.0, observed_w=None, last_known_w=35e6),
            "tx-1.rigs-1 is unreachable: its 35.0 MW cannot be sold",
        ),
        (Fault(**told(), site_id="tx-1", what="stuck_rigs", share=0.8), "80% of the rigs do not obey"),
        (
            Override(**told(), override_id="v", site_id="tx-1", unit_id="tx-1.rigs-1", target_w=35e6,
                     until=T0 + 9 * HOUR, by="kim", why="test"),
            "tx-1.rigs-1 is held by kim",
        ),
    ],
)  # fmt: skip
def test_what_does_not_obey_is_not_sold(tmp_path, record, says):
    folder = make(tmp_path, [*known(), record])
    code, out = one(folder, 20.0)
    assert code == 1
    assert says in out


def test_a_site_in_observe_can_promise_nothing(folder):
    code, out = one(folder, 1.0, site="tx-2")
    assert code == 1
    assert "tx-2 is in observe: nothing is commanded there" in out


def test_a_dear_floor_is_named_as_not_worth_it(tmp_path):
    code, out = one(make(tmp_path, known(price_usd=900.0)), 10.0, "--usd-per-mw-h", "1")
    assert code == 0  # it can be kept
    assert "NOT worth it" in out


def test_without_prices_and_network_it_can_still_be_kept(tmp_path):
    code, out = one(make(tmp_path, []), 10.0, "--usd-per-mw-h", "1")
    assert code == 0
    assert "what it costs is not known" in out
    assert "no reading of the bitcoin network" in out


def test_a_file_of_offers_is_answered_in_order(folder, tmp_path):
    file = tmp_path / "offers.toml"
    file.write_text(
        f'[[offer]]\nid = "a"\nsite_id = "tx-1"\nmw = 30\nfrom = {AT}:00Z\nhours = 2\n'
        f'[[offer]]\nid = "b"\nsite_id = "tx-1"\nmw = 30\nfrom = "{AT}"\nuntil = "2026-08-20T19:00"\n'
    )
    code, out = ask(folder, str(file), "--json")
    first, second = json.loads(out)
    assert code == 1
    assert first["keepable"]
    assert first["rebound_mw_per_5min"] == 12.0
    assert not second["keepable"]
    assert second["breaks"] == "b"
    assert second["missing_mw"] > 10
    assert "(a)" in second["why"]
    lone = tmp_path / "one.json"
    lone.write_text(json.dumps({"site_id": "tx-1", "mw": 5, "from": AT, "hours": 1}))
    assert ask(folder, str(lone))[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('site_id = "tx-1"\nmw = 5\nfrom = "2026-08-20T18:00"', "give either hours or until"),
        ('site_id = "tx-1"\nmw = nan\nfrom = "2026-08-20T18:00"\nhours = 1', "give megawatts above 0"),
        ('site_id = "tx-1"\nmw = 5\nfrom = "noon"\nhours = 1', "from 'noon' is no time"),
        ('site_id = "tx-1"\nmw = 5\nfrom = "2026-08-20T18:00"\nuntil = "2026-08-20T17:00"', "is not after from"),
        ('site_id = "tx-1"\nmw = 5\nfrom = "2026-08-20T18:00"\nhours = 1\nresponse_s = -1', "response_s is -1"),
        ('site_id = "tx-1"\nmw = 5\nfrom = "2026-08-20T18:00"\nhours = 1\nprice = 3', "unknown field `price`"),
        ('site_id = "tx-1"\nmw = "five"\nfrom = "2026-08-20T18:00"\nhours = 1', "$.mw"),
        ('site_id = "tx-9"\nmw = 5\nfrom = "2026-08-20T18:00"\nhours = 1', "no site 'tx-9'"),
        ('site_id = "tx-1"\nmw = 5\nfrom = "2026-08-20T11:00"\nhours = 1', "which is past"),
        ('site_id = "tx-1"\nmw = 5\nfrom = "2026-09-20T11:00"\nhours = 1', "more than 7 days ahead"),
        ("offer = []", "has 0 offers"),
        ("= 5", "offers.toml"),
    ],
)
def test_a_wrong_offer_names_field_and_fix_and_is_no_refusal(folder, tmp_path, text, says):
    file = tmp_path / "offers.toml"
    file.write_text(text)
    code, out = ask(folder, str(file))
    assert code == 2
    assert says in out


def test_neither_an_offer_nor_a_file_or_both_is_a_wrong_question(folder, tmp_path):
    assert ask(folder)[0] == 2
    file = tmp_path / "offers.toml"
    file.write_text('site_id = "tx-1"')
    code, out = ask(folder, str(file), "--site", "tx-1")
    assert code == 2
    assert "exclude each other" in out
    assert one(folder / "none", 1.0)[0] == 2


def test_recorded_days_are_asked_a_day_ahead(example_days):
    words = ["--data", str(example_days), "--site", "na-tx-01", "--mw", "12", "--from", "2025-10-07T20:00"]
    found = CliRunner().invoke(main, ["commit", "check", *words, "--hours", "4", "--usd-per-mw-h", "8"])
    assert found.exit_code == 0, found.output
    assert "never above" in found.output


OFFERS = st.lists(
    st.tuples(st.floats(0.5, 60), st.floats(0, 30), st.floats(0.1, 8), st.sampled_from([10, 30, 600])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(asked=OFFERS, limit_mw=st.floats(0, 60))
def test_what_is_kept_together_never_exceeds_what_can_be_shed(tmp_path_factory, asked, limit_mw):
    outlook, fleet, set_ = _world(tmp_path_factory, limit_mw)
    offers = [Offer(promise(mw, begin, hours, f"o-{n}", "offered")) for n, (mw, begin, hours, _) in enumerate(asked)]
    found = appraise(outlook, fleet, set_, T0, offers)
    kept = [a.offer.promise for a in found if isinstance(a, Deliverable)]
    for n in range(30 * 12):
        moment = T0 + n * timedelta(minutes=5)
        standing = sum(c.power_w for c in kept if c.at <= moment < c.until)
        limited = 6 * HOUR <= moment - T0 < 10 * HOUR
        assert standing <= (min(limit_mw * 1e6, 49e6) if limited else 49e6)
    for answer in found:
        if isinstance(answer, Broken):
            assert answer.missing_w > 0
            assert answer.why
        else:
            assert answer.spare_w >= 0


def _world(factory, limit_mw):
    order = Instruction(
        at=T0 + 6 * HOUR, known_at=T0, source="t", kind="measured", instruction_id="o", site_id="tx-1",
        limit_w=limit_mw * 1e6, until=T0 + 10 * HOUR,
    )  # fmt: skip
    batch: list[Record] = [*known(), order]
    path = factory.getbasetemp() / "fleet.toml"
    path.write_text(CONFIG)
    config = configuration.load(str(path))
    store = Store(None, records.encode, records.decode)
    store.append(batch)
    set_ = settings_of(config)
    outlook = Outlook(config.fleet, set_)
    outlook.read(store, T0)
    return outlook, config.fleet, set_
