"""A promise's life from the command line: what is sent to the core, and what is refused in one line."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.folder import T0, known, make

from tieline import records
from tieline.cli import main
from tieline.cli.desk import commit_act
from tieline.cli.folder import config_and_now
from tieline.records import Action, Commitment
from tieline.store import Store

HOUR = timedelta(hours=1)
OFFERS = """
[[offer]]
id = "r-1"
site_id = "tx-1"
mw = %s
from = 2026-08-20T18:00:00Z
hours = 4
capacity_usd_per_mw_h = 8.0
nonperformance_usd_per_mwh = 2000
baseline = "10 of 10"
"""


@dataclass
class Core:
    """Keeps what it is told in the folder's store, as the core would."""

    folder: Path
    told: list[records.AnyRecord] = field(default_factory=list)

    def tell(self, folder: Path, batch: list[records.AnyRecord]) -> None:
        self.told += batch
        store = Store(folder / "store.db", records.encode, records.decode)
        store.append(batch)
        store.close()


@pytest.fixture
def core(tmp_path, monkeypatch):
    made = Core(make(tmp_path, known()))
    monkeypatch.setattr(commit_act, "tell", made.tell)
    return made


def run(core: Core, *words: str) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["commit", *words, "--data-dir", str(core.folder)])
    return found.exit_code, found.output


def at(core: Core, monkeypatch, hours: float) -> None:
    config = config_and_now(core.folder)[0]
    monkeypatch.setattr(commit_act, "config_and_now", lambda folder: (config, T0 + hours * HOUR))


def offers(core: Core, mw: float) -> str:
    path = core.folder / "offers.toml"
    path.write_text(OFFERS % mw)
    return str(path)


def test_a_promise_is_accepted_called_and_released_by_someone(core, monkeypatch):
    code, out = run(core, "accept", offers(core, 12), "--by", "kim")
    assert (code, out.splitlines()[-1]) == (0, "accepted: r-1")
    assert "r-1" in run(core, "list")[1]
    at(core, monkeypatch, 7.0)
    code, out = run(core, "call", "r-1", "--minutes", "30", "--by", "kim")
    assert (code, out) == (0, "called: r-1, 12.00 MW off within 600 s\n")
    assert "called already" in run(core, "call", "r-1")[1]
    at(core, monkeypatch, 7.2)
    assert run(core, "release", "r-1", "--by", "lee")[0] == 0
    kept = [r for r in core.told if isinstance(r, Commitment)]
    assert [(c.status, c.known_at) for c in kept] == [
        ("accepted", kept[0].known_at), ("deployed", T0 + 7 * HOUR), ("released", T0 + 7.2 * HOUR),
    ]  # fmt: skip
    assert kept[1].until == T0 + 7.5 * HOUR
    assert kept[0].baseline == "10 of 10"
    assert [(a.by, a.what, a.target) for a in core.told if isinstance(a, Action)] == [
        ("kim", "promise accepted", "tx-1"), ("kim", "promise deployed", "tx-1"), ("lee", "promise released", "tx-1"),
    ]  # fmt: skip
    assert "no promise 'r-1' stands" in run(core, "release", "r-1")[1]


def test_a_call_may_end_while_its_promise_stands(core, monkeypatch):
    run(core, "accept", offers(core, 12))
    at(core, monkeypatch, 7.0)
    run(core, "call", "r-1", "--minutes", "30")
    at(core, monkeypatch, 7.4)
    code, out = run(core, "release", "r-1", "--stands")
    assert (code, out) == (0, "released: r-1, which stands until 2026-08-20 22:00 UTC\n")
    last = [r for r in core.told if isinstance(r, Commitment)][-1]
    assert (last.status, last.until) == ("accepted", T0 + 10 * HOUR)
    at(core, monkeypatch, 8.0)
    assert run(core, "call", "r-1")[0] == 0  # and may be called again


def test_what_cannot_be_kept_is_not_accepted_unless_told_to(core):
    code, out = run(core, "accept", offers(core, 70))
    assert code == 1
    assert out.endswith("nothing was accepted\n")
    assert core.told == []
    assert run(core, "accept", offers(core, 70), "--anyway")[0] == 0
    again = run(core, "accept", offers(core, 1), "--anyway")
    assert again[0] == 1
    assert "give the offer another id" in again[1]


def test_a_call_outside_its_time_and_a_name_that_is_none_are_one_line(core):
    run(core, "accept", offers(core, 12))
    code, out = run(core, "call", "r-1")
    assert code == 1
    assert "r-1 holds from 2026-08-20 18:00 to 2026-08-20 22:00 UTC" in out
    assert "`tieline commit list`" in run(core, "call", "r-9")[1]


def test_a_baseline_that_is_none_names_those_there_are(core):
    path = core.folder / "odd.toml"
    path.write_text(OFFERS.replace("10 of 10", "gut feeling") % 1)
    assert "write one of: meter before/after, 10 of 10" in run(core, "accept", str(path))[1]


def test_without_a_platform_nothing_is_recorded_and_it_says_so(tmp_path):
    folder = make(tmp_path, known())
    (folder / "offers.toml").write_text(OFFERS % 12)
    words = ["commit", "accept", str(folder / "offers.toml"), "--data-dir", str(folder)]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 3
    assert "no platform runs on" in found.output
    assert "nothing was recorded" in found.output
