"""The command, on its own: no service, no platform library."""

import json
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tieline import records
from tieline.cli.folder import place_in
from tieline.cli.sector.disclosures import disclosures
from tieline.disclosures.comparison.chain import shipped_chain
from tieline.records.market import NetworkTick
from tieline.store import Store

from .edgar_server import RELEASE, serving

# What only the platform needs; the light install has none of them.
PLATFORM = ["numpy", "highspy", "nats", "starlette", "uvicorn", "pyasic", "xllamacpp", "pyarrow", "orjson", "uvloop"]


def run(tmp_path: Path, *args: str, ok: int = 0, text: str | bytes | None = None) -> Result:
    facts = ["--facts", str(tmp_path / "facts.jsonl")] if "fields" not in args else []
    result = CliRunner().invoke(disclosures, [*args, *facts], input=text)
    assert result.exit_code == ok, result.output
    return result


def test_it_runs_without_the_platform(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        f"for name in {PLATFORM!r}: sys.modules[name] = None\n"
        "from tieline.cli import main\n"
        "main(['disclosures', 'check', '--issuer', 'CANG', '--json'], standalone_mode=False)\n"
        "main(['disclosures', 'compare', '--month', '2025-09'], standalone_mode=False)\n"
        "main(['disclosures', 'explain', 'CANG', '2025-11'], standalone_mode=False)\n"
        "assert 'httpx' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "CANG" in done.stdout
    assert not list(tmp_path.iterdir())


def test_read_keep_check_and_open(tmp_path: Path) -> None:
    release = tmp_path / "release.html"
    release.write_text(RELEASE.replace("496.35", "496.41").replace("Cango", "Newco").replace("CANG", "NEWC"))
    read = json.loads(run(tmp_path, "read", str(release), "--issuer", "NEWC", "--json", "--keep").output)
    assert read["refused"] is None
    assert read["kept"]["new"] == len(read["facts"]) >= 8
    fact = next(one for one in read["facts"] if one["field"] == "btc_produced" and one["period"] == "2026-01")
    assert fact["value"] == 496.41
    assert set(fact) >= {"issuer", "period", "field", "value", "unit", "scope", "span", "quote"}
    again = run(tmp_path, "read", str(release), "--issuer", "NEWC", "--keep")
    assert "kept 0 new" in again.output
    verdicts = json.loads(run(tmp_path, "check", "--issuer", "NEWC", "--json").output)
    checks = {one["check"]: one for one in verdicts["verdicts"] if one["period"] == "2026-01"}
    assert checks["average"]["outcome"] == "holds"
    assert checks["chain"]["outcome"] == "holds"
    assert checks["roll-forward"]["residual"] == pytest.approx(550.11)
    shown = json.loads(run(tmp_path, "figure", "NEWC.2026-01.btc_produced", "--json").output)
    claim = shown["claims"][0]
    assert claim["source"] == str(release)
    assert claim["span"]
    assert "496.41" in claim["quote"]


def test_a_release_is_checked_without_being_kept(tmp_path: Path) -> None:
    release = tmp_path / "release.html"
    release.write_text(RELEASE.replace("16.01", "17.01"))
    out = json.loads(run(tmp_path, "check", str(release), "--issuer", "CANG", "--json").output)
    found = {(one["check"], one["outcome"]) for one in out["verdicts"]}
    # The issuer's own exhibit outranks the news copy that the package has, so its wrong average is the one checked.
    assert ("average", "differs") in found
    assert not (tmp_path / "facts.jsonl").exists()


def test_an_article_is_held_against_the_issuer(tmp_path: Path) -> None:
    """The balance before the sale, given for the one after it; and more left than was sold."""
    article = tmp_path / "article.txt"
    article.write_text(
        "Bitcoin miner Cango sold 4,451 BTC in February 2026 and still held 7,474 BTC at the end of February 2026."
    )
    options = ["--issuer", "CANG", "--published", "2026-03-01", "--source-kind", "news", "--json"]
    out = json.loads(run(tmp_path, "check", str(article), *options).output)
    found = {one["check"]: one for one in out["verdicts"]}
    assert "balance of the month before" in found["claims"]["says"]
    assert found["roll-forward"]["residual"] == pytest.approx(165.03)


def test_from_standard_input_and_from_the_web(tmp_path: Path) -> None:
    assert "496.35" in run(tmp_path, "read", "-", text=RELEASE).output
    with serving() as world:
        world.put("/release", RELEASE)
        assert "496.35" in run(tmp_path, "read", f"{world.base}/release").output
        missing = run(tmp_path, "read", f"{world.base}/none", ok=1)
        assert "404" in missing.output


def test_what_is_no_release_ends_with_three(tmp_path: Path) -> None:
    out = run(tmp_path, "read", "-", text="A bakery opens on Monday.", ok=3)
    assert "nothing read" in out.output
    kept = run(tmp_path, "read", "-", "--keep", "--json", text="A bakery opens on Monday.", ok=3)
    assert '"facts": []' in kept.output
    assert not (tmp_path / "facts.jsonl").exists()


def test_explain_and_its_refusal(tmp_path: Path) -> None:
    assert "-55.9 BTC   -9.28 %" in run(tmp_path, "explain", "cang", "2025-11").output
    assert "no production of CANG" in run(tmp_path, "explain", "CANG", "2030-01", ok=3).output
    refused = json.loads(run(tmp_path, "explain", "CANG", "2030-01", "--json", ok=3).output)
    assert "2029-12" in refused["reason"]


def test_compare_in_every_form(tmp_path: Path) -> None:
    text = run(tmp_path, "compare", "--month", "2025-09").output
    assert "6 of 15 that published ranked" in text
    assert "BITF: not in the book: the last month here is 2025-04" in text
    assert run(tmp_path, "compare", "--month", "2025-09", "--format", "csv").output.startswith("month,issuer,")
    long = run(tmp_path, "compare", "--month", "2025-09", "--format", "csv", "--long").output
    assert "CANG.2025-09.ltv_pct" in long
    assert json.loads(run(tmp_path, "compare", "--month", "2025-09", "--json").output)[0]["rows"]
    pytest.importorskip("pyarrow")
    out = tmp_path / "peers.parquet"
    run(tmp_path, "compare", "--format", "parquet", "--out", str(out))
    assert out.read_bytes()[:4] == b"PAR1"


def test_as_of_answers_with_what_could_be_known(tmp_path: Path) -> None:
    early = json.loads(run(tmp_path, "check", "--issuer", "CANG", "--as-of", "2025-12-31", "--json").output)
    assert all(one["period"] < "2026" for one in early["verdicts"])
    assert "no figure" in run(tmp_path, "figure", "CANG.2026-01.btc_sold", "--as-of", "2026-01-31", ok=1).output


def test_typed_in_facts_are_kept(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[[document]]\nissuer="MYCO"\nsource="my notes"\nkind="news"\n'
        '[document.facts]\n"2025-01"={btc_produced=31, avg_btc_per_day=2}\n'
    )
    assert "kept 2 new" in run(tmp_path, "keep", str(mine)).output
    assert "differs" in run(tmp_path, "check", "--issuer", "MYCO").output
    mine.write_text("[[document]]\nissuer=1\n")
    assert "mine.toml" in run(tmp_path, "keep", str(mine), ok=1).output
    mine.write_text(
        '[[document]]\nissuer="MYCO"\nsource="my notes"\nkind="news"\n'
        f'[document.facts]\n"2025-01"={{sale_proceeds_usd="{"9" * 40}b"}}\n'
    )
    assert "out of bounds" in run(tmp_path, "keep", str(mine), ok=1).output


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("read", "/no/such/file"), "No such file"),
        (("figure", "nothing"), "no figure"),
        (("compare", "--month", "May"), "YYYY-MM"),
        (("check", "--as-of", "soon"), "YYYY-MM-DD"),
        (("check", "--as-of", "9999-12-31"), "YYYY-MM-DD"),
        (("check", "--period", "soon"), "YYYY-MM"),
        (("check", "--issuer", "nobody"), "no miner NOBODY in the book"),
        (("explain", "CANG", "0001-01"), "YYYY-MM"),
        (("explain", "CANG", "9999-12"), "YYYY-MM"),
        (("explain", "CANG", "2025-11", "--base", "0001-01"), "--base: '0001-01'"),
        (("read", "-", "--published", "next week"), "YYYY-MM-DD"),
        (("desk", "correct", "ID", "--period", "3024-01"), "2009 to 2199"),
        (("fetch", "edgar"), "--ticker or --cik"),
        (("fetch", "edgar", "--cik", "5"), "TIELINE_SEC_USER_AGENT"),
        (("fetch", "wire", "nowhere"), "no web address"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(
    tmp_path: Path, args: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIELINE_SEC_USER_AGENT", raising=False)
    result = CliRunner().invoke(disclosures, [*args, "--facts", str(tmp_path / "f.jsonl")])
    assert result.exit_code != 0
    assert why in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_miner_is_found_by_its_ticker_in_any_case(tmp_path: Path) -> None:
    upper, lower = (run(tmp_path, "check", "--issuer", name, "--json").output for name in ("CANG", "cang"))
    assert upper == lower
    assert json.loads(lower)["verdicts"]


def test_a_folder_is_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.txt").write_text("A bakery opens on Monday.")
    out = run(tmp_path, "fetch", "folder", str(folder))
    assert "1 documents, 0 new facts" in out.output


def test_fields_are_listed(tmp_path: Path) -> None:
    assert "btc_produced" in run(tmp_path, "fields").output
    assert json.loads(run(tmp_path, "fields", "--json").output)["btc_sold"]["unit"] == "BTC"


def test_a_month_after_the_shipped_series_is_checked_by_what_the_platform_has_heard(tmp_path: Path) -> None:
    text = (
        "Cango August 2026 Update\nIn August 2026, Cango mined 520 BTC, at an average operating hashrate of 36.5 EH/s."
    )
    run(tmp_path, "read", "-", "--issuer", "CANG", "--published", "2026-09-03", "--keep", text=text)
    asked = ("check", "--issuer", "CANG", "--period", "2026-08")
    assert "no check applies" in run(tmp_path, *asked).output
    first = shipped_chain().epochs[-1]
    tmp_path.chmod(0o700)
    with closing(Store(place_in(tmp_path), records.encode, records.decode)) as store:
        store.append([_tick(first.start + timedelta(days=day), 953_568 + 144 * day) for day in range(80)])
    assert "36.5 EH/s x" in run(tmp_path, *asked).output


def _tick(at: datetime, height: int) -> NetworkTick:
    """The network at ten minutes a block from the last shipped epoch on."""
    return NetworkTick(
        at=at.astimezone(UTC), known_at=at, source="heard", kind="measured", difficulty=125e12, subsidy_btc=3.125,
        fee_share=0.01, btc_usd=Decimal(80_000), height=height,
    )  # fmt: skip
