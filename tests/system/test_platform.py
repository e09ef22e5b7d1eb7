"""The whole platform, started for real: called by the real client, seen in a real browser, killed, restarted.

Tests run in the order in which they stand: the last ones break things.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.system.conftest import ROOT, Platform, processes_of, start

from tieline import records
from tieline.clock import wall_now
from tieline.records import MeterReading, Outcome, Payout, Plan, PowerBill, Sample, Shortfall, Usage
from tieline.store import Store

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
MODEL = "tieline-selftest"


def client(state: dict[str, Any]) -> openai.OpenAI:
    return openai.OpenAI(base_url=state["openai_base_url"], api_key=state["demo_key"], max_retries=2, timeout=30)


def store_of(platform: Platform) -> Store:
    return Store(platform.data / "store.db", records.encode, records.decode, read_only=True)


def eventually(check: Any, seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.25)
    pytest.fail(f"{what} did not happen within {seconds} s")


def test_status_says_where_the_doors_are(platform: Platform) -> None:
    state = platform.status()
    assert state["ready"] is True
    assert {p["name"] for p in state["parts"]} == {"link", "core", "world", "sites", "gateway", "console", "alerts"}
    assert state["console_url"].startswith("http://127.0.0.1:")
    assert state["openai_base_url"].endswith("/v1")
    assert "curl" in platform.output.read_text()


def test_the_printed_curl_answers(platform: Platform) -> None:
    line = next(line for line in platform.output.read_text().splitlines() if line.strip().startswith("curl "))
    done = subprocess.run(["bash", "-c", line.strip() + " -sS"], capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] > 0


def test_the_real_client_is_served_and_each_request_is_used_once(platform: Platform) -> None:
    state = platform.status()
    api = client(state)
    assert MODEL in [m.id for m in api.models.list()]
    ask: Any = {"model": MODEL, "messages": [{"role": "user", "content": "What is a strike?"}], "max_tokens": 40}
    whole = api.chat.completions.create(**ask)
    assert whole.choices[0].message.content
    assert whole.usage is not None
    text, usage = "", None
    for chunk in api.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    assert text.strip()
    assert usage is not None
    with pytest.raises(openai.NotFoundError):
        api.chat.completions.create(model="no-such-model", messages=ask["messages"])
    with pytest.raises(openai.AuthenticationError):
        client({**state, "demo_key": "sk-wrong"}).models.list()

    def used() -> list[Usage]:
        store = store_of(platform)
        found = [u.record for u in store.follow(0, 100_000, Usage).items]
        store.close()
        return [u for u in found if isinstance(u, Usage) and u.output_tokens == usage.completion_tokens and u.streamed]

    mine = eventually(used, 20, "a Usage record in the store")
    assert len({u.request_id for u in mine}) == len(mine)
    assert mine[-1].prompt_tokens == usage.prompt_tokens
    assert mine[-1].cost_nano_usd > 0
    assert len(mine[-1].hops) == 1


def test_every_setpoint_has_its_reason(platform: Platform) -> None:
    store = store_of(platform)
    plans = [s.record for s in store.follow(0, 200_000, Plan).items]
    store.close()
    live = [plan for plan in plans if isinstance(plan, Plan) and "history" not in plan.decided_by]
    assert len({plan.site_id for plan in live}) == 40
    assert all(point.reason.text for plan in live for point in plan.setpoints)


def test_the_month_can_be_read_and_closes(platform: Platform) -> None:
    def read(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "tieline", *words, "--json", "--data-dir", str(platform.data)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = read("update")
    figures = {f["name"]: f["value"] for f in made["figures"]}
    assert float(figures["bitcoin_produced"]) > 0
    assert 40 < float(figures["hashrate_deployed"]) < 60
    assert made["simulated"] is True
    balances = read("books", "balances")
    sums: dict[str, float] = {}
    for row in balances:
        sums[row["commodity"]] = sums.get(row["commodity"], 0) + float(row["balance"])
    assert all(abs(total) < 1e-6 for total in sums.values())


def test_the_page_shows_what_the_records_say(platform: Platform, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    state = platform.status()
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
    out = ROOT / "tests" / "out"
    out.mkdir(parents=True, exist_ok=True)
    foreign: list[str] = []
    errors: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=[*flags, "--disable-component-update"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.on(
            "request",
            lambda r: None if r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else foreign.append(r.url),
        )
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(state["console_url"], wait_until="load")
        page.wait_for_selector("canvas, svg", timeout=20_000)
        page.wait_for_timeout(2500)
        body = page.inner_text("body")
        page.screenshot(path=str(out / "console.png"), full_page=True)
        page.click("nav >> text=Inference")
        page.wait_for_selector("text=na-tx-01-gpu-1", timeout=20_000)
        page.wait_for_selector("text=Demo tenant", timeout=20_000)
        sold = page.inner_text("body")
        page.screenshot(path=str(out / "inference.png"), full_page=True)
        page.close()
        page = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        page.goto(state["console_url"], wait_until="load")
        page.wait_for_selector("canvas, svg", timeout=20_000)
        page.wait_for_timeout(1500)
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        page.screenshot(path=str(out / "console-phone.png"), full_page=True)
        browser.close()
    assert foreign == []
    assert errors == []
    assert overflow <= 0
    assert re.search(r"\d MW", body)
    assert re.search(r"EH/s", body)
    assert re.search(r"synthetic|simulated|invented", body, re.IGNORECASE)
    assert re.search(r"Nothing needs you|things? needs? you", body)
    assert re.search(r"of 16 slots", sold)
    assert re.search(r"No such key\s*invalid_api_key\s*[1-9]", sold)  # an earlier test was refused
    assert re.search(r"600 requests/min", sold)


def test_what_is_taken_or_wrong_is_one_clear_line(platform: Platform, tmp_path: Path) -> None:
    def fails(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tieline", "up", *args], capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        return lines[0]

    assert "already runs" in fails("--data-dir", str(platform.data))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port}" in fails("--data-dir", str(tmp_path / "a"), "--console-port", port)
        both = ("--data-dir", str(tmp_path / "a"), "--console-port", "1", "--gateway-port", "1")
        assert "cannot share port 1;" in fails(*both)
    (tmp_path / "file").write_text("")
    assert "cannot write" in fails("--data-dir", str(tmp_path / "file" / "x"))
    assert "cannot write" in fails("--data-dir", str(tmp_path / "file" / "x"), "--detach")
    assert "above 0, got nan" in fails("--data-dir", str(tmp_path / "d"), "--speed", "nan")
    assert "1 to 65535" in fails("--data-dir", str(tmp_path / "d"), "--console-port", "70000")
    broken = tmp_path / "bad.toml"
    broken.write_text('[fleet]\nname = "x"\n\n[[site]]\nid = "a"\nnonsense = 1\n')
    message = fails("--data-dir", str(tmp_path / "b"), "--config", str(broken))
    assert "bad.toml:6" in message
    assert "nonsense" in message
    assert "no such file" in fails("--data-dir", str(tmp_path / "c"), "--model", "/nowhere.gguf")


def test_a_grid_order_is_obeyed_at_once_and_load_returns_in_stages(platform: Platform) -> None:
    """Told on the console's door as an operator would; world time runs 120 times faster."""
    state = platform.status()
    site = "na-tx-08"

    def post(path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            state["console_url"] + path,
            json.dumps(body).encode(),
            {"x-tieline": "console", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def seen() -> dict[str, Any]:
        with urllib.request.urlopen(f"{state['console_url']}/api/site/{site}", timeout=10) as answer:
            return dict(json.load(answer))

    def meter() -> float:
        return float(seen()["site"]["meter_mw"])

    before = eventually(meter, 20, "a meter's reading")
    limit = before / 4
    post("/api/order", {"site_id": site, "limit_mw": limit, "minutes": 600, "why": "test", "by": "system test"})
    assert eventually(lambda: meter() <= limit, 15, "the order obeyed")
    order = eventually(lambda: seen()["orders"], 15, "the order on its page")[0]
    post("/api/order/end", {"instruction_id": order["id"], "why": "over", "by": "system test"})
    eventually(lambda: not seen()["orders"], 10, "the order lifted")
    assert meter() < before  # 4 % a minute: a minute of this world is half a second
    assert eventually(lambda: meter() > limit * 1.2, 30, "load coming back")


@pytest.mark.parametrize("name", ["gateway", "sites", "link", "core", "console", "world"])
def test_a_killed_part_is_noticed_and_mended(platform: Platform, name: str) -> None:
    before = next(p for p in platform.status()["parts"] if p["name"] == name)
    os.kill(before["pid"], signal.SIGKILL)

    def mended(state: dict[str, Any]) -> bool:
        part = next(p for p in state["parts"] if p["name"] == name)
        return (
            bool(state["ready"]) and part["pid"] not in (None, before["pid"]) and part["restarts"] > before["restarts"]
        )

    state = platform.wait(mended, 60, f"{name} mended")

    def answers() -> bool:
        try:
            api = client(state)
            reply = api.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=8
            )
        except openai.OpenAIError:
            return False
        return bool(reply.choices)

    assert eventually(answers, 45, f"an answer after {name} was killed")
    with urllib.request.urlopen(state["console_url"], timeout=10) as page:
        assert page.status == 200


def test_hours_that_were_lived_through_are_measured_and_settled(platform: Platform) -> None:
    """After all that was killed: intervals of this run are in the store, and an hour most of which it lived through
    is paid and billed."""
    store = store_of(platform)
    begun = min(s.record.known_at for s in store.follow(0, 200_000, Plan).items if "history" not in s.record.decided_by)  # type: ignore[attr-defined]
    store.close()

    def lived() -> bool:
        store = store_of(platform)
        end = begun + timedelta(days=30)
        samples = [s for s in store.between(Sample, begun, end) if s.power_w is not None]
        payouts = [p for p in store.between(Payout, begun, end) if p.span_end >= begun + timedelta(minutes=35)]
        bills = store.between(PowerBill, begun, end)
        outcomes = store.between(Outcome, begun, end)
        store.close()
        heard = {s.unit_id for s in samples}
        return len(heard) >= 70 and bool(payouts) and bool(bills) and any(o.result == "applied" for o in outcomes)

    assert eventually(lived, 150, "an hour of this run in the books")


def test_a_site_leaves_no_more_records_in_a_day_than_is_stated(platform: Platform) -> None:
    """docs/fleet.md, "How large": 1.0 MB a site and day at five minutes, here by the last hour that was settled."""
    store = store_of(platform)
    newest = max(store.latest(PowerBill, wall_now() + timedelta(days=30)), key=lambda one: one.at)
    hour = newest.at.replace(minute=0, second=0, microsecond=0)
    kinds = (Plan, Sample, Outcome, MeterReading, PowerBill, Shortfall)
    span = (hour, hour + timedelta(hours=1))
    left = {one.__name__: sum(len(records.encode(r)) for r in store.between(one, *span)) for one in kinds}
    store.close()
    assert all(left[name] for name in ("Plan", "Sample", "PowerBill")), left
    a_day = 24 * sum(left.values()) / 40
    print(left, a_day)
    assert 0.1e6 < a_day < 1.0e6, left


def test_ctrl_c_leaves_nothing_and_the_next_start_goes_on(platform: Platform) -> None:
    store = store_of(platform)
    before = store.last_seq()
    key = platform.status()["demo_key"]
    store.close()
    assert platform.stop() < 6.0
    eventually(lambda: not processes_of(platform.data), 3, "no process left behind")
    assert platform.status()["ready"] is False
    again = start(platform.data, "--console-port", "0", "--gateway-port", "0", "--feeds", "synthetic")
    try:
        state = again.wait(lambda s: bool(s["ready"]), 60, "ready again")
        assert state["demo_key"] == key
        store = store_of(again)
        assert store.last_seq() >= before
        store.close()
        assert client(state).models.list().data
        # The supervisor itself dies without a chance to clean up: nothing may outlive it.
        again.process.kill()
        again.process.wait()
        eventually(lambda: not processes_of(again.data), 8, "parts ending after their supervisor was killed")
    finally:
        if again.process.poll() is None:
            again.stop()
