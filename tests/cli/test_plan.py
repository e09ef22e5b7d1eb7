"""`tieline plan` at three in the morning: what stands, why, how old it is, and what was known when."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.folder import CONFIG, FIVE, T0, known, make, open_store

from tieline import config as configuration
from tieline.cli import main
from tieline.dispatch import Controller
from tieline.dispatch.settings import settings_of
from tieline.records import Commitment, Fault, Instruction, Override, PriceTick, Record

HOUR = timedelta(hours=1)


def told(at=T0, **more) -> dict[str, object]:
    return {"at": at, "known_at": at, "source": "test", "kind": "measured", **more}


def run(folder: Path, *words: str, code: int = 0) -> str:
    found = CliRunner().invoke(main, ["plan", "--data-dir", str(folder), *words])
    assert found.exit_code == code, found.output
    return found.output


def decided(folder: Path, *moments, more: tuple[Record, ...] = ()) -> Path:
    """A platform that decided at these moments and stands at the last of them."""
    make(folder, [*known(), *more], now=moments[-1])
    config = configuration.load(str(folder / "fleet.toml"))
    store = open_store(folder)
    controller = Controller(store, config.fleet, settings_of(config))
    for moment in moments:
        asyncio.run(controller.step(moment))
    store.close()
    return folder


def test_each_setpoint_has_its_reason_and_each_site_its_mode(tmp_path):
    out = run(decided(tmp_path, T0))
    assert "tx-1  asks" in out
    assert "tx-2  observes only: would have asked" in out
    assert "above price 20.00 USD/MWh: normal" in out
    assert "price 20.00 USD/MWh, hashprice" in out
    assert "decided 0 s ago by strike, valid until 08-20 12:15" in out
    assert "A decision made now would differ nowhere." in out
    assert "INVENTED" not in out


def test_a_past_moment_shows_only_what_was_known_then(tmp_path):
    late = Override(
        **told(T0 + FIVE), override_id="v", site_id="tx-1", unit_id="tx-1.rigs-1", target_w=5e6, until=T0 + HOUR,
        by="kim", why="work on row 4",
    )  # fmt: skip
    folder = decided(tmp_path, T0, T0 + FIVE, more=(late,))
    then, now = run(folder, "--at", "2026-08-20T12:04"), run(folder)
    assert "kim" not in then
    assert "differ" not in then  # nothing is decided anew about the past
    assert "override by kim: tx-1.rigs-1 at 5.000 MW until 08-20 13:00: work on row 4" in now
    assert "held by kim" in now


def test_a_record_told_later_about_the_past_is_not_in_the_past(tmp_path):
    begun = Fault(**told(T0), site_id="tx-1", what="stuck_rigs", share=0.2, detail="row 7")
    over = Fault(**{**told(T0), "known_at": T0 + FIVE}, site_id="tx-1", what="stuck_rigs", share=0.2, until=T0 + FIVE)
    folder = decided(tmp_path, T0, T0 + 2 * FIVE, more=(begun, over))
    assert "fault stuck_rigs, 20% of it for 4 min: row 7" in run(folder, "--at", "2026-08-20T12:04")
    assert "fault" not in run(folder)


def test_orders_and_promises_stand_beside_the_plan(tmp_path):
    order = Instruction(**told(), instruction_id="o-9", site_id="tx-1", limit_w=10e6, until=T0 + HOUR)
    promise = Commitment(
        **told(), commitment_id="c-3", site_id="tx-2", product="reserve", until=T0 + HOUR, power_w=4e6, response_s=600,
        capacity_usd_per_mw_h=5.0, status="accepted",
    )  # fmt: skip
    out = run(decided(tmp_path, T0, more=(order, promise)))
    assert "order o-9: at most 10.000 MW until 08-20 13:00" in out
    assert "promise c-3 (reserve, accepted): 4.000 MW within 600 s" in out
    assert "instruction:" in out


def test_now_says_where_a_decision_made_anew_would_differ(tmp_path):
    folder = decided(tmp_path, T0)
    store = open_store(folder)
    store.append([PriceTick(**told(), market="PJM_DOM_RT", price_usd_per_mwh=4858.0)])
    store.close()
    out = run(folder)
    assert "decided now instead: tx-1.rigs-1" in out
    assert "price 4858.00 is not below the strike" in out
    assert "A decision made now would differ at 2 of 2 sites." in out
    assert "decided now" not in run(folder, "--at", "2026-08-20T12:00")


def test_look_ahead_decided_anew_remembers_what_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.cli.folder.CONFIG", CONFIG.replace('policy = "strike"', 'policy = "lookahead"'))
    out = run(decided(tmp_path, *(T0 + n * FIVE for n in range(4))))
    assert "by lookahead" in out
    assert "A decision made now would differ nowhere." in out


def test_deciding_anew_keeps_nothing(tmp_path):
    folder = decided(tmp_path, T0)
    before = (folder / "store.db").read_bytes()
    run(folder)
    assert (folder / "store.db").read_bytes() == before


def test_a_platform_that_stopped_has_an_expired_plan(tmp_path):
    folder = decided(tmp_path, T0)
    make(folder, [], now=T0 + 3 * HOUR)
    out = run(folder)
    assert "EXPIRED 2.8 h ago: the site holds its safe default: mining off" in out
    assert "decided 3.0 h ago" in out


def test_json_carries_the_same(tmp_path):
    folder = decided(tmp_path, T0)
    plain = json.loads(run(folder, "--json", "--site", "tx-2"))
    (site,) = plain["sites"]
    assert (site["site_id"], site["mode"], site["commanded"], site["expired"]) == ("tx-2", "observe", False, False)
    assert site["plan"]["setpoints"][0]["reason"]["text"]
    assert site["fresh"]["site_id"] == "tx-2"
    assert site["changes"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--site", "tx-9"), "no plan of a site 'tx-9'; there are tx-1, tx-2"),
        (("--at", "yesterday"), "is no time"),
        (("--at", "2026-08-21T12:00"), "lies ahead; in"),
        (("--data", "recorded"), "recorded days need a moment"),
    ],
)
def test_a_wrong_question_is_one_line(tmp_path, words, says):
    assert says in run(decided(tmp_path, T0), *words, code=2)


def test_a_moment_before_any_plan_says_so(tmp_path):
    out = run(decided(tmp_path, T0), "--at", "2026-08-20T11:00", code=3)
    assert "no plan was kept by 2026-08-20 11:00 UTC" in out


def test_no_data_folder_says_what_to_do(tmp_path):
    assert "run `tieline up` first" in run(tmp_path / "none", code=3)


def test_recorded_days_are_decided_anew(example_days):
    found = CliRunner().invoke(
        main,
        ["plan", "--data", str(example_days), "--at", "2025-09-16T20:02", "--site", "na-tx-01", "--policy", "strike"],
    )
    assert found.exit_code == 0, found.output
    assert "na-tx-01" in found.output
    assert "strike" in found.output
