"""What is shipped for Prometheus and Grafana: rules by promtool, names by the code, a real Prometheus that scrapes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import free_port, settings, start

from tieline.gateway.metering.stats import MAX_MODELS, OTHERS, Histograms
from tieline.gateway.settings import Engine, Key, Limits, Tenant, hash_key

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus"
BOARD = json.loads((DEPLOY / "grafana" / "gateway.json").read_text())
METRICS = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
PANELS = [one for one in BOARD["panels"] if one["type"] != "row"]
KEYS = (
    Key(id="root", sha256=hash_key("root"), tenant="ops", role="admin"),
    Key(id="acme", sha256=hash_key("acme"), tenant="acme"),
)


def binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"Prometheus is not installed: no {name}")
    return found


def test_rules_are_well_formed_and_alert_when_they_should() -> None:
    promtool = binary("promtool")
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        done = subprocess.run([promtool, *command], cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = set(re.findall(r"alertname: (\w+)", (RULES / "alerts.test.yml").read_text()))
    rules = set(re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text()))
    assert tried == rules


def test_every_metric_that_is_asked_for_is_one_of_the_gateway() -> None:
    ours = set(re.findall(r"`(tieline_\w+)`", METRICS.read_text()))
    texts = [(RULES / "alerts.yml").read_text(), *(one["expr"] for panel in PANELS for one in panel["targets"])]
    texts += [one["query"]["query"] for one in BOARD["templating"]["list"] if one["type"] == "query"]
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for text in texts for name in re.findall(r"tieline_\w+", text)}
    assert asked <= ours
    # What each tenant used, and every other figure but two, is on the board.
    assert ours - asked <= {"tieline_gateway_power_unknown"}


def test_panels_have_their_own_places() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({one["id"] for one in BOARD["panels"]}) == len(BOARD["panels"])


def test_a_prometheus_scrapes_it_and_answers_every_panel(tmp_path: Path) -> None:
    prometheus, port = binary("prometheus"), free_port()

    async def body() -> None:
        tenants = (Tenant(id="ops"), Tenant(id="acme", limits=Limits(budget_usd=Decimal(3))))
        async with Scripted(words=("w ",) * 6) as engine:
            abroad = {"region": "eu", "engines": (Engine(url=engine.url, region="us"),)}  # so that this is counted too
            given = settings(tenants=tenants, keys=KEYS, **abroad)
            async with start(given, tmp_path / "gateway") as g:
                (tmp_path / "admin.key").write_text("root")
                config = (RULES / "prometheus.yml").read_text().replace("127.0.0.1:8787", f"127.0.0.1:{g.port}")
                config = config.replace("scrape_interval: 15s", "scrape_interval: 1s")
                (tmp_path / "prometheus.yml").write_text(config)
                shutil.copy(RULES / "alerts.yml", tmp_path)
                process = subprocess.Popen(
                    [prometheus, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
                     "--storage.tsdb.path=data", "--log.level=error"],
                    cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                try:
                    await _scraped(port, g)
                finally:
                    process.terminate()
                    process.wait(20)

    asyncio.run(body())


async def _scraped(port: int, g: Any) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 6, "stream": True}
    until = time.monotonic() + 60
    while True:  # some traffic between scrapes, so that rates are known
        await g.post("/v1/chat/completions", asked, "authorization: Bearer acme\r\n")
        try:
            found = await query(port, 'sum(rate(tieline_gateway_tenant_tokens_total{tenant="acme",kind="output"}[1m]))')
        except OSError:
            found = []
        if found and float(found[0]["value"][1]) > 0:
            break
        assert time.monotonic() < until
        await asyncio.sleep(0.5)
    assert [one["value"][1] for one in await query(port, "up")] == ["1"]
    (left,) = await query(port, 'tieline_gateway_budget_left_usd{scope="tenant:acme"}')
    assert 2.9 < float(left["value"][1]) < 3.0
    empty = []
    for panel in PANELS:
        for one in panel["targets"]:
            text = one["expr"].replace("$job", "tieline-gateway").replace("$model", ".*").replace("$tenant", ".*")
            if not await query(port, text.replace("$__rate_interval", "1m")):
                empty.append(panel["title"])
    # Nothing failed here, and one gateway alone has nobody to share with.
    refused = {"Refused before an engine", "Refused, by tenant"}
    assert set(empty) <= {"Failed", "Attempts that failed", "Coordinator heard"} | refused


async def query(port: int, text: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': text})}"

    def ask() -> list[dict[str, Any]]:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]  # type: ignore[no-any-return]

    return await asyncio.to_thread(ask)


def test_models_beyond_a_bound_are_summed() -> None:
    seconds = Histograms((0.1, 1.0))
    for number in range(MAX_MODELS + 5):
        seconds.add(f"m{number}", 0.05)
    family = seconds.family("x_seconds", "x")
    counts = {one.labels["model"]: one.value for one in family.samples if one.name == "x_seconds_count"}
    assert len(counts) == MAX_MODELS + 1
    assert (counts["m0"], counts[OTHERS]) == (1, 5)
