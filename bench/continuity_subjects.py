"""Endpoints under the kill test: Tieline, LiteLLM, or somebody's own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from continuity_client import Seen, Target
from continuity_faults import Engine, fetch

MODEL = "tieline-self-test"
# An engine that has not begun to answer by then is asked no longer; the same for every subject.
FIRST_TOKEN_S = 8


class Subject:
    """What the test needs to know of an endpoint."""

    name = "endpoint"
    ours = False

    def __init__(self, target: Target) -> None:
        self.target = target
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, engines: list[Engine]) -> bool:
        return True

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def _answers(self, tries: int) -> bool:
        """Does it serve yet?"""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        for _ in range(tries):
            if self._process is not None and self._process.poll() is not None:
                return False
            with suppress(OSError):
                if (await self.target.ask(body, timeout_s=10.0)).status == 200:
                    return True
            await asyncio.sleep(0.2)
        return False

    async def well(self, engines: list[Engine]) -> bool:
        """Has it seen that both engines are well? Whoever does not say is believed when both were used."""
        return await self._answers(1)

    async def notice(self, engine: Engine) -> bool:
        """Announce that an engine will go dark; False: there is no way to say so."""
        return False

    async def back(self, engine: Engine) -> None:
        """It is back."""

    async def cancelled_bill(self, request: str, tokens: int) -> str:
        return "unknown"

    async def audit(self, records: list[tuple[str, str, Seen]]) -> dict[str, Any]:
        return {}


class Other(Subject):
    """Somebody's own."""

    ours = True


class Tieline(Subject):
    name = "tieline"
    ours = True

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(Target(port))
        self.folder = folder

    async def start(self, engines: list[Engine]) -> bool:
        self.folder.mkdir(parents=True)
        lines = [f"port = {self.target.port}", "[clocks]", f"first_token_s = {FIRST_TOKEN_S}"]
        lines += [line for engine in engines for line in ("[[engines]]", f'url = "{engine.url}"')]
        settings = self.folder / "gateway.toml"
        settings.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "tieline", "gateway", "--config", str(settings), "--verbose"]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--data", str(self.folder / "data")], stdout=subprocess.DEVNULL, stderr=log
            )
        return await self._answers(100)

    async def well(self, engines: list[Engine]) -> bool:
        with suppress(OSError, TimeoutError, ValueError, KeyError):
            _, body = await fetch(self.target.port, "GET", "/healthz")
            return all(one["state"] == "ready" and one["usable"] for one in json.loads(body)["replicas"])
        return False

    async def _turn(self, engine: Engine, state: str) -> bool:
        path = f"/admin/replicas/{engine.url.removeprefix('http://')}"
        key = (self.folder / "data" / "admin.key").read_text().strip()
        return (await fetch(self.target.port, "POST", path, {"state": state}, key=key))[0] == 200

    async def notice(self, engine: Engine) -> bool:
        return await self._turn(engine, "draining")

    async def back(self, engine: Engine) -> None:
        await engine.heal()
        await self._turn(engine, "ready")

    def _records(self) -> dict[str, dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.folder / 'data' / 'usage.db'}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT body FROM item").fetchall()
        plain = [json.loads(body) for (body,) in rows]
        return {one["request_id"]: one for one in plain if "request_id" in one}

    async def cancelled_bill(self, request: str, tokens: int) -> str:
        for _ in range(50):
            record = self._records().get(request)
            if record is not None:
                billed = record["output_tokens"]
                # What was on its way when the client left counts as delivered.
                return "right" if tokens <= billed <= tokens + 4 else f"{billed} for {tokens}"
            await asyncio.sleep(0.02)
        return "no record"

    async def audit(self, records: list[tuple[str, str, Seen]]) -> dict[str, Any]:
        """Every request has one Usage record, of what its client was told."""
        await asyncio.sleep(0.5)
        known = self._records()
        found: Counter[str] = Counter()
        for kind, request, seen in records:
            record = known.get(request)
            if record is None:
                found["no record"] += 1
            elif not seen.well:
                found["failed, billed for what was delivered"] += 1
            elif (record["prompt_tokens"], record["output_tokens"]) != seen.usage:
                found[f"other than the client was told: {kind}"] += 1
            else:
                found["right"] += 1
        return dict(found)


class Litellm(Subject):
    name = "litellm"

    def __init__(self, folder: Path, port: int, peers: Path) -> None:
        super().__init__(Target(port, f"sk-{secrets.token_hex(16)}"))  # it starts with a key only
        self.folder, self.peers = folder, peers

    async def start(self, engines: list[Engine]) -> bool:
        self.folder.mkdir(parents=True)
        models = [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}", "api_base": f"{engine.url}/v1", "api_key": "x",
                    "timeout": FIRST_TOKEN_S, "stream_timeout": FIRST_TOKEN_S,
                },
            }
            for engine in engines
        ]  # fmt: skip
        settings = {
            "model_list": models,
            "router_settings": {"num_retries": 2, "allowed_fails": 1, "cooldown_time": 1},
            "litellm_settings": {"drop_params": False},
        }
        config = self.folder / "litellm.yaml"
        config.write_text(json.dumps(settings))
        command = [str(self.peers / "bin" / "litellm"), "--config", str(config), "--port", str(self.target.port)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"LITELLM_MASTER_KEY": self.target.key},
            )
        return await self._answers(900)

    async def well(self, engines: list[Engine]) -> bool:
        await asyncio.sleep(1.1)  # longer than its cooldown
        return await self._answers(1)
